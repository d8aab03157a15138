"""What all trainings share: the learning rate over time, seeds that follow from a step, when to save."""

from __future__ import annotations

import math

import numpy as np
from torch.optim import Optimizer

CHECKPOINT_SECONDS = 30.0
"""Between checkpoints."""


def one_cycle(done: float, warm_up: float) -> float:
    """Learning rate factor at a share `done` of the training: up linearly, then down a half cosine to 0."""
    if done < warm_up:
        return max(done / warm_up, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def set_learning_rate(optimiser: Optimizer, peak: float, done: float, warm_up: float) -> None:
    """Give the optimiser the learning rate of a share `done` of a one-cycle schedule."""
    for group in optimiser.param_groups:
        group["lr"] = peak * one_cycle(done, warm_up)


def random_seed(seed: int, epoch: int, batch: int, process: int = 0) -> int:
    """A seed for torch's generator in one process at one batch."""
    return int(np.random.SeedSequence([seed, epoch, batch, process]).generate_state(1)[0])
