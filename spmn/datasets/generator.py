"""Stories in the format, vocabulary and statistics of the published bAbI data, in any number.

The published files (v1.2) came from a program that was never released; its public rewrite differs from them.
The rules here were inferred from the published training files: see datasets/babi.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spmn.datasets.animals import tell_colours, tell_fears
from spmn.datasets.babi import Line, Story
from spmn.datasets.rooms import ROOM_TASKS
from spmn.errors import DataError, SettingsError

_TELLERS: dict[int, Callable[[np.random.Generator], list[Line]]] = {
    **{number: task.tell for number, task in ROOM_TASKS.items()},
    15: tell_fears,
    16: tell_colours,
}

GENERATED: tuple[int, ...] = tuple(sorted(_TELLERS))
"""The tasks that can be generated."""


def generate(task: int, questions: int, seed: int) -> list[Story]:
    """Whole stories of one task until they hold at least `questions` questions.

    Depends on the arguments alone; with more questions the same stories come first.
    Raises DataError for a task that is not in `GENERATED`, SettingsError for a negative number.
    """
    if task not in _TELLERS:
        raise DataError(f"bAbI task {task!r} cannot be generated: choose from {GENERATED}")
    if questions < 0 or seed < 0:
        raise SettingsError(f"{questions} questions with seed {seed}: choose numbers from 0 up")
    rng = np.random.default_rng([task, seed])
    stories: list[Story] = []
    made = 0
    while made < questions:
        story = Story(task, tuple(_TELLERS[task](rng)))
        stories.append(story)
        made += len(story.questions)
    return stories
