"""The emulator's inner loops: all steps of one stream after the other, compiled by numba.

Every function does for one stream what `hardware.reference` does for a batch, and is tested against it.
"""

from __future__ import annotations

import numba
import numpy as np

from hardware import arithmetic, kernel_types, learning_kernels
from hardware import plan as plan_module
from hardware.arithmetic import STATE_LIMIT
from hardware.kernel_types import Array, Int, Neurons, Output, Row, Scratch, Synapses, njit, version_of
from hardware.learning_kernels import learn, synapses_of
from hardware.plan import Plan

PAYLOAD_LIMIT = 2**23 - 1
INPUT_LOW, INPUT_HIGH = -(2**15), 2**15 - 1
WIDE_INPUT, WIDE_CURRENT, WIDE_MEMBRANE, WIDE_PAYLOAD, NO_PAYLOAD, WIDE_SUM = 1, 2, 3, 4, 5, 6
"""In strict mode only: input beyond 16 bits, a wrap of u, a clip of v, a payload beyond its width, a
projection's sum beyond 32 bits before it is shifted right; and always a payload beyond 24 bits."""
VERSION = version_of(arithmetic, kernel_types, learning_kernels, plan_module)


@numba.njit(cache=True, nogil=True)
def run_streams(
    version: Row,  # VERSION
    plan: Plan,
    strict: bool,
    done: Int,
    first: Int,
    last: Int,
    inputs: Array,  # [batch, steps, axons]
    u: Array,
    v: Array,
    pending: Array,
    weights: Array,
    tags: Array,
    x: Array,
    tx: Array,
    y: Array,
    ty: Array,
    randoms: Array,  # float64 [projections, 3, steps]: for x traces, y traces and synapses
    regions: Array,  # int64 [probes] where each probe starts in bits or ints
    bits: Array,  # [batch, ..] uint8, what binary probes record
    ints: Array,  # [batch, ..] what the other probes record
    counts: Array,  # [batch, sources + 3] int64: spikes; synaptic, graded operations; rule evaluations
    failure: Array,  # [batch, 5] int64: kind, step, population, neuron, value
) -> None:
    """Run the streams first .. last - 1, in place."""
    slots, largest, longest = 0, 1, 1
    for population in plan.populations:
        slots += population.slots
        largest = max(largest, population.size)
    for projection in plan.plastic:
        longest = max(longest, (projection.epoch + 1) * max(projection.pre, projection.post))
    axons, sources, projections = plan.sources[-1], len(plan.sources) - 1, len(plan.plastic)
    for stream in range(first, last):
        # all may hold something at first; what proves to be empty is passed over from then on
        neurons = Neurons(
            u[stream],
            v[stream],
            pending[stream],
            np.ones(slots, np.bool_),
            np.ones(len(plan.populations), np.bool_),
        )
        output = Output(np.zeros(axons, np.int32), np.zeros(axons, np.int32), np.zeros(sources, np.int64))
        synapses = Synapses(
            weights[stream],
            tags[stream],
            x[stream],
            tx[stream],
            y[stream],
            ty[stream],
            np.ones((projections, 2), np.bool_),
            np.ones((projections, 2), np.bool_),
        )
        scratch = Scratch(
            np.zeros(largest, pending.dtype),
            np.zeros((5, longest), np.int32),
            np.zeros((4, largest), np.int32),
        )
        written = regions.copy()
        for index in range(inputs.shape[1]):
            step = done + index + 1
            _send_inputs(plan.inputs, plan.sources, inputs[stream, index], output)
            _update(plan, neurons, output, step, strict, failure[stream])
            if failure[stream, 0] != 0:
                break
            total, count = scratch.total, counts[stream]
            _transmit(plan, neurons, output, total, count, step, strict, failure[stream])
            _transmit_plastic(
                plan, neurons, output, synapses.weights, total, count, step, strict, failure[stream]
            )
            learn(plan, output, synapses, scratch, randoms[:, :, index], counts[stream], step)
            _record(plan, neurons, output, synapses, bits[stream], ints[stream], written, step)


@njit
def _send_inputs(starts: Array, sources: Array, inputs: Array, output: Output) -> None:
    payload, fired, sent = output
    for source in range(len(starts) - 1):
        count = 0
        for axon in range(starts[source], starts[source + 1]):
            # inputs are the first sources, so that both count alike
            payload[axon] = inputs[axon]
            if inputs[axon] != 0:
                fired[sources[source] + count] = axon - starts[source]
                count += 1
        sent[source] = count


@njit
def _update(plan: Plan, neurons: Neurons, output: Output, step: Int, strict: bool, failure: Array) -> None:
    """Populations take the input that is due and send what follows from it; nothing follows from nothing."""
    populations, bias, inputs = plan.populations, plan.bias, len(plan.inputs) - 1
    u, v, pending, arrived, excited = neurons
    payload, fired, sent = output
    for number in range(len(populations)):
        population = populations[number]
        source, start = inputs + number, population.output
        for entry in range(sent[source]):
            payload[start + fired[start + entry]] = 0
        sent[source] = 0
        slot = step % population.slots
        due = arrived[population.slot + slot]
        if not (due or excited[number] or population.biased):
            continue
        arrived[population.slot + slot] = False
        first = population.pending + slot * population.size
        if population.relay:
            sent[source] = _relay(number, population, pending, first, payload, fired, step, strict, failure)
            excited[number] = False
        else:
            sent[source], excited[number] = _integrate(
                number, population, bias, u, v, pending, first, payload, fired, step, strict, failure
            )


@njit
def _fail(failure: Array, kind: Int, step: Int, population: Int, neuron: Int, value: Int) -> None:
    if failure[0] == 0:
        failure[0], failure[1], failure[2], failure[3], failure[4] = kind, step, population, neuron, value


@njit
def _relay(
    number: Int,
    population: Row,
    pending: Array,
    first: Int,
    payload: Array,
    fired: Array,
    step: Int,
    strict: bool,
    failure: Array,
) -> Int:
    """arithmetic.relay; how many neurons sent."""
    vth, start = population.vth, population.output
    count = 0
    for neuron in range(population.size):
        due = np.int64(pending[first + neuron])
        pending[first + neuron] = 0
        # in 32 bits the magnitude of -2^31 is itself negative
        if abs(due) > vth and due != -(2**31):
            payload[start + neuron] = due
            fired[start + count] = neuron
            count += 1
            if abs(due) > PAYLOAD_LIMIT:
                _fail(failure, NO_PAYLOAD, step, number, neuron, due)
            if strict and abs(due) > population.payload_limit:
                _fail(failure, WIDE_PAYLOAD, step, number, neuron, due)
        if strict and (due < INPUT_LOW or due > INPUT_HIGH):
            _fail(failure, WIDE_INPUT, step, number, neuron, due)
    return count


@njit
def _integrate(
    number: Int,
    population: Row,
    bias: Array,
    u: Array,
    v: Array,
    pending: Array,
    first: Int,
    payload: Array,
    fired: Array,
    step: Int,
    strict: bool,
    failure: Array,
) -> tuple[Int, bool]:
    """arithmetic.update_current, update_membrane and fires; how many fired, and if some u or v is left."""
    threshold, start, output = population.vth << 6, population.start, population.output
    u_kept, v_kept = population.u_kept, population.v_kept
    interval = population.reset_interval
    if interval > 0 and step % interval == population.reset_offset % interval:
        for neuron in range(start, start + population.size):
            u[neuron] = 0
            v[neuron] = 0
    count = 0
    left = False
    for index in range(population.size):
        neuron = start + index
        due = np.int64(pending[first + index])
        pending[first + index] = 0
        # a product below 2^53 is exact in a float, and the cast rounds towards 0 as the chip does
        current = np.int64(np.int32(np.int64(u[neuron] * u_kept) + np.int32(due << 6)))
        wraps = np.int64(current > STATE_LIMIT) - np.int64(current <= -STATE_LIMIT)
        current -= 2 * STATE_LIMIT * wraps
        unlimited = np.int64(v[neuron] * v_kept) + current + bias[neuron]
        membrane = min(max(unlimited, 1 - STATE_LIMIT), STATE_LIMIT - 1)
        if strict:
            if due < INPUT_LOW or due > INPUT_HIGH:
                _fail(failure, WIDE_INPUT, step, number, index, due)
            if wraps != 0:
                _fail(failure, WIDE_CURRENT, step, number, index, current + 2 * STATE_LIMIT * wraps)
            if membrane != unlimited:
                _fail(failure, WIDE_MEMBRANE, step, number, index, unlimited)
        if membrane > threshold:
            membrane = 0
            payload[output + index] = 1
            fired[output + count] = index
            count += 1
        u[neuron] = current
        v[neuron] = membrane
        left = left or current != 0 or membrane != 0
    return count, left


@njit
def _transmit(
    plan: Plan,
    neurons: Neurons,
    output: Output,
    total: Array,
    counts: Array,
    step: Int,
    strict: bool,
    failure: Array,
) -> None:
    """Spikes through fixed synapses, into the slots in which they are due."""
    sources, populations, blocks, first_block = plan.sources, plan.populations, plan.blocks, plan.first_block
    weights, post, rows = plan.weights, plan.post, plan.rows
    fan_out, graded_fan_out = plan.fan_out, plan.graded_fan_out
    payload, fired, sent = output
    pending, arrived = neurons.pending, neurons.arrived
    operations = len(sources) - 1
    for source in range(operations):
        if sent[source] == 0:
            continue
        start, end = sources[source], sources[source] + sent[source]
        counts[source] += sent[source]
        for entry in range(start, end):
            counts[operations] += fan_out[start + fired[entry]]
            counts[operations + 1] += graded_fan_out[start + fired[entry]]
        for number in range(first_block[source], first_block[source + 1]):
            block = blocks[number]
            target = populations[block.target]
            size = target.size
            slot = (step + 1 + block.delay) % target.slots
            arrived[target.slot + slot] = True
            due = target.pending + slot * size
            goal, offset = pending, due
            if block.shift > 0:
                goal, offset = total, 0
                for neuron in range(size):
                    total[neuron] = 0
            for entry in range(start, end):
                strength = np.int64(payload[start + fired[entry]]) if block.graded else 1
                if block.sparse:
                    row = block.rows + fired[entry]
                    for synapse in range(rows[row], rows[row + 1]):
                        goal[offset + post[synapse]] += strength * weights[synapse]
                else:
                    _add(goal, offset, weights, block.weights + fired[entry] * size, size, strength)
            if block.shift > 0:
                if strict:
                    _check_sums(total, size, step, block.target, failure)
                for neuron in range(size):
                    pending[due + neuron] += total[neuron] >> block.shift


@njit
def _check_sums(total: Array, count: Int, step: Int, population: Int, failure: Array) -> None:
    for neuron in range(count):
        summed = np.int64(total[neuron])
        if summed != np.int32(summed):
            _fail(failure, WIDE_SUM, step, population, neuron, summed)


@njit
def _add(goal: Array, to: Int, weights: Array, at: Int, count: Int, strength: Int) -> None:
    # unsigned indices cannot count from the end, which lets the compiler use vector instructions
    to, at = np.uint64(to), np.uint64(at)
    if strength == 1:
        for synapse in range(np.uint64(count)):
            goal[to + synapse] += weights[at + synapse]
    else:
        for synapse in range(np.uint64(count)):
            goal[to + synapse] += strength * weights[at + synapse]


@njit
def _transmit_plastic(
    plan: Plan,
    neurons: Neurons,
    output: Output,
    weights: Array,
    total: Array,
    counts: Array,
    step: Int,
    strict: bool,
    failure: Array,
) -> None:
    """Spikes through plastic synapses, which have no delay."""
    plastic, sources, populations = plan.plastic, plan.sources, plan.populations
    payload, fired, sent = output
    pending, arrived = neurons.pending, neurons.arrived
    counted = len(sources) - 1
    for number in range(len(plastic)):
        projection = plastic[number]
        if sent[projection.source] == 0:
            continue
        target, post = populations[projection.target], projection.post
        slot = (step + 1) % target.slots
        arrived[target.slot + slot] = True
        for neuron in range(post):
            total[neuron] = 0
        operations: Int = 0
        start = sources[projection.source]
        for entry in range(start, start + sent[projection.source]):
            row = projection.synapse + fired[entry] * post
            for synapse in range(row, row + post):
                operations += np.int64(weights[synapse] != 0)
            strength = np.int64(payload[start + fired[entry]]) if projection.graded else 1
            _add(total, 0, weights, row, post, strength)
        counts[counted] += operations
        counts[counted + 1] += operations if projection.graded else 0
        due, exponent = target.pending + slot * post, projection.exponent
        if strict and exponent < 0:
            _check_sums(total, post, step, projection.target, failure)
        for neuron in range(post):
            summed = np.int64(total[neuron])
            pending[due + neuron] += summed << exponent if exponent > 0 else summed >> -exponent


@njit
def _record(
    plan: Plan,
    neurons: Neurons,
    output: Output,
    synapses: Synapses,
    bits: Array,
    ints: Array,
    written: Array,
    step: Int,
) -> None:
    """Probes that are due; written[probe] is where its next values go."""
    probes, plastic, populations = plan.probes, plan.plastic, plan.populations
    u, v, payload = neurons.u, neurons.v, output.payload
    weights, tags, x, y = synapses.weights, synapses.tags, synapses.x, synapses.y
    for number in range(len(probes)):
        probe = probes[number]
        if step % probe.every != probe.offset:
            continue
        variable, size, begin = probe.variable, probe.size, written[number]
        written[number] = begin + size
        if variable < 3:
            population = populations[probe.part]
            if probe.binary:
                for neuron in range(size):
                    bits[begin + neuron] = payload[population.output + neuron] != 0
            elif variable == 0:
                _copy(ints, begin, payload, population.output, size)
            else:
                _copy(ints, begin, u if variable == 1 else v, population.start, size)
            continue
        projection = plastic[probe.part]
        if variable < 6:
            pre, post = projection.pre, projection.post
            for neuron in range(pre):
                values, at = synapses_of(projection, variable - 3, neuron, weights, tags)
                for synapse in range(post):
                    ints[begin + synapse * pre + neuron] = values[at + synapse]
        elif variable < 8:
            _copy(ints, begin, x[variable - 6], projection.pre_start, size)
        else:
            _copy(ints, begin, y[variable - 8], projection.post_start, size)


@njit
def _copy(to: Array, begin: Int, values: Array, first: Int, count: Int) -> None:
    for index in range(count):
        to[begin + index] = values[first + index]
