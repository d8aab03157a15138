"""Scores of a network on stories: answers by task, spike rates, and what its clues are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from spmn.events import PRACTICE, QUESTION, Stream, in_order, practise
from spmn.network import SPMN, Clues

EVENTS = 2000
"""Events per batch in evaluation."""
CLUE_STORIES = 200
"""Stories on which recall is scored: it takes a practice question per statement."""


@dataclass(frozen=True)
class Answers:
    """Answers of one runner to the questions of some stories, story by story, in order."""

    runner: str
    given: tuple[tuple[int, ...], ...]  # answer ids
    rates: dict[str, float]  # mean spikes per neuron and step of an event, by population

    def errors(self, streams: Sequence[Stream]) -> dict[int, float]:
        """Share of wrong answers, by task."""
        wrong, asked = dict[int, int](), dict[int, int]()
        for stream, given in zip(streams, self.given, strict=True):
            right = stream.target[stream.kind == QUESTION]
            wrong[stream.task] = wrong.get(stream.task, 0) + int((right != np.array(given)).sum())
            asked[stream.task] = asked.get(stream.task, 0) + len(right)
        return {task: wrong[task] / asked[task] for task in sorted(asked)}

    def agreement(self, other: Answers) -> float:
        """Share of equal answers."""
        pairs = [
            a == b
            for mine, his in zip(self.given, other.given, strict=True)
            for a, b in zip(mine, his, strict=True)
        ]
        return sum(pairs) / len(pairs)


def answer(network: SPMN, streams: Sequence[Stream]) -> Answers:
    """Answers of the float network in torch, evaluation mode."""
    given: list[tuple[int, ...]] = [()] * len(streams)
    sums, events = dict[str, float](), 0
    with torch.no_grad():
        for chosen, batch in in_order(streams, EVENTS):
            activity = network(batch)
            rows = batch.kind == QUESTION
            ids = network.answer(activity, rows).argmax(-1).tolist()
            for i, count in zip(chosen, rows.sum(1).tolist(), strict=True):
                given[i], ids = tuple(ids[:count]), ids[count:]
            real = batch.kind >= 0
            events += int(real.sum())
            for name, spikes in [("encoder", activity.encoder)] + [
                (f"{name}{d}", getattr(level, name))
                for d, level in enumerate(activity.levels, 1)
                for name in level._fields
            ]:
                sums[name] = sums.get(name, 0.0) + float(spikes[:, real].mean((0, 2)).sum())
    return Answers("torch", tuple(given), {name: total / events for name, total in sums.items()})


@dataclass(frozen=True)
class ClueScores:
    """How well recall says what happened and when, on retrieval-practice questions."""

    questions: int
    content: float  # share of withheld words named by the most confident clue
    content_chance: float  # share that the most frequent word would get
    age: float  # median error of the recalled statement's age, in events
    age_chance: float  # median error of always answering the median age
    confidence: float  # mean confidence of the chosen clue


def score_clues(network: SPMN, streams: Sequence[Stream], seed: int = 0) -> ClueScores:
    """Ask for an earlier statement after every statement of up to about CLUE_STORIES stories, spread over
    all of them, and score what is recalled."""
    random = np.random.default_rng([seed, 77])
    some = streams[:: max(1, len(streams) // CLUE_STORIES)]
    practised = [practise(s, network.vocabulary, 1.0, random) for s in some]
    right, errors, ages, words, confidences = [], [], [], [], []
    with torch.no_grad():
        for _, batch in in_order(practised, EVENTS):
            rows = batch.kind == PRACTICE
            clues = Clues(*(x.cpu() for x in network.clues(network(batch), rows)))
            best = clues.confidence.argmax(-1)
            pick = torch.arange(len(best)), best
            right.append(clues.content[pick].argmax(-1) == batch.target[rows])
            position, confidence = clues.time(batch.clock[rows])[pick].unbind(-1)
            errors.append((position - batch.born[rows]).abs())
            ages.append((batch.clock - batch.born)[rows].float())
            words.append(batch.target[rows])
            confidences.append(confidence)
    age, word = torch.cat(ages), torch.cat(words)
    return ClueScores(
        questions=len(age),
        content=float(torch.cat(right).float().mean()),
        content_chance=float(word.bincount().max() / len(word)),
        age=float(torch.cat(errors).median()),
        age_chance=float((age - age.median()).abs().median()),
        confidence=float(torch.cat(confidences).mean()),
    )
