"""The twenty bAbI tasks, one network each.

spmn sweep babi --tasks 1-20 --seeds 0-2 --preset single --data .../en-10k --out runs/single
python -m experiments.babi measure runs/single      # float and integers, into results.json
python -m experiments.babi ship runs/single         # the best run of each task into the package
python -m experiments.babi bits --data .../en-10k   # error against bits of M, and energy, into bits.json
python -m experiments.babi export                   # the shipped programs, after a change of the exporter
python -m experiments.results                       # RESULTS.md, pictures, cards, README table
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Annotated

import typer
from rich.console import Console

from experiments import records
from experiments.babi import bits as memory
from experiments.babi import results, shipping
from experiments.babi.results import Result
from spmn.datasets.babi import parse_tasks

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
        before = [known.get(key) for key in results.keys(run)]
        if not again and all(r and r.curve == results.curve(run, r.task) for r in before):
            continue
        found = results.measure(run)
        for result in found:
            records.enter(result, results.RESULTS)
        console.print(
            f"{run.folder.name}: torch {mean(r.error for r in found):.2%}, "
            f"emulator {mean(r.chip for r in found):.2%}, "
            f"{found[0].agreement:.2%} equal answers, {sum(r.questions for r in found)} questions"
        )


@app.command()
def ship(folders: Folders) -> None:
    """Copy the best run of each task into the package, and the best run of all tasks together.

    Where these folders hold runs of one kind only, the other networks stay what they are.
    """
    runs, found = results.finished(folders), records.read(Result, results.RESULTS)
    alone = [run for run in runs if len(run.source.tasks) == 1]
    if alone:
        size = shipping.ship(alone, results.kept(found))
        console.print(f"shipped one network per task: {size / 1e6:.1f} MB in all")
    if len(alone) < len(runs):
        size = shipping.ship_joint(runs, next(iter(results.joint(found).values()), []))
        console.print(f"shipped one network for all tasks: {size / 1e6:.1f} MB")
    console.print("next: python -m experiments.results")


Networks = Annotated[str, typer.Option(help="Sets of networks that are shipped.")]


@app.command()
def export(networks: Networks = "babi,babi-joint") -> None:
    """Export the shipped networks anew, after a change of the exporter."""
    for network in networks.split(","):
        shipping.export_again(network)
        console.print(f"exported {network}")


@app.command()
def bits(
    data: Annotated[Path, typer.Option(help="Folder of official files.")],
    networks: Networks = "babi",
    limit: Annotated[int, typer.Option(help="Validation questions per task, in whole stories.")] = 500,
    tasks: Annotated[str | None, typer.Option(help="Such as 1,16 or 1-20; all if not given.")] = None,
) -> None:
    """Score the shipped networks with 2 to 8 bits of plastic memory, and enter that in bits.json."""
    for network in networks.split(","):
        for found in memory.measure(network, str(data), limit, parse_tasks(tasks) if tasks else None):
            records.enter(found, memory.RESULTS)
            console.print(f"{network}/{found.task}, {found.bits} bits: {found.error:.2%}")


if __name__ == "__main__":
    app()
