"""One table of ratios: training step, layers, chip runners, epoch.

python -m experiments.bench [--data DIR]        (make bench)
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from experiments.bench.chip import chip
from experiments.bench.epoch import joint_epoch, tasks_in
from experiments.bench.gpu import gpu
from experiments.bench.layers import layers
from experiments.bench.step import training_step
from hardware.atomic import atomic
from spmn import kernels
from spmn.data import Source
from spmn.datasets.babi import Story, parse_tasks
from spmn.settings import PRESETS

PARTS = "step,layers,chip,epoch,gpu"
COLUMNS = "what", "ms", "over ours", "events per s"


def bench(
    tasks: Annotated[str, typer.Option(help="bAbI tasks, each measured alone.")] = "1,2,3",
    data: Annotated[Path | None, typer.Option(help="Folder of official bAbI files.")] = None,
    parts: Annotated[str, typer.Option(help="What to measure.")] = PARTS,
    count: Annotated[int, typer.Option(help="Batches per measurement.")] = 8,
    rounds: Annotated[int, typer.Option(help="Rounds; every row is measured once in each.")] = 5,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("runs/bench.json"),
) -> None:
    """Milliseconds, and how much longer than ours everything else takes."""
    kernels.use_threads(threads or torch.get_num_threads())
    kernels.keep_memory()
    console = Console(width=160)
    asked = parts.split(",")
    rows: list[dict[str, Any]] = []
    profile: Sequence[dict[str, Any]] = ()
    for task in parse_tasks(tasks) if "step" in asked else ():
        rows += training_step(task, _stories(task, data), count, rounds)
    if "layers" in asked:
        rows += layers(rounds)
    if "chip" in asked:
        rows += chip(rounds)
    if "epoch" in asked and data is not None:
        found, profile = joint_epoch(data)
        rows += found
    if "gpu" in asked and torch.cuda.is_available():
        rows += gpu(_stories(1, data), count, rounds)
    table = Table(*COLUMNS, title=f"{torch.get_num_threads()} threads, median of {rounds} rounds")
    for row in rows:
        table.add_row(*("" if row.get(name) is None else f"{row[name]}" for name in COLUMNS))
    console.print(table)
    if profile:
        listed = ", ".join(f"{entry['operator']} {entry['share']:.1%}" for entry in profile)
        console.print(f"profile of the epoch's steps: {listed}", highlight=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    with atomic(out) as path:
        path.write_text(
            json.dumps({"rows": rows, "profile": profile, "rounds": rounds, "facts": facts}, indent=1)
        )
    console.print(f"wrote {out}")


def _stories(task: int, data: Path | None) -> list[Story]:
    """Official training stories where the folder has them, else generated ones."""
    there = data is not None and task in tasks_in(data)
    return Source((task,), str(data) if there else None, PRESETS["default"].training.stories, 0).split()[0]


if __name__ == "__main__":
    typer.run(bench)
