"""GPU kernels (triton) of a projection's weight standardisation, one program for each row of weights."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _centred(weight, row, at, size):  # type: ignore[no-untyped-def]
    """A row without its mean, and what it is divided by."""
    w = tl.load(weight + row * size + at, mask=at < size, other=0.0)
    centred = tl.where(at < size, w - tl.sum(w, 0) / size, 0.0)
    return centred, tl.maximum(tl.sqrt(tl.sum(centred * centred, 0)), 1e-6)


@triton.jit
def _forward(weight, gain, out, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    centred, norm = _centred(weight, row, at, size)
    tl.store(out + row * size + at, centred * (tl.load(gain + row) / norm), mask=at < size)


@triton.jit
def _backward(grad, weight, gain, d_weight, d_gain, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    centred, norm = _centred(weight, row, at, size)
    given = tl.load(grad + row * size + at, mask=at < size, other=0.0)
    along = tl.sum(given * centred, 0) / norm
    tl.store(d_gain + row, along)
    turned = tl.where(norm > 1e-6, along / norm, 0.0)  # a row without length is divided by a constant
    d = (given - centred * turned) * (tl.load(gain + row) / norm)
    d = tl.where(at < size, d - tl.sum(tl.where(at < size, d, 0.0), 0) / size, 0.0)
    tl.store(d_weight + row * size + at, d, mask=at < size)


def standardise_forward(weight: Tensor, gain: Tensor) -> Tensor:
    """`neurons.standardise_reference` of float32 weights [outputs, inputs]."""
    weight, gain = weight.contiguous(), gain.contiguous()
    rows, size = weight.shape
    out = torch.empty_like(weight)
    if out.numel():
        _forward[(rows,)](weight, gain, out, size, BLOCK=triton.next_power_of_2(size))
    return out


def standardise_backward(grad: Tensor, weight: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of weight and gain, given that of the standardised weights."""
    weight, gain, grad = weight.contiguous(), gain.contiguous(), grad.contiguous()
    rows, size = weight.shape
    d_weight, d_gain = torch.empty_like(weight), torch.zeros_like(gain)
    if d_weight.numel():
        _backward[(rows,)](grad, weight, gain, d_weight, d_gain, size, BLOCK=triton.next_power_of_2(size))
    return d_weight, d_gain
