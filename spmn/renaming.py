"""Renaming: a training story told again with other people, places or things in the same roles.

Who does what does not depend on what they are called. Where that holds, a story of p names and q places
stands for p! q! stories, and a network that cannot know them by heart has to learn what they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spmn.errors import SettingsError
from spmn.events import QUESTION, Ints, Stream, Vocabulary


@dataclass(frozen=True)
class Renaming:
    """Groups of words that may stand for each other."""

    groups: tuple[Ints, ...]  # word ids
    words: int  # in the vocabulary
    answers: dict[tuple[int | str, ...], int]  # parts of an answer -> answer id
    parts: tuple[tuple[int | str, ...], ...]  # answer id -> its parts: word ids, or what is no word

    @classmethod
    def of(cls, groups: str, vocabulary: Vocabulary) -> Renaming:
        """Groups written as "mary john sandra, kitchen garden".

        Raises SettingsError for a word that stands in two places, or in no training story.
        """
        index = {word: i for i, word in enumerate(vocabulary.words)}
        listed = groups.replace(",", " ").split()
        if twice := sorted({word for word in listed if listed.count(word) > 1}):
            raise SettingsError(f"rename names {twice[0]!r} twice; a word belongs to one group")
        if strange := [word for word in listed if word not in index]:
            raise SettingsError(
                f"rename names {strange[0]!r}, which no training story says; give --set rename= without it"
            )
        known = [[index[word] for word in group.split()] for group in groups.split(",")]
        # "Bill" as an answer is the word "bill"
        parts = tuple(tuple(index.get(p.lower(), p) for p in a.split(",")) for a in vocabulary.answers)
        return cls(
            tuple(np.array(ids, np.int64) for ids in known if len(ids) > 1),
            len(vocabulary.words),
            {part: i for i, part in enumerate(parts)},
            parts,
        )

    def __call__(self, story: Stream, random: np.random.Generator) -> Stream:
        """The story with new names, drawn uniformly; its own names where an answer would then be unsayable.

        Answers are renamed part by part ("milk,apple" names two things). For stories without practice.
        """
        names = np.arange(self.words)
        for group in self.groups:
            names[group] = random.permutation(group)
        target = story.target.copy()
        for n in np.flatnonzero((story.kind == QUESTION) & (story.target >= 0)):
            answer = self._renamed(self.parts[target[n]], names)
            if answer not in self.answers:
                return story
            target[n] = self.answers[answer]
        return replace(story, words=names[story.words], target=target)

    @staticmethod
    def _renamed(parts: Sequence[int | str], names: Ints) -> tuple[int | str, ...]:
        return tuple(part if isinstance(part, str) else int(names[part]) for part in parts)
