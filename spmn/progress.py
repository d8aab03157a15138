"""The progress bar of trainings and scores."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress(on: Console) -> Progress:
    """What is done, how much of it, for how long, and how long it will take."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), console=on
    )
