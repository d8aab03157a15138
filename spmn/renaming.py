"""Renaming: a training story told again with other people, places or things in the same roles.

Who does what does not depend on what they are called. Where that holds, a story of p names and q places
stands for p! q! stories, and a network that cannot know them by heart has to learn what they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

import numpy as np

from spmn.errors import SettingsError
from spmn.events import QUESTION, Ints, Stream, Vocabulary

Phrase = tuple[int, ...]
"""Word ids of a name: of "garden", or of "red sphere"."""
Form = Phrase | str
"""What a name is called: words, or what only answers say, such as "n" for "north"."""


@dataclass(frozen=True)
class Renaming:
    """Groups of names that may stand for each other. A group is one set of names, or several sets that may
    also stand for each other as a whole."""

    groups: tuple[tuple[tuple[tuple[Form, ...], ...], ...], ...]  # groups of sets of names of forms
    words: int  # in the vocabulary
    answers: dict[tuple[Form, ...], int]  # parts of an answer -> answer id
    parts: tuple[tuple[Form, ...], ...]  # answer id -> its parts

    @classmethod
    def of(cls, groups: str, vocabulary: Vocabulary) -> Renaming:
        """Groups written as "mary john, red_sphere triangle, north/n south/s | east/e west/w".

        "_" joins the words of one name, "/" its forms, which are renamed together. "|" parts the sets of a
        group: the axis from north to south may become that from west to east, but never half of it. A name
        alone in its group stays: "box chest, box_of_chocolates" leaves boxes of chocolates what they are.

        Raises SettingsError for a name that stands in two places, a form that no training story says, and a
        group whose sets differ in size or whose names differ in their number of forms or in which of them
        are words.
        """
        index = {word: i for i, word in enumerate(vocabulary.words)}

        def form(said: str) -> Form:  # "Bill" as an answer is the word "bill"
            words = said.lower().split()
            return tuple(index[word] for word in words) if all(word in index for word in words) else said

        parts = tuple(tuple(form(said) for said in answer.split(",")) for answer in vocabulary.answers)
        in_answers = {said for answer in parts for said in answer}
        known, seen = list[tuple[tuple[tuple[Form, ...], ...], ...]](), set[str]()
        for group in groups.split(","):
            listed = [[name.split("/") for name in names.split()] for names in group.split("|")]
            for said in (said for names in listed for name in names for said in name):
                if said in seen:
                    raise SettingsError(f"rename names {said!r} twice; a name belongs to one group")
                seen.add(said)
            if len({len(names) for names in listed}) > 1:
                raise SettingsError(f"rename: the sets of {group.strip()!r} differ in their number of names")
            sets = tuple(
                tuple(tuple(form(said.replace("_", " ")) for said in name) for name in names)
                for names in listed
            )
            every = [name for names in sets for name in names]
            texts = [said for name in every for said in name if isinstance(said, str)]
            if strange := [text for text in texts if text not in in_answers]:
                raise SettingsError(
                    f"rename names {strange[0]!r}, which no training story says; "
                    "give --set rename= without it"
                )
            if len({tuple(map(type, name)) for name in every}) > 1:
                raise SettingsError(
                    f"rename: the names of {group.strip()!r} differ in their number of forms, "
                    "or some are words and others are said in answers alone"
                )
            known.append(sets)
        return cls(
            tuple(sets for sets in known if sets[0]),
            len(vocabulary.words),
            {said: i for i, said in enumerate(parts)},
            parts,
        )

    def __call__(self, story: Stream, random: np.random.Generator) -> Stream:
        """The story with new names, drawn uniformly; its own names where it could then not be said: an answer
        never seen in training, or a sentence longer than the longest.

        Answers are renamed part by part ("milk,apple" names two things). For stories without practice.
        """
        names = dict[Form, Form]()
        for sets in self.groups:
            for told, other in zip(sets, random.permutation(len(sets)), strict=True):
                for old, i in zip(told, random.permutation(len(told)), strict=True):
                    names.update(zip(old, sets[other][i], strict=True))
        target = story.target.copy()
        for n in np.flatnonzero((story.kind == QUESTION) & (story.target >= 0)):
            answer = tuple(names.get(part) or part for part in self.parts[target[n]])
            if answer not in self.answers:
                return story
            target[n] = self.answers[answer]
        phrases = {
            old: new for old, new in names.items() if isinstance(old, tuple) and isinstance(new, tuple)
        }
        words = self._retold(story.words, phrases)
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


def retold(story: Stream, renaming: Renaming, held: Set[bytes], random: np.random.Generator) -> Stream:
    """The story with new names, but never as one of those set aside (their `key`): then under its own."""
    renamed = renaming(story, random)
    return story if renamed.key in held else renamed


def by_task(groups: str, tasks: Iterable[int], vocabulary: Vocabulary) -> dict[int, Renaming]:
    """How the stories of each task are told anew; tasks that are not named are left out.

    groups: those of all tasks ("mary john, milk football"), or of some ("2: mary john; 17: left right").
    Raises SettingsError for a task that is not trained or named twice, and as `Renaming.of` does.
    """
    trained = tuple(tasks)
    if ":" not in groups:
        shared = Renaming.of(groups, vocabulary)
        return dict.fromkeys(trained, shared) if shared.groups else {}
    found = dict[int, Renaming]()
    for part in groups.split(";"):
        task, colon, own = part.partition(":")
        if not (colon and task.strip().isdecimal() and int(task) in trained) or int(task) in found:
            raise SettingsError(
                f"rename has {part.strip()!r}; write TASK: GROUPS; TASK: GROUPS with each of the tasks "
                f"{', '.join(map(str, trained))} at most once"
            )
        found[int(task)] = Renaming.of(own, vocabulary)
    return found
