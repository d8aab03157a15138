"""Which learning rule of M learns what: the default, the error-driven rule and classical pair STDP compared.

python -m experiments.rules --tasks 1,15 [--data DIR]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hardware.atomic import atomic
from spmn import plots
from spmn.cli import train_babi
from spmn.datasets.babi import parse_tasks
from spmn.runs import open_run

PRESETS = ("default", "error-driven", "pair-stdp")


def compare(
    tasks: Annotated[str, typer.Option(help="bAbI tasks, each trained alone.")] = "1,15",
    data: Annotated[Path | None, typer.Option(help="Folder of official bAbI files.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training stories.")] = 8,
    seed: Annotated[int, typer.Option(help="Of weights, batches and generated stories.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the runs and the table.")] = Path("runs/rules"),
) -> None:
    """Train one network per rule and task; write rules.json and the measured STDP windows."""
    table = Table("task", "rule", "validation error", "seconds")
    rows = []
    for task in parse_tasks(tasks):
        for name in PRESETS:
            folder = out / f"task{task}-{name}"
            train_babi(tasks=str(task), data=data, preset=name, epochs=epochs, seed=seed, out=folder)
            run = open_run(folder)
            assert run.kept
            error, seconds = run.kept["error"], run.metrics[-1]["seconds"]
            rows.append(
                {"task": task, "rule": run.network.rule, "error": error, "seconds": seconds, "seed": seed}
            )
            table.add_row(str(task), run.network.rule, f"{error:.2%}", f"{seconds:.0f}")
    with atomic(out / "rules.json") as path:
        path.write_text(json.dumps(rows, indent=1))
    console = Console()
    console.print(table)
    console.print(f"wrote {out / 'rules.json'} and {plots.stdp(out / 'stdp.png')}; runner: torch")


if __name__ == "__main__":
    typer.run(compare)
