"""Lava's own runtime on the CPU: one operating system process per Lava Process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np

from hardware.checks import IntArray
from hardware.errors import RunError
from hardware.inputs import IntData
from hardware.lava import build, stock
from hardware.lava.processes.probes import PORTS, Probes
from hardware.program import Program
from hardware.recording import probe_times

Key = tuple[str, str]

CHECK_SECONDS = 0.05
"""How often a run is looked at; an exception in a model ends it at once."""
COMPILE_CONFIG = {"pypy_channel_size": 8}
"""Messages that a channel holds. At most one per phase is under way; Lava's 64 take memory for nothing."""


def run_stream(program: Program, payloads: Mapping[str, IntArray], folder: Path) -> dict[Key, IntData]:
    """Run one stream from step 1 in a runtime of its own; see `models.run_stream`.

    Parts that no path connects to a probed one are not run.

    After an exception the runtime cannot be stopped any more: end this process and its children.

    Args:
        folder: where probes write their files.

    Raises:
        RunError: a model failed; names the part and quotes the reason.
    """
    steps = len(next(iter(payloads.values())))
    parts = build.processes(program)
    parts |= {name: build.source(name, array) for name, array in payloads.items()}
    edges = []
    for wire in build.wires(program):
        getattr(parts[wire.source], wire.output).connect(getattr(parts[wire.target], wire.input))
        edges.append((wire.source, wire.target))
    times = {key: array for key, array in probe_times(program, 0, steps).items() if len(array)}
    files = {key: folder / f"probe-{number}.npy" for number, key in enumerate(times)}
    for members in _components([*parts], edges):
        wanted = [key for key in times if key[0] in members]
        if wanted:
            _attach_probes(parts, wanted, times, files)
            _run(parts[wanted[0][0]], steps)
    values = {key: np.load(path) for key, path in files.items()}
    for path in files.values():
        path.unlink()
    stock.forget_processes()
    return values


def _attach_probes(
    parts: Mapping[str, Any], wanted: list[Key], times: Mapping[Key, IntArray], files: Mapping[Key, Path]
) -> None:
    """Connect the probes `wanted`, which must be of connected parts, to as few Processes as they need."""
    spikes = [(key, parts[key[0]].s_out) for key in wanted if key[1] == "spikes"]
    states = [(key, getattr(parts[key[0]], key[1])) for key in wanted if key[1] != "spikes"]
    for first in range(0, max(len(spikes), len(states)), PORTS):
        ports = {"spikes": spikes[first : first + PORTS], "states": states[first : first + PORTS]}
        probes = Probes(
            **{
                kind: [(watched.shape, times[key].tolist(), str(files[key])) for key, watched in group]
                for kind, group in ports.items()
            }
        )
        for number, (_, output) in enumerate(ports["spikes"]):
            output.connect(getattr(probes, f"spikes_{number}"))
        for number, (_, variable) in enumerate(ports["states"]):
            getattr(probes, f"state_{number}").connect_var(variable)


def _components(names: list[str], edges: list[tuple[str, str]]) -> list[set[str]]:
    """Parts that are connected to each other: Lava runs only what is connected to the Process it starts."""
    group = {name: {name} for name in names}
    for source, target in edges:
        if group[source] is not group[target]:
            merged = group[source] | group[target]
            group |= dict.fromkeys(merged, merged)
    return list({id(members): members for members in group.values()}.values())


def _run(process: Any, steps: int) -> None:
    """Run all Processes connected to `process`.

    There is no stop() after an exception: Lava would wait for ever for the Processes that failed.
    """
    process.run(
        stock.RunSteps(num_steps=steps, blocking=False),
        stock.Loihi2SimCfg(select_tag="fixed_pt"),
        compile_config=dict(COMPILE_CONFIG),
    )
    _wait(process.runtime)
    process.wait()
    process.stop()


def _wait(runtime: Any) -> None:
    """Wait until all steps are done. Raises RunError when a model raises or its process dies."""
    actors = runtime._messaging_infrastructure.actors
    names = [process.name for process in runtime._executable.proc_builders] + ["runtime service"] * len(
        actors
    )
    pipes = [actor._pconn for actor in actors]
    signs = [*pipes, *(actor.sentinel for actor in actors)]
    while not any(port.probe() for port in runtime.service_to_runtime):
        if not connection.wait(signs, timeout=CHECK_SECONDS):
            continue
        time.sleep(CHECK_SECONDS)  # what was raised may follow the process's end
        for name, actor in zip(names, actors, strict=False):
            if actor.exception is not None:
                reason, _ = actor.exception
                raise RunError(f"{name}: {type(reason).__name__}: {reason}")
        for name, actor in zip(names, actors, strict=False):
            if actor.exitcode is not None:
                raise RunError(f"{name}: its process ended with exit code {actor.exitcode}")
