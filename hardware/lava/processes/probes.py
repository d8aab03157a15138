"""A Process that records, keeps what it saw in memory, and writes it to files at its last steps.

Reading a Var from outside takes 20 microseconds per element, a Monitor reads at every step, and every Process
more makes all steps slower: so one Process has many ports.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hardware.lava.stock import (
    CPU,
    AbstractProcess,
    InPort,
    LavaPyType,
    LoihiProtocol,
    PyInPort,
    PyLoihiProcessModel,
    PyRefPort,
    RefPort,
    implements,
    requires,
)

PORTS = 32
"""In-ports and ref-ports of a Probes; Lava wants them all declared, so what is not connected is there too."""


class Probes(AbstractProcess):  # type: ignore[misc]
    """Records what arrives at in-ports and the Vars that ref-ports are connected to, learning included.

    Args:
        spikes: at most PORTS of (shape, steps at which to record, .npy file to write as [n, *shape]), for
            spikes_0, spikes_1, ..
        states: the same for state_0, state_1, ..
    """

    def __init__(self, *, spikes: list[Any], states: list[Any]) -> None:
        super().__init__(name="probes", spikes=spikes, states=states)
        for number in range(PORTS):
            setattr(self, f"spikes_{number}", InPort(shape=_shape(spikes, number)))
            setattr(self, f"state_{number}", RefPort(shape=_shape(states, number)))


@implements(proc=Probes, protocol=LoihiProtocol)
@requires(CPU)
class ProbesModel(PyLoihiProcessModel):  # type: ignore[misc]
    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.times = {port: frozenset(times) for port, (_, times, _) in self._recorded()}
        self.paths = {port: path for port, (_, _, path) in self._recorded()}
        self.values: dict[str, list[Any]] = {port: [] for port in self.times}

    def run_spk(self) -> None:
        for number in range(len(self.proc_params["spikes"])):
            port = f"spikes_{number}"
            sent = getattr(self, port).recv()
            if self.time_step in self.times[port]:
                self._keep(port, sent)

    def post_guard(self) -> bool:
        return bool(self._due_states())

    def run_post_mgmt(self) -> None:
        for port in self._due_states():
            self._keep(port, getattr(self, port).read())

    def _due_states(self) -> list[str]:
        ports = [f"state_{number}" for number in range(len(self.proc_params["states"]))]
        return [port for port in ports if self.time_step in self.times[port]]

    def _keep(self, port: str, values: Any) -> None:
        self.values[port].append(np.array(values))
        if len(self.values[port]) == len(self.times[port]):
            np.save(self.paths[port], np.stack(self.values[port]))

    def _recorded(self) -> list[tuple[str, Any]]:
        spikes = [(f"spikes_{number}", wanted) for number, wanted in enumerate(self.proc_params["spikes"])]
        states = [(f"state_{number}", wanted) for number, wanted in enumerate(self.proc_params["states"])]
        return spikes + states


for _number in range(PORTS):
    setattr(ProbesModel, f"spikes_{_number}", LavaPyType(PyInPort.VEC_DENSE, np.int32))
    setattr(ProbesModel, f"state_{_number}", LavaPyType(PyRefPort.VEC_DENSE, np.int32))


def _shape(wanted: list[Any], number: int) -> tuple[int, ...]:
    shape: tuple[int, ...] = wanted[number][0] if number < len(wanted) else (1,)
    return shape
