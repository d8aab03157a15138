"""Lava's ProcessModels stepped in one process: each is built by hand, and its ports are arrays.

One step: synapses send what they summed in the step before, neurons take it and spike, synapses take the
spikes, learning follows. That is the order which Lava's runtime keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hardware.checks import IntArray
from hardware.inputs import IntData
from hardware.lava import build, stock
from hardware.lava.build import Wire
from hardware.program import Program
from hardware.recording import probe_times

Key = tuple[str, str]


class Port:
    """Takes the place of a port: received values are assigned, sent values can be read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.value: npt.NDArray[np.int32] = np.zeros(shape, dtype=np.int32)

    def recv(self) -> npt.NDArray[np.int32]:
        return self.value

    def send(self, values: npt.ArrayLike) -> None:
        # channels carry the type of the sender, int32 in all fixed-point models
        self.value = np.asarray(values).astype(np.int32)


def model_of(process: Any) -> Any:
    """The fixed-point ProcessModel of a Process, with its variables as Lava's builder would set them."""
    kind = stock.FIXED_POINT_MODELS[type(process)]
    model = kind(process.proc_params)
    for variable in process.vars:
        declared = getattr(kind, variable.name)
        value = variable.init
        if issubclass(declared.cls, np.ndarray):
            value = np.ndarray(variable.shape, declared.d_type)
            value[:] = variable.init
        setattr(model, variable.name, value)
    for port in (*process.in_ports, *process.out_ports):
        setattr(model, port.name, Port(port.shape))
    return model


class Stepper:
    """One stream of a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.models = {name: model_of(process) for name, process in build.processes(program).items()}
        self.neurons = [population.name for population in program.populations]
        self.fixed = [projection.name for projection in program.projections]
        self.plastic = [projection.name for projection in program.plastic]
        wires = build.wires(program)
        self.into_neurons = [wire for wire in wires if wire.input == "a_in"]
        self.into_synapses = [wire for wire in wires if wire.input != "a_in"]
        stock.forget_processes()

    def step(self, time: int, payloads: Mapping[str, IntData]) -> Mapping[str, IntData]:
        """Run step `time`, from 1, with input payloads [size]; returns what every source sent."""
        sent = {name: np.asarray(values).astype(np.int32) for name, values in payloads.items()}
        for name in self.neurons:
            self.models[name].a_in.value = np.zeros_like(self.models[name].a_in.value)
        for wire in self.into_neurons:
            self.models[wire.target].a_in.value += self._due(wire)
        for model in self.models.values():
            model.time_step = time
        for name in self.neurons:
            self.models[name].run_spk()
            sent[name] = self.models[name].s_out.value
        for wire in self.into_synapses:
            getattr(self.models[wire.target], wire.input).value = sent[wire.source]
        for name in (*self.fixed, *self.plastic):
            self.models[name].run_spk()
        for name in self.plastic:
            if self.models[name].lrn_guard():
                self.models[name].run_lrn()
        return sent

    def read(self, sent: Mapping[str, IntData], target: str, variable: str) -> IntData:
        """A probed variable after a step that sent `sent`."""
        if variable == "spikes":
            return sent[target]
        value: IntData = getattr(self.models[target], variable)
        return value

    def _due(self, wire: Wire) -> npt.NDArray[np.int32]:
        summed = self.models[wire.source].a_buff
        return np.asarray(summed[:, 0] if summed.ndim == 2 else summed).astype(np.int32)


def run_stream(program: Program, payloads: Mapping[str, IntArray]) -> dict[Key, IntData]:
    """Step one stream from step 1.

    Args:
        payloads: input axons -> [steps, size].

    Returns:
        Probe -> [n, ...] values.
    """
    steps = len(next(iter(payloads.values())))
    stepper = Stepper(program)
    times = {key: set(values.tolist()) for key, values in probe_times(program, 0, steps).items()}
    values: dict[Key, list[IntData]] = {key: [] for key in times}
    for time in range(1, steps + 1):
        sent = stepper.step(time, {name: array[time - 1] for name, array in payloads.items()})
        for key, due in times.items():
            if time in due:
                values[key].append(np.array(stepper.read(sent, *key)))
    return {key: np.stack(arrays) for key, arrays in values.items() if arrays}
