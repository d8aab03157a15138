"""Renaming: a training story told again with other people, places or things in the same roles.

Who does what does not depend on what they are called. Where that holds, a story of p names and q places
stands for p! q! stories, and a network that cannot know them by heart has to learn what they do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spmn.errors import SettingsError
from spmn.events import QUESTION, Ints, Stream, Vocabulary

Phrase = tuple[int, ...]
"""Word ids of a name: of "garden", or of "red sphere"."""


@dataclass(frozen=True)
class Renaming:
    """Groups of names that may stand for each other."""

    groups: tuple[tuple[Phrase, ...], ...]
    words: int  # in the vocabulary
    answers: dict[tuple[Phrase | str, ...], int]  # parts of an answer -> answer id
    parts: tuple[tuple[Phrase | str, ...], ...]  # answer id -> its parts: word ids, or what is no word

    @classmethod
    def of(cls, groups: str, vocabulary: Vocabulary) -> Renaming:
        """Groups written as "mary john sandra, red_sphere triangle": "_" joins the words of one name.

        Raises SettingsError for a name that stands in two places, or a word that no training story says.
        """
        index = {word: i for i, word in enumerate(vocabulary.words)}
        listed = groups.replace(",", " ").split()
        if twice := sorted({name for name in listed if listed.count(name) > 1}):
            raise SettingsError(f"rename names {twice[0]!r} twice; a name belongs to one group")
        if strange := [word for name in listed for word in name.split("_") if word not in index]:
            raise SettingsError(
                f"rename names {strange[0]!r}, which no training story says; give --set rename= without it"
            )

        def ids(words: str) -> Phrase:
            return tuple(index[word] for word in words.split("_"))

        def part(said: str) -> Phrase | str:  # "Bill" as an answer is the word "bill"
            words = said.lower().split()
            return ids("_".join(words)) if all(word in index for word in words) else said

        known = [tuple(ids(name) for name in group.split()) for group in groups.split(",")]
        parts = tuple(tuple(part(said) for said in a.split(",")) for a in vocabulary.answers)
        return cls(
            tuple(group for group in known if len(group) > 1),
            len(vocabulary.words),
            {said: i for i, said in enumerate(parts)},
            parts,
        )

    def __call__(self, story: Stream, random: np.random.Generator) -> Stream:
        """The story with new names, drawn uniformly; its own names where it could then not be said: an answer
        never seen in training, or a sentence longer than the longest.

        Answers are renamed part by part ("milk,apple" names two things). For stories without practice.
        """
        names = dict[Phrase, Phrase]()
        for group in self.groups:
            names.update(zip(group, (group[i] for i in random.permutation(len(group))), strict=True))
        target = story.target.copy()
        for n in np.flatnonzero((story.kind == QUESTION) & (story.target >= 0)):
            parts = self.parts[target[n]]
            answer = tuple(part if isinstance(part, str) else names.get(part) or part for part in parts)
            if answer not in self.answers:
                return story
            target[n] = self.answers[answer]
        words = self._retold(story.words, names)
        return story if words is None else replace(story, words=words, target=target)

    def _retold(self, told: Ints, names: dict[Phrase, Phrase]) -> Ints | None:
        """Sentences [N, length] with new names, the longest name that fits first; None if one is too long."""
        longest = max(map(len, names), default=1)
        if longest == 1:
            words = np.arange(self.words)
            for (old,), (new,) in names.items():
                words[old] = new
            return words[told]
        retold = np.zeros_like(told)
        for n, sentence in enumerate(told):
            ids, said, at = sentence[sentence != 0].tolist(), list[int](), 0
            while at < len(ids):
                spans = (tuple(ids[at : at + length]) for length in range(longest, 0, -1))
                name = next((span for span in spans if span in names), (ids[at],))
                said += names.get(name, name)
                at += len(name)
            if len(said) > told.shape[1]:
                return None
            retold[n, : len(said)] = said
        return retold
