"""Position in a stream of events: when something happened, as what grid cells would say of it."""

from __future__ import annotations

import math
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
    """The number n of an event, 0 to span - 1: the line of each remainder n mod m spikes in every step.

    A residue number, as grid cells of several periods m tell a place (Fiete, Burak and Brookings 2008,
    "What grid cells convey about rat location"). Any periods whose least common multiple reaches the span
    tell all numbers; the others of them are redundant, so that a number is still read where some of its
    remainders are not. Lines: sum of the periods. Cost: T spikes per period.
    """

    name: ClassVar[str] = "position"
    span: int = 512
    periods: tuple[int, ...] = (5, 7, 8, 9, 11, 13)

    def __post_init__(self) -> None:
        if not 1 <= self.span <= 2**12:
            raise SettingsError(f"span is {self.span}; give 1 to 4,096 events")
        if not self.periods or min(self.periods) < 2 or math.lcm(*self.periods) < self.span:
            raise SettingsError(
                f"periods {self.periods} do not tell {self.span} events apart; give whole numbers from 2 on "
                "whose least common multiple reaches the span"
            )

    @property
    def lines(self) -> int:
        return sum(self.periods)

    def __call__(self, stimulus: int, steps: int) -> Spikes:
        """stimulus: number of the event. Raises DataError for one beyond the span."""
        if not 0 <= stimulus < self.span:
            raise DataError(f"event number {stimulus}; this sense tells 0 to {self.span - 1} apart")
        return np.tile(self.codes[stimulus].numpy().astype(np.uint8), (steps, 1))

    @cached_property
    def codes(self) -> Tensor:
        """The lines of every event number, [span, lines] of 0 and 1."""
        number = torch.arange(self.span)
        remainders = [torch.nn.functional.one_hot(number % m, m) for m in self.periods]
        return torch.cat(remainders, -1).float()

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """log p of every event number [..., span] from logits of the lines [..., lines]:
        p(n) ~ exp(sum over periods of the logit of n's remainder)."""
        found: Tensor = (logits @ self.codes.T).log_softmax(-1)
        return found
