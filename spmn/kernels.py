"""CPU kernels (numba) of the training step: the LIF window and the memory scan, forward and backward.

Each has a plain torch twin that it is tested against: `neurons.lif_reference`, `plasticity.scan_reference`.
Compiled once per machine and cached beside this file.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

_BLOCK = 2048  # neurons per work item: T rows of one block stay in the first-level cache
_ZERO, _ONE = np.float32(0), np.float32(1)


def use_threads(count: int) -> None:
    """Let the kernels use this many threads, at most as many as numba was started with."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


@numba.njit(parallel=True, cache=True)
def _lif_forward(current, keep, potential, spikes):  # type: ignore[no-untyped-def]
    steps, size = current.shape
    for block in numba.prange((size + _BLOCK - 1) // _BLOCK):
        first, last = block * _BLOCK, min(size, (block + 1) * _BLOCK)
        v = np.zeros(last - first, dtype=current.dtype)
        for t in range(steps):
            for i in range(last - first):
                u = keep * v[i] + current[t, first + i]
                fired = u > _ONE
                potential[t, first + i] = u
                spikes[t, first + i] = _ONE if fired else _ZERO
                v[i] = _ZERO if fired else u


@numba.njit(parallel=True, cache=True)
def _lif_backward(grad, potential, keep, slope, out):  # type: ignore[no-untyped-def]
    steps, size = potential.shape
    for block in numba.prange((size + _BLOCK - 1) // _BLOCK):
        first, last = block * _BLOCK, min(size, (block + 1) * _BLOCK)
        carry = np.zeros(last - first, dtype=potential.dtype)
        for step in range(steps):
            t = steps - 1 - step
            for i in range(last - first):
                u = potential[t, first + i]
                steep = _ONE + slope * abs(u - _ONE)
                stays = carry[i] if u <= _ONE else _ZERO
                total = grad[t, first + i] / (steep * steep) + stays
                out[t, first + i] = total
                carry[i] = keep * total


class _Lif(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, dv: float, slope: float) -> Tensor:
        flat = current.detach().contiguous().view(current.shape[0], -1)
        potential, spikes = torch.empty_like(flat), torch.empty_like(flat)
        _lif_forward(flat.numpy(), np.float32(1.0 - dv), potential.numpy(), spikes.numpy())
        ctx.save_for_backward(potential)
        ctx.constants = np.float32(1.0 - dv), np.float32(slope)
        return spikes.view(current.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (potential,) = ctx.saved_tensors
        flat = grads[0].contiguous().view(potential.shape)
        out = torch.empty_like(potential)
        keep, slope = ctx.constants
        _lif_backward(flat.numpy(), potential.numpy(), keep, slope, out.numpy())
        return out.view(grads[0].shape), None, None


def lif(current: Tensor, dv: float, slope: float) -> Tensor:
    """`neurons.lif` on a CPU tensor of float32."""
    spikes: Tensor = _Lif.apply(current, dv, slope)  # type: ignore[no-untyped-call]
    return spikes


@numba.njit(parallel=True, cache=True)
def _scan_forward(read, pre, post, affine, bounds, writes, memory, before, currents):  # type: ignore[no-untyped-def]
    groups, events, steps, keys = read.shape
    learns, products, values = post.shape[2], post.shape[3], post.shape[4]
    for g in numba.prange(groups):
        m = memory[g]
        add, scale = np.empty(values, m.dtype), np.empty(values, m.dtype)
        for n in range(events):
            before[g, n] = m
            for t in range(steps):
                for k in range(keys):
                    if read[g, n, t, k] != 0:
                        for v in range(values):
                            currents[g, n, t, v] += read[g, n, t, k] * m[k, v]
            if not writes[g, n]:
                continue
            for s in range(learns):
                for k in range(keys):
                    if _row(pre[g, n, s, :, k], post[g, n, s], affine, products, add, scale):
                        for v in range(values):
                            w = m[k, v] + (add[v] + scale[v] * m[k, v])
                            m[k, v] = min(max(w, bounds[0]), bounds[1])


@numba.njit(cache=True, inline="always")
def _row(pre, post, affine, products, add, scale):  # type: ignore[no-untyped-def]
    """dw = add + scale w of one key's row; False where the row does not change."""
    active = False
    add[:] = 0
    scale[:] = 0
    for p in range(products):
        if pre[p] != 0:
            active = True
            for v in range(add.size):
                term = pre[p] * post[p, v]
                add[v] += term * affine[p, 0]
                scale[v] += term * affine[p, 1]
    return active


@numba.njit(parallel=True, cache=True)
def _scan_backward(read, pre, post, affine, bounds, writes, before, grad, memory, d_read, d_pre, d_post):  # type: ignore[no-untyped-def]
    groups, events, steps, keys = read.shape
    learns, products, values = post.shape[2], post.shape[3], post.shape[4]
    for g in numba.prange(groups):
        d = memory[g]
        add, scale = np.empty(values, d.dtype), np.empty(values, d.dtype)
        w = np.empty((learns + 1, keys, values), d.dtype)
        for step in range(events):
            n = events - 1 - step
            w[0] = before[g, n]
            if writes[g, n]:
                for s in range(learns):
                    for k in range(keys):
                        _row(pre[g, n, s, :, k], post[g, n, s], affine, products, add, scale)
                        for v in range(values):
                            new = w[s, k, v] + (add[v] + scale[v] * w[s, k, v])
                            w[s + 1, k, v] = min(max(new, bounds[0]), bounds[1])
                for back in range(learns):
                    s = learns - 1 - back
                    for k in range(keys):
                        _row(pre[g, n, s, :, k], post[g, n, s], affine, products, add, scale)
                        for v in range(values):
                            new = w[s, k, v] + (add[v] + scale[v] * w[s, k, v])
                            if new < bounds[0] or new > bounds[1]:
                                d[k, v] = 0
                        for p in range(products):
                            constant, linear = affine[p, 0], affine[p, 1]
                            total = _ZERO
                            for v in range(values):
                                term = d[k, v] * (constant + linear * w[s, k, v])
                                total += term * post[g, n, s, p, v]
                                d_post[g, n, s, p, v] += term * pre[g, n, s, p, k]
                            d_pre[g, n, s, p, k] = total
                        for v in range(values):
                            d[k, v] += scale[v] * d[k, v]
            for t in range(steps):
                for k in range(keys):
                    total = _ZERO
                    for v in range(values):
                        total += grad[g, n, t, v] * w[0, k, v]
                    d_read[g, n, t, k] = total
                    if read[g, n, t, k] != 0:
                        for v in range(values):
                            d[k, v] += read[g, n, t, k] * grad[g, n, t, v]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        read: Tensor,
        pre: Tensor,
        post: Tensor,
        affine: Tensor,
        bounds: Tensor,
        writes: Tensor,
        memory: Tensor,
    ) -> tuple[Tensor, Tensor]:
        groups, events, steps, _ = read.shape
        keys, values = memory.shape[1:]
        after = memory.detach().clone(memory_format=torch.contiguous_format)
        before = after.new_empty(groups, events, keys, values)
        currents = after.new_zeros(groups, events, steps, values)
        saved = [x.detach().contiguous() for x in (read, pre, post, affine, bounds, writes)]
        _scan_forward(*(x.numpy() for x in (*saved, after, before, currents)))
        ctx.save_for_backward(*saved, before)
        return currents, after

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *saved, before = ctx.saved_tensors
        read, pre, post = saved[:3]
        d_memory = grads[1].clone(memory_format=torch.contiguous_format)
        d_read, d_pre, d_post = torch.zeros_like(read), torch.zeros_like(pre), torch.zeros_like(post)
        arrays = (*saved, before, grads[0].contiguous(), d_memory, d_read, d_pre, d_post)
        _scan_backward(*(x.numpy() for x in arrays))
        return d_read, d_pre, d_post, None, None, None, d_memory


def scan(
    read: Tensor, pre: Tensor, post: Tensor, affine: Tensor, bounds: Tensor, writes: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """`plasticity.scan_reference` on CPU tensors of float32; the same arguments and results."""
    currents, after = _Scan.apply(read, pre, post, affine, bounds, writes, memory)  # type: ignore[no-untyped-call]
    return currents, after
