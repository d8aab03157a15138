"""What every network that is compared has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from spmn.events import Events


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
