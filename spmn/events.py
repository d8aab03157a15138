"""From stories to the events that the network sees: vocabulary, retrieval practice and batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spmn.datasets.babi import Story
from spmn.errors import VocabularyError

Ints = npt.NDArray[np.int64]

BLANK = "___"
"""Stands for the withheld word in a retrieval-practice question."""
CLOCK = 256
"""Events that the network's clock can tell apart; later ones share the last reading."""

STATEMENT, QUESTION, PRACTICE = 0, 1, 2
UNSAYABLE = -2


@dataclass(frozen=True)
class Vocabulary:
    """What a network can read and say. Word 0 is padding."""

    words: tuple[str, ...]  # id -> word; words[0] is "" and words[1] is BLANK
    answers: tuple[str, ...]  # id -> answer
    length: int  # words of the longest sentence
    counts: tuple[int, ...]  # id -> how often the word is said in statements of the training stories

    @classmethod
    def of(cls, stories: Iterable[Story]) -> Vocabulary:
        """Everything said in these stories, in alphabetical order."""
        words, told, answers, length = set[str](), Counter[str](), set[str](), 1
        for story in stories:
            for line in story.lines:
                words.update(line.words)
                length = max(length, len(line.words))
                if line.answer is None:
                    told.update(line.words)
                else:
                    answers.add(line.answer)
        listed = ("", BLANK, *sorted(words))
        return cls(listed, tuple(sorted(answers)), length, tuple(told[word] for word in listed))

    def ids(self, words: Sequence[str]) -> list[int]:
        """Word ids of a sentence; raises VocabularyError quoting a word or length never seen in training."""
        index = _index(self.words)
        for word in words:
            if word not in index:
                raise VocabularyError(
                    f"the network has never seen the word {word!r}; it knows: {_listed(self.words[2:])}"
                )
        if not 1 <= len(words) <= self.length:
            raise VocabularyError(
                f"{len(words)} words, {' '.join(words)!r}; the network reads 1 to {self.length}"
            )
        return [index[word] for word in words]

    def answer_id(self, answer: str) -> int:
        """UNSAYABLE for an answer never seen in training: whatever the network says is wrong."""
        return _index(self.answers).get(answer, UNSAYABLE)


_INDEXES: dict[tuple[str, ...], dict[str, int]] = {}


def _index(words: tuple[str, ...]) -> dict[str, int]:
    if words not in _INDEXES:
        _INDEXES[words] = {word: i for i, word in enumerate(words)}
    return _INDEXES[words]


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words[:40]) + (", ..." if len(words) > 40 else "")


@dataclass(frozen=True)
class Stream:
    """One story as the network sees it: arrays over its events."""

    task: int
    words: Ints  # [N, length] word ids, 0 where the sentence is shorter
    kind: Ints  # [N] STATEMENT, QUESTION or PRACTICE
    clock: Ints  # [N] number of the event in the story, from 0; practice has that of the event before it
    target: Ints  # [N] answer id of a question, word id of a practice question, -1 elsewhere
    born: Ints  # [N] clock of the statement that a practice question asks for, -1 elsewhere

    @property
    def key(self) -> bytes:
        """What two stories share exactly when the same is said, asked and answered."""
        return b"".join(x.tobytes() for x in (self.words, self.kind, self.target))


def stream(story: Story, vocabulary: Vocabulary) -> Stream:
    """The events of a story, without practice."""
    words = np.zeros((len(story.lines), vocabulary.length), np.int64)
    target = np.full(len(story.lines), -1, np.int64)
    for n, line in enumerate(story.lines):
        ids = vocabulary.ids(line.words)
        words[n, : len(ids)] = ids
        if line.answer is not None:
            target[n] = vocabulary.answer_id(line.answer)
    kind = np.array([QUESTION if line.is_question else STATEMENT for line in story.lines])
    clock = np.minimum(np.arange(len(story.lines)), CLOCK - 1)
    return Stream(story.task, words, kind, clock, target, np.full(len(story.lines), -1, np.int64))


def practise(source: Stream, vocabulary: Vocabulary, chance: float, random: np.random.Generator) -> Stream:
    """Insert retrieval practice: after a statement, with this chance, ask for an earlier one.

    The statement is drawn uniformly from those told so far (the newest included). One of its words, drawn
    with probability proportional to 1 / (its count in the training stories), is replaced by BLANK: the words
    left are the question, the withheld word is the answer, nothing is written. Rare words carry the content;
    the last word is often "there". Where several statements share these words the newest of them is meant.
    """
    told = np.flatnonzero(source.kind == STATEMENT)
    inserted = np.flatnonzero(random.random(len(told)) < chance)  # after which of the statements
    earlier = (random.random(len(told)) * np.arange(1, len(told) + 1)).astype(np.int64)
    share = random.random(len(told))
    rarity = 1.0 / np.maximum(vocabulary.counts, 1)
    meant, blank = np.empty(len(inserted), np.int64), np.empty(len(inserted), np.int64)
    for n, i in enumerate(inserted):
        chosen = source.words[told[earlier[i]]]
        weight = np.where(chosen > 0, rarity[chosen], 0.0).cumsum()
        blank[n] = np.searchsorted(weight, share[i] * weight[-1], side="right")
        same = source.words[told[: i + 1]] == chosen
        same[:, blank[n]] = True
        meant[n] = told[int(np.flatnonzero(same.all(1))[-1])]
    events = np.arange(len(source.kind))
    order = np.argsort(np.concatenate((events, told[inserted] + 0.5)))
    event = np.concatenate((events, told[inserted]))[order]
    asked = np.concatenate((np.full(len(events), -1), meant))[order]
    at = np.concatenate((np.zeros(len(events), np.int64), blank))[order]
    practice = asked >= 0
    words = source.words[np.where(practice, asked, event)]
    withheld = words[np.arange(len(at)), at]
    words[practice, at[practice]] = vocabulary.words.index(BLANK)
    return Stream(
        source.task,
        words,
        np.where(practice, PRACTICE, source.kind[event]),
        source.clock[event],
        np.where(practice, withheld, source.target[event]),
        np.where(practice, source.clock[asked], -1),
    )


@dataclass(frozen=True)
class Events:
    """A batch of stories, padded with silence to the longest: B stories of N events.

    It stays on the CPU; networks take what they compute with to their device.
    """

    words: Tensor  # [B, N, length] word ids
    kind: Tensor  # [B, N] STATEMENT, QUESTION, PRACTICE, or -1 for padding
    clock: Tensor  # [B, N]
    target: Tensor  # [B, N] as in Stream
    born: Tensor  # [B, N] as in Stream
    task: Tensor  # [B]

    def at(self, chosen: slice) -> Events:
        """Some events of every story."""
        cut = {f: getattr(self, f)[:, chosen] for f in ("words", "kind", "clock", "target", "born")}
        return Events(**cut, task=self.task)

    def repeated(self, times: int) -> Events:
        """A single story, `times` times."""
        fields = (getattr(self, field) for field in self.__dataclass_fields__)
        return Events(*(field.expand(times, *field.shape[1:]) for field in fields))


def collate(streams: Sequence[Stream]) -> Events:
    """Pad streams to one batch."""
    longest = max(len(s.kind) for s in streams)
    shape = (len(streams), longest)
    filled = {
        "words": np.zeros((*shape, streams[0].words.shape[1]), np.int64),
        "kind": np.full(shape, -1, np.int64),
        "clock": np.zeros(shape, np.int64),
        "target": np.full(shape, -1, np.int64),
        "born": np.full(shape, -1, np.int64),
    }
    for b, s in enumerate(streams):
        for field, array in filled.items():
            array[b, : len(s.kind)] = getattr(s, field)
    tensors = {field: torch.from_numpy(array) for field, array in filled.items()}
    return Events(**tensors, task=torch.tensor([s.task for s in streams]))


def batches(lengths: Sequence[int], events_per_batch: int, random: np.random.Generator) -> list[list[int]]:
    """Story numbers in batches of about `events_per_batch` events, of similar length but mixed tasks.

    Lengths are jittered by up to 10 % before sorting: neighbours differ from epoch to epoch, little is
    padding.
    """
    jittered = np.asarray(lengths) * random.uniform(0.9, 1.1, len(lengths))
    chunks: list[list[int]] = []
    longest = 0
    for i in np.argsort(jittered, kind="stable").tolist():
        longest = max(longest, lengths[i])
        if not chunks or longest * (len(chunks[-1]) + 1) > events_per_batch:
            chunks.append([])
            longest = lengths[i]
        chunks[-1].append(i)
    return [chunks[i] for i in random.permutation(len(chunks))]


def in_order(streams: Sequence[Stream], events_per_batch: int) -> Iterator[tuple[list[int], Events]]:
    """All streams in batches of similar length, with their numbers: for evaluation."""
    order = sorted(range(len(streams)), key=lambda i: len(streams[i].kind))
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and len(streams[order[stop]].kind) * (stop + 1 - start) <= events_per_batch:
            stop += 1
        chosen = order[start:stop]
        yield chosen, collate([streams[i] for i in chosen])
        start = stop
