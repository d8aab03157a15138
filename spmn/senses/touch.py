"""Touch: pressure over time, as a level-crossing code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from spmn.errors import DataError, SettingsError
from spmn.senses.interface import Sense, Spikes


@dataclass(frozen=True)
class Touch(Sense):
    """Normalised pressure (0: none, 1: the sensor's full range) of several channels over the event.

        line (channel, level, up) spikes in step t if the pressure rises through (level + 1/2) / levels
        in the t-th of T equal parts of the event; line (channel, level, down) if it falls through it

    A level-crossing code, as of send-on-delta and dynamic-vision sensors: nothing is sent while nothing
    changes. Before the event there is no pressure. Lines: 2 x channels x levels; cost: a spike per crossing,
    at most one per line and step.
    """

    name: ClassVar[str] = "touch"
    channels: int = 8
    levels: int = 6

    def __post_init__(self) -> None:
        if not (self.channels >= 1 and self.levels >= 1):
            raise SettingsError(f"channels is {self.channels}, levels {self.levels}; give at least 1")

    @property
    def lines(self) -> int:
        return 2 * self.channels * self.levels

    def __call__(self, stimulus: npt.NDArray[Any], steps: int) -> Spikes:
        """stimulus: [samples, channels]. Raises DataError for another shape or pressure outside 0..1."""
        pressure = np.asarray(stimulus, np.float64)
        if pressure.ndim != 2 or pressure.shape[1] != self.channels or not len(pressure):
            raise DataError(
                f"touch of shape {list(pressure.shape)}; give [samples, {self.channels}], not empty"
            )
        if not (np.isfinite(pressure).all() and pressure.min() >= 0 and pressure.max() <= 1):
            raise DataError(
                f"pressure from {pressure.min():.3g} to {pressure.max():.3g}; normalise it to 0 to 1"
            )
        bounds = (np.arange(self.levels) + 0.5) / self.levels
        above = pressure[:, :, None] > bounds
        before = np.concatenate((np.zeros_like(above[:1]), above[:-1]))
        crossed = np.stack((above & ~before, before & ~above), -1)
        step = np.arange(len(pressure)) * steps // len(pressure)
        spikes = np.zeros((steps, *crossed.shape[1:]), np.uint8)
        np.maximum.at(spikes, step, crossed.astype(np.uint8))
        return spikes.reshape(steps, -1)
