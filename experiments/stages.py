"""Does a first stage help the second? bAbI tasks from scratch, and from levels trained on stages 0 and 1.

python -m experiments.stages --tasks 1,2,16 --seeds 0-2 --data .../en-10k --out runs/stages

Both first stages train a network whose memory levels have bAbI's default sizes; `warm_start` then takes over
these levels, while words, decoder and clock start afresh. All runs of a task have the same epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments import records
from spmn.datasets.babi import parse_tasks
from spmn.datasets.sentences import generate
from spmn.runs import read_metrics
from spmn.settings import Network
from spmn.similarity import Similarity, parts
from spmn.stages import Stage, Steps, train_stage
from spmn.sweep import parse_seeds
from spmn.timeline import Course, Timeline
from spmn.training import babi, start, train

RESULTS = Path(__file__).with_name("stages.json")
SCRATCH = "scratch"
STEPS = {"similarity": 400, "timeline": 1000}
EPOCHS = {1: 8, 16: 8}
OTHERWISE = 12
LEARNT = 0.1
"""Validation error below which a task counts as being learnt."""


@dataclass(frozen=True)
class Start:
    """A training on a bAbI task, and what it started from."""

    start: str  # SCRATCH, or the first stage whose memory levels it took over
    task: int
    seed: int  # of both stages
    epochs: int
    error: float  # share of wrong answers on validation stories, best epoch
    curve: tuple[float, ...]  # by epoch
    first: float | None = None  # what the first stage reached: Pearson's correlation, or average precision

    @property
    def key(self) -> tuple[int, str, int, int]:
        """What tells trainings apart."""
        return self.task, self.start, self.epochs, self.seed


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
    results: Annotated[Path, typer.Option(help="The file that results go to.")] = RESULTS,
) -> None:
    """Train all, enter it in the results and print a table. What has finished is not trained again."""
    console = Console()
    for seed in parse_seeds(seeds):
        for begin in (SCRATCH, *STEPS):
            folder, reached = out / f"{begin}-seed{seed}", None
            if begin != SCRATCH:
                how = Steps(steps or STEPS[begin], validate_every=min(100, steps or 100), seed=seed)
                stage = first(begin, seed)
                train_stage(stage, how, folder, threads)
                reached = max(line[stage.decides] for line in read_metrics(folder))
                console.print(f"{folder.name}: {stage.decides} {reached:.3f}", soft_wrap=True)
            for task in parse_tasks(tasks):
                changes = [] if begin == SCRATCH else [f"warm_start={folder.absolute()}"]
                source, preset = babi(
                    (task,), data, "default", epochs or EPOCHS.get(task, OTHERWISE), seed, changes
                )
                run = start(out / f"{begin}-task{task}-seed{seed}", source, preset)
                train(run, threads=threads)
                curve = tuple(line["error"] for line in run.metrics)
                found = Start(begin, task, seed, preset.training.epochs, min(curve), curve, reached)
                records.enter(found, results)
                console.print(f"{run.folder.name}: {min(curve):.1%}")
    console.print(table(records.read(Start, results)), soft_wrap=True)


def table(found: Sequence[Start]) -> str:
    """Errors of the best epochs and the first epoch below LEARNT, seed by seed."""
    rows = [
        "| task | start | what the first stage reached | validation error | first epoch below "
        f"{LEARNT:.0%} | epochs |\n|---|---|---|---|---|---|"
    ]
    for task, begin, epochs in dict.fromkeys((r.task, r.start, r.epochs) for r in found):
        of = [r for r in found if (r.task, r.start, r.epochs) == (task, begin, epochs)]
        below = (next((str(n) for n, e in enumerate(r.curve, 1) if e < LEARNT), "never") for r in of)
        reached = (f"{r.first:.2f}" for r in of if r.first is not None)
        errors = (f"{100 * r.error:.1f} %" for r in of)
        rows.append(
            f"| {task} | {begin} | {' | '.join(map(', '.join, (reached, errors, below)))} | {epochs} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    typer.run(main)
