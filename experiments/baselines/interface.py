"""What every network that is compared has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from spmn.events import QUESTION, STATEMENT, Events
from spmn.network import distinct


class Baseline(nn.Module, ABC):
    """A network that reads a story event by event and answers the questions in it."""

    name: ClassVar[str]
    learning_rate: ClassVar[float] = 3e-3

    @abstractmethod
    def forward(self, events: Events) -> Tensor:
        """Answer logits [questions, answers], story by story, in order."""

    @abstractmethod
    def state(self, events: int) -> int:
        """Bytes that it carries from event to event, after so many of them."""

    def uncounted(self) -> int:
        """Multiply-adds per event that are not matrix products or convolutions."""
        return 0


class Told(NamedTuple):
    """Statements of B stories moved together, and what was told before each of Q questions."""

    words: Tensor  # [S, length], distinct sentences
    asks: Tensor  # [S], which of them are questions
    statement: Tensor  # [B, N], which sentence each statement is; 0 behind a story's last
    question: Tensor  # [Q], which sentence each question is
    story: Tensor  # [Q], of each question
    before: Tensor  # [Q], statements before it


def told(events: Events) -> Told:
    """Statements of every story without what is between them. What is asked is never remembered."""
    words, asks, sentence = distinct(events)
    is_statement, is_question = events.kind == STATEMENT, events.kind == QUESTION
    count = is_statement.cumsum(1)
    statement = sentence.new_zeros(len(sentence), max(1, int(count[:, -1].max())))
    story, event = is_statement.nonzero(as_tuple=True)
    statement[story, count[is_statement] - 1] = sentence[story, event]
    asked = is_question.nonzero(as_tuple=True)[0]
    return Told(words, asks, statement, sentence[is_question], asked, count[is_question])


def memories(of: Told, width: int) -> Tensor:
    """Which statements each question may look at: [Q, width], those before it."""
    return torch.arange(width, device=of.before.device) < of.before[:, None]


def read(
    of: Told,
    state: Tensor,
    answer: Callable[[Tensor, Tensor], Tensor],
    write: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Tell all stories statement by statement, and answer each question after the last one before it.

    state: [B, ...]; answer(sentences [q], state [q, ...]) gives a row for each of these questions;
    write(sentences [B], state) the state after a statement. Returns the rows story by story.
    """
    which, rows = [], []
    for n in range(of.statement.shape[1] + 1):
        asked = (of.before == n).nonzero()[:, 0]
        if len(asked):
            which.append(asked)
            rows.append(answer(of.question[asked], state[of.story[asked]]))
        if n < of.statement.shape[1]:
            state = write(of.statement[:, n], state)
    return torch.cat(rows)[torch.argsort(torch.cat(which))]
