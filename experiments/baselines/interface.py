"""What every network that is compared has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from spmn.events import Events, Vocabulary


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


class Sentences(nn.Module):
    """Sentences as vectors: x = sum_p word[w_p] * (first[p] + last[n - 1 - p]) / sqrt(length) + kind.

    The same for all, as in `spmn.network.Encoder`.
    """

    def __init__(self, vocabulary: Vocabulary, size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(len(vocabulary.words), size, padding_idx=0)
        first, last = torch.randn(2, vocabulary.length, size)
        self.position = nn.Parameter(torch.stack((0.7 + 0.7 * first, 0.7 * last)))
        self.kind = nn.Parameter(torch.randn(2, size))

    def forward(self, words: Tensor, asks: Tensor) -> Tensor:
        """words: [..., length] ids; asks: [...] bool; returns [..., size]."""
        first = torch.arange(words.shape[-1], device=words.device)
        last = ((words > 0).sum(-1, keepdim=True) - 1 - first).clamp_min(0)
        x = (self.word(words) * (self.position[0] + self.position[1][last])).sum(-2) * len(first) ** -0.5
        found: Tensor = x + self.kind[asks.long()]
        return found
