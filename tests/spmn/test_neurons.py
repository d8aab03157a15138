"""The LIF window: its equation, its kernel against the plain form, and snnTorch as an independent oracle."""

import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import surrogate as snntorch_surrogate

from spmn.neurons import Projection, lif, lif_reference, surrogate


def test_by_hand() -> None:
    # v: 0.75 -> 0.5*0.75+0.75 = 1.125 spikes, reset -> 0.75 -> 1.125 spikes; exactly 1 does not spike
    assert lif(torch.full((4, 1), 0.75), dv=0.5, slope=2.0).flatten().tolist() == [0, 1, 0, 1]
    assert lif(torch.ones(1, 1), dv=0.5, slope=2.0).item() == 0


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 7),
    neurons=st.integers(0, 4100),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
)
def test_kernel_equals_reference_exactly(steps: int, neurons: int, seed: int, scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    # multiples of 1/64 with a leak of 1/2: every value is exact in float32, so spikes must be equal
    current = (torch.randn(steps, neurons, generator=random) * scale * 64).round() / 64
    a, b = current.clone().requires_grad_(), current.clone().requires_grad_()
    fast, slow = lif(a, 0.5, 2.0), lif_reference(b, 0.5, 2.0)
    assert torch.equal(fast, slow)
    weight = torch.randn(fast.shape, generator=random)
    (fast * weight).sum().backward()
    (slow * weight).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


def test_equals_snntorch() -> None:
    torch.manual_seed(0)
    current = torch.randn(30, 64) * 0.7
    cell = snntorch.Leaky(beta=0.75, threshold=1.0, reset_mechanism="zero", reset_delay=False)
    membrane, spikes = cell.reset_mem(), []
    for injected in current:
        spike, membrane = cell(injected, membrane)
        spikes.append(spike)
    assert torch.equal(lif(current, dv=0.25, slope=2.0), torch.stack(spikes))
    assert 0.05 < torch.stack(spikes).mean() < 0.5


def test_surrogate_is_the_fast_sigmoid_of_snntorch() -> None:
    distance = torch.linspace(-3, 3, 101, requires_grad=True)
    snntorch_surrogate.fast_sigmoid(slope=2.0)(distance).sum().backward()
    torch.testing.assert_close(surrogate(distance.detach(), 2.0), distance.grad)


def test_projection_is_standardised_and_folds() -> None:
    torch.manual_seed(0)
    projection = Projection(50, gain=torch.tensor([1.0, 2.0]), bias=torch.tensor([0.5, -0.5]))
    folded = projection.folded()
    torch.testing.assert_close(folded.sum(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(folded.norm(dim=1), torch.tensor([1.0, 2.0]))
    spikes = torch.randint(0, 2, (5, 50)).float()
    torch.testing.assert_close(projection(spikes), spikes @ folded.T + torch.tensor([0.5, -0.5]))


def test_rows_start_within_their_bound() -> None:
    for scale in (1.0, 4.0):
        drawn = Projection(100, torch.ones(200), torch.zeros(200), scale).weight.detach() * 100**0.5
        assert 0.99 * scale < float(drawn.abs().max()) <= scale
        assert abs(float(drawn.mean())) < 0.02 * scale


def test_gradient_reaches_silent_neurons() -> None:
    current = torch.full((3, 1), 0.2, requires_grad=True)
    lif(current, 0.1, 2.0).sum().backward()
    assert current.grad is not None
    assert (current.grad > 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_other_precisions_give_the_same_spikes(dtype: torch.dtype) -> None:
    current = (torch.randn(5, 33, generator=torch.Generator().manual_seed(1)) * 64).round() / 64
    assert torch.equal(lif(current.to(dtype), 0.5, 2.0).float(), lif(current, 0.5, 2.0))
