"""What all senses have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Spikes = npt.NDArray[np.uint8]
"""[steps, lines]: the payload of every spike, 0 where there is none. Plain spikes have payload 1."""
Floats = npt.NDArray[np.float32]


class Sense(ABC):
    """One kind of stimulus, made into the spikes of an event's window.

    A sense is a frozen dataclass without trained parts: a receptor. What its lines mean is learnt by the
    synapses behind them. It runs on the host, and the chip gets its spikes on input axons.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def lines(self) -> int:
        """Input axons."""

    @property
    def bits(self) -> int:
        """Width of the payload of a spike; 0 for plain spikes."""
        return 0

    @property
    def full(self) -> int:
        """The largest payload; it counts as 1."""
        return max(1, (1 << self.bits) - 1)

    @abstractmethod
    def __call__(self, stimulus: Any, steps: int) -> Spikes:
        """Spikes of one event of `steps` steps; raises DataError for a stimulus that it cannot take."""
