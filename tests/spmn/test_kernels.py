"""CPU kernels against the plain torch forms: every shape, rule and density, and the gradients of both."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scans import assert_equal_to_reference, random_case, with_gradients
from torch import Tensor

from spmn import kernels
from spmn.neurons import lif, lif_reference, surrogate
from spmn.operators import memory_scan
from spmn.plasticity import RULES, TWO_FACTOR, scan_reference


def random_current(shape: tuple[int, ...], seed: int = 0, scale: float = 0.7) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def gradient(function, current: Tensor, dv: float) -> Tensor:
    leaf = current.clone().requires_grad_()
    spikes = function(leaf, dv, 2.0)
    (found,) = torch.autograd.grad((spikes * random_current(spikes.shape, 1)).sum(), leaf)
    return found


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    steps=st.integers(1, 16),
    neurons=st.sampled_from([0, 1, 5, 1023, 1024, 1025, 3000]),
    seed=st.integers(0, 999),
    scale=st.sampled_from([0.0, 0.3, 1.0]),
    shift=st.sampled_from([-9.0, 0.0, 9.0]),  # all silent, mixed, all spiking
)
def test_lif_on_random_currents(steps: int, neurons: int, seed: int, scale: float, shift: float) -> None:
    current = random_current((steps, neurons), seed, scale) + shift
    fast, slow = lif(current, 0.1, 2.0), lif_reference(current, 0.1, 2.0)
    potential = torch.zeros(neurons)
    for t in range(steps):  # only where the reference's potential is at threshold may a spike differ
        potential = 0.9 * potential + current[t]
        differs = fast[t] != slow[t]
        assert ((potential - 1).abs()[differs] < 1e-5).all()
        potential = potential * (1 - slow[t])
    if shift:
        assert (slow == float(shift > 0)).all()
    expected = gradient(lif_reference, current.double(), 0.1)
    if expected.numel():
        found = gradient(lif, current, 0.1)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_current_that_is_constant_in_time_is_read_once() -> None:
    constant = random_current((1, 40)).expand(6, 40)
    assert torch.equal(lif(constant, 0.1, 2.0), lif(constant.clone(), 0.1, 2.0))
    assert torch.equal(gradient(lif, constant, 0.1), gradient(lif, constant.clone(), 0.1))
    flat, rows = kernels._rows(constant)
    assert (flat.numel(), rows) == (40, 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rule=st.sampled_from(sorted(RULES.values(), key=lambda rule: rule.name)),
    groups=st.integers(1, 5),
    events=st.sampled_from([0, 1, 2, 5, 31, 32, 33, 70]),
    steps=st.integers(1, 4),
    keys=st.sampled_from([1, 3, 9, 32]),
    values=st.sampled_from([1, 4, 9, 32, 70]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    written=st.sampled_from([0.0, 0.7, 1.0]),
    seed=st.integers(0, 999),
)
def test_scan(rule, groups, events, steps, keys, values, density, written, seed) -> None:
    case = random_case(rule, groups, events, steps, keys, values, density, written, seed)
    assert_equal_to_reference(with_gradients(memory_scan, case), case)


def test_scan_equals_the_reference_exactly_where_numbers_are_exact_in_binary() -> None:
    random = torch.Generator().manual_seed(4)
    case = random_case(TWO_FACTOR, groups=4, events=3, steps=2, keys=8, values=8, density=0.5)
    exact = case._replace(
        pre=(case.pre.sign() * 0.5), memory=torch.randint(0, 9, case.memory.shape, generator=random) / 8
    )
    for fast, slow in zip(memory_scan(*exact), scan_reference(*exact), strict=True):
        assert torch.equal(fast, slow)


def test_nothing_is_learnt_where_nothing_is_written() -> None:
    case = random_case(TWO_FACTOR, groups=2, events=40, steps=2, keys=4, values=4, density=1.0, written=0.0)
    _, after, _, d_pre, d_post, _ = with_gradients(memory_scan, case)
    assert torch.equal(after, case.memory)
    assert not d_pre.any()
    assert not d_post.any()


def test_copies_of_m_grow_by_one_per_segment() -> None:
    memory = torch.zeros(1, 1, 4, 4)
    assert [kernels.new_copies(memory, n).shape[2] for n in (0, 31, 32, 10_000)] == [0, 0, 1, 312]


def test_one_thread_and_two_give_the_same() -> None:
    case = random_case(TWO_FACTOR, groups=7, events=40, steps=2, keys=8, values=8)
    threads = kernels.numba.get_num_threads()
    try:
        kernels.use_threads(1)
        one = with_gradients(memory_scan, case)
        kernels.use_threads(2)
        two = with_gradients(memory_scan, case)
    finally:
        kernels.use_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


class _Soft(torch.autograd.Function):
    """The surrogate's antiderivative, so that the derivative is exactly the surrogate."""

    @staticmethod
    def forward(ctx, v: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.slope = slope
        x = v - 1.0
        return x / (1 + slope * x.abs())

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return grad * surrogate(v - 1.0, ctx.slope), None


@pytest.mark.parametrize("resets", [False, True])
def test_reference_gradient_by_finite_differences(resets: bool) -> None:
    """With the spike replaced by the surrogate's antiderivative, and the reset held fixed."""
    current = random_current((4, 6), seed=2, scale=1.5).double().requires_grad_()
    hard = lif_reference(current, 0.1, 2.0).detach() if resets else torch.zeros(4, 6).double()
    assert hard.any() == resets

    def soft(injected: Tensor) -> Tensor:
        out, v = [], torch.zeros_like(injected[0])
        for t in range(4):
            v = 0.9 * v + injected[t]
            out.append(_Soft.apply(v, 2.0))
            v = v * (1 - hard[t])
        return torch.stack(out)

    assert torch.autograd.gradcheck(soft, current)
    if resets:  # and lif_reference has the gradient of that function
        weight = random_current((4, 6), 5).double()
        (a,) = torch.autograd.grad((soft(current) * weight).sum(), current)
        (b,) = torch.autograd.grad((lif_reference(current, 0.1, 2.0) * weight).sum(), current)
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_reference_scan_by_finite_differences(rule) -> None:
    case = random_case(rule, groups=2, events=2, steps=2, keys=3, values=2, density=0.6, written=1.0)
    double = [x.double().requires_grad_() for x in case.leaves]
    learnt = [0, 3] if any(case.predict) else [0, 1, 2, 3]  # y2 holds its key fixed: no derivative to compare

    def scan(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        read, pre, post, memory = (
            leaves[learnt.index(i)] if i in learnt else double[i].detach() for i in range(4)
        )
        return scan_reference(
            read, pre, post, case.affine.double(), (-9.0, 9.0), case.writes, memory, case.predict
        )

    assert torch.autograd.gradcheck(scan, [double[i] for i in learnt])
