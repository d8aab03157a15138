"""CPU kernels (numba) of the training step: the LIF window and the memory scan, forward and backward.

Each has a plain torch twin that it is tested against: `neurons.lif_reference`, `plasticity.scan_reference`.
`operators` makes torch operators of them. Compiled once per machine and cached beside this file.

Arrays are flat and indices unsigned: such an index cannot count from the end, which lets the compiler use
vector instructions. All arithmetic is float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from spmn.settings import require

_BLOCK = 1024  # neurons per work item of LIF: its potentials of all steps stay in the fastest caches
SEGMENT = 32
"""Events between two stored copies of M: few enough that undoing what they wrote stays in the cache, and so
many that the copies take less memory than the spikes."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_ZERO, _ONE, _TINY = np.float32(0), np.float32(1), np.float32(1e-6)
_U0, _U1 = np.uint64(0), np.uint64(1)
_SUMS = {"reassoc", "nsz", "contract"}  # a sum may be taken in any order


def use_threads(count: int) -> None:
    """Let torch and the kernels use this many threads, the kernels at most as many as numba was started
    with. Raises SettingsError for a count below 1."""
    require(count >= 1, "threads", count, "at least 1")
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    torch.set_num_threads(count)  # last: numba's first use sets OpenMP's threads, which torch shares


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Let torch multiply matrices of float32 with operands rounded to bfloat16, if that is the `precision`.

    Sums and results stay float32. Spikes are exact in bfloat16; weights and gradients lose 16 bits. Much
    faster on CPUs with matrix units (AMX); on CUDA the operands are TF32. Without effect on others.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if precision == "bfloat16" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def short_products() -> bool:
    """Whether operands of products are being rounded to bfloat16."""
    return torch.get_float32_matmul_precision() == "medium"


def keep_memory() -> None:
    """Keep freed memory in this process for the next step; without effect where the C library is not glibc.

    By default glibc hands the large tensors of every step back to the system, which clears them again page by
    page.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            library.mallopt(parameter, 2**30)


# ---------------------------------------------------------------------------------------------- LIF


@numba.njit(parallel=True, cache=True)
def _lif_forward(current, rows, steps, size, keep, spikes):  # type: ignore[no-untyped-def]
    for block in numba.prange((size + _BLOCK - 1) // _BLOCK):
        first = block * _BLOCK
        count = min(_BLOCK, size - first)
        v = np.zeros(count, np.float32)
        for t in range(steps):
            source, goal = t % rows * size + first, t * size + first
            _fire(current[source : source + count], v, spikes[goal : goal + count], keep)


@numba.njit(parallel=True, cache=True)
def _lif_backward(grad, current, rows, steps, size, keep, slope, out):  # type: ignore[no-untyped-def]
    for block in numba.prange((size + _BLOCK - 1) // _BLOCK):
        first = block * _BLOCK
        count = min(_BLOCK, size - first)
        u = np.empty((steps, count), np.float32)  # the potentials are computed again, not read back
        v = np.zeros(count, np.float32)
        for t in range(steps):
            source = t % rows * size + first
            _integrate(current[source : source + count], v, u[t], keep)
        d_v = np.zeros(count, np.float32)
        for t in range(steps - 1, -1, -1):
            goal = t * size + first
            _through(grad[goal : goal + count], u[t], d_v, out[goal : goal + count], keep, slope)


@numba.njit(cache=True)
def _fire(current, v, spikes, keep):  # type: ignore[no-untyped-def]
    for i in range(np.uint64(v.size)):
        u = keep * v[i] + current[i]
        spikes[i] = _ONE if u > _ONE else _ZERO
        v[i] = _ZERO if u > _ONE else u


@numba.njit(cache=True)
def _integrate(current, v, potential, keep):  # type: ignore[no-untyped-def]
    for i in range(np.uint64(v.size)):
        u = keep * v[i] + current[i]
        potential[i] = u
        v[i] = _ZERO if u > _ONE else u


@numba.njit(cache=True, error_model="numpy")
def _through(grad, potential, d_v, out, keep, slope):  # type: ignore[no-untyped-def]
    for i in range(np.uint64(d_v.size)):
        u, carry = potential[i], d_v[i]
        steep = _ONE + slope * abs(u - _ONE)
        total = grad[i] / (steep * steep) + (_ZERO if u > _ONE else carry)
        out[i] = total
        d_v[i] = keep * total


def _rows(current: Tensor) -> tuple[Tensor, int]:
    """The current as one flat array, and how many different rows it has: 1 if it is constant in time."""
    constant = current.shape[0] > 1 and current.stride(0) == 0
    kept = current[:1] if constant else current
    return kept.contiguous().view(-1), max(kept.shape[0], 1)


def lif_forward(current: Tensor, dv: float) -> Tensor:
    """Spikes of `neurons.lif` on a CPU tensor of float32, [T, ...]."""
    spikes = torch.empty(current.shape, dtype=torch.float32)
    flat, rows = _rows(current)
    steps = max(current.shape[0], 1)
    if spikes.numel():
        _lif_forward(
            flat.numpy(), rows, steps, spikes.numel() // steps, np.float32(1.0 - dv), spikes.view(-1).numpy()
        )
    return spikes


def lif_backward(grad: Tensor, current: Tensor, dv: float, slope: float) -> Tensor:
    """Gradient of the current, given that of the spikes; both [T, ...]."""
    out = torch.empty(grad.shape, dtype=torch.float32)
    flat, rows = _rows(current)
    steps = max(current.shape[0], 1)
    if out.numel():
        given, size = grad.contiguous().view(-1).numpy(), out.numel() // steps
        constants = np.float32(1.0 - dv), np.float32(slope)
        _lif_backward(given, flat.numpy(), rows, steps, size, *constants, out.view(-1).numpy())
    return out


# ------------------------------------------------------------------------------------- rows of M


@numba.njit(cache=True, fastmath=_SUMS)
def _dot(a, i, b, j, count):  # type: ignore[no-untyped-def]
    total = _ZERO
    for v in range(count):
        total += a[i + v] * b[j + v]
    return total


@numba.njit(cache=True, fastmath=_SUMS)
def _dot_affine(d, i, w, j, b, q, constant, linear, count):  # type: ignore[no-untyped-def]
    total = _ZERO
    for v in range(count):
        total += d[i + v] * (constant + linear * w[j + v]) * b[q + v]
    return total


@numba.njit(cache=True, fastmath={"contract"})
def _add(goal, i, row, j, strength, count):  # type: ignore[no-untyped-def]
    for v in range(count):
        goal[i + v] += strength * row[j + v]


@numba.njit(cache=True)
def _active(row, i, count, found):  # type: ignore[no-untyped-def]
    """Write the indices of what is not 0 to `found`; without a branch, which would be guessed wrong."""
    number = np.uint64(0)
    for k in range(count):
        found[number] = k
        number += np.uint64(row[i + k] != _ZERO)
    return number


@numba.njit(cache=True)
def _active_keys(pre, i, products, count, found):  # type: ignore[no-untyped-def]
    """Write the keys at which any product is not 0 to `found`; without a branch, as in `_active`."""
    number = np.uint64(0)
    for k in range(count):
        found[number] = k
        any_ = False
        for p in range(products):
            any_ |= pre[i + p * count + k] != _ZERO
        number += np.uint64(any_)
    return number


@numba.njit(cache=True)
def _change(pre, i, k, keys, b, affine, products, values, add, scale):  # type: ignore[no-untyped-def]
    """Row k of M changes by dw = add + scale w."""
    for p in range(products):
        strength = pre[i + p * keys + k]
        constant, linear = strength * affine[p + p], strength * affine[p + p + _U1]
        q = p * values
        if p == 0:
            for v in range(values):
                add[v] = constant * b[q + v]
                scale[v] = linear * b[q + v]
        elif strength != _ZERO:
            for v in range(values):
                add[v] += constant * b[q + v]
                scale[v] += linear * b[q + v]


@numba.njit(cache=True, fastmath=_SUMS)
def _post_factors(pre, i, post, j, predict, m, products, keys, values, b, norms):  # type: ignore[no-untyped-def]
    """b = post, times the prediction y2 = M^T x / |x| with x = |pre| where a product asks for it."""
    for p in range(products):
        q = p * values
        if not predict[p]:
            for v in range(values):
                b[q + v] = post[j + q + v]
            continue
        norm = _ZERO
        b[q : q + values] = _ZERO
        for k in range(keys):
            x = abs(pre[i + p * keys + k])
            if x != _ZERO:
                norm += x
                _add(b, q, m, k * values, x, values)
        norms[p] = _ONE / max(norm, _TINY)
        for v in range(values):
            b[q + v] *= norms[p] * post[j + q + v]


@numba.njit(cache=True)
def _update(m, row, add, scale, low, high, values):  # type: ignore[no-untyped-def]
    for v in range(values):
        w = m[row + v]
        m[row + v] = min(max((w + add[v]) + scale[v] * w, low), high)


# ------------------------------------------------------------------------------------ memory scan


@numba.njit(parallel=True, cache=True)
def _scan_forward(  # type: ignore[no-untyped-def]
    sizes, read, rs, pre, ps, post, qs, writes, ws, affine, predict, low, high, cs,
    currents, after, copies,
):  # fmt: skip
    batch, heads, events, steps, learns = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    products, keys, values = np.uint64(sizes[5]), np.uint64(sizes[6]), np.uint64(sizes[7])
    size = keys * values
    kept = events // SEGMENT
    for g in numba.prange(batch * heads):
        story, head = g // heads, g % heads
        m = after[np.uint64(g) * size : np.uint64(g + 1) * size]
        found = np.empty(keys + _U1, np.uint64)
        b, norms = np.empty(products * values, np.float32), np.empty(products, np.float32)
        add, scale = np.empty(values, np.float32), np.empty(values, np.float32)
        for n in range(events):
            for t in range(steps):
                i = np.uint64(story * rs[0] + head * rs[1] + n * rs[2] + t * rs[3])
                goal = np.uint64(story * cs[0] + head * cs[1] + n * cs[2] + t * cs[3])
                currents[goal : goal + values] = _ZERO
                for a in range(_active(read, i, keys, found)):
                    _add(currents, goal, m, found[a] * values, read[i + found[a]], values)
            if writes[story * ws[0] + head * ws[1] + n * ws[2]]:
                for s in range(learns):
                    i = np.uint64(story * ps[0] + head * ps[1] + n * ps[2] + s * ps[3])
                    j = np.uint64(story * qs[0] + head * qs[1] + n * qs[2] + s * qs[3])
                    _post_factors(pre, i, post, j, predict, m, products, keys, values, b, norms)
                    for a in range(_active_keys(pre, i, products, keys, found)):
                        _change(pre, i, found[a], keys, b, affine, products, values, add, scale)
                        _update(m, found[a] * values, add, scale, low, high, values)
            if (n + 1) % SEGMENT == 0:
                start = np.uint64(g * kept + n // SEGMENT) * size
                copies[start : start + size] = m


@numba.njit(parallel=True, cache=True)
def _scan_backward(  # type: ignore[no-untyped-def]
    sizes, read, rs, pre, ps, post, qs, writes, ws, affine, predict, low, high, cs,
    memory, copies, grad, gs, d_read, d_pre, d_post, d_memory, workers,
):  # fmt: skip
    batch, heads, events, steps, learns = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    products, keys, values = np.uint64(sizes[5]), np.uint64(sizes[6]), np.uint64(sizes[7])
    size = keys * values
    kept = events // SEGMENT
    for worker in numba.prange(workers):
        m = np.empty(size, np.float32)
        # what an event overwrote: number of rows per learning step, their keys and their old weights
        counts = np.zeros(SEGMENT * learns, np.uint64)
        log_keys = np.empty(np.uint64(SEGMENT * learns) * keys + _U1, np.uint64)
        log = np.empty(np.uint64(SEGMENT * learns) * size, np.float32)
        found = np.empty(keys + _U1, np.uint64)
        b, norms = np.empty(products * values, np.float32), np.empty(products, np.float32)
        add, scale = np.empty(values, np.float32), np.empty(values, np.float32)
        d_b = np.empty(products * values, np.float32)
        for g in range(worker, batch * heads, workers):
            story, head = g // heads, g % heads
            d = d_memory[np.uint64(g) * size : np.uint64(g + 1) * size]
            for segment in range((events - 1) // SEGMENT, -1, -1):
                first, last = segment * SEGMENT, min((segment + 1) * SEGMENT, events)
                if segment > 0:
                    start = np.uint64(g * kept + segment - 1) * size
                    m[:] = copies[start : start + size]
                else:
                    m[:] = memory[np.uint64(g) * size : np.uint64(g + 1) * size]
                top = np.uint64(0)
                for n in range(first, last):
                    if not writes[story * ws[0] + head * ws[1] + n * ws[2]]:
                        continue
                    for s in range(learns):
                        i = np.uint64(story * ps[0] + head * ps[1] + n * ps[2] + s * ps[3])
                        j = np.uint64(story * qs[0] + head * qs[1] + n * qs[2] + s * qs[3])
                        _post_factors(pre, i, post, j, predict, m, products, keys, values, b, norms)
                        number = _active_keys(pre, i, products, keys, log_keys[top:])
                        counts[(n - first) * learns + s] = number
                        for a in range(top, top + number):
                            k = log_keys[a]
                            for v in range(values):
                                log[a * values + v] = m[k * values + v]
                            _change(pre, i, k, keys, b, affine, products, values, add, scale)
                            _update(m, k * values, add, scale, low, high, values)
                        top += number
                for n in range(last - 1, first - 1, -1):
                    written = writes[story * ws[0] + head * ws[1] + n * ws[2]]
                    for s in range(learns - 1, -1, -1):
                        i = np.uint64(story * ps[0] + head * ps[1] + n * ps[2] + s * ps[3])
                        j = np.uint64(story * qs[0] + head * qs[1] + n * qs[2] + s * qs[3])
                        place = np.uint64(((g * events) + n) * learns + s) * products
                        i_out, j_out = place * keys, place * values
                        if not written:
                            d_pre[i_out : i_out + products * keys] = _ZERO
                            d_post[j_out : j_out + products * values] = _ZERO
                            continue
                        number = counts[(n - first) * learns + s]
                        top -= number
                        for a in range(number):
                            k = log_keys[top + a]
                            for v in range(values):
                                m[k * values + v] = log[(top + a) * values + v]
                        _post_factors(pre, i, post, j, predict, m, products, keys, values, b, norms)
                        rows = log_keys[top : top + number]
                        _learn_backward(
                            pre, i, b, affine, d, m, rows, products, keys, values, low, high, add, scale,
                            d_pre, i_out, d_b,
                        )  # fmt: skip
                        for p in range(products):
                            q = p * values
                            if not predict[p]:
                                d_post[j_out + q : j_out + q + values] = d_b[q : q + values]
                                continue
                            # b = post y2: d_post = d_b y2, d_y2 = d_b post; the key in y2 is held fixed
                            add[:] = _ZERO
                            for k in range(keys):
                                x = abs(pre[i + p * keys + k])
                                if x != _ZERO:
                                    _add(add, _U0, m, k * values, x * norms[p], values)
                            for v in range(values):
                                d_post[j_out + q + v] = d_b[q + v] * add[v]
                                add[v] = d_b[q + v] * post[j + q + v]
                            for k in range(keys):
                                x = abs(pre[i + p * keys + k])
                                if x != _ZERO:
                                    _add(d, k * values, add, _U0, x * norms[p], values)
                    for t in range(steps):
                        i = np.uint64(story * rs[0] + head * rs[1] + n * rs[2] + t * rs[3])
                        j = np.uint64(story * gs[0] + head * gs[1] + n * gs[2] + t * gs[3])
                        goal = np.uint64(story * cs[0] + head * cs[1] + n * cs[2] + t * cs[3])
                        for k in range(keys):
                            d_read[goal + k] = _dot(grad, j, m, k * values, values)
                        for a in range(_active(read, i, keys, found)):
                            _add(d, found[a] * values, grad, j, read[i + found[a]], values)


@numba.njit(cache=True)
def _learn_backward(  # type: ignore[no-untyped-def]
    pre, i, b, affine, d, m, changed, products, keys, values, low, high, add, scale, d_pre, i_out, d_b
):  # fmt: skip
    """d_pre of all keys, d_b and d of the old weights (but for y2), given d of the new weights.

    new = clip(w + dw);   dw = sum_p pre_p b_p (constant_p + linear_p w);   changed: the keys with any pre_p
    """
    d_b[:] = _ZERO
    for k in changed:
        _change(pre, i, k, keys, b, affine, products, values, add, scale)
        _mask(d, m, k * values, add, scale, low, high, values)
    for p in range(products):
        constant, linear, q = affine[p + p], affine[p + p + _U1], p * values
        for k in range(keys):
            row = k * values
            if linear == _ZERO:
                d_pre[i_out + p * keys + k] = constant * _dot(d, row, b, q, values)
            else:
                d_pre[i_out + p * keys + k] = _dot_affine(d, row, m, row, b, q, constant, linear, values)
        for k in changed:
            _add_affine(d_b, q, d, k * values, m, constant, linear, pre[i + p * keys + k], values)
    for k in changed:
        _change(pre, i, k, keys, b, affine, products, values, add, scale)
        for v in range(values):
            d[k * values + v] += scale[v] * d[k * values + v]


@numba.njit(cache=True, fastmath={"contract"})
def _add_affine(goal, q, d, row, m, constant, linear, strength, count):  # type: ignore[no-untyped-def]
    for v in range(count):
        goal[q + v] += strength * (d[row + v] * (constant + linear * m[row + v]))


@numba.njit(cache=True)
def _mask(d, m, row, add, scale, low, high, count):  # type: ignore[no-untyped-def]
    """No gradient passes where the new weight was clipped."""
    for v in range(count):
        w, kept = m[row + v], d[row + v]
        new = (w + add[v]) + scale[v] * w
        d[row + v] = kept if new >= low and new <= high else _ZERO


# ------------------------------------------------------------------------------- tensors to arrays


def _flat(x: Tensor) -> tuple[Any, tuple[int, ...]]:
    """A tensor as one flat array and the strides of all but the last dimension, which is contiguous."""
    if x.stride(-1) != 1:
        x = x.contiguous()
    span = 1 + sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True)) if x.numel() else 0
    return x.as_strided((span,), (1,)).numpy(), x.stride()


def _arguments(
    read: Tensor, pre: Tensor, post: Tensor, affine: Tensor, writes: Tensor, low: float, high: float,
    predict: Sequence[bool], out: Tensor,
) -> tuple[Any, ...]:  # fmt: skip
    batch, heads, events, steps, keys = read.shape
    learns, products, values = post.shape[3:]
    sizes = (batch, heads, events, steps, learns, products, keys, values)
    flats = [part for x in (read, pre, post) for part in _flat(x)]
    gates, gate_strides = _flat(writes.expand(batch, heads, events)[..., None])
    factors = affine.contiguous().view(-1).numpy(), np.array(predict, np.bool_)
    return (sizes, *flats, gates, gate_strides, *factors, np.float32(low), np.float32(high), out.stride())


def by_step(like: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """An empty [B, H, N, T, size] that lies in memory as [T, B, N, H, size].

    The layers before and after the scan have the spikes of one step beside each other.
    """
    batch, heads, events, steps = like.shape[:4]
    return like.new_empty(steps, batch, events, heads, size, dtype=dtype).permute(1, 3, 2, 0, 4)


def new_copies(memory: Tensor, events: int) -> Tensor:
    """Room for M after every SEGMENT events: [B, H, events // SEGMENT, K, V]."""
    batch, heads, keys, values = memory.shape
    return memory.new_empty(batch, heads, events // SEGMENT, keys, values)


def scan_forward(
    read: Tensor, pre: Tensor, post: Tensor, affine: Tensor, writes: Tensor, memory: Tensor,
    low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`plasticity.scan_reference` on CPU tensors of float32, groups being [B, H]; and copies of M."""
    currents = by_step(read, memory.shape[-1])
    after = memory.clone(memory_format=torch.contiguous_format)
    copies = new_copies(memory, read.shape[2])
    if after.numel() and post.numel():
        arguments = _arguments(read, pre, post, affine, writes, low, high, predict, currents)
        out = _flat(currents)[0], after.view(-1).numpy(), copies.view(-1).numpy()
        _scan_forward(*(*arguments, *out))
    return currents, after, copies


def scan_backward(
    d_currents: Tensor, d_after: Tensor, read: Tensor, pre: Tensor, post: Tensor, affine: Tensor,
    writes: Tensor, memory: Tensor, copies: Tensor, low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of read, pre, post and memory, given those of the currents and of M after the last event."""
    d_memory = d_after.clone(memory_format=torch.contiguous_format)
    d_read = by_step(read, read.shape[-1])
    d_pre, d_post = (x.new_empty(x.shape) for x in (pre, post))
    if d_memory.numel() and d_post.numel():
        arguments = _arguments(read, pre, post, affine, writes, low, high, predict, d_read)
        given = memory.contiguous().view(-1).numpy(), copies.view(-1).numpy(), *_flat(d_currents)
        out = (_flat(d_read)[0], *(x.view(-1).numpy() for x in (d_pre, d_post, d_memory)))
        workers = min(numba.get_num_threads(), read.shape[0] * read.shape[1])
        _scan_backward(*(*arguments, *given, *out, workers))
    return d_read, d_pre, d_post, d_memory
