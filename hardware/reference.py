"""The program in plain numpy, over a batch of independent streams: what the fast emulator is tested against.

    one step:  neurons take the input that is due -> spikes -> synapses -> input that is due later -> learning

Every stream of a batch has the same bits as a run of its own on Lava's fixed-point simulation (Lava 0.10.0:
PyLifModelBitAcc, PyLIFResetModel, GradedVec, Dense, DelayDense, LearningDense).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hardware import arithmetic
from hardware.arithmetic import Float, Int32
from hardware.errors import RunError
from hardware.inputs import Inputs, check_inputs
from hardware.program import Population, Program, Projection
from hardware.recording import Operations, Recording, empty_probes, probe_times
from hardware.reference_learning import PlasticSynapses
from hardware.state import State, initial_state


class Reference:
    """Runs one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.synapses = [FixedSynapses(projection) for projection in program.projections]
        self.plastic = [PlasticSynapses(projection) for projection in program.plastic]

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
            RunError: an input is missing, unknown or of the wrong shape, or a payload exceeds 24 bits.
        """
        steps, _ = check_inputs(self.program, inputs, state.batch)
        state = state.copy()
        recorder = Recorder(self.program, state.step, steps, state.batch)
        for index in range(steps):
            state.step += 1
            payloads = {name: inputs[name][index].astype(np.int32) for name in inputs}
            payloads |= {
                population.name: self._update_neurons(state, population)
                for population in self.program.populations
            }
            active = {name: payload for name, payload in payloads.items() if payload.any()}
            self._transmit(state, active, recorder)
            self._learn(state, payloads, recorder)
            recorder.count_spikes(active)
            recorder.record(state, payloads)
        return state, recorder.recording(self.synapses)

    def _update_neurons(self, state: State, population: Population) -> Int32:
        """Output of a population at this step; takes the input that is due."""
        name = population.name
        pending = state.pending[name]
        slot = state.step % len(pending)
        due = pending[slot].copy()
        pending[slot] = 0
        if population.kind == "relay":
            sent = arithmetic.relay(due, population.vth)
            if np.abs(sent.astype(np.int64)).max() >= arithmetic.STATE_LIMIT:
                raise RunError(f"population {name!r}, step {state.step}: a payload exceeds 24 bits")
            return sent
        interval = population.reset_interval
        if interval and state.step % interval == population.reset_offset % interval:
            state.u[name][:] = 0
            state.v[name][:] = 0
        bias = np.asarray(population.bias_mant, dtype=np.int32) << population.bias_exp
        state.u[name] = arithmetic.update_current(state.u[name], due, population.du)
        v = arithmetic.update_membrane(state.v[name], state.u[name], bias, population.dv)
        spikes = arithmetic.fires(v, population.vth)
        state.v[name] = np.where(spikes, 0, v)
        return spikes.astype(np.int32)

    def _transmit(self, state: State, active: Mapping[str, Int32], recorder: Recorder) -> None:
        """Spikes of this step through all synapses, into the input due 1 + delay steps later."""
        # sums of products below 2^53 are exact in floats, and floats have fast matrix products
        floats = {name: payload.astype(np.float64) for name, payload in active.items()}
        binary = {name: (payload != 0).astype(np.float64) for name, payload in active.items()}
        for synapses in self.synapses:
            projection = synapses.projection
            if projection.source in active:
                payload = (floats if projection.num_message_bits else binary)[projection.source]
                pending = state.pending[projection.target]
                for delay, weights in synapses.weights.items():
                    slot = (state.step + 1 + delay) % len(pending)
                    pending[slot] += arithmetic.scale_sum(payload @ weights, projection.weight_exp)
        for plastic in self.plastic:
            if plastic.projection.source in active:
                source = active[plastic.projection.source]
                total, operations = plastic.transmit(state.plastic[plastic.projection.name], source)
                pending = state.pending[plastic.projection.target]
                pending[(state.step + 1) % len(pending)] += total
                recorder.synaptic += operations
                recorder.graded += operations if plastic.projection.num_message_bits else 0

    def _learn(self, state: State, payloads: Mapping[str, Int32], recorder: Recorder) -> None:
        for plastic in self.plastic:
            projection = plastic.projection
            recorder.plastic += plastic.learn(
                state.plastic[projection.name],
                payloads[projection.source],
                payloads[projection.target] != 0,
                [payloads[name] if name else None for name in projection.third_factors],
                state.step,
            )


class FixedSynapses:
    """Weights of a projection by delay, [pre, post], as floats: sums of integers below 2^53 are exact."""

    def __init__(self, projection: Projection) -> None:
        weights = arithmetic.quantise_weights(
            projection.weights, projection.sign_mode, projection.num_weight_bits
        )
        delays = np.broadcast_to(np.asarray(projection.delays), weights.shape)
        self.projection = projection
        self.max_delay = int(delays.max())
        self.fan_out = np.count_nonzero(weights, axis=0)
        self.weights: dict[int, Float] = {
            int(delay): np.where(delays == delay, weights, 0).T.astype(np.float64)
            for delay in np.unique(delays)
        }


class Recorder:
    """Collects probes and counts while a run goes on."""

    def __init__(self, program: Program, done: int, steps: int, batch: int) -> None:
        self.program = program
        self.done = done
        self.steps = steps
        self.batch = batch
        self.counts = {name: np.zeros((batch, size), dtype=np.int64) for name, size in program.sizes.items()}
        self.synaptic = np.zeros(batch, dtype=np.int64)
        self.graded = np.zeros(batch, dtype=np.int64)
        self.plastic = np.zeros(batch, dtype=np.int64)
        self.times = probe_times(program, done, steps)
        self.probes = empty_probes(program, self.times, batch)

    def count_spikes(self, active: Mapping[str, Int32]) -> None:
        for name, payload in active.items():
            self.counts[name] += payload != 0

    def record(self, state: State, payloads: Mapping[str, Int32]) -> None:
        for probe in self.program.probes:
            if state.step % probe.every == probe.offset % probe.every:
                index = np.searchsorted(self.times[probe.key], state.step)
                self.probes[probe.key][index] = _read(state, payloads, *probe.key)

    def recording(self, synapses: Sequence[FixedSynapses]) -> Recording:
        names = tuple(self.counts)
        neurons = sum(population.size for population in self.program.populations)
        for part in synapses:
            passed = self.counts[part.projection.source] @ part.fan_out
            self.synaptic += passed
            self.graded += passed if part.projection.num_message_bits else 0
        operations = Operations(
            names=names,
            spikes=np.stack([self.counts[name].sum(axis=1) for name in names], axis=1),
            synaptic=self.synaptic,
            graded=self.graded,
            neuron=np.full(self.batch, neurons * self.steps, dtype=np.int64),
            plastic=self.plastic,
        )
        return Recording("reference", self.done + 1, self.steps, self.probes, self.times, operations)


def _read(state: State, payloads: Mapping[str, Int32], target: str, variable: str) -> Int32:
    if variable == "spikes":
        return payloads[target]
    if variable in ("u", "v"):
        membrane: dict[str, Int32] = getattr(state, variable)
        return membrane[target]
    trace: Int32 = getattr(state.plastic[target], variable)
    return trace
