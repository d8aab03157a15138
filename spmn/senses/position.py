"""Position in a stream of events: when something happened, as the digits of a number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from spmn.errors import DataError, SettingsError
from spmn.senses.interface import Sense, Spikes


@dataclass(frozen=True)
class Position(Sense):
    """The number of an event, 0 to base^digits - 1; the line of each digit's value spikes in every step.

    Lines: base * digits, highest digit first. Cost: T spikes per digit. 3 digits of base 8: 512 events.
    """

    name: ClassVar[str] = "position"
    digits: int = 3
    base: int = 8

    def __post_init__(self) -> None:
        if not (self.digits >= 1 and self.base >= 2 and self.span <= 2**12):
            raise SettingsError(
                f"digits is {self.digits}, base {self.base}; give at least 1 and 2, for at most 4,096 events"
            )

    @property
    def span(self) -> int:
        """How many events it tells apart."""
        return int(self.base**self.digits)

    @property
    def lines(self) -> int:
        return self.digits * self.base

    def __call__(self, stimulus: int, steps: int) -> Spikes:
        """stimulus: number of the event. Raises DataError for one that has too many digits."""
        if not 0 <= stimulus < self.span:
            raise DataError(
                f"event number {stimulus}; {self.digits} digits of base {self.base} tell 0 to {self.span - 1}"
            )
        spikes = np.zeros((steps, self.digits, self.base), np.uint8)
        for d in range(self.digits):
            spikes[:, -1 - d, stimulus // self.base**d % self.base] = 1
        return spikes.reshape(steps, self.lines)

    @cached_property
    def codes(self) -> Tensor:
        """The lines of every event number, [span, lines] of 0 and 1."""
        number = torch.arange(self.span)
        digits = [number // self.base**d % self.base for d in reversed(range(self.digits))]
        return torch.cat([torch.nn.functional.one_hot(d, self.base) for d in digits], -1).float()

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """log p of every event number [..., span] from logits of the lines [..., lines]:
        p(number) = product over digits of softmax(logits of the digit)."""
        digits = logits.view(*logits.shape[:-1], self.digits, self.base).log_softmax(-1)
        found: Tensor = digits.flatten(-2) @ self.codes.T
        return found
