"""The fused memory level against the same level step by step in plain torch: spikes, memory and every
gradient.

In double precision `Level.forward` is `Level.parts` with the reference neuron and the reference scan.
"""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from level_cases import (
    CLIPPED,
    OUTPUTS,
    RULES,
    STEP_BY_STEP,
    Sizes,
    assert_close,
    check,
    random_case,
    random_level,
    results,
    rule,
)  # fmt: skip
from threads import threads
from torch import Tensor

from hardware.rules import LearningRule
from spmn import level_kernels, levels, operators, plasticity
from spmn.errors import SettingsError
from spmn.neurons import lif_reference
from spmn.plasticity import ERROR_DRIVEN, TWO_FACTOR, by_event, scan_plain


def shapes(events: st.SearchStrategy[int], most: int) -> st.SearchStrategy[Sizes]:
    few, many = st.integers(1, 5), st.integers(1, most)
    return st.builds(
        Sizes, stories=few, events=events, steps=st.integers(1, 6), heads=few, keys=many, values=many
    )


by_name = {"argnames": "chosen", "argvalues": RULES, "ids": [rule.name for rule in RULES]}
SILENT, SPIKING = -20.0, 20.0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    chosen=st.sampled_from(RULES),
    sizes=shapes(st.integers(1, 10) | st.sampled_from([31, 32, 33, 70]), 40),
    below=st.booleans(),
    dv=st.sampled_from([0.0, 0.1, 1.0]),
    shift=st.sampled_from([0.0, 0.3, SILENT, SPIKING]),
    written=st.sampled_from([0.0, 0.7, 1.0]),
    asked=st.sampled_from([0.0, 0.3, 1.0]),
    of=st.sets(st.sampled_from(OUTPUTS), min_size=1),
    workers=st.integers(1, 2),
    seed=st.integers(0, 999),
)
def test_every_shape_and_rule(
    chosen: LearningRule, sizes: Sizes, below: bool, dv: float, shift: float, written: float, asked: float,
    of: set[str], workers: int, seed: int,
) -> None:  # fmt: skip
    level = random_level(chosen, sizes, dv, seed)
    case = random_case(chosen, sizes, below, shift, written, asked, seed)
    with threads(workers):
        found = check(level, case, sorted(of))
    if shift in (SILENT, SPIKING):
        for spikes in (
            found.spikes.write_key,
            found.spikes.read_key,
            found.spikes.update,
            found.spikes.reset,
        ):
            assert (spikes == float(shift > 0)).all()


@pytest.mark.parametrize("events", [31, 32, 33, 64, 70])
@pytest.mark.parametrize(**by_name)
def test_stories_of_several_segments(chosen: LearningRule, events: int) -> None:
    """M is stored after every 32 events; the backward pass goes back from copy to copy."""
    sizes = Sizes(stories=2, events=events, heads=3)
    found = check(random_level(chosen, sizes), random_case(chosen, sizes))
    for spikes in found.spikes:
        assert 0.05 < spikes.mean() < 0.95
    for name, gradient in found.gradients.items():
        assert gradient.any() or not gradient.numel(), name
    assert not found.gradients["words"][0].any()  # which is never said


@pytest.mark.parametrize("of", OUTPUTS)
@pytest.mark.parametrize(**by_name)
def test_what_carries_no_gradient_adds_none(chosen: LearningRule, of: str) -> None:
    sizes = Sizes(events=34)
    found = check(random_level(chosen, sizes), random_case(chosen, sizes), [of])
    assert found.gradients["words"].any()


def test_an_output_that_the_loss_does_not_weigh_is_no_work() -> None:
    """None, not zeros, is handed to the kernel."""
    level, case = random_level(TWO_FACTOR, Sizes()), random_case(TWO_FACTOR, Sizes())
    for of in OUTPUTS:
        with mock.patch.object(level_kernels, "backward", wraps=level_kernels.backward) as backward:
            results(level, case, [of])
        assert [x is not None for x in backward.call_args.args[:3]] == [of == name for name in OUTPUTS]


def test_weights_are_clipped_at_both_bounds() -> None:
    sizes = Sizes(events=12)
    found = check(random_level(CLIPPED, sizes), random_case(CLIPPED, sizes))
    assert ((found.memory - CLIPPED.low).abs() < 1e-6).any()
    assert ((found.memory - CLIPPED.high).abs() < 1e-6).any()


@pytest.mark.parametrize("chosen", STEP_BY_STEP, ids=lambda chosen: chosen.name)
def test_other_rules_are_learnt_step_by_step(chosen: LearningRule) -> None:
    assert by_event(chosen) is None
    check(random_level(chosen, Sizes(events=34)), random_case(chosen, Sizes(events=34)))


def test_rules_that_cannot_be_learnt_are_refused() -> None:
    for text in ("lp*x0*w*w", "lp*x0*y2*y2", "lp*x0*y3", "lp*x2*y0"):
        unknown = rule("unknown", text, lp=0.3)
        assert by_event(unknown) is None
        with pytest.raises(SettingsError, match="unknown"):
            results(random_level(unknown, Sizes()), random_case(unknown, Sizes()))


def test_the_form_of_a_rule_that_the_kernel_takes() -> None:
    assert by_event(TWO_FACTOR) == ((0, 1, 1, -1, 1, 0, 0, 1), (False, False))
    assert by_event(ERROR_DRIVEN) == ((0, 1, 1, 0, 1, 0, 1, 0), (False, True))
    assert by_event(rule("half", "0.5*x0*x1*(1-y0)*(0.25+w)")) == ((1, -1, 0.25, 1), (False,))
    unequal = rule("unequal", "2*lp*x0 - x0*y0 + 3*ld*x1", lp=0.25, ld=0.75)
    torch.testing.assert_close(plasticity.Rates(unequal).strengths(), torch.tensor([0.5, -1.0, 2.25]))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    sizes=shapes(st.integers(1, 10), 40),
    below=st.booleans(),
    dv=st.sampled_from([0.125, 0.5]),
    seed=st.integers(0, 999),
)
def test_spikes_are_equal_where_numbers_are_exact_in_binary(
    sizes: Sizes, below: bool, dv: float, seed: int
) -> None:
    """Ten halvings of M and a sum of forty weights fit in 24 bits: nothing depends on the order of a sum."""
    level = random_level(TWO_FACTOR, sizes, dv, seed)
    with torch.no_grad():
        level.clock.mul_(8).round_().div_(8)
        level.memory.bias.mul_(8).round_().div_(8)
        level.memory.rates.logits.zero_()
    case = random_case(TWO_FACTOR, sizes, below, seed=seed).map(lambda x: (x * 8).round() / 8)
    found = results(level, case)
    with mock.patch.object(levels, "lif", lif_reference), mock.patch.object(plasticity, "scan", scan_plain):
        level.by_event = None
        expected = results(level, case)
    for fast, slow in zip(found[0] + found[1:3], expected[0] + expected[1:3], strict=True):
        assert torch.equal(fast, slow)


def test_the_recorded_spikes_change_nothing_else() -> None:
    level, case = random_level(TWO_FACTOR, Sizes()), random_case(TWO_FACTOR, Sizes())
    recorded, bare = results(level, case), results(level, case, record=False)
    assert torch.equal(recorded.spikes.recall, bare.spikes.recall)
    assert all(len(x) == 0 for x in bare.spikes[:-1])
    assert [x.shape[1:] for x in bare.spikes] == [x.shape[1:] for x in recorded.spikes]
    for a, b in zip((*recorded[1:3], *recorded[3].values()), (*bare[1:3], *bare[3].values()), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("block", [1, 2, 3, 5])
@pytest.mark.parametrize("stories", [1, 3])
def test_shared_out_in_any_way(stories: int, block: int, workers: int) -> None:
    """Threads take stories, or some heads of a story; the last ones of a story may be fewer."""
    sizes = Sizes(stories=stories, events=34, heads=5)
    level, case = random_level(ERROR_DRIVEN, sizes), random_case(ERROR_DRIVEN, sizes)
    with threads(1):
        expected = results(level, case)
    with mock.patch.object(level_kernels, "_work", return_value=(workers, block)):
        found = results(level, case)
    for a, b in zip((*found[0], *found[1:3]), (*expected[0], *expected[1:3]), strict=True):
        assert torch.equal(a, b)
    for name, gradient in expected.gradients.items():
        assert_close(found.gradients[name], gradient, f"gradient of {name}")


@pytest.mark.parametrize("stories", range(1, 6))
@pytest.mark.parametrize("heads", range(1, 6))
def test_no_thread_without_work(stories: int, heads: int) -> None:
    memory = torch.empty(stories, heads, 1, 1)
    for count in range(1, 9):
        with mock.patch.object(level_kernels.numba, "get_num_threads", lambda count=count: count):
            workers, block = level_kernels._work(memory)
        assert 1 <= workers <= count
        assert 1 <= block <= heads
        assert workers <= stories * -(-heads // block)
        assert count > stories or block == heads


def test_gradients_of_any_stride() -> None:
    """Recall that was joined to other levels', averaged, or summed up."""
    level, case = random_level(TWO_FACTOR, Sizes()), random_case(TWO_FACTOR, Sizes())
    spikes, _, _ = level(*case.arguments)
    recall = spikes.recall.permute(1, 2, 0, 3)  # [B, N, T, H V], as the next level takes it
    width = recall.shape[-1]
    weight = torch.randn(width)

    def gradients(loss: Tensor) -> list[Tensor]:
        leaves = [level.clock, level.memory.bias, level.memory.gain, level.memory.rates.logits]
        return list(torch.autograd.grad(loss, leaves, retain_graph=True))

    expected = gradients((recall.flatten(0, 2) * weight.repeat(recall[..., 0].numel(), 1)).sum())
    assert all(x.any() for x in expected)
    joined = torch.cat((torch.zeros(*recall.shape[:-1], 3), recall, torch.ones_like(recall)), -1)
    pads = torch.zeros(3), weight, torch.zeros(width)
    for loss in (
        joined @ torch.cat(pads),
        recall @ weight,
        spikes.recall @ weight,
        recall.sum((0, 1, 2)) @ weight,
        recall.mean(2) @ weight * recall.shape[2],
        recall.mean((0, 1)) @ weight * len(case.sentence) * case.sentence.shape[1],
    ):
        for a, b in zip(gradients(loss.sum()), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of", OUTPUTS)
def test_arguments_of_any_stride(of: str) -> None:
    level, case = random_level(ERROR_DRIVEN, Sizes()), random_case(ERROR_DRIVEN, Sizes())
    learnt = level.by_event

    def turned(x: Tensor) -> Tensor:
        """The same numbers, the last dimension first in memory."""
        return x.movedim(-1, 0).contiguous().movedim(0, -1)

    def run(change) -> list[Tensor]:
        told = case.told
        timed = told.lines @ level.clock.detach().T
        floats = [case.words, case.below, timed, case.memory, level.memory.bias.detach()]
        words, below, clock, memory, bias = leaves = [change(x).requires_grad_() for x in floats]
        outputs = operators.level(
            words, change(case.sentence).flatten(), below, clock, change(case.writes), told.places,
            len(told.reads), memory, level.memory.rates.strengths(), level.memory.scale, bias, (0.1, 2.0),
            (*learnt, -1.0, 1.0), True,
        )  # fmt: skip
        loss = outputs[OUTPUTS.index(of)].square().sum()
        return [*outputs, *torch.autograd.grad(loss, leaves, materialize_grads=True)]

    assert not turned(case.memory).is_contiguous()
    for strided, packed in zip(run(turned), run(torch.clone), strict=True):
        assert torch.equal(strided, packed)
