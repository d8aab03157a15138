"""Stories in the format, vocabulary and statistics of the published bAbI data, in any number.

The published files (v1.2) came from a program that was never released; its public rewrite differs from them.
The rules here were inferred from the published training files: see datasets/babi.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from spmn.datasets.animals import tell_colours, tell_fears
from spmn.datasets.babi import TASKS, Line, Story
from spmn.datasets.days import tell_days
from spmn.datasets.motives import tell_motives
from spmn.datasets.places import tell_neighbours, tell_positions, tell_ways
from spmn.datasets.rooms import ROOM_TASKS
from spmn.datasets.sizes import tell_sizes
from spmn.datasets.whereabouts import WHEREABOUTS_TASKS
from spmn.errors import DataError, SettingsError

_TELLERS: dict[int, Callable[[np.random.Generator], list[Line]]] = {
    **{number: task.tell for number, task in ROOM_TASKS.items()},
    **{number: task.tell for number, task in WHEREABOUTS_TASKS.items()},
    4: tell_neighbours,
    14: tell_days,
    15: tell_fears,
    16: tell_colours,
    17: tell_positions,
    18: tell_sizes,
    19: tell_ways,
    20: tell_motives,
}

GENERATED: tuple[int, ...] = tuple(sorted(_TELLERS))
"""The tasks that can be generated."""


def generate(task: int, questions: int, seed: int, before: int = 0) -> list[Story]:
    """Whole stories of one task until they hold at least `questions` questions.

    before: statements that are told before the first question, for stories longer than the published ones.
    Depends on the arguments alone; with more questions the same stories come first.
    Raises DataError for a task that does not exist, SettingsError for a negative number, and for `before` of
    a task whose stories cannot go on for ever.
    """
    if task not in _TELLERS:
        raise DataError(f"there is no bAbI task {task!r}: choose from 1 to {len(TASKS)}")
    if questions < 0 or seed < 0:
        raise SettingsError(f"{questions} questions with seed {seed}: choose numbers from 0 up")
    tell = _TELLERS[task]
    if before:
        if task not in ROOM_TASKS or before < 0:
            raise SettingsError(
                f"{before} statements before the first question of task {task}: choose a number from 0 up, "
                f"and one of tasks {', '.join(map(str, ROOM_TASKS))}"
            )
        tell = partial(ROOM_TASKS[task].tell, before=before)
    rng = np.random.default_rng([task, seed])
    stories: list[Story] = []
    made = 0
    while made < questions:
        story = Story(task, tuple(tell(rng)))
        stories.append(story)
        made += len(story.questions)
    return stories
