"""Plastic memory: the written equation, the kernel against the plain scan, the sign of every STDP window."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.rules import LearningRule
from spmn import operators
from spmn.errors import SettingsError
from spmn.plasticity import (
    ERROR_DRIVEN,
    PAIR_STDP,
    RULES,
    TWO_FACTOR,
    PlasticLayer,
    PlasticMemory,
    Rates,
    fired,
    rule_named,
    scan_reference,
    terms,
)
from spmn.stdp import stdp_window


def written(
    rule: LearningRule, memory: torch.Tensor, k: torch.Tensor, a: torch.Tensor, **rates: float
) -> torch.Tensor:
    """M after one event with keys k and associations a, all [K], [V]."""
    x, y = k[None, None, None], a[None, None, None]
    strengths = torch.tensor([p.coefficient * rates[p.rate or ""] for p in rule.products])
    found = terms(rule, strengths, x, x, y, y)
    _, after = scan_reference(
        torch.zeros(1, 1, 1, len(k)), found.pre, found.post, found.affine,
        torch.tensor([rule.low, rule.high]), torch.ones(1, 1, dtype=torch.bool), memory[None], found.predict,
    )  # fmt: skip
    return after[0]


def test_two_factor_rule_is_the_gate_equation() -> None:
    torch.manual_seed(0)
    memory, k, a = torch.rand(6, 4), torch.tensor([1.0, 0, 1, 0, 0, 1]), torch.tensor([0.0, 1, 1, 0])
    expected = memory + 0.4 * (1 - memory) * torch.outer(k, a) - 0.3 * k[:, None] * memory
    torch.testing.assert_close(written(TWO_FACTOR, memory, k, a, lp=0.4, ld=0.3), expected)
    assert (expected[k == 0] == memory[k == 0]).all()


def test_error_driven_rule_moves_recall_towards_the_target() -> None:
    memory, k, a = torch.rand(6, 4), torch.tensor([1.0, 0, 1, 0, 0, 1]), torch.tensor([0.0, 1, 1, 0])
    expected = memory + 0.5 * torch.outer(k, a - (k @ memory) / k.sum())
    torch.testing.assert_close(written(ERROR_DRIVEN, memory, k, a, lp=0.5), expected.clamp(-1, 1))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["two-factor", "pair-stdp"]),
    groups=st.integers(1, 5),
    events=st.integers(1, 6),
    steps=st.integers(1, 4),
    keys=st.integers(1, 9),
    values=st.integers(1, 9),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 999),
)
def test_kernel_equals_reference(
    name: str, groups: int, events: int, steps: int, keys: int, values: int, density: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    rule = RULES[name]

    def spikes(*shape: int) -> torch.Tensor:
        return (torch.rand(shape, generator=random) < density).float()

    learns = 1 if rule.resolution == "event" else steps
    x0, y0 = spikes(groups, events, learns, keys), spikes(groups, events, learns, values)
    found = terms(rule, Rates(rule).strengths(), x0, 0.7 * x0 + 0.1, y0, 0.6 * y0 + 0.2)
    inputs = [spikes(groups, events, steps, keys), found.pre.detach(), found.post.detach()]
    memory = torch.rand(groups, keys, values, generator=random)
    writes = torch.rand(groups, events, generator=random) < 0.7
    bounds = (rule.low, rule.high)

    results = []
    for scan in (operators.memory_scan, scan_reference):
        leaves = [x.clone().requires_grad_() for x in (*inputs, memory)]
        currents, after = scan(*leaves[:3], found.affine, bounds, writes, leaves[3])
        weight = torch.linspace(-1, 1, currents.numel()).view(currents.shape)
        ((currents * weight).sum() + (after * after).sum()).backward()
        results.append([currents, after, *(leaf.grad for leaf in leaves)])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


def test_scan_gradients_in_double_precision() -> None:
    torch.manual_seed(1)
    found = terms(TWO_FACTOR, torch.tensor([0.4, -0.3]), *torch.rand(4, 2, 3, 1, 4).double())
    inputs = [torch.rand(2, 3, 2, 4).double(), found.pre, found.post, torch.rand(2, 4, 4).double()]
    inputs = [x.detach().requires_grad_() for x in inputs]
    writes, bounds = torch.tensor([[True, False, True]] * 2), (-9.0, 9.0)
    assert torch.autograd.gradcheck(
        lambda q, a, b, m: scan_reference(q, a, b, found.affine.double(), bounds, writes, m), inputs
    )


def test_questions_and_closed_gates_write_nothing() -> None:
    torch.manual_seed(0)
    memory = PlasticMemory(TWO_FACTOR, heads=2, keys=4, values=3)
    start = torch.rand(1, 2, 4, 3)
    spikes = torch.ones(5, 1, 2, 2, 4), torch.ones(5, 1, 2, 2, 4), torch.ones(5, 1, 2, 2, 3)
    open_, closed = torch.ones(1, 2, 2), torch.zeros(1, 2, 2)
    yes, no = torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.bool)
    assert torch.equal(memory(*spikes, open_, open_, no, start)[1], start)
    assert torch.equal(memory(*spikes, open_, closed, yes, start)[1], start)
    assert (memory(*spikes, closed, open_, yes, start)[1] < start).all()  # update shut: depression alone
    assert not torch.equal(memory(*spikes, open_, open_, yes, start)[1], start)


def test_two_calls_equal_one() -> None:
    torch.manual_seed(0)
    layer = PlasticLayer(5, 3, "pair-stdp")
    pre, post = (torch.rand(12, 2, 5) < 0.4).float(), (torch.rand(12, 2, 3) < 0.4).float()
    whole, end = layer(pre, post, layer.start(2, weight=0.5))
    first, middle = layer(pre[:7], post[:7], layer.start(2, weight=0.5))
    second, last = layer(pre[7:], post[7:], middle)
    torch.testing.assert_close(torch.cat((first, second)), whole)
    for a, b in zip(last, end, strict=True):
        torch.testing.assert_close(a, b)


def test_rates_learn_through_the_plasticity() -> None:
    layer = PlasticLayer(3, 2)
    current, _ = layer(torch.ones(3, 1, 3), torch.ones(3, 1, 2), layer.start(1))
    current.sum().backward()
    assert layer.rates.logits.grad is not None
    gradient = dict(zip(layer.rates.names, layer.rates.logits.grad.tolist(), strict=True))
    assert gradient["lp"] > 0
    assert gradient["ld"] < 0


def test_pair_stdp_window_has_the_signs_and_time_constants_of_the_rule() -> None:
    rule = dataclasses.replace(PAIR_STDP, x1_tau=4.0, y1_tau=7.0)
    delta, dw = stdp_window(rule, reach=15)
    pre_first, post_first = dw[delta > 0], dw[delta < 0]
    assert (pre_first > 0).all()
    assert (post_first < 0).all()
    ltp, ltd = rule.rates["ap"], rule.rates["am"]
    torch.testing.assert_close(pre_first, ltp * torch.exp(-delta[delta > 0] / 4.0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(post_first, -ltd * torch.exp(delta[delta < 0] / 7.0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", [TWO_FACTOR, ERROR_DRIVEN], ids=lambda r: r.name)
def test_coincidence_rules_potentiate_only_together(rule: LearningRule) -> None:
    delta, dw = stdp_window(rule, reach=5)
    assert dw[delta == 0] > 0
    assert (dw[delta != 0] < 0).all()  # the pre spike alone depresses what it held


def test_a_rule_of_ones_own() -> None:
    hebb = LearningRule("hebb", "eta*x0*y0", rates={"eta": 0.25}, resolution="step")
    layer = PlasticLayer(2, 2, hebb)
    pre, post = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    _, state = layer(pre, post, layer.start(1))
    torch.testing.assert_close(state.weights, torch.tensor([[[0.0, 0.25], [0.0, 0.0]]]))


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(SettingsError, match="hebbian"):
        rule_named("hebbian")
    square = LearningRule("square", "eta*x0*w*w", rates={"eta": 0.1}, resolution="step")
    with pytest.raises(SettingsError, match="w at most once"):
        PlasticLayer(2, 2, square)
    for rate in (0.0, 1.0, 2.0, -0.1):
        with pytest.raises(SettingsError, match=rf"rate eta of rule 'hebb' is {rate}; .* \(4\*eta\)"):
            PlasticLayer(2, 2, LearningRule("hebb", "eta*x0*y0", rates={"eta": rate}))
    for sizes in ((0, 2), (2, -1), (1.5, 2)):
        with pytest.raises(SettingsError, match="a whole number from 1"):
            PlasticLayer(*sizes)  # type: ignore[arg-type]
    for weight in (1.5, -0.5, math.nan):
        with pytest.raises(SettingsError, match=f"weight is {weight}; it must be from 0 to 1"):
            PlasticLayer(2, 2).start(1, weight)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("pre", "post", "batch"),
    [
        ((5, 3, 4), (5, 3, 2), 1),
        ((5, 3, 4), (4, 3, 2), 3),
        ((4, 3, 4), (5, 3, 2), 3),
        ((5, 3, 4), (5, 1, 2), 3),
        ((5, 1, 4), (5, 3, 2), 3),
        ((5, 3, 4), (5, 3, 1), 3),
        ((5, 3, 2), (5, 3, 2), 3),
        ((5, 3, 2), (5, 3, 4), 3),
        ((3, 4), (3, 2), 3),
        ((0, 3, 4), (0, 3, 2), 3),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(
    rule: str, pre: tuple[int, ...], post: tuple[int, ...], batch: int
) -> None:
    """The kernel would read and write memory that is not its own."""
    layer = PlasticLayer(4, 2, rule)
    with pytest.raises(SettingsError, match=r"the shape of \w+ is|steps is 0"):
        layer(torch.ones(pre), torch.ones(post), layer.start(batch))


@pytest.mark.parametrize("name", ["read", "pre", "post", "affine", "writes"])
def test_the_scan_takes_shapes_that_go_together_only(name: str) -> None:
    shapes = {"read": (2, 3, 4, 5), "pre": (2, 3, 1, 2, 5), "post": (2, 3, 1, 2, 6), "affine": (2, 2)}
    tensors = {key: torch.ones(shape) for key, shape in shapes.items()}
    tensors |= {"writes": torch.ones(2, 3, dtype=torch.bool), "memory": torch.zeros(2, 5, 6)}
    operators.memory_scan(bounds=(0.0, 1.0), **tensors)
    with pytest.raises(SettingsError, match=f"the shape of (read|{name}) is"):
        operators.memory_scan(bounds=(0.0, 1.0), **{**tensors, name: tensors[name][..., :-1]})


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_fired_is_the_gated_maximum_with_its_gradients(
    seed: int, steps: int, rate: float, open_: float
) -> None:
    random = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(steps, 3, 4, 5, generator=random) < rate).double()
    gate = (torch.rand(3, 4, generator=random) < open_).double()
    grad = torch.randn(3, 4, 5, generator=random, dtype=torch.float64)
    found = []
    for function in (fired, lambda s, g: (s * g[..., None]).amax(0)):
        leaves = spikes.clone().requires_grad_(), gate.clone().requires_grad_()
        value = function(*leaves)
        found.append((value.detach(), *torch.autograd.grad(value, leaves, grad)))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float64, torch.bfloat16])
def test_spikes_of_any_type_teach_the_same(kind: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    pre, post = ((torch.rand(6, 2, n, generator=random) < 0.4).float() for n in (5, 3))
    layer = PlasticLayer(5, 3)
    expected, state = layer(pre, post, layer.start(2))
    found, other = layer(pre.to(kind), post.to(kind), layer.start(2))
    assert torch.equal(found, expected)
    assert all(torch.equal(a, b) for a, b in zip(other, state, strict=True))


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_a_layer_of_another_precision(kind: torch.dtype) -> None:
    pre, post = torch.ones(2, 1, 2), torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    layer = PlasticLayer(2, 2).to(kind)
    current, state = layer(pre, post, layer.start(1))
    assert current.dtype == state.weights.dtype == kind
    torch.testing.assert_close(
        state.weights.float(), PlasticLayer(2, 2)(pre, post, PlasticLayer(2, 2).start(1))[1].weights
    )


@pytest.mark.parametrize(
    ("dw", "expected"),
    [
        ("eta*x1*y0", 1.75),
        ("eta*x1*x1*y0", 1.75**2),
        ("eta*(1-x0)*x0*y0", 0.0),
        ("eta*x0*(1-x0)*y0", 0.0),
        ("eta*(1+x0)*x0*y0", 2.0),
        ("eta*x0*(1+x0)*y0", 2.0),
        ("eta*x0*x0*y0*y0", 1.0),
    ],
)
def test_a_spike_times_itself_is_itself_and_a_trace_its_square(dw: str, expected: float) -> None:
    """In any order of factors."""
    rule = LearningRule("r", dw, "step", {"eta": 0.25}, x1_tau=1 / math.log(2), high=10.0)
    layer = PlasticLayer(1, 1, rule)
    _, state = layer(torch.ones(3, 1, 1), torch.tensor([0.0, 0, 1])[:, None, None], layer.start(1))
    assert state.weights.item() == pytest.approx(0.25 * expected)


def test_a_scan_without_reading_learns() -> None:
    random = torch.Generator().manual_seed(0)
    read, pre, post = (
        torch.rand(shape, generator=random) for shape in ((2, 3, 0, 5), (2, 3, 1, 2, 5), (2, 3, 1, 2, 6))
    )
    given = (
        pre,
        post,
        torch.rand(2, 2),
        (0.0, 1.0),
        torch.ones(2, 3, dtype=torch.bool),
        torch.zeros(2, 5, 6),
    )
    currents, after = operators.memory_scan(read, *given)
    expected, memory = scan_reference(read, *given)
    assert currents.shape == expected.shape == (2, 3, 0, 6)
    torch.testing.assert_close(after, memory)
    assert memory.sum() > 0


def test_operators_take_shapes_that_go_together_only() -> None:
    with pytest.raises(SettingsError, match="the shape of spikes is"):
        operators.project(torch.ones(4, 3), torch.ones(5, 1000))
    with pytest.raises(SettingsError, match="the shape of gain is"):
        operators.standardise(torch.rand(20, 8), torch.ones(1))
    assert operators.project(torch.ones(4, 32).long(), torch.ones(2, 32)).tolist() == [[32.0, 32.0]] * 4
