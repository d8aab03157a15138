"""GPU kernels (triton) of the training step: the LIF window and the memory scan, forward and backward.

The LIF window is one launch over all steps. In the scan one program holds M of one story and head on chip,
as a tile of K by V, through the loop over events. The backward pass goes from stored copy to stored copy of
M (`kernels.SEGMENT` events apart): it computes the events between two copies again, keeps M before each of
them in a scratch tensor that fits the second-level cache, and walks back.

Tested against the plain torch forms by triton's interpreter (TRITON_INTERPRET=1), and on a GPU where there is
one; never tuned. All arithmetic is float32; spikes and gates may come as bfloat16 or float16.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from spmn.kernels import SEGMENT, by_step, new_copies

_BLOCK = 1024  # neurons per program of LIF


@triton.jit
def _lif_forward(current, stride, spikes, keep, steps, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    v = tl.zeros([BLOCK], tl.float32)
    for t in range(steps):
        u = keep * v + tl.load(current + t * stride + at, mask=inside, other=0.0).to(tl.float32)
        fired = u > 1.0
        tl.store(spikes + t * size + at, tl.where(fired, 1.0, 0.0), mask=inside)
        v = tl.where(fired, 0.0, u)


@triton.jit
def _lif_backward(grad, current, stride, out, keep, slope, steps, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    v = tl.zeros([BLOCK], tl.float32)
    for t in range(steps):  # the potentials, first kept where the gradients will be
        u = keep * v + tl.load(current + t * stride + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + t * size + at, u, mask=inside)
        v = tl.where(u > 1.0, 0.0, u)
    tl.debug_barrier()
    d_v = tl.zeros([BLOCK], tl.float32)
    for back in range(steps):
        t = steps - 1 - back
        u = tl.load(out + t * size + at, mask=inside, other=0.0)
        steep = 1.0 + slope * tl.abs(u - 1.0)
        given = tl.load(grad + t * size + at, mask=inside, other=0.0).to(tl.float32)
        total = given / (steep * steep) + tl.where(u > 1.0, 0.0, d_v)
        tl.store(out + t * size + at, total, mask=inside)
        d_v = keep * total


def _over_time(current: Tensor) -> tuple[Tensor, int, int, int]:
    """The current, its stride over time (0 if it is constant), the steps and the neurons."""
    steps = current.shape[0]
    size = current.numel() // max(steps, 1)
    if steps > 1 and current.stride(0) == 0:
        return current[0].contiguous(), 0, steps, size
    return current.contiguous(), size, steps, size


def lif_forward(current: Tensor, dv: float) -> Tensor:
    """Spikes of `neurons.lif`, [T, ...], of the current's type."""
    flat, stride, steps, size = _over_time(current)
    spikes = current.new_empty(current.shape)
    if spikes.numel():
        # no fused multiply-add: spikes then equal those of the CPU
        _lif_forward[(triton.cdiv(size, _BLOCK),)](
            flat, stride, spikes, 1.0 - dv, steps, size, BLOCK=_BLOCK, enable_fp_fusion=False
        )
    return spikes


def lif_backward(grad: Tensor, current: Tensor, dv: float, slope: float) -> Tensor:
    """Gradient of the current, given that of the spikes; both [T, ...]."""
    flat, stride, steps, size = _over_time(current)
    out = current.new_empty(current.shape, dtype=torch.float32)
    if out.numel():
        _lif_backward[(triton.cdiv(size, _BLOCK),)](
            grad.contiguous(), flat, stride, out, 1.0 - dv, slope, steps, size,
            BLOCK=_BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return out.to(current.dtype)


@triton.jit
def _row(x, i, lanes, mask):  # type: ignore[no-untyped-def]
    return tl.load(x + i + lanes, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _prediction(a, m):  # type: ignore[no-untyped-def]
    """Share of each key in y2, and y2 = M^T x / |x| with x = |pre|."""
    x = tl.abs(a)
    share = x / tl.maximum(tl.sum(x, 0), 1e-6)
    return share, tl.sum(share[:, None] * m, 0)


@triton.jit
def _unclipped(  # type: ignore[no-untyped-def]
    m, pre, i, post, j, affine, k, v, K, V, P: tl.constexpr, PREDICT: tl.constexpr
):
    """M + sum_p pre_p post_p^T (affine_p0 + affine_p1 M) of one learning step."""
    new = m
    for p in tl.static_range(P):
        a, b = _row(pre, i + p * K, k, k < K), _row(post, j + p * V, v, v < V)
        if (PREDICT >> p) & 1:
            _, y2 = _prediction(a, m)
            b *= y2
        constant, linear = tl.load(affine + 2 * p), tl.load(affine + 2 * p + 1)
        new += a[:, None] * b[None, :] * (constant + linear * m)
    return new


@triton.jit
def _scan_forward(  # type: ignore[no-untyped-def]
    read, r0, r1, r2, r3, pre, p0, p1, p2, p3, post, q0, q1, q2, q3, writes, w0, w1, w2,
    affine, low, high, currents, c0, c1, c2, c3, memory, after, copies,
    H, N, T, L, K, V, P: tl.constexpr, PREDICT: tl.constexpr, SEGMENT: tl.constexpr,
    K2: tl.constexpr, V2: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(0).to(tl.int64)
    story, head = g // H, g % H
    k, v = tl.arange(0, K2), tl.arange(0, V2)
    tile, inside = k[:, None] * V + v[None, :], (k[:, None] < K) & (v[None, :] < V)
    read, pre, post = (
        read + story * r0 + head * r1,
        pre + story * p0 + head * p1,
        post + story * q0 + head * q1,
    )
    writes, currents = writes + story * w0 + head * w1, currents + story * c0 + head * c1
    copies += g * (N // SEGMENT) * K * V
    m = tl.load(memory + g * K * V + tile, mask=inside, other=0.0)
    for n in range(N):
        for t in range(T):
            x = _row(read, n * r2 + t * r3, k, k < K)
            tl.store(currents + n * c2 + t * c3 + v, tl.sum(x[:, None] * m, 0), mask=v < V)
        written = tl.load(writes + n * w2) != 0
        for s in range(L):
            new = _unclipped(m, pre, n * p2 + s * p3, post, n * q2 + s * q3, affine, k, v, K, V, P, PREDICT)
            m = tl.where(written & inside, tl.minimum(tl.maximum(new, low), high), m)
        if (n + 1) % SEGMENT == 0:
            tl.store(copies + (n // SEGMENT) * K * V + tile, m, mask=inside)
    tl.store(after + g * K * V + tile, m, mask=inside)


@triton.jit
def _scan_backward(  # type: ignore[no-untyped-def]
    read, r0, r1, r2, r3, pre, p0, p1, p2, p3, post, q0, q1, q2, q3, writes, w0, w1, w2,
    affine, low, high, d_read, c0, c1, c2, c3, memory, d_memory, copies,
    grad, g0, g1, g2, g3, d_pre, d_post, scratch,
    H, N, T, L, K, V, P: tl.constexpr, PREDICT: tl.constexpr, SEGMENT: tl.constexpr,
    K2: tl.constexpr, V2: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(0).to(tl.int64)
    story, head = g // H, g % H
    k, v = tl.arange(0, K2), tl.arange(0, V2)
    size = K * V
    tile, inside = k[:, None] * V + v[None, :], (k[:, None] < K) & (v[None, :] < V)
    read, pre, post = (
        read + story * r0 + head * r1,
        pre + story * p0 + head * p1,
        post + story * q0 + head * q1,
    )
    writes, d_read, grad = (
        writes + story * w0 + head * w1,
        d_read + story * c0 + head * c1,
        grad + story * g0 + head * g1,
    )
    copies += g * (N // SEGMENT) * size
    scratch += g * (SEGMENT + L) * size  # M before each event of the segment, then before each learning step
    d = tl.load(d_memory + g * size + tile, mask=inside, other=0.0)
    segments = (N + SEGMENT - 1) // SEGMENT
    for turn in range(segments):
        segment = segments - 1 - turn
        first = segment * SEGMENT
        last = tl.minimum(first + SEGMENT, N)
        if segment == 0:
            m = tl.load(memory + g * size + tile, mask=inside, other=0.0)
        else:
            m = tl.load(copies + (segment - 1) * size + tile, mask=inside, other=0.0)
        for n in range(first, last):
            tl.store(scratch + (n - first) * size + tile, m, mask=inside)
            written = tl.load(writes + n * w2) != 0
            for s in range(L):
                new = _unclipped(
                    m, pre, n * p2 + s * p3, post, n * q2 + s * q3, affine, k, v, K, V, P, PREDICT
                )
                m = tl.where(written & inside, tl.minimum(tl.maximum(new, low), high), m)
        tl.debug_barrier()
        for back in range(last - first):
            n = last - 1 - back
            written = tl.load(writes + n * w2) != 0
            before = tl.load(scratch + (n - first) * size + tile, mask=inside, other=0.0)
            m = before
            for s in range(L):
                tl.store(scratch + (SEGMENT + s) * size + tile, m, mask=inside)
                new = _unclipped(
                    m, pre, n * p2 + s * p3, post, n * q2 + s * q3, affine, k, v, K, V, P, PREDICT
                )
                m = tl.where(written & inside, tl.minimum(tl.maximum(new, low), high), m)
            tl.debug_barrier()
            for undo in range(L):
                s = L - 1 - undo
                i, j = n * p2 + s * p3, n * q2 + s * q3
                out = ((g * N + n) * L + s) * P
                m = tl.load(scratch + (SEGMENT + s) * size + tile, mask=inside, other=0.0)
                new = _unclipped(m, pre, i, post, j, affine, k, v, K, V, P, PREDICT)
                through = tl.where(written & (new >= low) & (new <= high), d, 0.0)
                d_m = through
                for p in tl.static_range(P):
                    a, b = _row(pre, i + p * K, k, k < K), _row(post, j + p * V, v, v < V)
                    constant, linear = tl.load(affine + 2 * p), tl.load(affine + 2 * p + 1)
                    each = through * (constant + linear * m)
                    d_b = tl.sum(each * a[:, None], 0)
                    if (PREDICT >> p) & 1:
                        share, y2 = _prediction(a, m)
                        d_m += share[:, None] * (d_b * b)[None, :]
                        d_b *= y2
                        b *= y2
                    d_m += through * (linear * a[:, None] * b[None, :])
                    tl.store(d_pre + (out + p) * K + k, tl.sum(each * b[None, :], 1), mask=k < K)
                    tl.store(d_post + (out + p) * V + v, d_b, mask=v < V)
                d = tl.where(written, d_m, d)
            tl.debug_barrier()
            for t in range(T):
                y = _row(grad, n * g2 + t * g3, v, v < V)
                x = _row(read, n * r2 + t * r3, k, k < K)
                tl.store(d_read + n * c2 + t * c3 + k, tl.sum(before * y[None, :], 1), mask=k < K)
                d += x[:, None] * y[None, :]
        tl.debug_barrier()
    tl.store(d_memory + g * size + tile, d, mask=inside)


def _rows(x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """A tensor whose last dimension is contiguous, and the strides of its first four."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    return x, x.stride()[:4]


def _sizes(read: Tensor, post: Tensor, predict: Sequence[bool]) -> tuple[tuple[int, ...], dict[str, int]]:
    _, heads, events, steps, keys = read.shape
    learns, values = post.shape[3], post.shape[5]
    return (heads, events, steps, learns, keys, values), compiled_in(keys, values, predict)


def compiled_in(keys: int, values: int, predict: Sequence[bool]) -> dict[str, int]:
    """Of kernels that hold M [keys, values] on chip: the rule's products, and the tile M is padded to."""
    tile = triton.next_power_of_2(keys), triton.next_power_of_2(values)
    return {
        "P": len(predict),
        "PREDICT": sum(1 << p for p, asks in enumerate(predict) if asks),
        "SEGMENT": SEGMENT,
        "K2": tile[0],
        "V2": tile[1],
        "num_warps": min(max(tile[0] * tile[1] // 1024, 1), 8),
    }


def scan_forward(
    read: Tensor, pre: Tensor, post: Tensor, affine: Tensor, writes: Tensor, memory: Tensor,
    low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`plasticity.scan_reference` with groups [B, H]; and copies of M on the way."""
    currents = by_step(read, memory.shape[-1])
    after, copies = memory.new_empty(memory.shape), new_copies(memory, read.shape[2])
    if currents.numel() == 0:
        return currents, after.copy_(memory), copies
    (read, r), (pre, p), (post, q) = (_rows(x) for x in (read, pre, post))
    writes = writes.expand(read.shape[:3])
    sizes, constants = _sizes(read, post, predict)
    _scan_forward[(read.shape[0] * read.shape[1],)](
        read, *r, pre, *p, post, *q, writes, *writes.stride(), affine.contiguous(), low, high,
        currents, *currents.stride()[:4], memory.contiguous(), after, copies, *sizes, **constants,
    )  # fmt: skip
    return currents, after, copies


def scan_backward(
    d_currents: Tensor, d_after: Tensor, read: Tensor, pre: Tensor, post: Tensor, affine: Tensor,
    writes: Tensor, memory: Tensor, copies: Tensor, low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of read, pre, post and memory, given those of the currents and of M after the last event."""
    d_memory = d_after.clone(memory_format=torch.contiguous_format)
    d_read = by_step(read, read.shape[-1], read.dtype)
    d_pre, d_post = (x.new_empty(x.shape) for x in (pre, post))
    if d_read.numel() == 0 or d_post.numel() == 0:
        return d_read, d_pre, d_post, d_memory
    (read, r), (pre, p), (post, q), (grad, g) = (_rows(x) for x in (read, pre, post, d_currents))
    writes = writes.expand(read.shape[:3])
    sizes, constants = _sizes(read, post, predict)
    groups = read.shape[0] * read.shape[1]
    scratch = memory.new_empty(groups, SEGMENT + post.shape[3], *memory.shape[2:])
    _scan_backward[(groups,)](
        read, *r, pre, *p, post, *q, writes, *writes.stride(), affine.contiguous(), low, high,
        d_read, *d_read.stride()[:4], memory.contiguous(), d_memory, copies, grad, *g, d_pre, d_post, scratch,
        *sizes, **constants,
    )  # fmt: skip
    return d_read, d_pre, d_post, d_memory
