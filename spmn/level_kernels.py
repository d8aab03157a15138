"""CPU kernel (numba) of one whole memory level: neurons, gates, plasticity and recall in one pass over a
story.

What `levels.Level` does in steps (`lif`, `fired`, the rule, the scan, `lif` again) happens here event by
event for one story and head at a time, so that its currents, potentials and M stay in the fastest cache;
only what the next level needs is written out. The backward pass computes potentials again and M from
stored copies.

It takes rules that learn once per event, from neurons that fired in the window (`plasticity.by_event`):

    x = r k,  y = u a,  both 0 or 1;   dw = x_k (A_v + B_v w)   with  A_v = sum_p s_p c_p b_pv,
    B_v = sum_p s_p l_p b_pv,  b_pv = (q0_p + q1_p y_v), times y2_v where product p asks for the prediction

Per story and head the neurons lie side by side in groups of 16 lanes: write key, read key, association, and
the two gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from hardware.kernel_types import version_of
from spmn import kernels
from spmn import lanes as lanes_module
from spmn.kernels import SEGMENT, new_copies
from spmn.lanes import WIDTH, above, bits, lanes, load, lowest, mad, ratio, size, store, total, totals

_W = np.uint64(WIDTH)
_U0, _U1 = np.uint64(0), np.uint64(1)
_ZERO, _ONE = np.float32(0), np.float32(1)
_njit: Any = numba.njit
_piece = _njit(forceinline=True, error_model="numpy")
_VERSION = version_of(kernels, lanes_module)


class _Sizes(NamedTuple):
    """Numbers of everything; `lanes`: rounded up to whole groups of lanes."""

    stories: Any
    heads: Any
    events: Any
    steps: Any
    keys: Any
    values: Any
    key_lanes: Any
    value_lanes: Any
    neurons: Any  # of all heads, without recall
    block: Any  # heads that one thread reads along with each other
    joined: bool  # whether levels below add to the currents
    record: bool  # whether the spikes of keys, associations and gates are wanted


# ----------------------------------------------------------------------------------- pieces of an event


@_piece
def _copy(goal, i, source, j, count):  # type: ignore[no-untyped-def]
    whole = count // _W * _W
    for c in range(_U0, whole, _W):
        store(goal, i + c, load(source, j + c))
    for c in range(whole, count):
        goal[i + c] = source[j + c]


@_piece
def _sum(goal, i, a, j, b, k, count):  # type: ignore[no-untyped-def]
    whole = count // _W * _W
    for c in range(_U0, whole, _W):
        store(goal, i + c, load(a, j + c) + load(b, k + c))
    for c in range(whole, count):
        goal[i + c] = a[j + c] + b[k + c]


@_piece
def _add_rows(goal, i, a, j, count):  # type: ignore[no-untyped-def]
    whole = count // _W * _W
    for c in range(_U0, whole, _W):
        store(goal, i + c, load(goal, i + c) + load(a, j + c))
    for c in range(whole, count):
        goal[i + c] += a[j + c]


@_piece
def _runs(first, ours, sizes, at, lane, count):  # type: ignore[no-untyped-def]
    """Where k, q, a, u, r of some heads lie among a level's neurons and among the lanes of this thread.

    A run is `count` neurons that lie side by side in both; returns the number of runs.
    """
    heads, keys, values, block = sizes.heads, sizes.keys, sizes.values, sizes.block
    number = _U0
    for part in range(np.uint64(3)):
        size_ = values if part == 2 else keys
        step = sizes.value_lanes if part == 2 else sizes.key_lanes
        together = ours if size_ == step else _U1  # without gaps all heads are one run
        for i in range(_U0, ours, together):
            at[number] = part * heads * keys + (first + i) * size_
            lane[number] = part * block * sizes.key_lanes + i * step
            count[number] = together * size_
            number += _U1
    gates = block * (sizes.key_lanes + sizes.key_lanes + sizes.value_lanes)
    for part in range(np.uint64(2)):
        at[number] = heads * (keys + keys + values + part) + first
        lane[number] = gates + part * block
        count[number] = ours
        number += _U1
    return number


@_piece
def _hear(current, stride, words, below, clock, e, s, timed, sizes, runs, at, lane, count):  # type: ignore[no-untyped-def]
    """The currents of one event, [steps, stride]; the clock's are added at the lane `timed`, if it is not
    0."""
    n, steps = sizes.neurons, sizes.steps
    for t in range(steps):
        w, b, goal = (s * steps + t) * n, (e * steps + t) * n, t * stride
        for r in range(runs):
            if sizes.joined:
                _sum(current, goal + lane[r], words, w + at[r], below, b + at[r], count[r])
            else:
                _copy(current, goal + lane[r], words, w + at[r], count[r])
        if timed > _U0:
            _add_rows(current, goal + timed, clock, e * sizes.values, sizes.values)


@_piece
def _fired(goal, i, u, j, count):  # type: ignore[no-untyped-def]
    """goal = 1 where a potential is above 1, else 0."""
    zero, one = lanes(_ZERO), lanes(_ONE)
    whole = count // _W * _W
    for c in range(_U0, whole, _W):
        store(goal, i + c, above(load(u, j + c), one, one, zero))
    for c in range(whole, count):
        goal[i + c] = _ONE if u[j + c] > _ONE else _ZERO


@_piece
def _potentials(current, u, i, counts, j, steps, stride, keep):  # type: ignore[no-untyped-def]
    """u[t] = keep v[t-1] + I[t], where v is u, reset to 0 where u > 1; and the number of spikes."""
    zero, one, keep = lanes(_ZERO), lanes(_ONE), lanes(keep)
    for c in range(_U0, stride, _W):
        v = number = zero
        for t in range(steps):
            p = keep * v + load(current, t * stride + c)
            store(u, i + t * stride + c, p)
            v = above(p, one, zero, p)
            number = number + above(p, one, one, zero)
        store(counts, j + c, number)


@_piece
def _through(grad, u, i, out, steps, stride, keep, slope):  # type: ignore[no-untyped-def]
    """The gradient of the currents, given that of the spikes and the potentials."""
    zero, one, keep, slope = lanes(_ZERO), lanes(_ONE), lanes(keep), lanes(slope)
    for c in range(_U0, stride, _W):
        carry = zero
        for back in range(steps):
            at = (steps - _U1 - back) * stride + c
            p = load(u, i + at)
            steep = one + slope * size(p - one)
            carry = ratio(load(grad, at), steep * steep) + above(p, one, zero, carry)
            store(out, at, carry)
            carry = keep * carry


@_piece
def _which(x, i, limit, count, base, found, first):  # type: ignore[no-untyped-def]
    """Write base + the numbers of those of x[i : i + count] that are above the limit to found[first:]; how
    many?

    Lanes beyond `count` must not be above the limit.
    """
    number = first
    for c in range(_U0, count, _W):
        rest = bits(load(x, i + c), lanes(limit))
        while rest != _U0:
            found[number] = base + c + lowest(rest)
            number += _U1
            rest &= rest - _U1
    return number - first


@_piece
def _recalled(m, row, found, number, out, goal):  # type: ignore[no-untyped-def]
    """out = sum of the rows of M in `found`."""
    for c in range(_U0, row, _W):
        a = lanes(_ZERO)
        for i in range(number):
            a = a + load(m, found[i] * row + c)
        store(out, goal + c, a)


@_piece
def _recall(u, w, m, raw, seen, gains, offset, found, ours, stride, sizes):  # type: ignore[no-untyped-def]
    """raw[t] = M^T q[t] of all heads, and the currents of the recall neurons, seen[t] = gain raw[t] +
    offset."""
    row, width = sizes.value_lanes, sizes.block * sizes.value_lanes
    for t in range(sizes.steps):
        for i in range(ours):
            q = w + t * stride + (sizes.block + i) * sizes.key_lanes
            number = _which(u, q, _ONE, sizes.keys, i * sizes.keys, found, _U0)
            _recalled(m, row, found, number, raw, t * width + i * row)
        for c in range(_U0, width, _W):
            store(seen, t * width + c, load(gains, c) * load(raw, t * width + c) + load(offset, c))


@_piece
def _changes(m, row, found, first, number, y, factors, predict, strength, s, add, scale, b, y2):  # type: ignore[no-untyped-def]
    """A (add), B (scale) and b without the strengths, for the active keys in `found`; the head's strengths
    are strength[s:]."""
    zero = lanes(_ZERO)
    mean = _ONE / max(np.float32(number), np.float32(1e-6))
    for c in range(_U0, row, _W):
        seen = load(y, c)
        guess = zero
        for i in range(number):
            guess = guess + load(m, found[first + i] * row + c)
        guess = guess * lanes(mean)
        store(y2, c, guess)
        constant = linear = zero
        for p in range(np.uint64(predict.size)):
            f = p * np.uint64(4)
            each = lanes(factors[f]) + lanes(factors[f + _U1]) * seen
            if predict[p]:
                each = each * guess
            store(b, p * row + c, each)
            each = lanes(strength[s + p]) * each
            constant = constant + lanes(factors[f + np.uint64(2)]) * each
            linear = linear + lanes(factors[f + np.uint64(3)]) * each
        store(add, c, constant)
        store(scale, c, linear)


@_piece
def _write(m, row, found, first, number, add, scale, low, high):  # type: ignore[no-untyped-def]
    low, high = lanes(low), lanes(high)
    for c in range(_U0, row, _W):
        constant, linear = load(add, c), load(scale, c)
        for i in range(number):
            at = found[first + i] * row + c
            w = load(m, at)
            w = (w + constant) + linear * w
            w = above(low, w, low, w)
            store(m, at, above(w, high, high, w))


@_piece
def _write_backward(  # type: ignore[no-untyped-def]
    d, m, row, found, first, number, base, keys, add, scale, low, high, d_x, d_add, d_scale, partial
):
    """Gradients of x of all keys, of A and B, and of M; d holds that of M after the write."""
    low, high, one = lanes(low), lanes(high), lanes(_ONE)
    zero = lanes(_ZERO)
    for c in range(_U0, row, _W):  # no gradient passes where the new weight was clipped
        constant, linear = load(add, c), load(scale, c)
        to_add = to_scale = zero
        for i in range(number):
            at = found[first + i] * row + c
            w = load(m, at)
            new = (w + constant) + linear * w
            each = load(d, at)
            each = above(low, new, zero, each)
            each = above(new, high, zero, each)
            store(d, at, each)
            to_add = to_add + each
            to_scale = mad(each, w, to_scale)
        store(d_add, c, to_add)
        store(d_scale, c, to_scale)
    for k in range(keys):
        sum_ = zero
        for c in range(_U0, row, _W):
            at = (base + k) * row + c
            change = mad(load(scale, c), load(m, at), load(add, c))
            sum_ = mad(load(d, at), change, sum_)
        store(partial, k * _W, sum_)
    for k in range(_U0, keys, _W):
        store(d_x, k, totals(partial, k * _W))
    for c in range(_U0, row, _W):
        linear = load(scale, c) + one
        for i in range(number):
            at = found[first + i] * row + c
            store(d, at, load(d, at) * linear)


@_piece
def _changes_backward(  # type: ignore[no-untyped-def]
    d, row, found, first, number, factors, predict, strength, s, b, y, y2, d_add, d_scale, d_y, d_strength,
    goal,
):  # fmt: skip
    """Gradients of y, of the strengths, from d_strength[goal:], and, by way of y2, of M, given those of A and
    B."""
    zero = lanes(_ZERO)
    mean = _ONE / max(np.float32(number), np.float32(1e-6))
    for c in range(_U0, row, _W):
        store(d_y, c, zero)
        to_y2 = zero
        for p in range(np.uint64(predict.size)):
            f = p * np.uint64(4)
            given = mad(
                load(d_add, c),
                lanes(factors[f + np.uint64(2)]),
                load(d_scale, c) * lanes(factors[f + np.uint64(3)]),
            )
            d_strength[goal + p] += total(given * load(b, p * row + c))
            given = given * lanes(strength[s + p])
            if predict[p]:
                to_y2 = mad(given, lanes(factors[f]) + lanes(factors[f + _U1]) * load(y, c), to_y2)
                given = given * load(y2, c)
            store(d_y, c, mad(given, lanes(factors[f + _U1]), load(d_y, c)))
        to_y2 = to_y2 * lanes(mean)
        if predict.any():
            for i in range(number):
                at = found[first + i] * row + c
                store(d, at, load(d, at) + to_y2)


@_piece
def _shared(through, u, i, counts, j, steps, stride, gate, grad, at, count):  # type: ignore[no-untyped-def]
    """Spread the gradient of "fired" over the steps of a window; returns that of the gate, which
    multiplies each.

    Evenly over a neuron's spikes, or over all steps of one that was silent. The neurons lie at lane `at`.
    """
    zero, one = lanes(_ZERO), lanes(_ONE)
    all_steps, open_ = lanes(np.float32(steps)), lanes(gate)
    to_gate = zero
    for c in range(_U0, count, _W):
        number, given = load(counts, j + at + c), load(through, c)
        seen = above(open_, zero, above(number, zero, one, zero), ratio(number, all_steps))
        to_gate = mad(given, seen, to_gate)
        each = ratio(given * open_, above(number, zero, number, all_steps))
        silent = above(number, zero, zero, each)
        for t in range(steps):
            fired = load(u, i + t * stride + at + c)
            store(grad, t * stride + at + c, above(fired, one, each, silent))
    return total(to_gate)


@_piece
def _recall_backward(u, w, m, d, d_seen, grad, partial, found, ours, stride, sizes):  # type: ignore[no-untyped-def]
    """Gradients of the read keys, and of M, given those of raw[t] = M^T q[t]."""
    row, width = sizes.value_lanes, sizes.block * sizes.value_lanes
    for i in range(ours):
        base = i * sizes.keys
        for t in range(sizes.steps):
            given, q = t * width + i * row, t * stride + (sizes.block + i) * sizes.key_lanes
            for k in range(sizes.keys):
                sum_ = lanes(_ZERO)
                for c in range(_U0, row, _W):
                    sum_ = mad(load(m, (base + k) * row + c), load(d_seen, given + c), sum_)
                store(partial, k * _W, sum_)
            for k in range(_U0, sizes.keys, _W):
                store(grad, q + k, totals(partial, k * _W))
            number = _which(u, w + q, _ONE, sizes.keys, base, found, _U0)
            for c in range(_U0, row, _W):
                each = load(d_seen, given + c)
                for a in range(number):
                    at = found[a] * row + c
                    store(d, at, load(d, at) + each)


@_piece
def _associated(counts, at, gate, y, row):  # type: ignore[no-untyped-def]
    """y = 1 where an association neuron fired and its gate opened."""
    zero, open_ = lanes(_ZERO), lanes(np.float32(gate > _ZERO))
    for c in range(_U0, row, _W):
        store(y, c, above(load(counts, at + c), zero, open_, zero))


@_njit(parallel=True, cache=True)
def _forward(  # type: ignore[no-untyped-def]
    version, workers, counts, limits, joined, record, words, sentence, below, clock, writes, places, strength,
    gain, bias, factors, predict, recall, read, after, copies, spikes,
):  # fmt: skip
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = counts
    keep, slope, low, high = limits
    for worker in numba.prange(workers):
        sizes = _Sizes(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, joined, record)
        _forward_stories(
            np.uint64(worker), np.uint64(workers), sizes, (keep, slope, low, high), words, sentence, below,
            clock, writes, places, strength, gain, bias, factors, predict, recall, read, after, copies,
            spikes,
        )  # fmt: skip


@_njit(error_model="numpy")
def _forward_stories(  # type: ignore[no-untyped-def]
    worker, workers, sizes, limits, words, sentence, below, clock, writes, places, strength, gain, bias,
    factors, predict, recall, read, after, copies, spikes,
):  # fmt: skip
    heads, events, steps, keys, values = sizes.heads, sizes.events, sizes.steps, sizes.keys, sizes.values
    key_lanes, row, block, products = sizes.key_lanes, sizes.value_lanes, sizes.block, np.uint64(predict.size)
    associations, width = block * (key_lanes + key_lanes), block * row
    gates = associations + width
    stride = gates + (block + block + _W - _U1) // _W * _W
    keep, _, low, high = limits
    blocks = (heads + block - _U1) // block
    groups = sizes.stories * blocks
    at, lane, count = _table(block), _table(block), _table(block)
    found = np.zeros(keys + _U1, np.uint64)
    current, u = np.zeros(steps * stride, np.float32), np.zeros(steps * stride, np.float32)
    counts, y = np.zeros(stride, np.float32), np.zeros(row, np.float32)
    raw, seen, v = (np.zeros(steps * width, np.float32), np.zeros(steps * width, np.float32),
                    np.zeros(steps * width, np.float32))  # fmt: skip
    fires, offset, gains = (np.zeros(width, np.float32), np.zeros(width, np.float32),
                            np.zeros(width, np.float32))  # fmt: skip
    b, y2 = np.zeros(row * products, np.float32), np.zeros(row, np.float32)
    add, scale = np.zeros(row, np.float32), np.zeros(row, np.float32)
    m = np.zeros(block * keys * row, np.float32)
    for g in range(worker * groups // workers, (worker + _U1) * groups // workers):
        story, first = g // blocks, g % blocks * block
        ours = min(block, heads - first)  # heads
        start = story * heads + first
        timed = associations + (ours - _U1) * row if first + ours == heads else _U0
        runs = _runs(first, ours, sizes, at, lane, count)
        for i in range(ours):
            _copy(offset, i * row, bias, (first + i) * values, values)
            gains[i * row : (i + _U1) * row] = gain[first + i]
        for k in range(ours * keys):
            _copy(m, k * row, after, (start * keys + k) * values, values)
        for n in range(events):
            e = story * events + n
            s = np.uint64(sentence[e])
            _hear(current, stride, words, below, clock, e, s, timed, sizes, runs, at, lane, count)
            _potentials(current, u, _U0, counts, _U0, steps, stride, keep)
            if sizes.record:
                for t in range(steps):
                    for r in range(runs):
                        goal = (e * steps + t) * sizes.neurons + at[r]
                        _fired(spikes, goal, u, t * stride + lane[r], count[r])
            _recall(u, _U0, m, raw, seen, gains, offset, found, ours, stride, sizes)
            _potentials(seen, v, _U0, fires, _U0, steps, width, keep)
            for t in range(steps):
                for i in range(ours):
                    goal = ((e * steps + t) * heads + first + i) * values
                    _fired(recall, goal, v, t * width + i * row, values)
                    if places[e] >= 0:
                        goal = ((np.uint64(places[e]) * steps + t) * heads + first + i) * values
                        _fired(read, goal, v, t * width + i * row, values)
            for i in range(ours):
                if writes[e] and counts[gates + block + i] > _ZERO:
                    number = _which(counts, i * key_lanes, _ZERO, keys, i * keys, found, _U0)
                    _associated(counts, associations + i * row, counts[gates + i], y, row)
                    _changes(
                        m, row, found, _U0, number, y, factors, predict, strength, (first + i) * products,
                        add, scale, b, y2,
                    )  # fmt: skip
                    _write(m, row, found, _U0, number, add, scale, low, high)
            if (n + _U1) % np.uint64(SEGMENT) == _U0:
                for i in range(ours):
                    copy = _copy_of(start + i, n // np.uint64(SEGMENT), events) * keys
                    for k in range(keys):
                        _copy(copies, (copy + k) * values, m, (i * keys + k) * row, values)
        for k in range(ours * keys):
            _copy(after, (start * keys + k) * values, m, k * row, values)


@_piece
def _table(block):  # type: ignore[no-untyped-def]
    return np.zeros(block * np.uint64(3) + np.uint64(2), np.uint64)


@_piece
def _copy_of(group, segment, events):  # type: ignore[no-untyped-def]
    """Number of the copy of M of a story's head after a segment."""
    return group * (events // np.uint64(SEGMENT)) + segment


@_njit(parallel=True, cache=True)
def _backward(  # type: ignore[no-untyped-def]
    version, workers, counts, limits, joined, record, words, sentence, below, clock, writes, places, strength,
    gain, bias, factors, predict, memory, copies, d_recall, d_stride, d_read, d_driven, d_clock, d_memory,
    d_gain, d_bias, d_strength,
):  # fmt: skip
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = counts
    keep, slope, low, high = limits
    for worker in numba.prange(workers):
        sizes = _Sizes(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, joined, record)
        _backward_stories(
            np.uint64(worker), np.uint64(workers), sizes, (keep, slope, low, high), words, sentence, below,
            clock, writes, places, strength, gain, bias, factors, predict, memory, copies, d_recall,
            d_stride, d_read, d_driven, d_clock, d_memory, d_gain, d_bias, d_strength,
        )  # fmt: skip


@_njit(error_model="numpy")
def _backward_stories(  # type: ignore[no-untyped-def]
    worker, workers, sizes, limits, words, sentence, below, clock, writes, places, strength, gain, bias,
    factors, predict, memory, copies, d_recall, d_stride, d_read, d_driven, d_clock, d_memory, d_gain,
    d_bias, d_strength,
):  # fmt: skip
    heads, events, steps, keys, values = sizes.heads, sizes.events, sizes.steps, sizes.keys, sizes.values
    key_lanes, row, block, products = sizes.key_lanes, sizes.value_lanes, sizes.block, np.uint64(predict.size)
    associations, width = block * (key_lanes + key_lanes), block * row
    gates = associations + width
    stride = gates + (block + block + _W - _U1) // _W * _W
    window = steps * stride
    keep, slope, low, high = limits
    blocks = (heads + block - _U1) // block
    groups = sizes.stories * blocks
    longest = min(events, np.uint64(SEGMENT))
    at, lane, count = _table(block), _table(block), _table(block)
    found = np.zeros(keys + _U1, np.uint64)
    # of every event in a segment: potentials and spikes; what it overwrote: number of rows, their keys and
    # their old weights
    u, counts = np.zeros(longest * window, np.float32), np.zeros(longest * stride, np.float32)
    numbers = np.zeros(longest * block, np.uint64)
    log_keys = np.zeros(longest * block * keys + _U1, np.uint64)
    log = np.zeros(longest * block * keys * row, np.float32)
    current, grad = np.zeros(window, np.float32), np.zeros(window, np.float32)
    d_current, d_gates = np.zeros(window, np.float32), np.zeros(stride - gates, np.float32)
    raw, seen, v = (np.zeros(steps * width, np.float32), np.zeros(steps * width, np.float32),
                    np.zeros(steps * width, np.float32))  # fmt: skip
    fires, y, y2 = np.zeros(width, np.float32), np.zeros(row, np.float32), np.zeros(row, np.float32)
    d_spikes, d_seen = np.zeros(steps * width, np.float32), np.zeros(steps * width, np.float32)
    offset, d_offset = np.zeros(width, np.float32), np.zeros(width, np.float32)
    gains, d_gains = np.zeros(width, np.float32), np.zeros(width, np.float32)
    b = np.zeros(row * products, np.float32)
    add, scale = np.zeros(row, np.float32), np.zeros(row, np.float32)
    d_add, d_scale = np.zeros(row, np.float32), np.zeros(row, np.float32)
    d_x, d_y = np.zeros(key_lanes, np.float32), np.zeros(row, np.float32)
    partial = np.zeros(key_lanes * _W, np.float32)
    m, d = np.zeros(block * keys * row, np.float32), np.zeros(block * keys * row, np.float32)
    for g in range(worker * groups // workers, (worker + _U1) * groups // workers):
        story, head = g // blocks, g % blocks * block
        ours = min(block, heads - head)
        start = story * heads + head
        timed = associations + (ours - _U1) * row if head + ours == heads else _U0
        runs = _runs(head, ours, sizes, at, lane, count)
        for i in range(ours):
            _copy(offset, i * row, bias, (head + i) * values, values)
            gains[i * row : (i + _U1) * row] = gain[head + i]
        d_offset[:] = _ZERO
        d_gains[:] = _ZERO
        for k in range(ours * keys):
            _copy(d, k * row, d_memory, (start * keys + k) * values, values)
        for turn in range((events + np.uint64(SEGMENT - 1)) // np.uint64(SEGMENT)):
            segment = (events - _U1) // np.uint64(SEGMENT) - turn
            first = segment * np.uint64(SEGMENT)
            last = min(first + np.uint64(SEGMENT), events)
            for i in range(ours):
                for k in range(keys):
                    goal = (i * keys + k) * row
                    if segment > _U0:
                        copy = _copy_of(start + i, segment - _U1, events) * keys + k
                        _copy(m, goal, copies, copy * values, values)
                    else:
                        _copy(m, goal, memory, ((start + i) * keys + k) * values, values)
            top = _U0
            for n in range(first, last):  # forward again, noting what is overwritten
                e = story * events + n
                w, spent = (n - first) * window, (n - first) * stride
                s = np.uint64(sentence[e])
                _hear(current, stride, words, below, clock, e, s, timed, sizes, runs, at, lane, count)
                _potentials(current, u, w, counts, spent, steps, stride, keep)
                for i in range(ours):
                    number = _U0
                    if writes[e] and counts[spent + gates + block + i] > _ZERO:
                        number = _which(counts, spent + i * key_lanes, _ZERO, keys, i * keys, log_keys, top)
                        for a in range(top, top + number):
                            _copy(log, a * row, m, log_keys[a] * row, row)
                        here = spent + associations + i * row
                        _associated(counts, here, counts[spent + gates + i], y, row)
                        _changes(
                            m, row, log_keys, top, number, y, factors, predict, strength,
                            (head + i) * products, add, scale, b, y2,
                        )  # fmt: skip
                        _write(m, row, log_keys, top, number, add, scale, low, high)
                        top += number
                    numbers[(n - first) * block + i] = number
            for back in range(last - first):
                n = last - _U1 - back
                e = story * events + n
                w, spent = (n - first) * window, (n - first) * stride
                for j in range(ours):
                    i = ours - _U1 - j
                    here = spent + associations + i * row
                    u_open = np.float32(counts[spent + gates + i] > _ZERO)
                    r_open = np.float32(counts[spent + gates + block + i] > _ZERO)
                    if writes[e]:
                        number = numbers[(n - first) * block + i]
                        top -= number
                        for a in range(top, top + number):
                            _copy(m, log_keys[a] * row, log, a * row, row)
                        _associated(counts, here, u_open, y, row)
                        _changes(
                            m, row, log_keys, top, number, y, factors, predict, strength,
                            (head + i) * products, add, scale, b, y2,
                        )  # fmt: skip
                        _write_backward(
                            d, m, row, log_keys, top, number, i * keys, keys, add, scale, low, high, d_x,
                            d_add, d_scale, partial,
                        )  # fmt: skip
                        _changes_backward(
                            d, row, log_keys, top, number, factors, predict, strength, (head + i) * products,
                            b, y, y2, d_add, d_scale, d_y, d_strength, (start + i) * products,
                        )  # fmt: skip
                        lane_a, lane_k = associations + i * row, i * key_lanes
                        d_gates[i] = _shared(
                            d_y, u, w, counts, spent, steps, stride, u_open, grad, lane_a, row
                        )
                        d_gates[block + i] = _shared(
                            d_x, u, w, counts, spent, steps, stride, r_open, grad, lane_k, keys
                        )
                if writes[e]:
                    _shared(d_gates, u, w, counts, spent, steps, stride, _ONE, grad, gates, stride - gates)
                else:  # nothing was learnt: keys, associations and gates had no effect
                    grad[:] = _ZERO

                if d_stride > _U0 or places[e] >= 0:
                    for t in range(steps):
                        for i in range(ours):
                            goal, h = t * width + i * row, (head + i) * values
                            if d_stride > _U0:
                                _copy(d_spikes, goal, d_recall, (e * steps + t) * d_stride + h, values)
                            else:
                                d_spikes[goal : goal + values] = _ZERO
                            if places[e] >= 0 and d_read.size > 0:
                                source = (np.uint64(places[e]) * steps + t) * heads * values + h
                                _add_rows(d_spikes, goal, d_read, source, values)
                    _recall(u, w, m, raw, seen, gains, offset, found, ours, stride, sizes)
                    _potentials(seen, v, _U0, fires, _U0, steps, width, keep)
                    _through(d_spikes, v, _U0, d_seen, steps, width, keep, slope)
                    for t in range(steps):
                        for c in range(_U0, ours * row, _W):
                            each = load(d_seen, t * width + c)
                            store(d_gains, c, mad(each, load(raw, t * width + c), load(d_gains, c)))
                            store(d_offset, c, load(d_offset, c) + each)
                            store(d_seen, t * width + c, load(gains, c) * each)
                    _recall_backward(u, w, m, d, d_seen, grad, partial, found, ours, stride, sizes)
                else:
                    for t in range(steps):
                        here = t * stride + block * key_lanes
                        grad[here : here + block * key_lanes] = _ZERO

                _through(grad, u, w, d_current, steps, stride, keep, slope)
                for t in range(steps):
                    goal = (e * steps + t) * sizes.neurons
                    for r in range(runs):
                        _copy(d_driven, goal + at[r], d_current, t * stride + lane[r], count[r])
                    if timed > _U0:
                        _add_rows(d_clock, e * values, d_current, t * stride + timed, values)
        for k in range(ours * keys):
            _copy(d_memory, (start * keys + k) * values, d, k * row, values)
        for i in range(ours):
            _copy(d_bias, (start + i) * values, d_offset, i * row, values)
            d_gain[start + i] = d_gains[i * row : (i + _U1) * row].sum()


@_njit(parallel=True, cache=True)
def _by_sentence(version, d_driven, order, starts, n, out):  # type: ignore[no-untyped-def]
    """out[s] = sum of d_driven[e] over the events e that are sentence s: order[starts[s] : starts[s + 1]]."""
    for i in numba.prange(starts.size - 1):
        s = np.uint64(i)
        out[s * n : (s + _U1) * n] = _ZERO
        for a in range(starts[s], starts[s + _U1]):
            _add_rows(out, s * n, d_driven, np.uint64(order[a]) * n, n)


# ---------------------------------------------------------------------------------------- tensors to arrays


def _array(x: Tensor) -> Any:
    return x.contiguous().view(-1).numpy()


def _arguments(
    words: Tensor, sentence: Tensor, below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor,
    memory: Tensor, strength: Tensor, gain: Tensor, bias: Tensor, dv: float, slope: float, factors:
    Sequence[float], predict: Sequence[bool], low: float, high: float, record: bool, workers: int, block:
    int,
) -> tuple[Any, ...]:  # fmt: skip
    (stories, heads, keys, values), events, steps = memory.shape, writes.shape[1], words.shape[1]
    rounded = (-(-count // WIDTH) * WIDTH for count in (keys, values))
    counts = (stories, heads, events, steps, keys, values, *rounded, words.shape[-1], block)
    constants = np.array(factors, np.float32), np.array(predict, np.bool_)
    limits = np.float32(1.0 - dv), np.float32(slope), np.float32(low), np.float32(high)
    arrays = (
        _array(words), _array(sentence), _array(words[:0] if below is None else below), _array(clock),
        _array(writes), _array(places), _array(strength), _array(gain), _array(bias),
    )  # fmt: skip
    lengths = tuple(np.uint64(count) for count in counts)
    return (_VERSION, workers, lengths, limits, below is not None, record, *arrays, *constants)


def _work(memory: Tensor) -> tuple[int, int]:
    """Threads, and heads that one of them reads along with each other: all, where there are enough
    stories."""
    stories, heads = memory.shape[:2]
    threads = numba.get_num_threads()
    block = heads if stories >= threads else -(-heads * stories // threads)
    return min(threads, stories * -(-heads // block)), block


def outputs(
    words: Tensor, writes: Tensor, memory: Tensor, reads: int, record: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Room for what `forward` returns."""
    steps, (stories, events), (_, heads, _, values) = words.shape[1], writes.shape, memory.shape
    return (
        memory.new_empty(stories, events, steps, heads * values),
        memory.new_empty(reads, steps, heads * values),
        memory.new_empty(memory.shape),
        new_copies(memory, events),
        memory.new_empty(stories, events, steps if record else 0, words.shape[-1]),
    )


def forward(
    words: Tensor, sentence: Tensor, below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor,
    memory: Tensor, strength: Tensor, gain: Tensor, bias: Tensor, reads: int, dv: float, slope: float,
    factors: Sequence[float], predict: Sequence[bool], low: float, high: float, record: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`operators.level` on CPU tensors of float32; the fourth result are copies of M after every SEGMENT
    events.

    places: [B N], the row of each event among the `reads` events that are read, or -1.
    """
    found = outputs(words, writes, memory, reads, record)
    found[2].copy_(memory)
    if found[0].numel():
        arguments = _arguments(
            words, sentence, below, clock, writes, places, memory, strength, gain, bias, dv, slope, factors,
            predict, low, high, record, *_work(memory),
        )  # fmt: skip
        _forward(*arguments, *(x.view(-1).numpy() for x in found))
    return found


def backward(
    d_recall: Tensor | None, d_read: Tensor | None, d_after: Tensor | None, words: Tensor, sentence: Tensor,
    below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor, memory: Tensor, strength: Tensor,
    gain: Tensor, bias: Tensor, copies: Tensor, dv: float, slope: float, factors: Sequence[float],
    predict: Sequence[bool], low: float, high: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of words, below, clock, memory, strength, gain and bias; None stands for gradients of 0."""
    (sentences, steps, neurons), (stories, heads, _, values) = words.shape, memory.shape
    workers, block = _work(memory)
    d_driven = words.new_empty(writes.numel(), steps, neurons)
    d_words, d_clock = words.new_empty(words.shape), clock.new_zeros(clock.shape)
    d_memory = (
        memory.new_zeros(memory.shape)
        if d_after is None
        else d_after.clone(memory_format=torch.contiguous_format)
    )
    d_gain, d_bias = words.new_zeros(stories, heads), words.new_zeros(stories, heads, values)
    d_strength = words.new_zeros(stories, heads, len(predict))
    if d_driven.numel() and memory.numel():
        arguments = _arguments(
            words, sentence, below, clock, writes, places, memory, strength, gain, bias, dv, slope, factors,
            predict, low, high, False, workers, block,
        )  # fmt: skip
        given = (
            _array(memory),
            _array(copies),
            *_by_row(d_recall, words),
            _array(words[:0] if d_read is None else d_read),
        )
        found = (d_driven, d_clock, d_memory, d_gain, d_bias, d_strength)
        _backward(*arguments, *given, *(x.view(-1).numpy() for x in found))
    which = sentence.numpy()
    starts = np.zeros(sentences + 1, np.int64)
    np.cumsum(np.bincount(which, minlength=sentences), out=starts[1:])
    order = np.argsort(which, kind="stable")
    _by_sentence(
        _VERSION, _array(d_driven), order, starts, np.uint64(steps * neurons), d_words.view(-1).numpy()
    )
    return d_words, d_driven, d_clock, d_memory, d_strength.sum(0), d_gain.sum(0), d_bias.sum(0)


def _by_row(d_recall: Tensor | None, like: Tensor) -> tuple[Any, Any]:
    """[B, N, T, H V] as one flat array, and the distance between its rows; 0 if there is none.

    What a level above was given together with other levels' recall is a part of longer rows: no copy is
    needed.
    """
    if d_recall is None:
        return _array(like[:0]), np.uint64(0)
    batch, events, steps, width = d_recall.shape
    stride = d_recall.stride(2)
    if stride < width or d_recall.stride() != (events * steps * stride, steps * stride, stride, 1):
        d_recall, stride = d_recall.contiguous(), width
    span = (batch * events * steps - 1) * stride + width
    return d_recall.as_strided((span,), (1,)).numpy(), np.uint64(stride)
