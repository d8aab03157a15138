"""Leaky integrate-and-fire neurons over one event window, and the projections that drive them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spmn import kernels, operators
from spmn.settings import require


def surrogate(distance: Tensor, slope: float) -> Tensor:
    """Surrogate derivative of a spike: 1 / (1 + slope |v - threshold|)^2.

    The fast sigmoid of Zenke and Ganguli 2018 (SuperSpike); `distance` is v - threshold in thresholds.
    """
    return 1.0 / (1.0 + slope * distance.abs()) ** 2


def lif_reference(current: Tensor, dv: float, slope: float) -> Tensor:
    """Slow, plain form of `lif`: the oracle of its kernels. Same arguments, same result."""
    spikes = []
    v = torch.zeros_like(current[0])
    for injected in current:
        v = (1.0 - dv) * v + injected
        fired: Tensor = _Spike.apply(v, slope)  # type: ignore[no-untyped-call]
        v = v * (1.0 - fired.detach())
        spikes.append(fired)
    return torch.stack(spikes)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.slope = slope
        return (v > 1.0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return grads[0] * surrogate(v - 1.0, ctx.slope), None


def lif(current: Tensor, dv: float, slope: float) -> Tensor:
    """Spikes of leaky integrate-and-fire neurons over one window.

        v[t] = (1 - dv) v[t-1] + I[t];   o[t] = 1 if v[t] > 1;   v[t] = 0 where o[t] = 1;   v[-1] = 0

    The threshold is 1 and the reset is hard; its path carries no gradient, the spike carries `surrogate`.
    This is Loihi's LIF with full current decay (du = 4095), reset at the start of the window.

    current: [T, ..., n] in thresholds; returns spikes of the same shape, 0 or 1.
    """
    if operators.supports(current):
        spikes: Tensor = operators.lif(current, dv, slope)
        return spikes
    return lif_reference(current, dv, slope)


def event_driven(spikes: Tensor, weight: Tensor) -> Tensor:
    """W s for binary spikes: [..., inputs] and [outputs, inputs] to [..., outputs].

    On a CPU only the weights of neurons that fired are touched, as on the chip; elsewhere, and where
    `kernels.products` are short, it is a dense product. Raises SettingsError where the inputs differ.
    """
    require(
        spikes.shape[-1] == weight.shape[1], "inputs", spikes.shape[-1], f"{weight.shape[1]}, as the weights'"
    )
    if operators.on_cpu(spikes) and operators.on_cpu(weight) and not kernels.short_products():
        currents: Tensor = operators.project(spikes, weight)
        return currents
    return nn.functional.linear(spikes, weight)


ROWS = 32
"""Rows of products come in multiples of so many in training on a CPU."""


def filled(x: Tensor, training: bool) -> Tensor:
    """Rows x [R, ...]; in training on a CPU with zeros up to a multiple of ROWS.

    The shapes of products then repeat from batch to batch: oneDNN compiles a product for every new shape and
    keeps a thousand of them, between which the heap of a long training falls to pieces.
    """
    if not training or x.device.type != "cpu":
        return x
    return torch.cat((x, x.new_zeros(-len(x) % ROWS, *x.shape[1:])))


def standardise_reference(weight: Tensor, gain: Tensor) -> Tensor:
    """gain_i (w_i - mean(w_i)) / |w_i - mean(w_i)| for every row i: the oracle of its kernel."""
    centred = weight - weight.mean(1, keepdim=True)
    norm = centred.norm(dim=1, keepdim=True).clamp_min(1e-6)
    standardised: Tensor = centred * (gain[:, None] / norm)
    return standardised


class Projection(nn.Module):
    """Weight-standardised synapses from one population to another.

        W_i = gain_i (w_i - mean(w_i)) / |w_i - mean(w_i)|;   I = W s + bias        (i: postsynaptic neuron)

    Every neuron starts with a balanced input of known strength, whatever the batch; W and bias are plain
    numbers once trained (`folded`), as the chip needs them. After Qiao et al. 2019 (arXiv 1903.10520).

    The scale of w is free, but a step of Adam turns a short row further than a long one: rows start long
    enough that they do not swing about, drawn uniformly within scale / sqrt(inputs).
    """

    def __init__(self, inputs: int, gain: Tensor, bias: Tensor, scale: float = 4.0) -> None:
        super().__init__()
        bound = scale * inputs**-0.5
        self.weight = nn.Parameter(torch.empty(gain.numel(), inputs).uniform_(-1, 1) * bound)
        self.gain = nn.Parameter(gain.clone())
        self.bias = nn.Parameter(bias.clone())
        self.rounding: Callable[[Tensor], Tensor] | None = None

    def folded(self) -> Tensor:
        """W: [outputs, inputs], in thresholds."""
        if operators.fused(self.weight):
            folded: Tensor = operators.standardise(self.weight, self.gain)
            return folded
        return standardise_reference(self.weight, self.gain)

    def used(self) -> Tensor:
        """W as it is computed with: rounded, if `rounding` says how."""
        return self.rounding(self.folded()) if self.rounding else self.folded()

    def forward(self, spikes: Tensor) -> Tensor:
        """spikes: [..., inputs]; returns currents [..., outputs]."""
        currents: Tensor = nn.functional.linear(spikes, self.used(), self.bias)
        return currents
