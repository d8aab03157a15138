"""GPU kernels against the plain torch forms, by triton's interpreter; `test_gpu_kernels` runs this file."""

import level_cases
import pytest
import torch
from level_cases import Sizes, random_level
from scans import Case, assert_equal_to_reference, random_case, with_gradients
from torch import Tensor

from spmn import gpu_kernels, gpu_level_kernels, gpu_projection_kernels, operators
from spmn.neurons import lif_reference, standardise_reference
from spmn.plasticity import ERROR_DRIVEN, PAIR_STDP, RULES, TWO_FACTOR


@pytest.fixture(autouse=True)
def _kernels_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU operators run triton's kernels, so that everything around them is that of a GPU."""
    monkeypatch.setattr(operators.kernels, "scan_forward", gpu_kernels.scan_forward)
    monkeypatch.setattr(operators.kernels, "scan_backward", gpu_kernels.scan_backward)


def check(case: Case) -> None:
    assert_equal_to_reference(with_gradients(operators.memory_scan, case), case)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
@pytest.mark.parametrize(
    ("groups", "events", "steps", "keys", "values"),
    [(2, 3, 2, 4, 4), (1, 0, 2, 3, 3), (1, 34, 1, 3, 5), (3, 2, 3, 5, 9), (1, 1, 1, 1, 1)],
)
def test_scan(rule, groups: int, events: int, steps: int, keys: int, values: int) -> None:
    check(random_case(rule, groups, events, steps, keys, values, density=0.4))


@pytest.mark.parametrize(("density", "written"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0)])
def test_silence_noise_and_no_writes(density: float, written: float) -> None:
    for rule in (TWO_FACTOR, PAIR_STDP, ERROR_DRIVEN):
        check(random_case(rule, 1, 3, 2, 4, 4, density=density, written=written))


def test_heads_of_any_stride() -> None:
    case = random_case(TWO_FACTOR, 4, 3, 2, 3, 5)
    expected = operators.memory_scan(*case)[0]

    def split(x: Tensor) -> Tensor:
        return x.view(2, 2, *x.shape[1:])

    read = split(case.read).permute(3, 0, 2, 1, 4).contiguous().permute(1, 3, 2, 0, 4)
    parts = {name: split(getattr(case, name)) for name in ("pre", "post", "writes", "memory")}
    assert torch.equal(operators.memory_scan(*case._replace(read=read, **parts))[0], split(expected))


@pytest.mark.parametrize("steps", [1, 5, 16])
@pytest.mark.parametrize("neurons", [0, 1, 1025])
def test_lif(steps: int, neurons: int) -> None:
    torch.manual_seed(steps + neurons)
    current, grad = (torch.randn(steps, neurons) * 64).round() / 64, torch.randn(steps, neurons)
    leaf = current.double().requires_grad_()
    spikes = lif_reference(leaf, 0.5, 2.0)
    (expected,) = torch.autograd.grad(spikes, leaf, grad.double())
    assert torch.equal(gpu_kernels.lif_forward(current, 0.5), spikes.float())
    torch.testing.assert_close(
        gpu_kernels.lif_backward(grad, current, 0.5, 2.0), expected.float(), rtol=1e-5, atol=1e-6
    )


def test_lif_of_a_constant_current_and_of_bfloat16() -> None:
    constant = torch.randn(1, 50).expand(5, 50)
    assert torch.equal(gpu_kernels.lif_forward(constant, 0.1), gpu_kernels.lif_forward(constant.clone(), 0.1))
    short = torch.randn(5, 50).bfloat16()
    spikes = gpu_kernels.lif_forward(short, 0.1)
    assert spikes.dtype == gpu_kernels.lif_backward(spikes, short, 0.1, 2.0).dtype == torch.bfloat16
    assert torch.equal(spikes.float(), gpu_kernels.lif_forward(short.float(), 0.1))


@pytest.fixture
def _level_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators.level_kernels, "forward", gpu_level_kernels.forward)
    monkeypatch.setattr(operators.level_kernels, "backward", gpu_level_kernels.backward)


@pytest.mark.usefixtures("_level_under_test")
@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("rule", level_cases.RULES, ids=lambda rule: rule.name)
def test_level(rule, below: bool) -> None:
    sizes = Sizes(stories=2, events=3, steps=2, heads=2, keys=3, values=5)
    level_cases.check(random_level(rule, sizes, seed=int(below)), level_cases.random_case(rule, sizes, below))


@pytest.mark.usefixtures("_level_under_test")
@pytest.mark.parametrize("of", level_cases.OUTPUTS)
def test_level_of_several_segments(of: str) -> None:
    sizes = Sizes(stories=1, events=34, steps=1, heads=2, keys=2, values=3)
    case = level_cases.random_case(level_cases.CLIPPED, sizes)
    found = level_cases.check(random_level(level_cases.CLIPPED, sizes), case, [of])
    assert found.gradients["words"].any()
    assert not found.gradients["words"][0].any()  # which is never said


@pytest.mark.usefixtures("_level_under_test")
def test_level_that_is_not_recorded() -> None:
    sizes = Sizes(stories=2, events=3, steps=2, heads=2, keys=3, values=5)
    level, case = random_level(TWO_FACTOR, sizes), level_cases.random_case(TWO_FACTOR, sizes)
    recorded, found = (level_cases.results(level, case, record=record) for record in (True, False))
    assert found.spikes.write_key.shape[0] == 0 < recorded.spikes.write_key.shape[0]
    assert torch.equal(found.spikes.recall, recorded.spikes.recall)
    assert torch.equal(found.memory, recorded.memory)


def test_sums_by_sentence_of_more_events_than_one_block() -> None:
    given, sentence = torch.randn(11, 6), torch.tensor([3, 0, 3, 1, 1, 3, 0, 3, 4, 1, 3])
    found = torch.empty(5, 6)
    gpu_level_kernels._by_sentence[(5, 2)](given, sentence, found, 11, 6, BLOCK=4)
    torch.testing.assert_close(found, torch.zeros(5, 6).index_add(0, sentence, given))


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (3, 1), (4, 5), (2, 70)])
def test_standardise(rows: int, columns: int) -> None:
    torch.manual_seed(columns)
    weight, gain, grad = torch.randn(rows, columns), torch.randn(rows), torch.randn(rows, columns)
    if rows:
        weight[0] *= 1e-7  # its norm is below the least one, which has no gradient
    leaves = [x.double().requires_grad_() for x in (weight, gain)]
    expected = standardise_reference(*leaves)
    back = torch.autograd.grad(expected, leaves, grad.double())
    found = gpu_projection_kernels.standardise_forward(weight, gain)
    torch.testing.assert_close(found, expected.detach().float(), rtol=1e-5, atol=1e-5)
    for fast, slow in zip(gpu_projection_kernels.standardise_backward(grad, weight, gain), back, strict=True):
        torch.testing.assert_close(fast, slow.float(), rtol=1e-4, atol=1e-5)
