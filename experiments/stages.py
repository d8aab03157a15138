"""Does a first stage help the second? bAbI tasks from scratch, and from levels trained on stages 0 and 1.

python -m experiments.stages --tasks 1,2,16 --seeds 0-2 --data .../en-10k --out runs/stages

Both first stages train a network whose memory levels have bAbI's default sizes; `warm_start` then takes over
these levels, while words, decoder and clock start afresh. All runs of a task have the same epochs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hardware.atomic import atomic
from spmn.datasets.babi import parse_tasks
from spmn.datasets.sentences import generate
from spmn.settings import Network
from spmn.similarity import Similarity, parts
from spmn.stages import Stage, Steps, metrics, train_stage
from spmn.sweep import parse_seeds
from spmn.timeline import Course, Timeline
from spmn.training import babi, start, train

STEPS = {"similarity": 400, "timeline": 1000}
EPOCHS = {1: 8, 16: 8}
OTHERWISE = 12


def first(name: str, seed: int) -> Stage:
    """A first stage on memory levels of the default sizes."""
    if name == "similarity":
        return Similarity(*parts(generate("en"), 0.1, seed), Network(), seed=seed)
    return Timeline(Network(), Course("once", length=20), seed=seed)


def main(
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs/stages"),
    tasks: Annotated[str, typer.Option(help="Of bAbI, each alone.")] = "1,2,16",
    seeds: Annotated[str, typer.Option(help="Such as 0-2.")] = "0-2",
    data: Annotated[Path | None, typer.Option(help="Folder of official files.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of the first stages; each its own if not given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of every task; each its own if not given.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Train all; writes OUT/stages.json and prints a table. What has finished is not trained again."""
    console = Console()
    rows: list[dict[str, Any]] = []
    for seed in parse_seeds(seeds):
        for begin in ("scratch", *STEPS):
            folder = out / f"{begin}-seed{seed}"
            if begin != "scratch":
                how = Steps(steps or STEPS[begin], validate_every=min(100, steps or 100), seed=seed)
                train_stage(first(begin, seed), how, folder, threads)
                console.print(f"{folder.name}: {metrics(folder)[-1]}", soft_wrap=True)
            for task in parse_tasks(tasks):
                changes = [] if begin == "scratch" else [f"warm_start={folder.absolute()}"]
                source, preset = babi(
                    (task,), data, "default", epochs or EPOCHS.get(task, OTHERWISE), seed, changes
                )
                run = start(out / f"{begin}-task{task}-seed{seed}", source, preset)
                train(run, threads=threads)
                curve = [line["error"] for line in run.metrics]
                rows.append({"start": begin, "task": task, "seed": seed, "error": min(curve), "curve": curve})
                console.print(f"{run.folder.name}: {min(curve):.1%}")
                with atomic(out / "stages.json") as path:
                    path.write_text(json.dumps(rows, indent=1))
    console.print(table(rows))


def table(rows: list[dict[str, Any]]) -> Table:
    """Errors of the best epochs, seed by seed, and the first epoch below 10 %."""
    found = Table("task", "start", "validation error by seed, %", "first epoch below 10 %")
    for task, begin in dict.fromkeys((row["task"], row["start"]) for row in rows):
        of = [row for row in rows if (row["task"], row["start"]) == (task, begin)]
        below = [next((str(n) for n, e in enumerate(r["curve"], 1) if e < 0.1), "never") for r in of]
        errors = ", ".join(f"{100 * r['error']:.1f}" for r in of)
        found.add_row(str(task), begin, errors, ", ".join(below))
    return found


if __name__ == "__main__":
    typer.run(main)
