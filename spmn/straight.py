"""Integer operations on float tensors, exact forwards and straight-through backwards.

All tensors are float64 and hold integers below 2^53, so sums and products are exact on every device; GPUs
have no integer matrix product. `smooth + (exact - smooth).detach()` would round, so the exact value itself
goes forward, and the gradient of the smooth operation goes back (Bengio et al. 2013, arXiv 1308.3432). Where
no gradient is asked for, nothing is kept for one.

The equations are those of `hardware.arithmetic`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hardware.arithmetic import DECAY_BITS, INPUT_SHIFT, STATE_LIMIT
from spmn.neurons import surrogate

INT32 = 2.0**32
DECAY = 2.0**-DECAY_BITS
SHIFT = 2.0**INPUT_SHIFT
STATE_SPAN = 2.0 * STATE_LIMIT


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor, slope: float) -> Tensor:
        ctx.slope = slope
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.slope, None, None


def straight(x: Tensor, exact: Callable[[Tensor], Tensor], slope: float = 1.0) -> Tensor:
    """exact(x) forwards; backwards the gradient of slope * x. exact(x) has the shape of x."""
    if not x.requires_grad:
        return exact(x)
    passed: Tensor = _Straight.apply(x, exact(x.detach()), slope)  # type: ignore[no-untyped-call]
    return passed


def wrap(x: Tensor) -> Tensor:
    """x as int32: x - 2^32 floor((x + 2^31) / 2^32)."""
    return x - INT32 * torch.floor(x / INT32 + 0.5)


def towards_zero(x: Tensor) -> Tensor:
    """x rounded towards 0, for |x| < 2^31."""
    return x.to(torch.int32).to(x.dtype)  # four times as fast as torch.trunc


class Neurons(NamedTuple):
    """Constants of LIF neurons, all [neurons]; keep_u, keep_v: what of u, v is left, in 4096ths."""

    keep_u: Tensor
    keep_v: Tensor
    bias: Tensor
    threshold: Tensor  # vth << 6
    slope: float


def lif(u: Tensor, v: Tensor, synaptic_input: Tensor, neurons: Neurons) -> tuple[Tensor, Tensor, Tensor]:
    """u, v and spikes after one step of LIF neurons, as `arithmetic.update_current` and `update_membrane`.

    The smooth version has no rounding; where the clip of v acts nothing passes; the wrap of u passes. The
    spike has `spmn.neurons.surrogate` of (v - threshold) / threshold, and its reset of v has no gradient.
    u, v, synaptic_input: [batch, neurons]; synaptic_input counts modulo 2^32.
    """
    if torch.is_grad_enabled():
        updated: tuple[Tensor, Tensor, Tensor] = _Lif.apply(u, v, synaptic_input, neurons)  # type: ignore[no-untyped-call]
        return updated
    u, v, spikes = _membrane(u, v, synaptic_input, neurons)
    return u, v.mul_(1 - spikes), spikes


def _membrane(
    u: Tensor, v: Tensor, synaptic_input: Tensor, neurons: Neurons
) -> tuple[Tensor, Tensor, Tensor]:
    """u, v before the spike resets it, and spikes."""
    u = towards_zero(u * (neurons.keep_u * DECAY)).add_(synaptic_input, alpha=SHIFT)
    low, high = (float(x) for x in torch.aminmax(u)) if u.numel() else (0.0, 0.0)
    if low <= -STATE_LIMIT or high > STATE_LIMIT:
        u = wrap(u)
        u -= STATE_SPAN * torch.ceil(u / STATE_SPAN - 0.5).clamp_(-1, 1)
    v = towards_zero(v * (neurons.keep_v * DECAY)).add_(u).add_(neurons.bias)
    v.clamp_(1 - STATE_LIMIT, STATE_LIMIT - 1)
    return u, v, (v > neurons.threshold).to(v.dtype)


class _Lif(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, v: Tensor, synaptic_input: Tensor, neurons: Neurons
    ) -> tuple[Tensor, Tensor, Tensor]:
        u, v, spikes = _membrane(u, v, synaptic_input, neurons)
        ctx.save_for_backward(v)
        ctx.neurons = neurons
        return u, v * (1 - spikes), spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (v,) = ctx.saved_tensors
        neurons: Neurons = ctx.neurons
        scale = neurons.threshold.clamp_min(SHIFT)
        d_v = grads[2] * surrogate((v - neurons.threshold) / scale, neurons.slope) / scale
        d_v += grads[1] * (v <= neurons.threshold)
        d_v *= v.abs() < STATE_LIMIT - 1
        d_u = grads[0] + d_v
        return d_u * (neurons.keep_u * DECAY), d_v * (neurons.keep_v * DECAY), d_u * SHIFT, None
