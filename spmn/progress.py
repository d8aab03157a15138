"""The progress bar of trainings and scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from spmn.stages import Stage, Steps


def progress(on: Console, transient: bool = False) -> Progress:
    """What is done, how much of it, for how long, and how long it will take; `transient` leaves no trace."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=on, transient=transient)


def train_shown(
    on: Console,
    stage: Stage,
    how: Steps,
    folder: Path,
    threads: int | None,
    said: Callable[[Mapping[str, float]], str],
) -> None:
    """Train a stage under a progress bar; `said` puts a validation into words."""
    from spmn.stages import train_stage

    with progress(on) as bar:
        shown = bar.add_task("", total=how.steps)

        def report(kind: str, values: Mapping[str, float]) -> None:
            if kind == "step":
                bar.update(shown, completed=values["step"], description=f"loss {values['loss']:.3f}")
            else:
                bar.console.print(f"step {values['step']}: {said(values)}")

        train_stage(stage, how, folder, threads, report)
