"""From where a network knows: which stored statement an answer rests on, and what each level recalled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from spmn.events import QUESTION, STATEMENT, Events
from spmn.network import SPMN


@dataclass(frozen=True)
class Recall:
    """What one level recalled at a question."""

    word: str  # content clue
    event: float  # time clue: number of the recalled event, from 0, in expectation
    confidence: float


@dataclass(frozen=True)
class Explanation:
    """An answer and where it comes from."""

    answer: str
    probability: float
    influence: dict[int, float]  # statement (event number) -> change of log-odds of the answer by storing it
    recalls: tuple[Recall, ...]  # by level


@torch.no_grad()
def explain(network: SPMN, story: Events, question: int) -> Explanation:
    """Answer the question at event number `question` of a single story (B = 1) and say from where.

        influence(i) = logit p(answer | all statements) - logit p(answer | statement i heard but not stored)

    Measured, not read off: for each statement the story is run once more with that one write left out.
    """
    statements = [n for n in range(question) if story.kind[0, n] == STATEMENT]
    batch = len(statements) + 1
    copies = story.at(slice(0, question + 1)).repeated(batch)
    kind = copies.kind.clone()
    for row, n in enumerate(statements, start=1):
        kind[row, n] = -1  # heard, but neither written nor scored
    rows = torch.zeros_like(kind, dtype=torch.bool)
    rows[:, question] = True
    activity = network(replace(copies, kind=kind))
    p = network.answer(activity, rows).double().softmax(-1)
    said = int(p[0].argmax())
    log_odds = torch.logit(p[:, said], eps=1e-9)
    clues = network.clues(activity, rows)
    words, time = clues.content[0].argmax(-1), clues.time(copies.clock[rows])[0]
    vocabulary = network.vocabulary
    return Explanation(
        vocabulary.answers[said],
        float(p[0, said]),
        {n: float(log_odds[0] - log_odds[i]) for i, n in enumerate(statements, start=1)},
        tuple(
            Recall(vocabulary.words[int(words[d])], float(time[d, 0]), float(time[d, 1]))
            for d in range(network.settings.depth)
        ),
    )


def questions(story: Events) -> list[int]:
    """Event numbers of the questions of a single story."""
    return [n for n in range(story.kind.shape[1]) if story.kind[0, n] == QUESTION]
