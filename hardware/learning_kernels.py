"""The learning engine of one stream, compiled by numba: `hardware.reference_learning`, event by event."""

from __future__ import annotations

import numpy as np

from hardware.arithmetic import ACCUMULATOR_RANGE, TAG_LIMITS, WEIGHT_FRACTION_BITS
from hardware.kernel_types import Array, Int, Output, Row, Scratch, Synapses, njit
from hardware.plan import Plan

ACCUMULATOR_LOW, ACCUMULATOR_HIGH = ACCUMULATOR_RANGE
(TAG_1_LOW, TAG_1_HIGH), (TAG_2_LOW, TAG_2_HIGH) = TAG_LIMITS["tag_1"], TAG_LIMITS["tag_2"]
FRACTIONS = 1 << WEIGHT_FRACTION_BITS


@njit
def learn(
    plan: Plan, output: Output, synapses: Synapses, scratch: Scratch, randoms: Array, counts: Array, step: Int
) -> None:
    """reference_learning.PlasticSynapses.learn of all projections."""
    plastic, traces, sources, inputs = plan.plastic, plan.traces, plan.sources, len(plan.inputs) - 1
    payload, fired, sent = output
    x, tx, y, ty = synapses.x, synapses.tx, synapses.y, synapses.ty
    spiked, traced, history = synapses.spiked, synapses.traced, scratch.history
    for number in range(len(plastic)):
        projection = plastic[number]
        epoch, pre, post = projection.epoch, projection.pre, projection.post
        pre_start, post_start = projection.pre_start, projection.post_start
        position = (step - 1) % epoch + 1
        # above 127, x1 falls without a spike where only the excess stays
        if sent[projection.source] > 0 or projection.mode == 3:
            start = sources[projection.source]
            count = sent[projection.source]
            _see_pre_spikes(projection, traces, 5 * number, x, tx, payload, fired, start, count, position)
            spiked[number, 0] = True
        sender = inputs + projection.target
        if sent[sender] > 0:
            _see_post_spikes(
                traces, 5 * number + 2, y, ty, post_start, fired, sources[sender], sent[sender], position
            )
            spiked[number, 1] = True
        if projection.three_factor:
            for trace in range(3):
                third = traces[5 * number + 2 + trace].third
                for neuron in range(post):
                    y[trace, post_start + neuron] = payload[third + neuron] if third >= 0 else 0
            traced[number, 1] = True
        if position < epoch:
            continue
        update = (step // epoch) % projection.decimation == 0
        silent = not (spiked[number, 0] or spiked[number, 1] or traced[number, 0] or traced[number, 1])
        if silent and not (projection.everywhere or (projection.u and update)):
            continue
        rows, draws = traces[5 * number : 5 * number + 5], randoms[number]
        for trace in range(2):
            _trace_history(rows[trace], x[trace], tx, pre_start, pre, draws[0], epoch, history[trace])
        for trace in range(3):
            row = trace + 2
            _trace_history(rows[row], y[trace], ty, post_start, post, draws[1], epoch, history[row])
        pre_closed = projection.needs_x0 and not spiked[number, 0]
        post_closed = projection.needs_y0 and not spiked[number, 1]
        if not (pre_closed or post_closed):
            counts[len(sources) + 1] += _apply(plan, number, synapses, scratch, update, randoms[number, 2])
        traced[number, 0] = _settle(x, tx, pre_start, pre, history, 0, epoch, True)
        keep = not projection.three_factor
        traced[number, 1] = _settle(y, ty, post_start, post, history, 2, epoch, keep)
        spiked[number, 0] = False
        spiked[number, 1] = False


@njit
def _impulse(trace: Int, impulse: Int) -> Int:
    """arithmetic.add_impulse"""
    return min(max(trace + impulse, 0), 127)


@njit
def _see_pre_spikes(
    projection: Row,
    traces: Array,
    row: Int,
    x: Array,
    tx: Array,
    payload: Array,
    fired: Array,
    start: Int,
    count: Int,
    position: Int,
) -> None:
    """arithmetic.graded_trace, and the time of each spike."""
    mode = projection.mode
    for entry in range(projection.pre if mode == 3 else count):
        neuron = entry if mode == 3 else fired[start + entry]
        sent = np.int64(payload[start + neuron])
        pre = projection.pre_start + neuron
        half = ((sent >> 1) + ((sent >> 1) & sent & 1)) & 255
        counted = sent != 0
        if mode == 1:
            x[0, pre] = half
        elif mode == 2:
            x[0, pre] = min((x[0, pre] + half) & 255, 127)
        elif mode == 3:
            total = (x[0, pre] + half) & 255
            counted = counted and total > 127
            x[0, pre] = total - 127 if total > 127 else total
        if counted:
            if tx[pre] > 0:
                if mode == 0:
                    x[0, pre] = _impulse(x[0, pre], traces[row].impulse)
                x[1, pre] = _impulse(x[1, pre], traces[row + 1].impulse)
            tx[pre] = position


@njit
def _see_post_spikes(
    traces: Array,
    row: Int,
    y: Array,
    ty: Array,
    post_start: Int,
    fired: Array,
    start: Int,
    count: Int,
    position: Int,
) -> None:
    for entry in range(start, start + count):
        post = post_start + fired[entry]
        if ty[post] > 0:
            for trace in range(3):
                y[trace, post] = _impulse(y[trace, post], traces[row + trace].impulse)
        ty[post] = position


@njit
def _trace_history(
    row: Row, trace: Array, times: Array, first: Int, neurons: Int, random: float, epoch: Int, history: Array
) -> None:
    """arithmetic.decay_trace and add_impulse at every step of the epoch, into [0..epoch, neurons]."""
    impulse, kept = row.impulse, row.kept
    for neuron in range(neurons):
        value = np.int64(trace[first + neuron])
        history[neuron] = value
        for position in range(1, epoch + 1):
            if value != 0:
                exact = kept * value
                whole = np.floor(exact)
                value = np.int64(whole) + np.int64(random < exact - whole)
            if times[first + neuron] == position:
                value = np.int64(_impulse(value, impulse))
            history[position * neurons + neuron] = value


@njit
def _settle(
    traces: Array, times: Array, first: Int, neurons: Int, history: Array, row: Int, epoch: Int, keep: bool
) -> bool:
    """Traces take their last values, spike times are forgotten; True if some trace is left."""
    left = False
    for neuron in range(neurons):
        times[first + neuron] = 0
        for trace in range(len(traces)):
            if keep:
                traces[trace, first + neuron] = history[row + trace, epoch * neurons + neuron]
            left = left or traces[trace, first + neuron] != 0
    return left


@njit
def _apply(plan: Plan, number: Int, synapses: Synapses, scratch: Scratch, update: bool, random: float) -> Int:
    """The rule at all synapses that it can change; how many these are."""
    projection, traces, history = plan.plastic[number], plan.traces, scratch.history
    tx = synapses.tx[projection.pre_start : projection.pre_start + projection.pre]
    ty = synapses.ty[projection.post_start : projection.post_start + projection.post]
    if not (projection.gated or projection.everywhere):
        depends = projection.u and update
        depends = depends or (projection.x0 and tx.any()) or (projection.y0 and ty.any())
        if not depends:
            return 0
    open_posts = 0
    for neuron in range(len(ty)):
        open_posts += _is_open(
            projection.needs_y0, traces, 5 * number + 2, 3, history, 2, ty, neuron, projection.epoch
        )
    evaluations = 0
    if open_posts > 0:
        for neuron in range(len(tx)):
            if _is_open(projection.needs_x0, traces, 5 * number, 2, history, 0, tx, neuron, projection.epoch):
                evaluations += open_posts
                _change(plan, projection, synapses, scratch, neuron, tx[neuron], ty, update, random)
    return evaluations


@njit
def _is_open(
    needs_spike: bool,
    traces: Array,
    row: Int,
    count: Int,
    history: Array,
    first: Int,
    times: Array,
    neuron: Int,
    epoch: Int,
) -> bool:
    """False if the spike or a trace of this neuron is 0, and every product has it as a factor."""
    if needs_spike and times[neuron] == 0:
        return False
    for trace in range(count):
        if traces[row + trace].needed:
            seen = False
            for position in range(epoch + 1):
                seen = seen or history[first + trace, position * len(times) + neuron] != 0
            if not seen:
                return False
    return True


@njit
def _change(
    plan: Plan,
    projection: Row,
    synapses: Synapses,
    scratch: Scratch,
    neuron: Int,
    time: Int,
    ty: Array,
    update: bool,
    random: float,
) -> None:
    """The rule at all synapses of one pre neuron, which spiked last at `time`.

    All products read the old weights and tags.
    """
    products, factors, sums, history = plan.products, plan.factors, scratch.sums, scratch.history
    weights, tags, post = synapses.weights, synapses.tags, projection.post
    value = sums[3]
    for target in range(3):
        first, last = _series(projection, target)
        if first == last:
            continue
        total = sums[target]
        old, at = synapses_of(projection, target, neuron, weights, tags)
        for synapse in range(post):
            total[synapse] = old[at + synapse] << WEIGHT_FRACTION_BITS
        for product in range(first, last):
            _product(
                products[product],
                factors,
                projection,
                neuron,
                weights,
                tags,
                time,
                ty,
                update,
                history,
                value,
            )
            for synapse in range(post):
                change = min(max(value[synapse], ACCUMULATOR_LOW), ACCUMULATOR_HIGH)
                total[synapse] = min(max(total[synapse] + change, ACCUMULATOR_LOW), ACCUMULATOR_HIGH)
    for target in range(3):
        first, last = _series(projection, target)
        if first < last:
            low, high = projection.low, projection.high
            if target == 1:
                low, high = TAG_1_LOW, TAG_1_HIGH
            elif target == 2:
                low, high = TAG_2_LOW, TAG_2_HIGH
            new, at = synapses_of(projection, target, neuron, weights, tags)
            for synapse in range(post):
                new[at + synapse] = _round(np.int64(sums[target, synapse]), low, high, random)


@njit
def _series(projection: Row, target: Int) -> tuple[Int, Int]:
    """Products that change weights, tag_1 or tag_2."""
    if target == 0:
        return projection.product, projection.product_1
    if target == 1:
        return projection.product_1, projection.product_2
    return projection.product_2, projection.product_3


@njit
def synapses_of(projection: Row, target: Int, neuron: Int, weights: Array, tags: Array) -> tuple[Array, Int]:
    """Weights, tag_1 or tag_2: the array, and where the synapses of a pre neuron start in it."""
    offset = neuron * projection.post
    if target == 0:
        return weights, projection.synapse + offset
    return tags, offset + (projection.tag_1 if target == 1 else projection.tag_2)


@njit
def _round(accumulator: Int, low: Int, high: Int, random: float) -> Int:
    """arithmetic.round_synapses"""
    if low == 0:
        accumulator = max(accumulator, 0)
    if high == 0:
        accumulator = min(accumulator, 0)
    value = (accumulator >> WEIGHT_FRACTION_BITS) + np.int64(
        random < (accumulator & (FRACTIONS - 1)) / FRACTIONS
    )
    return min(max(value, low), high)


@njit
def _product(
    product: Row,
    factors: Array,
    projection: Row,
    neuron: Int,
    weights: Array,
    tags: Array,
    time: Int,
    ty: Array,
    update: bool,
    history: Array,
    value: Array,
) -> None:
    """((dependency * factors * mantissa) >> right) << left at all synapses of one pre neuron."""
    pre, post, epoch, dependency = projection.pre, projection.post, projection.epoch, product.dependency
    for synapse in range(post):
        if dependency == 1:
            value[synapse] = ty[synapse] > 0
        else:
            value[synapse] = time > 0 if dependency == 0 else update
    for number in range(product.factor, product.end):
        factor = factors[number]
        variable, constant, low, high = factor.variable, factor.constant, factor.low, factor.high
        tag = projection.tag_1 if variable == 8 else projection.tag_2
        if variable == 0:
            _multiply(value, post, min(max(np.int64(time > 0) + constant, low), high))
        elif variable == 1:
            for synapse in range(post):
                value[synapse] *= min(max(np.int64(ty[synapse] > 0) + constant, low), high)
        elif variable > 7 and tag < 0:
            _multiply(value, post, min(max(constant, low), high))
        elif variable >= 7:
            old, at = synapses_of(projection, variable - 7, neuron, weights, tags)
            for synapse in range(post):
                value[synapse] *= min(max(old[at + synapse] + constant, low), high)
        else:
            # a trace: seen at the time of the pre spike, of each post spike, or at the end of the epoch
            trace = history[variable - 2]
            width = pre if variable < 4 else post
            for synapse in range(post):
                when = time if dependency == 0 else ty[synapse] if dependency == 1 else epoch
                seen = np.int64(trace[when * width + (neuron if variable < 4 else synapse)])
                value[synapse] *= min(max(seen + constant, low), high)
    mantissa, right, left = product.mantissa, product.right, product.left
    for synapse in range(post):
        value[synapse] = np.int64(np.int32(value[synapse] * mantissa) >> right) << left


@njit
def _multiply(value: Array, count: Int, factor: Int) -> None:
    for synapse in range(count):
        value[synapse] *= factor
