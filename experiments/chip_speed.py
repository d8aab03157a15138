"""How fast is the emulator? The same deployed program on every runner, interleaved, as ratios.

python -m experiments.chip_speed RUN

Time per step is the slope between a short and a long run, so that starting a runner does not count; for the
emulator it is the whole call, which does it no favour. Lava's runs are those of `make lava`'s environment.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hardware.atomic import atomic
from hardware.emulator import Emulator
from hardware.inputs import Inputs
from hardware.program import Program
from hardware.reference import Reference
from hardware.runners import run as run_on
from hardware.schedule import Event, encode
from spmn.events import stream
from spmn.exact import Exact
from spmn.export import export
from spmn.report import stories_of
from spmn.runners import STORIES, chip_events
from spmn.runs import open_run


def speeds(program: Program, stories: Sequence[Sequence[Event]], rounds: int, lava: bool) -> dict[str, float]:
    """Seconds per step and stream of every runner, the median of interleaved rounds; the emulator alone
    first."""
    many = encode(program, stories)
    one = {name: spikes[:, :1] for name, spikes in many.items()}
    steps, streams = len(next(iter(many.values()))), len(stories)
    short = {name: spikes[: steps // 3] for name, spikes in one.items()}
    emulator, reference, exact = Emulator(program), Reference(program), Exact(program)

    def elapsed(work: Callable[[], Any]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def on(engine: Any, inputs: Inputs) -> float:
        count = next(iter(inputs.values())).shape[1]
        return elapsed(lambda: engine.run(engine.initial_state(count), inputs)) / steps

    def slope(name: str) -> float:
        long = elapsed(lambda: run_on(name, program, one))
        return (long - elapsed(lambda: run_on(name, program, short))) / (steps - steps // 3)

    measured: dict[str, Callable[[], float]] = {
        "emulator, one stream": lambda: min(on(emulator, one) for _ in range(5)),
        f"emulator, {streams} streams": lambda: on(emulator, many) / streams,
        "reference (numpy), one stream": lambda: on(reference, one),
        f"exact (torch), {streams} streams": lambda: on(exact, many) / streams,
    }
    if lava:
        measured["lava models (one process), one stream"] = lambda: slope("lava-models")
        measured["lava simulation (runtime), one stream"] = lambda: slope("lava")
    on(emulator, short)
    times: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(rounds):
        for name, measure in measured.items():
            times[name].append(measure())
            Console(stderr=True).print(
                f"round {number + 1}: {name}: {times[name][-1] * 1e6:,.0f} us per step"
            )
    return {name: median(values) for name, values in times.items()}


def speed(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    rounds: Annotated[int, typer.Option(help="Rounds; every runner runs once in each.")] = 3,
    lava: Annotated[bool, typer.Option(help="Also run Lava's runtime and its models.")] = True,
    data: Annotated[Path | None, typer.Option(help="Folder of official bAbI files.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Microseconds per step and stream, and how many times faster the emulator is."""
    opened = open_run(run)
    stories = [
        chip_events(stream(story, opened.vocabulary))
        for story in stories_of(opened, None if data is None else str(data), "valid")[:STORIES]
    ]
    times = speeds(export(opened.trained()), stories, rounds, lava)
    alone, batched = list(times.values())[:2]
    rows = [
        {
            "runner": name,
            "us per step and stream": round(seconds * 1e6, 1),
            "over emulator, one stream": round(seconds / alone, 1),
            f"over emulator, {len(stories)} streams": round(seconds / batched, 1),
        }
        for name, seconds in times.items()
    ]
    table = Table(*rows[0], title=f"{run}: median of {rounds} interleaved rounds")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=140).print(table)
    if out is not None:
        machine = {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        }
        with atomic(out) as path:
            path.write_text(json.dumps({"rows": rows, "rounds": rounds} | machine, indent=1))


if __name__ == "__main__":
    typer.run(speed)
