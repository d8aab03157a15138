"""CPU kernels of projections against the plain torch forms, gradients included."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from threads import threads
from torch import Tensor
from torch.nn.functional import linear

from spmn import kernels, projection_kernels
from spmn.neurons import Projection, event_driven, standardise_reference
from spmn.operators import project, standardise


def with_gradients(function, *inputs: Tensor) -> list[Tensor]:
    """What `function` returns, and the gradients of a fixed loss of it."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape).cos()
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), leaves)]


def assert_close(found: list[Tensor], expected: list[Tensor], least: float = 1e-3) -> None:
    """Everything to 1e-5 of its largest component, or of `least` if that is more."""
    for fast, slow in zip(found, expected, strict=True):
        assert fast.shape == slow.shape
        assert fast.dtype == torch.float32
        if slow.numel():
            assert (fast - slow).abs().max() <= 1e-5 * max(float(slow.abs().max()), least)


def exact(function, *inputs: Tensor) -> list[Tensor]:
    return with_gradients(function, *(x.double() for x in inputs))


# ------------------------------------------------------------------------- weight standardisation


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 20),
    columns=st.integers(1, 70),
    shift=st.sampled_from([0.0, 1.0, -3.0]),
    workers=st.integers(1, 2),
    seed=st.integers(0, 999),
)
def test_standardise(rows: int, columns: int, shift: float, workers: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=random) + shift
    gain = torch.randn(rows, generator=random)
    with threads(workers):
        found = with_gradients(standardise, weight, gain)
    if columns > 2:  # of two weights what is left without their mean has no other direction: a gradient of 0
        assert_close(found, exact(standardise_reference, weight, gain), least=1.0)
    elif columns == 1:
        assert not any(x.any() for x in found)


def test_two_weights_can_only_be_plus_and_minus() -> None:
    found = with_gradients(standardise, torch.tensor([[3.0, 1.0], [-1.0, 0.5]]), torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(found[0], torch.tensor([[1.0, -1.0], [-0.5, 0.5]]) * 2**0.5)
    torch.testing.assert_close(found[1], torch.zeros(2, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-7])
def test_rows_that_hardly_differ_from_constant_ones_are_scaled_by_a_fixed_factor(size: float) -> None:
    """Their norm is below 1e-6, which takes its place and has no gradient."""
    weight = torch.linspace(-1, 1, 5).repeat(2, 1) * size
    weight[1] = torch.linspace(-1, 1, 5)  # beside an ordinary one
    gain = torch.tensor([2.0, 3.0])
    found = with_gradients(standardise, weight, gain)
    assert_close(found, exact(standardise_reference, weight, gain))
    torch.testing.assert_close(found[0][0], weight[0] * 2e6)


def test_reference_of_standardise_by_finite_differences() -> None:
    random = torch.Generator().manual_seed(3)
    weight, gain = (torch.randn(*n, generator=random).double().requires_grad_() for n in ((3, 5), (3,)))
    assert torch.autograd.gradcheck(standardise_reference, (weight, gain))


def test_weights_of_any_stride_are_standardised() -> None:
    weight, gain = torch.randn(7, 5).T, torch.randn(10)[::2]
    torch.testing.assert_close(standardise(weight, gain), standardise_reference(weight, gain))
    grad = torch.randn(7, 5).T
    strided = projection_kernels.standardise_backward(grad, weight, gain)
    packed = projection_kernels.standardise_backward(*(x.contiguous() for x in (grad, weight, gain)))
    assert all(torch.equal(a, b) for a, b in zip(strided, packed, strict=True))


# ------------------------------------------------------------------------- event-driven projection


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    batch=st.lists(st.integers(0, 7), max_size=2),
    inputs=st.sampled_from([1, 3, 15, 16, 17, 40, 64]),
    outputs=st.sampled_from([1, 5, 31, 32, 33, 64, 70]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    workers=st.integers(1, 2),
    seed=st.integers(0, 999),
)
@example(batch=[200, 3], inputs=70, outputs=65, density=0.3, workers=2, seed=0)
def test_project(
    batch: list[int], inputs: int, outputs: int, density: float, workers: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(*batch, inputs, generator=random) < density).float()
    weight = torch.randn(outputs, inputs, generator=random)
    with threads(workers):
        found = with_gradients(project, spikes, weight)
    assert_close(found, exact(linear, spikes, weight))


def test_sums_of_eighths_are_exact() -> None:
    random = torch.Generator().manual_seed(1)
    spikes = (torch.rand(50, 40, generator=random) < 0.4).float()
    weight = torch.randint(-20, 20, (37, 40), generator=random) / 8
    assert torch.equal(project(spikes, weight), linear(spikes, weight))
    grad = torch.randint(-20, 20, (50, 37), generator=random) / 8
    d_spikes, d_weight = projection_kernels.project_backward(grad, spikes, weight)
    assert torch.equal(d_spikes, grad @ weight)
    assert torch.equal(d_weight, grad.T @ spikes)


def test_spikes_and_weights_of_any_stride_are_projected() -> None:
    spikes = (torch.rand(9, 4) < 0.5).float().T[:, ::2]
    weight, grad = torch.randn(5, 6).T, torch.randn(3, 6, 4)[0].T[:, :6]
    torch.testing.assert_close(project(spikes, weight), linear(spikes, weight))
    found = projection_kernels.project_backward(grad, spikes, weight)
    torch.testing.assert_close(found, (grad @ weight, grad.T @ spikes))


@pytest.mark.parametrize(("first", "last"), [(0, 4), (1, 4), (2, 2)])
def test_rows_of_a_worker_in_the_middle(first: int, last: int) -> None:
    spikes = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]], np.float32)
    first, last, inputs = np.uint64(first), np.uint64(last), np.uint64(3)
    found, starts = np.zeros(12, np.uint32), np.zeros(5, np.uint64)
    projection_kernels._events(spikes.ravel(), first, last, inputs, found, starts)
    for r, row in enumerate(spikes[first:last]):
        assert found[starts[r] : starts[r + 1]].tolist() == row.nonzero()[0].tolist()


def test_short_products_round_operands_alone() -> None:
    """Spikes of 0 and 1 lose nothing, nor do sums: what is left is the rounding of weights and gradients."""
    torch.manual_seed(2)
    spikes, weight = (torch.rand(60, 50) < 0.5).float(), torch.randn(40, 50)
    expected = with_gradients(event_driven, spikes, weight)
    with kernels.products("bfloat16"):
        assert kernels.short_products()
        found = with_gradients(event_driven, spikes, weight)
        rounded = event_driven(spikes, weight.bfloat16().float())
    assert not kernels.short_products()
    torch.testing.assert_close(rounded, linear(spikes, weight.bfloat16().float()))
    for ours, exactly in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - exactly).abs().max() <= 0.01 * exactly.abs().max()


def test_products_are_long_again_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), kernels.products("bfloat16"):
        raise ZeroDivisionError
    assert not kernels.short_products()
    with kernels.products("float32"):
        assert not kernels.short_products()


def test_double_precision_has_no_kernel() -> None:
    torch.manual_seed(2)
    spikes, weight = (torch.rand(6, 5) < 0.5).float(), torch.randn(4, 5)
    double = event_driven(spikes.double(), weight.double())
    torch.testing.assert_close(event_driven(spikes, weight), double.float())
    projection = Projection(5, torch.ones(4), torch.zeros(4))
    folded = projection.folded()
    torch.testing.assert_close(projection.double().folded().float(), folded)
