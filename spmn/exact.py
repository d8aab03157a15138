"""The exact mode: a chip program inside torch, the same bits as on the emulator and Lava, and differentiable.

    state, recording = Exact(program).run(state, inputs)      as every runner, from and to the same states
    signals = Exact(program)(inputs)                          probed variables with gradients

A step does what `hardware.reference` does, for all populations at once. Forward values are exact integers;
gradients are straight-through (`spmn.straight`) and reach the weights of the trained projections and of the
readouts. Runs on any device: `Exact(program).to("cuda")`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hardware.arithmetic import INPUT_SHIFT, STATE_LIMIT, WEIGHT_LIMITS
from hardware.checks import IntArray
from hardware.errors import RunError
from hardware.inputs import Inputs, check_inputs
from hardware.program import Population, Program, Projection
from hardware.recording import Recording, empty_probes, probe_times
from hardware.state import State, initial_state, slots
from spmn.exact_learning import plastic_groups
from spmn.exact_rule import Synapses
from spmn.exact_synapses import Layout, arriving, blocks, quantised
from spmn.straight import Neurons, lif, straight, wrap

NEVER = 2**62
INT32_LIMIT = 2**31
READOUT_LIMIT = 2**31 - 1

Key = tuple[str, str]
Signals = dict[Key, Tensor]
"""Probe (target, variable) -> [n, batch, ...] float64, in the order of `Recording.probes`."""


def dense(projection: Projection) -> bool:
    """True for weights that look trained: not all the same, and most of them not 0 or all from one axon.

    What an exporter wires by hand (latches, relays, gates, teacher and clock lines) is one to one, one to a
    few, or one weight for all.
    """
    weights = projection.weights
    full = weights.shape[1] == 1 or np.count_nonzero(weights) > weights.size / 2
    return bool(full and (weights != weights.flat[0]).any())


@dataclass
class _Flow:
    """A run under way, as tensors.

    matrices: of the fixed synapses; sent: step -> payloads [batch, axons] and which parts of them are not
    silent; due: step -> input that did not come through fixed synapses in this run.
    """

    step: int
    matrices: list[Tensor]
    u: Tensor
    v: Tensor
    sent: dict[int, tuple[Tensor, set[range]]]
    due: dict[int, Tensor]
    plastic: list[Synapses]


class Exact(nn.Module):
    """Runs one program in torch.

    Parameters (float64, in steps of the integers that they stand for): the weights of trained projections,
    which act as `arithmetic.quantise_weights` of the nearest integers, and weights and biases of readouts.

    Args:
        trained: which fixed projections have their weights as parameters: names, or a predicate.
        slope: steepness of the surrogate gradient, as `spmn.settings.Network.slope`.

    Raises:
        RunError: a name in `trained` is no fixed projection, or projections may sum to 2^52 or more.
    """

    def __init__(
        self,
        program: Program,
        trained: Collection[str] | Callable[[Projection], bool] = dense,
        slope: float = 2.0,
    ) -> None:
        super().__init__()
        self.source, self.slope = program, slope
        fixed = {p.name: p for p in program.projections}
        if not callable(trained) and (unknown := sorted(set(trained) - set(fixed))):
            raise RunError(f"{unknown} are no fixed projections of {program.name!r}: train {sorted(fixed)}")
        self.trained = [
            p for p in program.projections if (trained(p) if callable(trained) else p.name in trained)
        ]
        self.layout = layout = Layout.of(program)
        self._blocks = blocks(program, layout, {p.name for p in self.trained})
        self._groups = plastic_groups(program, layout)
        self.parts_on_device = nn.ModuleList([*self._blocks, *self._groups])  # so that `to` moves them
        self.depth = max(slots(program).values(), default=1)
        self.parts = sorted({*layout.binary.values(), *layout.graded.values()}, key=lambda axons: axons.start)
        self._add_neurons(program.populations)
        readouts = () if program.host is None else program.host.readouts
        self.latent = nn.ParameterList(_parameter(p.weights) for p in self.trained)
        self.readout_weights = nn.ParameterList(_parameter(readout.weights) for readout in readouts)
        self.readout_bias = nn.ParameterList(_parameter(readout.bias) for readout in readouts)

    keep_u: Tensor
    keep_v: Tensor
    bias: Tensor
    threshold: Tensor
    interval: Tensor
    offset: Tensor
    relay_threshold: Tensor
    silence: Tensor

    def _add_neurons(self, populations: Sequence[Population]) -> None:
        def constant(name: str, value: Callable[[Population], int | IntArray], kind: str = "lif") -> None:
            arrays = [np.broadcast_to(value(p), p.size) for p in populations if p.kind == kind]
            values = np.concatenate([np.zeros(0, np.int64), *arrays])
            dtype = torch.int64 if name in ("interval", "offset") else torch.float64
            self.register_buffer(name, torch.from_numpy(values).to(dtype), persistent=False)

        constant("keep_u", lambda p: 4095 - p.du)
        constant("keep_v", lambda p: 4096 - p.dv)
        constant("bias", lambda p: np.asarray(p.bias_mant) << p.bias_exp)
        constant("threshold", lambda p: p.vth << INPUT_SHIFT)
        constant("interval", lambda p: p.reset_interval or NEVER)
        constant("offset", lambda p: p.reset_offset if p.reset_interval else -1)
        constant("relay_threshold", lambda p: p.vth, "relay")
        self.resets = any(p.reset_interval for p in populations)
        silence = torch.zeros(1, self.layout.neurons, dtype=torch.float64)
        self.register_buffer("silence", silence, persistent=False)

    def initial_state(self, batch: int) -> State:
        """The state before step 1. Raises RunError unless batch >= 1."""
        return initial_state(self.source, batch)

    @torch.no_grad()
    def run(self, state: State, inputs: Inputs) -> tuple[State, Recording]:
        """Run as many steps as the inputs have, without gradients; operations are not counted.

        Args:
            state: where to start; it is not changed, and may come from any runner.
            inputs: input axons -> [steps, batch, size] payloads, 0 for no spike; all of them.

        Returns:
            The state after the last step, and what was probed.

        Raises:
            RunError: an input is missing, unknown or of the wrong shape, or a payload exceeds 24 bits.
        """
        steps, _ = check_inputs(self.source, inputs, state.batch)
        times = probe_times(self.source, state.step, steps)
        probes = empty_probes(self.source, times, state.batch)
        kinds = {key: torch.from_numpy(values).dtype for key, values in probes.items()}
        flow, recorded = self._simulate(state, inputs, steps, lambda key, x: x.to(kinds[key], copy=True))
        for key, values in recorded.items():
            if values:
                probes[key] = torch.stack(values).cpu().numpy()
        return self._save(flow, state), Recording("exact", state.step + 1, steps, probes, times)

    def forward(self, inputs: Inputs, state: State | None = None) -> Signals:
        """What the program's probes record, differentiable; arguments and errors as `run`, from step 1 if
        no state is given."""
        steps, batch = check_inputs(self.source, inputs, None if state is None else state.batch)
        state = self.initial_state(batch) if state is None else state
        _, recorded = self._simulate(state, inputs, steps, lambda _, x: x.clone())
        return {key: torch.stack(values) for key, values in recorded.items() if values}

    def logits(self, signals: Signals, starts: Sequence[tuple[int, int]], readout: int = 0) -> Tensor:
        """What a readout gives the questions that start at these (stream, step) of signals from step 1 on.

            weights @ counts + bias,   counts as in `hardware.host.Readout`

        Returns [questions, answers], integers. Raises RunError for a program without host, or signals that
        end before a question's spikes are counted.
        """
        host = self.source.host
        if host is None:
            raise RunError(f"program {self.source.name!r} has no host: it reads no answers")
        form = host.readouts[readout]
        sent = torch.cat([signals[name, "spikes"] for name in form.populations], -1)
        spikes = straight(sent, lambda x: (x != 0).to(x))
        last = max(start for _, start in starts) + form.first_step + form.steps
        if last > len(spikes):
            raise RunError(f"{form.name} counts up to step {last} of a run of {len(spikes)}: run longer")
        counts = [
            spikes[start + form.first_step : start + form.first_step + form.steps, stream].sum(0)
            for stream, start in starts
        ]
        weights = straight(self.readout_weights[readout], torch.round)
        return torch.stack(counts) @ weights.T + straight(self.readout_bias[readout], torch.round)

    def program(self) -> Program:
        """The program with the integers of now; it runs as this module does."""
        latent = {
            p.name: _integers(weights, *WEIGHT_LIMITS[p.sign_mode])
            for p, weights in zip(self.trained, self.latent, strict=True)
        }
        projections = tuple(
            replace(p, weights=latent[p.name]) if p.name in latent else p for p in self.source.projections
        )
        host = self.source.host
        if host is not None:
            trained = zip(host.readouts, self.readout_weights, self.readout_bias, strict=True)
            readouts = tuple(
                replace(readout, weights=_integers(weights), bias=_integers(bias))
                for readout, weights, bias in trained
            )
            host = replace(host, readouts=readouts)
        return replace(self.source, projections=projections, host=host)

    @torch.no_grad()
    def limit(self) -> None:
        """Bring all parameters back into their range, as after a step of an optimiser."""
        for p, weights in zip(self.trained, self.latent, strict=True):
            weights.clamp_(*WEIGHT_LIMITS[p.sign_mode])
        for parameter in (*self.readout_weights, *self.readout_bias):
            parameter.clamp_(-READOUT_LIMIT, READOUT_LIMIT)

    def _simulate(
        self, state: State, inputs: Inputs, steps: int, keep: Callable[[Key, Tensor], Tensor]
    ) -> tuple[_Flow, dict[Key, list[Tensor]]]:
        """Run; `keep` makes a copy of what a probe sees."""
        if self.threshold.dtype != torch.float64:
            raise RunError(
                f"the exact mode computes in float64, its tensors are {self.threshold.dtype}: do not cast"
            )
        flow = self._load(state)
        draws = [group.draws(state.step, steps, self.threshold) for group in self._groups]
        recorded: dict[Key, list[Tensor]] = {probe.key: [] for probe in self.source.probes}
        for index in range(steps):
            flow.step += 1
            axons = self._update_neurons(flow, self._arriving(flow, flow.step), inputs, index)
            active = self._active(axons)
            flow.sent[flow.step] = axons, active
            flow.sent.pop(flow.step - self.depth, None)
            for number, group in enumerate(self._groups):
                synapses = flow.plastic[number]
                if torch.is_grad_enabled() or not active.isdisjoint(group.pre):
                    total = group.transmit(synapses, axons)
                    due = flow.due.get(flow.step + 1, self.silence.expand(len(axons), -1))
                    flow.due[flow.step + 1] = due.index_add(1, group.targets.index, total)
                flow.plastic[number] = group.learn(synapses, axons, active, flow.step, draws[number])
            for probe in self.source.probes:
                if flow.step % probe.every == probe.offset % probe.every:
                    recorded[probe.key].append(keep(probe.key, self._read(flow, axons, *probe.key)))
        return flow, recorded

    def _arriving(self, flow: _Flow, step: int) -> Tensor:
        """Input [batch, neurons] that is due at `step`, modulo 2^32, from all that was sent so far."""
        sending, chosen, payloads = [], [], list[Tensor]()
        numbers: dict[int, int] = {}
        for block, matrix in zip(self._blocks, flow.matrices, strict=True):
            sent = step - 1 - block.delay
            if sent not in flow.sent:
                continue
            axons, active = flow.sent[sent]
            # what is silent brings nothing, but it has a gradient
            if not torch.is_grad_enabled() and active.isdisjoint(block.parts):
                continue
            if sent not in numbers:
                numbers[sent] = len(payloads)
                payloads.append(axons)
            sending.append((block, numbers[sent]))
            chosen.append(matrix)
        total = arriving(sending, payloads, chosen, self.silence.expand(len(flow.u), -1))
        due = flow.due.pop(step, None)
        return total if due is None else total + due

    def _update_neurons(self, flow: _Flow, due: Tensor, inputs: Inputs, index: int) -> Tensor:
        """Payloads [batch, axons] of a step."""
        given = np.concatenate([inputs[axons.name][index] for axons in self.source.inputs], axis=1)
        payloads = torch.from_numpy(given).to(due)
        keep_u, keep_v = self.keep_u, self.keep_v
        if self.resets:
            stays = torch.remainder(flow.step - self.offset, self.interval) != 0
            keep_u, keep_v = keep_u * stays, keep_v * stays
        neurons = Neurons(keep_u, keep_v, self.bias, self.threshold, self.slope)
        flow.u, flow.v, spikes = lif(flow.u, flow.v, due[:, : self.layout.lif], neurons)
        relayed = straight(due[:, self.layout.lif :], lambda x: self._relayed(x, flow.step))
        return torch.cat(((payloads != 0).to(due), payloads, spikes, relayed), 1)

    def _relayed(self, due: Tensor, step: int) -> Tensor:
        """`arithmetic.relay`; -2^31 has no magnitude in 32 bits. Raises RunError beyond 24 bits."""
        due = wrap(due)
        size = due.abs()
        sent = due * ((size > self.relay_threshold) & (size < INT32_LIMIT))
        beyond = sent.abs() >= STATE_LIMIT
        if beyond.any():
            neuron = int(torch.nonzero(beyond)[0, 1]) + self.layout.lif
            name = next(name for name, neurons in self.layout.neuron.items() if neuron in neurons)
            raise RunError(
                f"population {name!r}, step {step}: the payload {int(sent[beyond][0])} exceeds 24 bits, "
                "which no chip can send: scale its weights or payloads down"
            )
        return sent

    def _active(self, axons: Tensor) -> set[range]:
        """The parts that are not silent."""
        low, high = torch.aminmax(axons.detach(), dim=0)
        sent = (high - low).add_(high.abs()).cpu().numpy() != 0
        loud = np.logical_or.reduceat(sent, [part.start for part in self.parts])
        return {part for part, any_spike in zip(self.parts, loud.tolist(), strict=True) if any_spike}

    def _read(self, flow: _Flow, axons: Tensor, target: str, variable: str) -> Tensor:
        if variable in ("u", "v"):
            neurons = self.layout.neuron[target]
            membrane = flow.u if variable == "u" else flow.v
            return membrane[:, neurons.start : neurons.stop]
        if variable == "spikes":
            sent = self.layout.graded[target]
            return axons[:, sent.start : sent.stop]
        for group, synapses in zip(self._groups, flow.plastic, strict=True):
            if target in group.names:
                trace: Tensor = getattr(synapses, variable)[:, group.names.index(target)]
                return trace.transpose(-1, -2) if trace.ndim == 3 else trace
        raise AssertionError(target)

    def _load(self, state: State) -> _Flow:
        like = self.threshold
        layout, cells = self.layout, [p.name for p in self.source.populations if p.kind == "lif"]

        def flat(arrays: Mapping[str, npt.NDArray[np.int32]], names: Sequence[str]) -> Tensor:
            empty = np.zeros((state.batch, 0), np.int32)
            return torch.from_numpy(np.concatenate([empty, *(arrays[name] for name in names)], 1)).to(like)

        due = {}
        for step in range(state.step + 1, state.step + self.depth + 1):
            pending = {
                name: slot[step % len(slot)] if step - state.step <= len(slot) else np.zeros_like(slot[0])
                for name, slot in state.pending.items()
            }
            if any(array.any() for array in pending.values()):
                due[step] = flat(pending, list(layout.neuron))
        latent = {p.name: quantised(w, p) for p, w in zip(self.trained, self.latent, strict=True)}
        return _Flow(
            state.step,
            [block.matrix(latent) for block in self._blocks],
            flat(state.u, cells),
            flat(state.v, cells),
            {},
            due,
            [group.load(state.plastic, like) for group in self._groups],
        )

    def _save(self, flow: _Flow, start: State) -> State:
        state = initial_state(self.source, start.batch)
        state.step = flow.step

        def part(flat: Tensor, name: str) -> npt.NDArray[np.int32]:
            neurons = self.layout.neuron[name]
            array: npt.NDArray[np.int32] = flat[:, neurons.start : neurons.stop].to(torch.int32).cpu().numpy()
            return array

        for name in state.u:
            state.u[name], state.v[name] = part(flow.u, name), part(flow.v, name)
        for step in range(flow.step + 1, flow.step + self.depth + 1):
            due = wrap(self._arriving(flow, step))
            for name, slot in state.pending.items():
                if step - flow.step <= len(slot):
                    slot[step % len(slot)] = part(due, name)
        for group, synapses in zip(self._groups, flow.plastic, strict=True):
            state.plastic |= group.save(synapses)
        return state


def _parameter(values: IntArray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values.astype(np.float64)))


def _integers(values: Tensor, low: int = -READOUT_LIMIT, high: int = READOUT_LIMIT) -> IntArray:
    return values.detach().cpu().round().clamp(low, high).numpy().astype(np.int64)
