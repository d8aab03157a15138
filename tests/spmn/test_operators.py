"""The operators: torch's own checks, torch.compile around them, precisions, and who is offered them."""

import pytest
import torch
from scans import assert_equal_to_reference, random_case, with_gradients
from torch import Tensor

from spmn import operators
from spmn.datasets.babi import Story
from spmn.events import collate, stream
from spmn.network import SPMN
from spmn.neurons import lif
from spmn.plasticity import ERROR_DRIVEN, PAIR_STDP, RULES, TWO_FACTOR


def test_torch_accepts_the_lif_operator() -> None:
    torch.manual_seed(0)
    current = torch.randn(3, 2, 5, requires_grad=True)
    torch.library.opcheck(torch.ops.spmn.lif, (current, 0.1, 2.0))
    torch.library.opcheck(torch.ops.spmn.lif, (torch.randn(1, 4).expand(3, 4), 0.1, 2.0))
    torch.library.opcheck(torch.ops.spmn.lif_backward, (torch.randn(3, 2, 5), current.detach(), 0.1, 2.0))


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_torch_accepts_the_scan_operator(rule) -> None:
    case = random_case(rule, groups=2, events=33, steps=2, keys=3, values=4)
    leaves = [x.unsqueeze(1).requires_grad_() for x in case.leaves]
    arguments = (*leaves[:3], case.affine, case.writes[:, None], leaves[3], *case.bounds, list(case.predict))
    torch.library.opcheck(torch.ops.spmn.memory_scan, arguments)


def test_torch_accepts_the_operators_of_projections() -> None:
    torch.manual_seed(0)
    weight, gain = torch.randn(5, 4, requires_grad=True), torch.randn(5, requires_grad=True)
    spikes = (torch.rand(2, 3, 4) < 0.5).float().requires_grad_()
    torch.library.opcheck(torch.ops.spmn.standardise, (weight, gain))
    torch.library.opcheck(torch.ops.spmn.standardise, (torch.randn(4, 5).T, torch.randn(10)[::2]))
    grad = torch.randn(5, 4)
    torch.library.opcheck(torch.ops.spmn.standardise_backward, (grad, weight.detach(), gain.detach()))
    torch.library.opcheck(torch.ops.spmn.project, (spikes, weight))
    torch.library.opcheck(torch.ops.spmn.project, (spikes[:, :0], weight))
    arguments = torch.randn(2, 3, 5), spikes.detach(), weight.detach()
    torch.library.opcheck(torch.ops.spmn.project_backward, arguments)


@pytest.mark.parametrize("events", [0, 33])
@pytest.mark.parametrize(("joined", "record"), [(True, True), (False, False)])
def test_torch_accepts_the_level_operator(events: int, joined: bool, record: bool) -> None:
    torch.manual_seed(0)
    stories, heads, steps, keys, values, sentences = 2, 2, 2, 3, 4, 5
    neurons = heads * (2 * keys + values + 2)
    words, clock, memory, gain, bias, strength = (
        torch.rand(shape, requires_grad=True)
        for shape in (
            (sentences, steps, neurons), (stories, events, values), (stories, heads, keys, values), (heads,),
            (heads, values), (heads, 2),
        )
    )  # fmt: skip
    below = torch.randn(stories * events, steps, neurons, requires_grad=True) if joined else None
    sentence = torch.randint(0, sentences, (stories * events,))
    writes, reads = torch.rand(stories, events) < 0.7, torch.rand(stories * events) < 0.3
    places, count = torch.where(reads, reads.cumsum(0), 0) - 1, int(reads.sum())
    rule = [0.0, 1.0, 1.0, -1.0, 1.0, 0.0, 0.0, 1.0], [False, True], 0.0, 1.0
    tensors = words, sentence, below, clock, writes, places, memory, strength, gain, bias
    torch.library.opcheck(torch.ops.spmn.level, (*tensors, count, 0.1, 2.0, *rule, record))

    plain = [x if x is None else x.detach() for x in tensors]
    recall, read, after, copies, _ = torch.ops.spmn.level(*plain, count, 0.1, 2.0, *rule, record)
    for given in ((recall, read, after), (recall, None, None), (None, read, None), (None, None, after)):
        arguments = (*given, *plain, copies, 0.1, 2.0, *rule)
        torch.library.opcheck(torch.ops.spmn.level_backward, arguments)


def test_a_compiled_network_equals_an_eager_one(network: SPMN, stories: list[Story]) -> None:
    events = collate([stream(story, network.vocabulary) for story in stories[:2]])
    parameters = [x for module in (network.encoder, *network.levels) for x in module.parameters()]

    results = []
    for function in (network, torch.compile(network, backend="aot_eager")):
        activity = function(events)
        loss = sum(x.square().sum() for x in (activity.read, activity.memory))
        spikes = (activity.read, *(x for level in activity.levels for x in level))
        results.append([*spikes, activity.memory, *torch.autograd.grad(loss, parameters)])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(eager, compiled)


@pytest.mark.parametrize("events", [0, 1, 40])
def test_compiled_equals_eager(events: int) -> None:
    case = random_case(PAIR_STDP, groups=2, events=events, steps=3, keys=4, values=5)

    def both(read: Tensor, memory: Tensor) -> Tensor:
        currents, after = operators.memory_scan(
            read, case.pre, case.post, case.affine, case.bounds, case.writes, memory, case.predict
        )
        return lif(currents.movedim(2, 0) * 2, 0.1, 2.0).sum((0, 1, 2)) + after.sum((0, 1))

    results = []
    for function in (both, torch.compile(both, fullgraph=True, backend="aot_eager")):
        read, memory = case.read.clone().requires_grad_(), case.memory.clone().requires_grad_()
        out = function(read, memory)
        results.append((out, *torch.autograd.grad(out @ torch.arange(5.0), (read, memory))))
    for eager, compiled in zip(*results, strict=True):
        assert torch.equal(eager, compiled)


def test_heads_of_any_stride_are_read_without_a_copy() -> None:
    case = random_case(TWO_FACTOR, groups=6, events=4, steps=3, keys=5, values=7)
    expected, _ = operators.memory_scan(*case)
    batch, heads = 2, 3

    def split(x: Tensor) -> Tensor:
        return x.view(batch, heads, *x.shape[1:])

    by_step = split(case.read).permute(3, 0, 2, 1, 4).contiguous()  # [T, B, N, H, K], as the network has it
    arguments = case._replace(
        read=by_step.permute(1, 3, 2, 0, 4), pre=split(case.pre), post=split(case.post),
        writes=split(case.writes), memory=split(case.memory),
    )  # fmt: skip
    currents, _ = operators.memory_scan(*arguments)
    assert torch.equal(currents, split(expected))
    assert currents.permute(3, 0, 2, 1, 4).is_contiguous()


def test_events_of_one_story_are_shared_by_its_heads() -> None:
    case = random_case(ERROR_DRIVEN, groups=2, events=4, steps=1, keys=5, values=3)
    heads = case._replace(**{
        name: getattr(case, name).unsqueeze(1).expand(-1, 2, *[-1] * (getattr(case, name).dim() - 1))
        for name in ("read", "pre", "post", "writes", "memory")
    })  # fmt: skip
    found = with_gradients(operators.memory_scan, heads)
    single = with_gradients(operators.memory_scan, case)
    assert torch.equal(found[1][:, 0], single[1])
    assert torch.equal(found[1][:, 1], single[1])


def test_spikes_of_sixteen_bits_are_read_as_they_are() -> None:
    case = random_case(TWO_FACTOR, groups=2, events=3, steps=2, keys=4, values=4)
    short = case._replace(read=case.read.bfloat16())
    found = with_gradients(operators.memory_scan, short)
    assert found[2].dtype == torch.bfloat16
    assert_equal_to_reference([found[0], found[1], *found[3:]], case, leaving_out=2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_currents_are_integrated_in_float32(dtype: torch.dtype) -> None:
    current = torch.randn(5, 300).to(dtype).requires_grad_()
    spikes = lif(current, 0.1, 2.0)
    spikes.sum().backward()
    assert spikes.dtype == current.grad.dtype == dtype
    assert torch.equal(spikes.float(), lif(current.float(), 0.1, 2.0))


def test_double_precision_has_no_kernel() -> None:
    assert operators.supports(torch.zeros(1))
    assert not operators.supports(torch.zeros(1, dtype=torch.float64))
    assert not operators.supports(torch.zeros(1, device="meta"))
