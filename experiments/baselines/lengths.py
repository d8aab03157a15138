"""Stories longer than those trained on: who still answers, and at what cost per event."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.baselines.harness import Fit, Report, errors_by_task, fit
from experiments.baselines.ours import Shipped
from hardware.atomic import atomic
from spmn import kernels
from spmn.data import Source, unseen
from spmn.events import collate, stream
from spmn.pretrained import located
from spmn.runs import open_run

RESULTS = Path(__file__).with_name("lengths.json")
STATEMENTS = (10, 30, 100, 300, 1000)
MODELS = ("SPMN", Shipped.name, "LSTM", "Transformer")
QUESTIONS = 250
TIMED = 3
"""Readings of a story, of which the median counts."""


@dataclass(frozen=True)
class Length:
    """One model on stories of one length, after training on those of the usual length."""

    model: str
    task: int
    seed: int  # of the new stories, and of the training unless the network is one of the package
    epochs: int
    statements: int  # at least so many before the first question
    questions: int
    error: float  # share of wrong answers
    seconds: float  # to read and answer one story as a whole, per event
    state: int  # bytes carried along after so many events

    @property
    def key(self) -> tuple[str, int, int, int, int]:
        """What tells records apart."""
        return self.model, self.task, self.epochs, self.statements, self.seed


def measure(
    name: str, task: int, seed: int, epochs: int | None, threads: int, report: Report
) -> Iterator[Length]:
    """Train on generated stories, or take a network that comes with the package, then answer longer and
    longer ones.

    The seed is that of the new stories, too; a network of the package keeps the one that it was trained with.
    """
    kernels.use_threads(threads)
    source = Source((task,), None, seed=seed)
    found = shipped(source) if name == Shipped.name else fit(name, source, seed, epochs, threads, report)
    told = {story.key for side in source.split() for story in side}
    for statements in STATEMENTS:
        yield judged(found, statements, seed, told)


def shipped(source: Source) -> Fit:
    """The network of the package for the task of `source`, on stories like those there."""
    (task,) = source.tasks
    run = open_run(located(f"babi/{task}"))
    return Fit(
        network=Shipped(run.vocabulary, run.trained()),
        source=source,
        seed=run.training.seed,
        vocabulary=run.vocabulary,
        checks=[],
        validation=[(line["error"],) for line in run.metrics],
        training=[],
        seconds=0.0,
    )


@torch.no_grad()
def judged(found: Fit, statements: int, seed: int, told: set[str]) -> Length:
    """Error and time on new stories of this seed, with so many statements before their first question."""
    (task,) = found.source.tasks
    streams = [stream(s, found.vocabulary) for s in unseen(task, QUESTIONS, seed, told, statements)]
    error = errors_by_task(found.network, streams)[task]
    one, seconds = collate(streams[:1]), []
    for _ in range(TIMED):
        start = time.perf_counter()
        found.network(one)
        seconds.append(time.perf_counter() - start)
    return Length(
        model=found.network.name,
        task=task,
        seed=seed,
        epochs=len(found.curve),
        statements=statements,
        questions=sum(int((s.target != -1).sum()) for s in streams),
        error=error,
        seconds=median(seconds) / one.kind.shape[1],
        state=found.network.state(statements),
    )


def table(found: Sequence[Length]) -> str:
    """A row per task and model, a column per length."""
    lengths = sorted({r.statements for r in found})
    rows = [
        f"| task | model | epochs | {' | '.join(f'{n:,} statements' for n in lengths)} | "
        f"microseconds per event, {lengths[0]} to {lengths[-1]:,} | "
        f"state, bytes, {lengths[0]} to {lengths[-1]:,} |",
        "|---" * (5 + len(lengths)) + "|",
    ]
    for row in sorted({(r.task, r.model, r.epochs) for r in found}):
        trained = [r for r in found if (r.task, r.model, r.epochs) == row]
        of = {n: [r for r in trained if r.statements == n] for n in lengths}
        errors = (", ".join(f"{100 * r.error:.1f}" for r in some) for some in of.values())
        ends = [of[n][0] for n in (lengths[0], lengths[-1]) if of[n]]
        cells = (
            *map(str, row),
            *errors,
            " to ".join(f"{1e6 * r.seconds:,.0f}" for r in ends),
            " to ".join(f"{r.state:,}" for r in ends),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def picture(found: Sequence[Length], path: Path) -> Path:
    """Error and time per event over the length of stories, for each task."""
    tasks = sorted({r.task for r in found})
    figure = Figure(figsize=(3.6 * len(tasks), 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(tasks), sharex=True, squeeze=False)
    for column, task in enumerate(tasks):
        for model in sorted({r.model for r in found}):
            of = sorted(
                (r for r in found if (r.task, r.model) == (task, model)), key=lambda r: (r.seed, r.statements)
            )
            first = [r for r in of if r.seed == of[0].seed]
            at = [r.statements for r in first]
            axes[0, column].plot(at, [100 * r.error for r in first], "o-", label=model)
            axes[1, column].loglog(at, [1e6 * r.seconds for r in first], "o-", label=model)
        axes[0, column].set(title=f"task {task}", xscale="log", ylim=(-2, 102))
        axes[1, column].set(xlabel="statements before the first question")
        for axis in axes[:, column]:
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("wrong answers, % (torch)")
    axes[1, 0].set_ylabel("microseconds per event")
    axes[0, 0].legend(fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
    return path
