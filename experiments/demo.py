"""`make demo`: task 1 from nothing to the chip emulator, in minutes on a laptop.

Generates stories, trains a spiking memory network, exports it as chip integers, runs unseen questions on the
emulator and draws what the network remembers.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hardware.files import save
from spmn import plots
from spmn.cli import train_babi
from spmn.evaluation import Answers, answer
from spmn.events import stream
from spmn.export import export
from spmn.runners import answer_on
from spmn.runs import open_run

FOLDER = Path("runs/demo")
EPOCHS = 6
QUESTIONS = 250
AIM = 0.99


def demo(folder: Path = FOLDER) -> bool:
    """Returns whether the trained network reached the accuracy aimed at."""
    console = Console()
    if folder.exists():
        shutil.rmtree(folder)
    train_babi(tasks="1", epochs=EPOCHS, out=folder)
    run = open_run(folder)
    network = run.trained()
    assert run.kept
    validation = run.kept["error"]

    program = export(network, attributes={"run": "demo", "tasks": "1"})
    save(program, folder / "program.h5")
    unseen = run.source.test(QUESTIONS)
    streams = [stream(story, run.vocabulary) for story in unseen]
    console.print(
        f"running {sum(len(s.questions) for s in unseen)} unseen questions on the chip emulator ..."
    )
    in_torch, (on_chip, cost) = answer(network, streams), answer_on("emulator", program, streams)

    drawn = [
        plots.learning_curves(run.metrics, folder / "curves.png", "make demo: task 1"),
        *(draw(network, unseen[0], folder / f"{draw.__name__}.png") for draw in PICTURES),
        plots.stdp(folder / "stdp.png"),
    ]

    def accuracy(given: Answers) -> str:
        return f"{1 - given.errors(streams)[1]:.1%}"

    table = Table(title="bAbI task 1, generated stories", show_header=False)
    table.add_row("validation accuracy (torch, float)", f"{1 - validation:.1%}")
    table.add_row("unseen questions", f"{sum(len(given) for given in on_chip.given)}")
    table.add_row("accuracy, torch, float", accuracy(in_torch))
    table.add_row("accuracy, emulator, chip integers", accuracy(on_chip))
    table.add_row("equal answers", f"{on_chip.agreement(in_torch):.1%}")
    if cost is not None:
        table.add_row("spikes per question, emulator", f"{cost.spikes:,.0f}")
        table.add_row("synaptic operations per question, emulator", f"{cost.synaptic_operations:,.0f}")
    console.print(table)
    console.print("pictures: " + ", ".join(str(path) for path in drawn))
    console.print(f"talk to it: spmn ask {folder}")
    return bool(1 - validation >= AIM)


PICTURES = (plots.raster, plots.memory, plots.recall)


if __name__ == "__main__":
    raise SystemExit(0 if demo() else "the demo's network missed 99 % validation accuracy")
