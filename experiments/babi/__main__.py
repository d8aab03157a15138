"""The twenty bAbI tasks, one network each.

spmn sweep babi --tasks 1-20 --seeds 0-2 --preset single --data .../en-10k --out runs/single
python -m experiments.babi measure runs/single      # float and integers, into results.json
python -m experiments.babi ship runs/single         # the best run of each task into the package
python -m experiments.babi write                    # RESULTS.md, pictures, card, README table
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments import records
from experiments.babi import results, shipping, writing
from experiments.babi.results import Result

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)
console = Console()
Folders = Annotated[list[Path], typer.Argument(help="Run folders, or folders of them.")]


@app.command()
def measure(
    folders: Folders,
    again: Annotated[bool, typer.Option(help="Also what results.json already has.")] = False,
) -> None:
    """Score runs on all of their validation stories, torch and emulator, and enter them in results.json."""
    known = {r.key: r for r in records.read(Result, results.RESULTS)}
    for run in results.finished(folders):
        before = known.get(results.key(run))
        if before and before.curve == results.curve(run) and not again:
            continue
        result = results.measure(run)
        records.enter(result, results.RESULTS)
        console.print(
            f"{run.folder.name}: torch {result.error:.2%}, emulator {result.chip:.2%}, "
            f"{result.agreement:.2%} equal answers, {result.questions} questions"
        )


@app.command()
def ship(folders: Folders) -> None:
    """Copy the best run of each task into the package."""
    size = shipping.ship(results.finished(folders), results.kept(records.read(Result, results.RESULTS)))
    console.print(f"shipped: {size / 1e6:.1f} MB in all; next: python -m experiments.babi write")


@app.command()
def write() -> None:
    """Make RESULTS.md, its pictures, the model card and the README's table from results.json."""
    found = records.read(Result, results.RESULTS)
    for path in (*writing.pictures(found), *writing.texts(found)):
        console.print(f"wrote {path}")


if __name__ == "__main__":
    app()
