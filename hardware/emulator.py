"""The program on a CPU: event-driven, compiled, a batch of independent streams at a time.

    one step:  neurons take the input that is due -> spikes -> synapses -> input that is due later -> learning

Every stream of a batch has the same bits as a run of its own on Lava's fixed-point simulation (Lava 0.10.0:
PyLifModelBitAcc, PyLIFResetModel, GradedVec, Dense, DelayDense, Sparse, DelaySparse, LearningDense).
`hardware.reference` computes the same in plain numpy. Work grows with spikes: a neuron population without
input and potential, a silent synapse and a rule that cannot change anything cost nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from hardware import plan as plans
from hardware.arithmetic import ROUNDING_SEED, RandomStream
from hardware.errors import RunError
from hardware.inputs import Inputs, IntData, check_inputs
from hardware.program import Program
from hardware.recording import Operations, Recording, empty_probes, probe_times
from hardware.state import PlasticState, State, check_state, initial_state

FAILURES = {
    1: "the synaptic input {value} of a step exceeds 16 bits: scale its weights or payloads down",
    2: "the current u reaches {value} and wraps beyond 24 bits: scale its input down",
    3: "the membrane potential v reaches {value} and is clipped at 24 bits: scale its input or bias down",
    5: "the payload {value} exceeds 24 bits, which no chip can send: scale its weights or payloads down",
    6: "a projection's weights times payloads sum to {value}, beyond 32 bits: scale them down",
    4: "the payload {value} is wider than num_message_bits of a projection that carries it: scale it down",
}


class Flat(NamedTuple):
    """A state as arrays with the streams first and all populations, or projections, one after the other."""

    u: Any
    v: Any
    pending: Any
    weights: Any
    tags: Any
    x: Any
    tx: Any
    y: Any
    ty: Any


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[int, int], None], count: int) -> None:
    """work(first, last) on parts of range(count), one thread per core."""
    threads = min(count, cores())
    if threads == 1:
        return work(0, count)
    bounds = [count * thread // threads for thread in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *part) for part in pairwise(bounds)]:
            done.result()
    return None


class Emulator:
    """Runs one program.

    Args:
        program: what to run.
        strict: a run raises RunError where the chip's arithmetic would lose something: synaptic input beyond
            16 bits, a projection's sum beyond 32 bits, a wrap of u, a clip of v, a payload wider than its
            projection's num_message_bits. Clips that belong to a learning rule are none of these.
    """

    def __init__(self, program: Program, strict: bool = False) -> None:
        self.program = program
        self.strict = strict
        self.plan = plans.build(program)
        self.randoms = [
            (RandomStream(part.seed), RandomStream(part.seed + 2), RandomStream(ROUNDING_SEED))
            for part in program.plastic
        ]

    def initial_state(self, batch: int) -> State:
        """The state before step 1. Raises RunError unless batch >= 1."""
        return initial_state(self.program, batch)

    def run(self, state: State, inputs: Inputs) -> tuple[State, Recording]:
        """Run as many steps as the inputs have.

        Args:
            state: where to start; it is not changed.
            inputs: input axons -> [steps, batch, size] payloads, 0 for no spike; all of them.

        Returns:
            The state after the last step, and what was probed.

        Raises:
            RunError: an input is missing, unknown or of the wrong shape; a payload exceeds 24 bits; the state
                holds what no run of this program leaves; in strict mode, also what the class says.
        """
        # numba takes a second to import, which those who only build or read programs need not wait for
        from hardware import kernels

        steps, batch = check_inputs(self.program, inputs, state.batch)
        check_state(self.program, state)  # the kernels look things up by these numbers
        axons = np.concatenate([inputs[part.name] for part in self.program.inputs], axis=2)
        if self.strict:
            self._check_payloads(inputs, state.step)
        times = probe_times(self.program, state.step, steps)
        probes = empty_probes(self.program, times, batch)
        regions, bits, ints = self._buffers(probes, batch)
        flat = self._flatten(state)
        sources = len(self.program.sizes)
        counts = np.zeros((batch, sources + 3), dtype=np.int64)
        failure = np.zeros((batch, 5), dtype=np.int64)
        arrays = (
            np.ascontiguousarray(axons.transpose(1, 0, 2), dtype=np.int32),
            *flat,
            self._draw(state.step, steps),
            regions,
            bits,
            ints,
            counts,
            failure,
        )

        def run_streams(first: int, last: int) -> None:
            kernels.run_streams(kernels.VERSION, self.plan, self.strict, state.step, first, last, *arrays)

        in_threads(run_streams, batch)
        self._raise_failure(failure)
        self._fill(probes, regions, bits, ints)
        recording = Recording(
            "emulator", state.step + 1, steps, probes, times, self._operations(counts, steps)
        )
        return self._restored(flat, state.step + steps, batch), recording

    def _check_payloads(self, inputs: Inputs, done: int) -> None:
        for part in self.program.inputs:
            payloads = inputs[part.name].astype(np.int64)
            wide = np.argwhere(np.abs(payloads) > plans.payload_limit(self.program, part.name))
            if len(wide):
                index, stream, axon = wide[0]
                raise RunError(
                    f"input {part.name!r}, axon {axon}, step {done + index + 1}, stream {stream}: "
                    f"{FAILURES[4].format(value=payloads[index, stream, axon])}"
                )

    def _draw(self, done: int, steps: int) -> Any:
        """Random numbers [projections, 3, steps]: for the decay of x and y traces, and for new weights."""
        step = np.arange(done + 1, done + steps + 1)
        numbers = np.zeros((len(self.randoms), 3, steps))
        for index, (x, y, synapses) in enumerate(self.randoms):
            epoch = self.program.plastic[index].rule.t_epoch
            numbers[index] = x.take(2 * step), y.take(2 * step), synapses.take(step // epoch)
        return numbers

    def _buffers(self, probes: dict[tuple[str, str], IntData], batch: int) -> tuple[Any, Any, Any]:
        """Where each probe starts in the buffer of its kind, and the buffers."""
        regions, totals = [], [0, 0]
        for binary, values in zip(self.plan.probes["binary"], probes.values(), strict=True):
            kind = 0 if binary else 1
            regions.append(totals[kind])
            totals[kind] += values.size // batch
        try:
            bits = np.zeros((batch, totals[0]), dtype=np.uint8)
            ints = np.zeros((batch, totals[1]), dtype=np.int32)
        except MemoryError:
            needed = batch * (totals[0] + 4 * totals[1]) / 2**30
            raise RunError(
                f"the probes need {needed:.1f} GiB, more than there is: probe less, or less often"
            ) from None
        return np.array(regions, dtype=np.int64), bits, ints

    def _fill(self, probes: dict[tuple[str, str], IntData], regions: Any, bits: Any, ints: Any) -> None:
        for start, binary, values in zip(regions, self.plan.probes["binary"], probes.values(), strict=True):
            count, batch = values.shape[:2]
            buffer = bits if binary else ints
            recorded = buffer[:, start : start + values.size // batch]
            values[:] = recorded.reshape(batch, count, *values.shape[2:]).swapaxes(0, 1)

    def _flatten(self, state: State) -> Flat:
        batch = state.batch
        plastic = [state.plastic[part.name] for part in self.program.plastic]
        accumulator = np.int64 if self.strict else np.int32

        def joined(pieces: list[Any], kind: Any = np.int32) -> Any:
            flat = [np.asarray(piece).reshape(batch, -1) for piece in pieces]
            return np.concatenate([*flat, np.zeros((batch, 0), dtype=kind)], axis=1).astype(kind)

        def membranes(of: dict[str, Any]) -> Any:
            stateless = {
                part.name: np.zeros((batch, part.size), dtype=np.int32)
                for part in self.program.populations
                if part.kind == "relay"
            }
            return joined([(of | stateless)[part.name] for part in self.program.populations])

        def stacked(names: tuple[str, ...]) -> Any:
            return np.stack([joined([getattr(part, name) for part in plastic]) for name in names], axis=1)

        tags = [getattr(part, tag).swapaxes(1, 2) for part in plastic for tag in ("tag_1", "tag_2")]
        return Flat(
            u=membranes(state.u),
            v=membranes(state.v),
            pending=joined(
                [state.pending[part.name].swapaxes(0, 1) for part in self.program.populations], accumulator
            ),
            weights=joined([part.weights.swapaxes(1, 2) for part in plastic], np.int16),
            tags=joined(tags, np.int16),
            x=stacked(("x1", "x2")),
            tx=joined([part.tx for part in plastic]),
            y=stacked(("y1", "y2", "y3")),
            ty=joined([part.ty for part in plastic]),
        )

    def _restored(self, flat: Flat, step: int, batch: int) -> State:
        """A state from the arrays that a run has changed."""
        places = self.plan.populations
        u, v, pending, plastic = {}, {}, {}, {}
        for index, part in enumerate(self.program.populations):
            neurons = slice(places[index]["start"], places[index]["start"] + part.size)
            if part.kind == "lif":
                u[part.name], v[part.name] = flat.u[:, neurons].copy(), flat.v[:, neurons].copy()
            first, slots = places[index]["pending"], places[index]["slots"]
            ring = flat.pending[:, first : first + slots * part.size].reshape(batch, slots, part.size)
            pending[part.name] = ring.swapaxes(0, 1).astype(np.int32)
        for index, projection in enumerate(self.program.plastic):
            plastic[projection.name] = self._restored_synapses(flat, index)
        return State(step, batch, u, v, pending, plastic)

    def _restored_synapses(self, flat: Flat, index: int) -> PlasticState:
        place = self.plan.plastic[index]
        batch, pre, post = len(flat.weights), int(place["pre"]), int(place["post"])

        def synapses(values: Any, start: int) -> Any:
            if start < 0:
                return np.zeros((batch, 0, 0), dtype=np.int32)
            block = values[:, start : start + pre * post].reshape(batch, pre, post)
            return np.ascontiguousarray(block.swapaxes(1, 2), dtype=np.int32)

        x = slice(place["pre_start"], place["pre_start"] + pre)
        y = slice(place["post_start"], place["post_start"] + post)
        return PlasticState(
            weights=synapses(flat.weights, int(place["synapse"])),
            tag_1=synapses(flat.tags, int(place["tag_1"])),
            tag_2=synapses(flat.tags, int(place["tag_2"])),
            x1=flat.x[:, 0, x].copy(),
            x2=flat.x[:, 1, x].copy(),
            tx=flat.tx[:, x].copy(),
            y1=flat.y[:, 0, y].copy(),
            y2=flat.y[:, 1, y].copy(),
            y3=flat.y[:, 2, y].copy(),
            ty=flat.ty[:, y].copy(),
        )

    def _operations(self, counts: Any, steps: int) -> Operations:
        neurons = sum(part.size for part in self.program.populations)
        return Operations(
            names=tuple(self.program.sizes),
            spikes=counts[:, :-3],
            synaptic=counts[:, -3],
            graded=counts[:, -2],
            neuron=np.full(len(counts), neurons * steps, dtype=np.int64),
            plastic=counts[:, -1],
        )

    def _raise_failure(self, failure: Any) -> None:
        failed = np.flatnonzero(failure[:, 0])
        if len(failed):
            stream = failed[np.argmin(failure[failed, 1])]
            kind, step, population, neuron, value = (int(number) for number in failure[stream])
            name = self.program.populations[population].name
            raise RunError(
                f"population {name!r}, neuron {neuron}, step {step}, stream {stream}: "
                f"{FAILURES[kind].format(value=value)}"
            )
