"""Does a deployed network do the same everywhere? Spikes of every step, weights after every event.

python -m experiments.deployed RUN --stories 200 --lava 5
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from hardware.atomic import atomic
from hardware.conformance import first_difference, watched
from hardware.emulator import Emulator
from hardware.recording import Recording
from hardware.runners import run as run_on
from hardware.schedule import encode
from spmn.events import stream
from spmn.export import export
from spmn.report import stories_of
from spmn.runners import STORIES, chip_events
from spmn.runs import open_run


def deployed(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    stories: Annotated[int, typer.Option(help="Validation stories, emulator against exact mode.")] = 200,
    lava: Annotated[int, typer.Option(help="How many of them run in Lava's real runtime as well.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of official bAbI files.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Compare the runners on whole stories, with the emulator in strict mode; exit code 1 if bits differ."""
    opened = open_run(run)
    program = watched(export(opened.trained()))
    told = [
        chip_events(stream(story, opened.vocabulary))
        for story in stories_of(opened, None if data is None else str(data), "valid")[:stories]
    ]
    emulator = Emulator(program, strict=True)
    rows: list[dict[str, Any]] = []
    for name, count, together in (("exact", len(told), STORIES), ("lava", lava, 1)):
        equal, first, spikes, compared = 0, "", 0, 0
        start = time.monotonic()
        for begin in range(0, count, together):
            chosen = told[begin : begin + together]
            inputs = encode(program, chosen)
            _, here = emulator.run(emulator.initial_state(len(chosen)), inputs)
            there = run_on(name, program, inputs)
            difference = first_difference(here, there)
            if difference is None:
                equal += len(chosen)
            else:
                first = first or f"story {begin + difference.stream}: {difference}"
                equal += int(equal_streams(here, there, len(chosen)).sum())
            spikes += spike_count(here)
            compared += sum(values.size for values in here.probes.values())
            Console(stderr=True).print(f"{name}: {begin + len(chosen)} of {count} stories", end="\r")
        rows.append(
            {
                "run": str(run),
                "runners": f"emulator and {name}",
                "stories": count,
                "equal": equal,
                "spikes": spikes,
                "values compared": compared,
                "first difference": first,
                "seconds": round(time.monotonic() - start, 1),
            }
        )
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=200).print(table)
    if out is not None:
        with atomic(out) as path:
            path.write_text(json.dumps(rows, indent=1))
    if any(row["equal"] < row["stories"] for row in rows):
        raise typer.Exit(1)


def equal_streams(left: Recording, right: Recording, streams: int) -> npt.NDArray[np.bool_]:
    """[streams] whether all bits of a stream are equal in two recordings."""
    equal = np.full(streams, left.probes.keys() == right.probes.keys())
    for key, values in left.probes.items():
        if key in right.probes:
            others = right.probes[key]
            same = values.shape == others.shape and np.all(values == others, axis=(0, *range(2, values.ndim)))
            equal &= same
    return equal


def spike_count(recording: Recording) -> int:
    """Spikes of all populations."""
    return sum(int((values != 0).sum()) for (_, name), values in recording.probes.items() if name == "spikes")


if __name__ == "__main__":
    typer.run(deployed)
