"""What a run gave: probed variables and counted operations."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hardware import store
from hardware.checks import IntArray, Value
from hardware.errors import FileError, RunError
from hardware.inputs import IntData
from hardware.program import Program


@dataclass(frozen=True, eq=False)
class Operations(Value):
    """Operations of a run, per stream.

    Args:
        names: populations and input axons, in the program's order, inputs first.
        spikes: [batch, names] spikes sent.
        synaptic: [batch] spikes times the synapses of nonzero weight they went through.
        graded: [batch] those of them that multiplied a payload, in projections with num_message_bits > 0.
        neuron: [batch] neurons updated: neurons times steps.
        plastic: [batch] learning rule evaluations: one per synapse and epoch in which no factor that all
            products of the rule share was 0.
    """

    names: tuple[str, ...]
    spikes: IntArray
    synaptic: IntArray
    graded: IntArray
    neuron: IntArray
    plastic: IntArray


@dataclass(frozen=True, eq=False)
class Recording(Value):
    """Probed variables of a run.

    Args:
        runner: what ran the program, such as "emulator".
        first_step: step number of the first step of this run; 1 unless it continues another.
        steps: number of steps run.
        probes: (target, variable) -> [n, batch, ...]: spikes, u, v [n, batch, neurons], x1, x2
            [n, batch, pre], y1, y2, y3 [n, batch, post], weights, tag_1, tag_2 [n, batch, post, pre].
        times: (target, variable) -> the n steps at whose end it was recorded.
        operations: counted operations; None from runners that do not count.
    """

    runner: str
    first_step: int
    steps: int
    probes: dict[tuple[str, str], IntData]
    times: dict[tuple[str, str], IntArray]
    operations: Operations | None = None

    def __getitem__(self, key: tuple[str, str]) -> IntData:
        """The probe (target, variable). Raises RunError if it was not recorded."""
        if key not in self.probes:
            raise RunError(
                f"{key} was not recorded: add Probe{key} to the program; it has {sorted(self.probes)}"
            )
        return self.probes[key]


def probe_times(program: Program, done: int, steps: int) -> dict[tuple[str, str], IntArray]:
    """Steps at which each probe records in a run of `steps` steps after `done` steps."""
    run = np.arange(done + 1, done + steps + 1)
    return {probe.key: run[run % probe.every == probe.offset % probe.every] for probe in program.probes}


def empty_probes(
    program: Program, times: dict[tuple[str, str], IntArray], batch: int
) -> dict[tuple[str, str], IntData]:
    """Zeros in the shape and type of every probe: LIF spikes uint8, plastic variables int16, else int32.

    y traces are int32, for a third factor may send any payload.
    """
    plastic = {projection.name: projection.weights.shape for projection in program.plastic}
    relays = {population.name for population in program.populations if population.kind == "relay"}
    probes: dict[tuple[str, str], IntData] = {}
    for (target, variable), steps in times.items():
        kind: type[np.integer[Any]] = np.int32
        if target in plastic:
            post, pre = plastic[target]
            size = {"x": (pre,), "y": (post,)}.get(variable[0], (post, pre))
            kind = np.int32 if variable[0] == "y" else np.int16
        else:
            size = (program.sizes[target],)
            kind = np.uint8 if variable == "spikes" and target not in relays else np.int32
        probes[target, variable] = np.zeros((len(steps), batch, *size), dtype=kind)
    return probes


def save_recording(recording: Recording, path: str | Path) -> None:
    """Write a recording as HDF5; the file appears complete or not at all. Raises FileError."""
    leaves: dict[str, store.Leaf] = {
        "runner": recording.runner,
        "first_step": np.asarray(recording.first_step),
        "steps": np.asarray(recording.steps),
    }
    for (target, variable), values in recording.probes.items():
        leaves[f"probes/{target}/{variable}"] = values
        leaves[f"times/{target}/{variable}"] = recording.times[target, variable]
    if recording.operations is not None:
        for field in fields(Operations):
            leaves[f"operations/{field.name}"] = getattr(recording.operations, field.name)
    store.write(path, "recording", leaves)


def load_recording(path: str | Path) -> Recording:
    """Read a recording. Raises FileError if it is missing, truncated, foreign, changed or incomplete."""
    leaves: dict[str, Any] = dict(store.read(path, "recording"))
    try:
        keys = [(name.split("/")[1], name.split("/")[2]) for name in leaves if name.startswith("probes/")]
        operations = None
        if "operations/names" in leaves:
            operations = Operations(*(leaves[f"operations/{field.name}"] for field in fields(Operations)))
        return Recording(
            runner=leaves["runner"],
            first_step=int(leaves["first_step"]),
            steps=int(leaves["steps"]),
            probes={key: leaves[f"probes/{key[0]}/{key[1]}"] for key in keys},
            times={key: leaves[f"times/{key[0]}/{key[1]}"] for key in keys},
            operations=operations,
        )
    except KeyError as error:
        raise FileError(f"{path}: dataset {error} is missing: write the file again") from error
    except (IndexError, TypeError, ValueError) as error:
        raise FileError(f"{path}: no recording ({error}): write the file again") from error
