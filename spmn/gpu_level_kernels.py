"""GPU kernels (triton) of one whole memory level, forward and backward: what `level_kernels` is on a CPU.

One program computes a story's head, event after event: currents, LIF windows, gates, the rule and recall,
with M on chip as a tile of K by V. Only what other levels and the readouts need is written out. The backward
pass goes from stored copy to stored copy of M (`kernels.SEGMENT` events apart): it computes the events
between two copies again, keeps M before each of them in a scratch tensor that fits the second-level cache,
and walks back.

The same rules, with the same equations, as `level_kernels`. All arithmetic is float32.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from spmn.gpu_kernels import compiled_in
from spmn.kernels import SEGMENT
from spmn.level_kernels import outputs

_BLOCK = 1024  # numbers that one program adds up for a sentence
_SIZES = ["H", "N", "longest", "r0", "r1", "r2", "size", "events"]  # whatever they are, one compilation does


@triton.jit
def _one(count):  # type: ignore[no-untyped-def]
    """1 where there was any spike."""
    return tl.where(count > 0.0, 1.0, 0.0)


@triton.jit
def _spike(u):  # type: ignore[no-untyped-def]
    return tl.where(u > 1.0, 1.0, 0.0)


@triton.jit
def _hear(words, w, below, b, at, inside, JOINED: tl.constexpr):  # type: ignore[no-untyped-def]
    current = tl.load(words + w + at, mask=inside, other=0.0)
    if JOINED:
        current += tl.load(below + b + at, mask=inside, other=0.0)
    return current


@triton.jit
def _drive(words, below, at, JOINED: tl.constexpr):  # type: ignore[no-untyped-def]
    """The current of a gate."""
    current = tl.load(words + at)
    if JOINED:
        current += tl.load(below + at)
    return current


@triton.jit
def _through(given, u, carry, slope):  # type: ignore[no-untyped-def]
    """Gradient of a current, given that of the spike and what comes from the next step's potential."""
    steep = 1.0 + slope * tl.abs(u - 1.0)
    return given / (steep * steep) + tl.where(u > 1.0, 0.0, carry)


@triton.jit
def _change(m, x, y, factors, strength, V2: tl.constexpr, P: tl.constexpr, PREDICT: tl.constexpr):  # type: ignore[no-untyped-def]
    """A and B of dw = x (A + B w), and y2, the mean weight under the active keys x."""
    guess = y
    if PREDICT:
        guess = tl.sum(x[:, None] * m, 0) / tl.maximum(tl.sum(x, 0), 1e-6)
    add, scale = tl.zeros([V2], tl.float32), tl.zeros([V2], tl.float32)
    for p in tl.static_range(P):
        each = tl.load(factors + 4 * p) + tl.load(factors + 4 * p + 1) * y
        if (PREDICT >> p) & 1:
            each *= guess
        each *= tl.load(strength + p)
        add += tl.load(factors + 4 * p + 2) * each
        scale += tl.load(factors + 4 * p + 3) * each
    return add, scale, guess


@triton.jit
def _written(m, x, add, scale, low, high, inside):  # type: ignore[no-untyped-def]
    new = (m + add[None, :]) + scale[None, :] * m
    return tl.where((x[:, None] > 0.0) & inside, tl.minimum(tl.maximum(new, low), high), m)


@triton.jit
def _learning(  # type: ignore[no-untyped-def]
    words, s, below, e, clock, at_k, at_a, at_u, at_r, kin, vin, v, V, timed, keep, size,
    K2: tl.constexpr, V2: tl.constexpr, T: tl.constexpr, JOINED: tl.constexpr,
):  # fmt: skip
    """How often write keys, associations and both gates fire in a window."""
    heard = tl.load(clock + e * V + v, mask=timed, other=0.0)
    v_k, v_a = tl.zeros([K2], tl.float32), tl.zeros([V2], tl.float32)
    c_k, c_a = tl.zeros([K2], tl.float32), tl.zeros([V2], tl.float32)
    v_u, v_r, c_u, c_r = 0.0, 0.0, 0.0, 0.0
    for t in tl.static_range(T):
        w, b = (s * T + t) * size, (e * T + t) * size
        k = keep * v_k + _hear(words, w, below, b, at_k, kin, JOINED)
        a = keep * v_a + (_hear(words, w, below, b, at_a, vin, JOINED) + heard)
        u = keep * v_u + _drive(words + w, below + b, at_u, JOINED)
        r = keep * v_r + _drive(words + w, below + b, at_r, JOINED)
        c_k += _spike(k)
        c_a += _spike(a)
        c_u += _spike(u)
        c_r += _spike(r)
        v_k, v_a = tl.where(k > 1.0, 0.0, k), tl.where(a > 1.0, 0.0, a)
        v_u, v_r = tl.where(u > 1.0, 0.0, u), tl.where(r > 1.0, 0.0, r)
    return c_k, c_a, c_u, c_r


@triton.jit
def _fired(spikes, i, at, inside, u):  # type: ignore[no-untyped-def]
    tl.store(spikes + i + at, _spike(u), mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def _forward(  # type: ignore[no-untyped-def]
    words, sentence, below, clock, writes, places, memory, strength, gain, bias, factors,
    recall, read, after, copies, spikes, keep, low, high, H, N, K, V,
    T: tl.constexpr, P: tl.constexpr, PREDICT: tl.constexpr, JOINED: tl.constexpr, RECORD: tl.constexpr,
    SEGMENT: tl.constexpr, K2: tl.constexpr, V2: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(0).to(tl.int64)
    story, head = g // H, g % H
    k, v = tl.arange(0, K2), tl.arange(0, V2)
    kin, vin = k < K, v < V
    tile, inside = k[:, None] * V + v[None, :], kin[:, None] & vin[None, :]
    size = H * (2 * K + V + 2)
    at_k, at_q, at_a = head * K + k, (H + head) * K + k, 2 * H * K + head * V + v
    at_u, at_r = H * (2 * K + V) + head, H * (2 * K + V + 1) + head
    timed = vin & (head + 0 * v == H - 1)
    factor, offset = tl.load(gain + head), tl.load(bias + head * V + v, mask=vin, other=0.0)
    strength += head * P
    copies += g * (N // SEGMENT) * K * V
    m = tl.load(memory + g * K * V + tile, mask=inside, other=0.0)
    for n in range(N):
        e = story * N + n
        s, place = tl.load(sentence + e), tl.load(places + e)
        heard = tl.load(clock + e * V + v, mask=timed, other=0.0)
        v_k, v_q = tl.zeros([K2], tl.float32), tl.zeros([K2], tl.float32)
        v_a, v_y = tl.zeros([V2], tl.float32), tl.zeros([V2], tl.float32)
        c_k, c_a = tl.zeros([K2], tl.float32), tl.zeros([V2], tl.float32)
        v_u, v_r, c_u, c_r = 0.0, 0.0, 0.0, 0.0
        for t in tl.static_range(T):
            w, b = (s * T + t) * size, (e * T + t) * size
            u_k = keep * v_k + _hear(words, w, below, b, at_k, kin, JOINED)
            u_q = keep * v_q + _hear(words, w, below, b, at_q, kin, JOINED)
            u_a = keep * v_a + (_hear(words, w, below, b, at_a, vin, JOINED) + heard)
            u_u = keep * v_u + _drive(words + w, below + b, at_u, JOINED)
            u_r = keep * v_r + _drive(words + w, below + b, at_r, JOINED)
            if RECORD:
                _fired(spikes, b, at_k, kin, u_k)
                _fired(spikes, b, at_q, kin, u_q)
                _fired(spikes, b, at_a, vin, u_a)
                tl.store(spikes + b + at_u, _spike(u_u))
                tl.store(spikes + b + at_r, _spike(u_r))
            raw = tl.sum(_spike(u_q)[:, None] * m, 0)
            u_y = keep * v_y + (factor * raw + offset)
            goal = ((e * T + t) * H + head) * V
            _fired(recall, goal, v, vin, u_y)
            _fired(read, ((place * T + t) * H + head) * V, v, vin & (place + 0 * v >= 0), u_y)
            c_k += _spike(u_k)
            c_a += _spike(u_a)
            c_u += _spike(u_u)
            c_r += _spike(u_r)
            v_k, v_q = tl.where(u_k > 1.0, 0.0, u_k), tl.where(u_q > 1.0, 0.0, u_q)
            v_a, v_y = tl.where(u_a > 1.0, 0.0, u_a), tl.where(u_y > 1.0, 0.0, u_y)
            v_u, v_r = tl.where(u_u > 1.0, 0.0, u_u), tl.where(u_r > 1.0, 0.0, u_r)
        x = tl.load(writes + e).to(tl.float32) * _one(c_r) * _one(c_k)
        y = _one(c_u) * _one(c_a)
        add, scale, _ = _change(m, x, y, factors, strength, V2, P, PREDICT)
        m = _written(m, x, add, scale, low, high, inside)
        if (n + 1) % SEGMENT == 0:
            tl.store(copies + (n // SEGMENT) * K * V + tile, m, mask=inside)
    tl.store(after + g * K * V + tile, m, mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def _backward(  # type: ignore[no-untyped-def]
    words, sentence, below, clock, writes, places, memory, strength, gain, bias, factors, copies,
    d_recall, r0, r1, r2, d_read, d_driven, d_clock, d_memory, d_gain, d_bias, d_strength, scratch,
    keep, slope, low, high, H, N, K, V, longest,
    T: tl.constexpr, P: tl.constexpr, PREDICT: tl.constexpr, JOINED: tl.constexpr, RECALL: tl.constexpr,
    READ: tl.constexpr, SEGMENT: tl.constexpr, K2: tl.constexpr, V2: tl.constexpr, P2: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(0).to(tl.int64)
    story, head = g // H, g % H
    k, v, lane = tl.arange(0, K2), tl.arange(0, V2), tl.arange(0, P2)
    kin, vin = k < K, v < V
    tile, inside = k[:, None] * V + v[None, :], kin[:, None] & vin[None, :]
    size = H * (2 * K + V + 2)
    at_k, at_q, at_a = head * K + k, (H + head) * K + k, 2 * H * K + head * V + v
    at_u, at_r = H * (2 * K + V) + head, H * (2 * K + V + 1) + head
    timed = vin & (head + 0 * v == H - 1)
    factor, offset = tl.load(gain + head), tl.load(bias + head * V + v, mask=vin, other=0.0)
    strength += head * P
    copies += g * (N // SEGMENT) * K * V
    scratch += g * (longest * K * V + 2 * T * V)  # M before each event of a segment; then of one event's
    raws = scratch + longest * K * V  # steps, what recall read,
    potentials = raws + T * V  # and the potentials of its neurons
    d = tl.load(d_memory + g * K * V + tile, mask=inside, other=0.0)
    to_gain, to_bias, to_strength = (
        tl.zeros([V2], tl.float32),
        tl.zeros([V2], tl.float32),
        tl.zeros([P2], tl.float32),
    )
    segments = (N + SEGMENT - 1) // SEGMENT
    for turn in range(segments):
        segment = segments - 1 - turn
        first = segment * SEGMENT
        last = tl.minimum(first + SEGMENT, N)
        if segment == 0:
            m = tl.load(memory + g * K * V + tile, mask=inside, other=0.0)
        else:
            m = tl.load(copies + (segment - 1) * K * V + tile, mask=inside, other=0.0)
        for n in range(first, last):
            e = story * N + n
            tl.store(scratch + (n - first) * K * V + tile, m, mask=inside)
            c_k, c_a, c_u, c_r = _learning(
                words, tl.load(sentence + e), below, e, clock, at_k, at_a, at_u, at_r, kin, vin, v, V, timed,
                keep, size, K2, V2, T, JOINED,
            )  # fmt: skip
            x = tl.load(writes + e).to(tl.float32) * _one(c_r) * _one(c_k)
            y = _one(c_u) * _one(c_a)
            add, scale, _ = _change(m, x, y, factors, strength, V2, P, PREDICT)
            m = _written(m, x, add, scale, low, high, inside)
        tl.debug_barrier()
        for back in range(last - first):
            n = last - 1 - back
            e = story * N + n
            s, place = tl.load(sentence + e), tl.load(places + e)
            m = tl.load(scratch + (n - first) * K * V + tile, mask=inside, other=0.0)

            # the window again; potentials are kept where the gradients of the currents will be
            heard = tl.load(clock + e * V + v, mask=timed, other=0.0)
            v_k, v_q = tl.zeros([K2], tl.float32), tl.zeros([K2], tl.float32)
            v_a, v_y = tl.zeros([V2], tl.float32), tl.zeros([V2], tl.float32)
            c_k, c_a = tl.zeros([K2], tl.float32), tl.zeros([V2], tl.float32)
            v_u, v_r, c_u, c_r = 0.0, 0.0, 0.0, 0.0
            for t in tl.static_range(T):
                w, b = (s * T + t) * size, (e * T + t) * size
                u_k = keep * v_k + _hear(words, w, below, b, at_k, kin, JOINED)
                u_q = keep * v_q + _hear(words, w, below, b, at_q, kin, JOINED)
                u_a = keep * v_a + (_hear(words, w, below, b, at_a, vin, JOINED) + heard)
                u_u = keep * v_u + _drive(words + w, below + b, at_u, JOINED)
                u_r = keep * v_r + _drive(words + w, below + b, at_r, JOINED)
                raw = tl.sum(_spike(u_q)[:, None] * m, 0)
                u_y = keep * v_y + (factor * raw + offset)
                tl.store(d_driven + b + at_k, u_k, mask=kin)
                tl.store(d_driven + b + at_q, u_q, mask=kin)
                tl.store(d_driven + b + at_a, u_a, mask=vin)
                tl.store(d_driven + b + at_u, u_u)
                tl.store(d_driven + b + at_r, u_r)
                tl.store(raws + t * V + v, raw, mask=vin)
                tl.store(potentials + t * V + v, u_y, mask=vin)
                c_k += _spike(u_k)
                c_a += _spike(u_a)
                c_u += _spike(u_u)
                c_r += _spike(u_r)
                v_k, v_q = tl.where(u_k > 1.0, 0.0, u_k), tl.where(u_q > 1.0, 0.0, u_q)
                v_a, v_y = tl.where(u_a > 1.0, 0.0, u_a), tl.where(u_y > 1.0, 0.0, u_y)
                v_u, v_r = tl.where(u_u > 1.0, 0.0, u_u), tl.where(u_r > 1.0, 0.0, u_r)
            tl.debug_barrier()

            # the write: d is the gradient of M after it
            written = tl.load(writes + e).to(tl.float32)
            x = written * _one(c_r) * _one(c_k)
            y = _one(c_u) * _one(c_a)
            add, scale, guess = _change(m, x, y, factors, strength, V2, P, PREDICT)
            change = add[None, :] + scale[None, :] * m
            new = (m + add[None, :]) + scale[None, :] * m
            clipped = (x[:, None] > 0.0) & ((new < low) | (new > high))
            d = tl.where(clipped, 0.0, d)
            d_x = written * tl.sum(d * change, 1)
            active = x[:, None] * d
            d_add, d_scale = tl.sum(active, 0), tl.sum(active * m, 0)
            d += active * scale[None, :]
            d_y, to_guess = tl.zeros([V2], tl.float32), tl.zeros([V2], tl.float32)
            for p in tl.static_range(P):
                q0, q1 = tl.load(factors + 4 * p), tl.load(factors + 4 * p + 1)
                given = d_add * tl.load(factors + 4 * p + 2) + d_scale * tl.load(factors + 4 * p + 3)
                each = q0 + q1 * y
                if (PREDICT >> p) & 1:
                    to_strength += tl.where(lane == p, tl.sum(given * each * guess, 0), 0.0)
                    given *= tl.load(strength + p)
                    to_guess += given * each
                    given *= guess
                else:
                    to_strength += tl.where(lane == p, tl.sum(given * each, 0), 0.0)
                    given *= tl.load(strength + p)
                d_y += given * q1
            if PREDICT:
                d += x[:, None] * (to_guess / tl.maximum(tl.sum(x, 0), 1e-6))[None, :]

            # "fired" gives its gradient evenly to a neuron's spikes, or to all steps of a silent one
            to_u = tl.sum(d_y * tl.where(c_u > 0.0, _one(c_a), c_a / T), 0)
            to_r = tl.sum(d_x * tl.where(c_r > 0.0, _one(c_k), c_k / T), 0)
            d_a = d_y * _one(c_u) / tl.where(c_a > 0.0, c_a, T)
            d_k = d_x * _one(c_r) / tl.where(c_k > 0.0, c_k, T)
            d_u, d_r = to_u / tl.where(c_u > 0.0, c_u, T), to_r / tl.where(c_r > 0.0, c_r, T)

            # back through the window, and from recall to the read keys and to M
            n_k, n_q = tl.zeros([K2], tl.float32), tl.zeros([K2], tl.float32)
            n_a, n_y = tl.zeros([V2], tl.float32), tl.zeros([V2], tl.float32)
            n_u, n_r = 0.0 * c_u, 0.0 * c_r
            to_clock = tl.zeros([V2], tl.float32)
            for undo in range(T):
                late = T - 1 - undo
                b = (e * T + late) * size
                given = tl.zeros([V2], tl.float32)
                if RECALL:
                    given += tl.load(
                        d_recall + story * r0 + n * r1 + late * r2 + head * V + v, mask=vin, other=0.0
                    )
                if READ:
                    row = ((place * T + late) * H + head) * V
                    given += tl.load(d_read + row + v, mask=vin & (place + 0 * v >= 0), other=0.0)
                u_y = tl.load(potentials + late * V + v, mask=vin, other=0.0)
                g_y = _through(given, u_y, n_y, slope)
                to_bias += g_y
                to_gain += g_y * tl.load(raws + late * V + v, mask=vin, other=0.0)
                u_q = tl.load(d_driven + b + at_q, mask=kin, other=0.0)
                u_k = tl.load(d_driven + b + at_k, mask=kin, other=0.0)
                u_a = tl.load(d_driven + b + at_a, mask=vin, other=0.0)
                u_u, u_r = tl.load(d_driven + b + at_u), tl.load(d_driven + b + at_r)
                g_q = _through(tl.sum(m * (factor * g_y)[None, :], 1), u_q, n_q, slope)
                d += _spike(u_q)[:, None] * (factor * g_y)[None, :]
                g_k = _through(tl.where((c_k == 0.0) | (u_k > 1.0), d_k, 0.0), u_k, n_k, slope)
                g_a = _through(tl.where((c_a == 0.0) | (u_a > 1.0), d_a, 0.0), u_a, n_a, slope)
                g_u = _through(tl.where((c_u == 0.0) | (u_u > 1.0), d_u, 0.0), u_u, n_u, slope)
                g_r = _through(tl.where((c_r == 0.0) | (u_r > 1.0), d_r, 0.0), u_r, n_r, slope)
                to_clock += g_a
                tl.debug_barrier()  # all have read the potentials
                tl.store(d_driven + b + at_k, g_k, mask=kin)
                tl.store(d_driven + b + at_q, g_q, mask=kin)
                tl.store(d_driven + b + at_a, g_a, mask=vin)
                tl.store(d_driven + b + at_u, g_u)
                tl.store(d_driven + b + at_r, g_r)
                n_k, n_q, n_a, n_y = keep * g_k, keep * g_q, keep * g_a, keep * g_y
                n_u, n_r = keep * g_u, keep * g_r
            tl.store(d_clock + e * V + v, to_clock, mask=timed)
            tl.debug_barrier()
    tl.store(d_memory + g * K * V + tile, d, mask=inside)
    tl.store(d_bias + g * V + v, to_bias, mask=vin)
    tl.store(d_gain + g, tl.sum(to_gain, 0))
    tl.store(d_strength + g * P + lane, to_strength, mask=lane < P)


@triton.jit(do_not_specialize=_SIZES)
def _by_sentence(d_driven, sentence, out, events, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """out[s] = sum of d_driven[e] over the events e that are sentence s, in their order."""
    s = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for first in range(0, events, BLOCK):
        event = first + tl.arange(0, BLOCK)
        mine = tl.load(sentence + event, mask=event < events, other=-1) == s
        for _ in range(tl.sum(mine.to(tl.int32), 0)):
            e = tl.min(tl.where(mine, event, events), 0)
            total += tl.load(d_driven + e.to(tl.int64) * size + at, mask=at < size, other=0.0)
            mine = mine & (event != e)
    tl.store(out + s * size + at, total, mask=at < size)


@functools.lru_cache(maxsize=64)
def _constants(factors: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(factors, device=device)


def _given(
    words: Tensor, sentence: Tensor, below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor,
    memory: Tensor, strength: Tensor, gain: Tensor, bias: Tensor, factors: Sequence[float],
) -> tuple[Tensor, ...]:  # fmt: skip
    tensors = words, sentence, words if below is None else below, clock, writes, places, memory, strength
    found = [x.contiguous() for x in (*tensors, gain, bias)]
    return (*found, _constants(tuple(factors), memory.device))


def _sizes(
    memory: Tensor, events: int, steps: int, below: Tensor | None, predict: Sequence[bool]
) -> tuple[tuple[int, ...], dict[str, int]]:
    """Sizes that are arguments, and those that are compiled in."""
    _, heads, keys, values = memory.shape
    constants = {**compiled_in(keys, values, predict), "T": steps, "JOINED": below is not None}
    # no fused multiply-add: spikes then equal those of the CPU, and both passes find the same ones
    return (heads, events, keys, values), {**constants, "enable_fp_fusion": False}


def forward(
    words: Tensor, sentence: Tensor, below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor,
    memory: Tensor, strength: Tensor, gain: Tensor, bias: Tensor, reads: int, dv: float, slope: float,
    factors: Sequence[float], predict: Sequence[bool], low: float, high: float, record: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`level_kernels.forward` on CUDA tensors."""
    found = outputs(words, writes, memory, reads, record)
    if found[0].numel() == 0:
        found[2].copy_(memory)
        return found
    given = _given(words, sentence, below, clock, writes, places, memory, strength, gain, bias, factors)
    sizes, constants = _sizes(memory, writes.shape[1], words.shape[1], below, predict)
    _forward[(memory.shape[0] * memory.shape[1],)](
        *given, *found, 1.0 - dv, low, high, *sizes, RECORD=record, **constants
    )
    return found


def backward(
    d_recall: Tensor | None, d_read: Tensor | None, d_after: Tensor | None, words: Tensor, sentence: Tensor,
    below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor, memory: Tensor, strength: Tensor,
    gain: Tensor, bias: Tensor, copies: Tensor, dv: float, slope: float, factors: Sequence[float],
    predict: Sequence[bool], low: float, high: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`level_kernels.backward` on CUDA tensors."""
    (sentences, steps, neurons), (stories, heads, keys, values) = words.shape, memory.shape
    d_driven, d_words = words.new_empty(writes.numel(), steps, neurons), words.new_zeros(words.shape)
    d_clock = clock.new_zeros(clock.shape)
    d_memory = (
        memory.new_zeros(memory.shape)
        if d_after is None
        else d_after.clone(memory_format=torch.contiguous_format)
    )
    d_gain, d_bias = memory.new_zeros(stories, heads), memory.new_zeros(stories, heads, values)
    d_strength = memory.new_zeros(stories, heads, len(predict))
    if d_driven.numel() and memory.numel():
        given = _given(words, sentence, below, clock, writes, places, memory, strength, gain, bias, factors)
        sizes, constants = _sizes(memory, writes.shape[1], steps, below, predict)
        from_above = words[..., None] if d_recall is None else d_recall  # of which nothing is read
        from_above = from_above if from_above.stride(-1) == 1 else from_above.contiguous()
        longest = min(writes.shape[1], SEGMENT)
        scratch = memory.new_empty(stories * heads, longest * keys * values + 2 * steps * values)
        _backward[(stories * heads,)](
            *given, copies,
            from_above, *from_above.stride()[:3],
            words if d_read is None else d_read.contiguous(),
            d_driven, d_clock, d_memory, d_gain, d_bias, d_strength, scratch, 1.0 - dv, slope, low, high,
            *sizes, longest, RECALL=d_recall is not None, READ=d_read is not None,
            P2=triton.next_power_of_2(len(predict)), **constants,
        )  # fmt: skip
        size = steps * neurons
        _by_sentence[(sentences, triton.cdiv(size, _BLOCK))](
            d_driven, sentence.contiguous(), d_words, len(sentence), size, BLOCK=_BLOCK
        )
    return d_words, d_driven, d_clock, d_memory, d_strength.sum(0), d_gain.sum(0), d_bias.sum(0)
