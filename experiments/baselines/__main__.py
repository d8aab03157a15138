"""Other memory networks on the same stories.

python -m experiments.baselines train --models "SPMN 0.0.1" --tasks 1,2 --seeds 0-2 --data .../en-10k
python -m experiments.baselines similarity --data sts-train.csv --valid sts-dev.csv --seeds 0-2
python -m experiments.baselines train --joint --tasks 1-20 --models LSTM --data .../en-10k
python -m experiments.baselines grow       # error and time on stories of 10 to 1,000 statements
python -m experiments.results              # RESULTS.md
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments import records
from experiments.baselines import harness, lengths, likeness
from experiments.baselines.harness import MODELS
from spmn import stage_cli
from spmn.data import Source
from spmn.datasets.babi import parse_tasks
from spmn.similarity import parts
from spmn.sweep import parse_seeds
from spmn.training import babi

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)
console = Console()


@app.command()
def train(
    models: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(MODELS),
    tasks: Annotated[str, typer.Option(help="Such as 1,2 or 1-20; one network each.")] = "1",
    joint: Annotated[bool, typer.Option("--joint", help="One network for all tasks.")] = False,
    seeds: Annotated[str, typer.Option(help="Such as 0-2.")] = "0",
    data: Annotated[Path | None, typer.Option(help="Folder of official files.")] = None,
    epochs: Annotated[int | None, typer.Option(help="12 if not given.", min=1)] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    results: Annotated[Path, typer.Option(help="The file that results go to.")] = harness.RESULTS,
) -> None:
    """Train models on tasks, each alone, and enter what they reach."""
    every = parse_tasks(tasks)
    for some, seed, name in itertools.product(
        [every] if joint else [(task,) for task in every], parse_seeds(seeds), _named(models)
    ):
        if joint:
            source, _ = babi(some, data, "joint", None, seed)  # validated on the same stories
        else:
            source = Source(some, None if data is None else str(data), seed=seed)
        title = f"{name}, {'all tasks' if joint else f'task {some[0]}'}, seed {seed}"
        told = partial(_report, title)
        found = harness.fit(name, source, seed, epochs, threads, told)
        records.enter(harness.measured(found), results)


def _named(models: str) -> list[str]:
    return [name.strip() for name in models.split(",")]


def _report(title: str, epoch: int, training: float, valid: float) -> None:
    console.print(
        f"{title}, epoch {epoch}: error {training:.1%} in training, {valid:.1%} in validation",
        soft_wrap=True,
    )


@app.command()
def similarity(
    data: Annotated[
        str, typer.Option(help="A file of sentences or scored pairs, or en or zh: our own.")
    ] = "en",
    valid: Annotated[Path | None, typer.Option(help="A file to validate on.")] = None,
    seeds: Annotated[str, typer.Option(help="Such as 0-2.")] = "0",
    steps: Annotated[int, typer.Option(help="Of gradient descent.", min=1)] = 600,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/baselines"),
    results: Annotated[Path, typer.Option(help="The file that results go to.")] = likeness.RESULTS,
) -> None:
    """Train both generations of SPMN on stage 0, and enter what they reach."""
    corpus = stage_cli.corpus_named(data)
    for seed, model in itertools.product(parse_seeds(seeds), (likeness.SPIKING, likeness.SECOND)):
        told, held_out = parts(corpus, stage_cli.HELD_OUT, seed)
        if valid is not None:
            told, held_out = corpus, stage_cli.corpus_named(str(valid)).without(corpus)
        folder = out / f"{model.replace(' ', '-')}-{Path(data).stem}-seed{seed}"
        found = likeness.train(model, Path(data).stem, told, held_out, seed, steps, folder, threads)
        records.enter(found, results)
        console.print(
            f"{model}, seed {seed}: Spearman {found.before:.3f} before, {found.spearman:.3f} trained"
        )


@app.command()
def grow(
    models: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(lengths.MODELS),
    tasks: Annotated[str, typer.Option(help="Of 1, 2, 3, 5 to 8; one network each.")] = "1,2,6",
    seeds: Annotated[str, typer.Option(help="Such as 0-2.")] = "0",
    epochs: Annotated[int | None, typer.Option(help="12 if not given.", min=1)] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    results: Annotated[Path, typer.Option(help="The file that results go to.")] = lengths.RESULTS,
) -> None:
    """Train on generated stories of the usual length, then answer ones of 10 to 1,000 statements.

    Networks that come with the package are not trained.
    """
    for task, seed, name in itertools.product(parse_tasks(tasks), parse_seeds(seeds), _named(models)):
        told = partial(_report, f"{name}, task {task}, seed {seed}")
        for found in lengths.measure(name, task, seed, epochs, threads, told):
            records.enter(found, results)
            console.print(
                f"{name}, task {task}, seed {found.seed}, {found.statements} statements: "
                f"{found.error:.1%} wrong, {1e6 * found.seconds:.0f} microseconds per event",
                soft_wrap=True,
            )


if __name__ == "__main__":
    app()
