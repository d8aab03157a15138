"""Which stories a run trains on, is validated on and is tested on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from spmn.datasets.babi import Story, load, split_by_story, without
from spmn.datasets.generator import generate
from spmn.errors import DataError

TEST_SEED = 1_000_003
"""Added to the seed of the training stories: no training run uses it."""
EXTRA_SEED = 2_000_003
"""Added to the seed for stories that top up the training stories."""


@dataclass(frozen=True)
class Source:
    """Where stories come from: official files in a folder, or the built-in generator."""

    tasks: tuple[int, ...]
    folder: str | None = None  # of official files; None: generated
    questions: int = 10_000  # generated per task
    seed: int = 0  # of the generator and of the cut into training and validation data
    validation: float = 0.1  # share of the distinct stories
    extra: int = 0  # questions per task in generated stories that are added to the training stories
    fill: int = 0  # questions per task up to which generated stories are added where files hold fewer
    cuts: tuple[tuple[int, int], ...] = ()
    """(task, seed) of tasks that warm starts know: cut as for them, so that no validation story was seen."""

    def split(self) -> tuple[list[Story], list[Story]]:
        """(training, validation) stories; no distinct story is on both sides.

        Raises DataError where files are missing or break the format.
        """
        told = self._train()
        training, validation = split_by_story(told, self.validation, self.seed, dict(self.cuts))
        if not training or not validation:
            raise DataError(
                f"{len(training)} training and {len(validation)} validation stories are left of tasks "
                f"{list(self.tasks)}; both are needed: use more stories or another validation share"
            )
        held = {story.key for story in validation}
        return training + without(self._extra(told), held), validation

    def test(self, questions: int = 1000, folder: str | None = None) -> list[Story]:
        """Test stories: the official `*_test.txt` files of `folder`, whole and unfiltered; without a folder,
        generated stories of another seed, each different from every training and validation story."""
        if folder is not None:
            return load(folder, self.tasks, "test")
        told = self._train()
        seen = {story.key for story in (*told, *self._extra(told))}
        return [story for task in self.tasks for story in unseen(task, questions, self.seed, seen)]

    def _extra(self, told: Sequence[Story]) -> list[Story]:
        missing = self._missing(told)
        wanted = {task: self.extra + missing.get(task, 0) for task in self.tasks}
        return [
            story
            for task, questions in wanted.items()
            if questions
            for story in generate(task, questions, self.seed + EXTRA_SEED)
        ]

    @property
    def missing(self) -> dict[int, int]:
        """Generated questions that fill up the tasks whose files hold fewer than `fill`."""
        return self._missing(self._train()) if self.folder and self.fill else {}

    def _missing(self, told: Sequence[Story]) -> dict[int, int]:
        if self.folder is None or not self.fill:
            return {}
        held = Counter[int]()
        for story in told:
            held[story.task] += len(story.questions)
        return {task: self.fill - held[task] for task in self.tasks if held[task] < self.fill}

    def _train(self) -> list[Story]:
        if self.folder is not None:
            return load(self.folder, self.tasks, "train")
        return [story for task in self.tasks for story in generate(task, self.questions, self.seed)]


def unseen(task: int, questions: int, seed: int, seen: Set[str], before: int = 0) -> list[Story]:
    """Generated stories that hold at least so many questions and whose keys are not in `seen`; `before` as
    `generate` has it.

    They are drawn with another seed than the training stories of `seed`; what was seen is left out. Like
    published ones they may repeat each other. Task 4 has only 7,680 stories: after 10,000 training questions
    about one in four drawn is new; after many more, none is left.
    Raises DataError where not even 64 times as many questions (of 1,000 or more) hold enough.
    """
    wanted, most = questions, 64 * max(questions, 1000)
    while True:
        fresh = without(generate(task, wanted, seed + TEST_SEED, before), seen)
        if sum(len(story.questions) for story in fresh) >= questions:
            return limited(fresh, questions)
        wanted *= 2
        if wanted > most:
            raise DataError(
                f"task {task} has too few stories for {questions} test questions unlike the {len(seen):,} "
                f"training stories: ask for fewer training or test questions"
            )


def limited(stories: Iterable[Story], questions: int | None) -> list[Story]:
    """Whole stories from the start, of each task until it has `questions` questions (all if None)."""
    kept, asked = [], dict[int, int]()
    for story in stories:
        if questions is None or asked.get(story.task, 0) < questions:
            asked[story.task] = asked.get(story.task, 0) + len(story.questions)
            kept.append(story)
    return kept


def fingerprint(story: Story) -> str:
    """What two stories share only when they are the same, in 16 letters."""
    return hashlib.sha256(story.key.encode()).hexdigest()[:16]


def digest(stories: Iterable[Story]) -> str:
    """A fingerprint of stories and their order."""
    total = hashlib.sha256()
    for story in stories:
        total.update(f"{story.task}\n{story.key}\n".encode())
    return total.hexdigest()
