"""Fine-tuning a chip program on its own arithmetic: what rounding cost in the export is trained back.

Every story runs from step 1 in the exact mode; the loss is the cross-entropy of its answers, and Adam (Kingma
and Ba 2015) moves the weights behind the integers. Rules, delays, thresholds and latches stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hardware.errors import RunError
from hardware.host import Readout
from hardware.program import Program, Projection
from hardware.schedule import encode
from spmn.events import QUESTION, Stream
from spmn.exact import Exact, dense
from spmn.export import READOUT_SCALE
from spmn.parallel import check_device
from spmn.runners import chip_events
from spmn.settings import require, require_seed

WEIGHT_LIMIT = 255
"""Largest weight of a synapse; a readout learns as fast as one, relative to its own largest weight."""
BATCH = 16
"""Stories that run side by side."""


class Score(NamedTuple):
    """Answers on some stories; the lower one is better, by errors first."""

    errors: float  # share of wrong answers
    loss: float  # mean cross-entropy of the questions whose answer the program can say


Report = Callable[[int, Score | None, Score], None]
"""Called with the epochs done, the score while the last one trained (None before the first), and that on the
held-out stories."""


def finetune(
    program: Program,
    training: Sequence[Stream],
    held_out: Sequence[Stream],
    epochs: int = 5,
    learning_rate: float = 1.0,
    batch: int = BATCH,
    seed: int = 0,
    trained: Collection[str] | Callable[[Projection], bool] = dense,
    slope: float = 2.0,
    device: str = "cpu",
    report: Report = lambda epoch, training, held_out: None,
) -> Program:
    """The program with the weights that answer the held-out stories best, its own at the start included.

        logits = (weights @ counts + bias) / (READOUT_SCALE * steps)
        loss of a step = sum over the questions of its stories of their cross-entropy / batch

    Args:
        program: with a host and one readout, whose answers `training` numbers.
        learning_rate: of Adam, in steps of the integer weights.
        batch: stories that run side by side.
        seed: of the order of the stories.
        trained, slope: as `Exact`.

    Raises:
        SettingsError: as `check`.
        RunError: stories without a question, or a program without host and readout.
    """
    check(epochs, learning_rate, batch, seed, device)
    exact = Exact(program, trained, slope).to(device)
    optimiser = torch.optim.Adam(_rates(exact, learning_rate))
    updates = max(1, epochs * math.ceil(len(training) / batch))
    cooling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, updates)
    best, least = exact.program(), score(exact, held_out, batch)
    report(0, None, least)
    for epoch in range(1, epochs + 1):
        order = np.random.default_rng([seed, epoch]).permutation(len(training))
        tally = Tally()
        for first in range(0, len(order), batch):
            loss = tally.add(exact, [training[i] for i in order[first : first + batch]])
            optimiser.zero_grad()
            if loss.requires_grad:
                (loss / batch).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            exact.limit()
            cooling.step()
        found = score(exact, held_out, batch)
        if found < least:
            best, least = exact.program(), found
        report(epoch, tally.score(), found)
    return best


def check(epochs: int, learning_rate: float, batch: int, seed: int, device: str) -> None:
    """Raises SettingsError for what `finetune` cannot take: epochs or batch below 1, a learning rate that is
    not above 0 and finite, a negative seed, a device that torch does not see."""
    for name, value in (("epochs", epochs), ("batch", batch)):
        require(value >= 1, name, value, "at least 1")
    require(0 < learning_rate < math.inf, "learning_rate", learning_rate, "above 0 and finite")
    require_seed(seed)
    check_device(device)


def read_by(program: Program) -> Readout:
    """The first readout of a program. Raises RunError if it has none."""
    if program.host is None or not program.host.readouts:
        raise RunError(f"program {program.name!r} has no readout: it gives no answers to learn from")
    return program.host.readouts[0]


@torch.no_grad()
def score(exact: Exact, streams: Sequence[Stream], batch: int = 64) -> Score:
    """Answers of a program on some stories, exactly. Raises RunError if they ask nothing."""
    tally = Tally()
    for first in range(0, len(streams), batch):
        tally.add(exact, streams[first : first + batch])
    return tally.score()


class Tally:
    """Answers counted so far."""

    def __init__(self) -> None:
        self.asked, self.wrong, self.sayable, self.loss = 0, 0, 0, 0.0

    def add(self, exact: Exact, streams: Sequence[Stream]) -> Tensor:
        """Summed loss of the questions of some stories; an answer that the program cannot say is wrong."""
        program = exact.source
        inputs = encode(program, [chip_events(stream) for stream in streams])
        schedule, readout = program.schedule, read_by(program)
        assert schedule is not None
        asked = [
            (stream, int(event), int(story.target[event]))
            for stream, story in enumerate(streams)
            for event in np.flatnonzero(story.kind == QUESTION)
        ]
        if not asked:
            return torch.zeros(())
        starts = [(stream, event * schedule.window) for stream, event, _ in asked]
        logits = exact.logits(exact(inputs), starts) / (READOUT_SCALE * readout.steps)
        target = torch.tensor([right for _, _, right in asked], device=logits.device)
        known = target >= 0
        loss = nn.functional.cross_entropy(logits[known], target[known], reduction="sum")
        self.asked += len(asked)
        self.sayable += int(known.sum())
        self.wrong += int((logits.argmax(1) != target).sum())
        self.loss += float(loss.detach())
        return loss

    def score(self) -> Score:
        if not self.asked:
            raise RunError("the stories ask no question: give some that do")
        return Score(self.wrong / self.asked, self.loss / max(self.sayable, 1))


def _rates(exact: Exact, learning_rate: float) -> list[dict[str, Any]]:
    """Parameters with their learning rates; a readout's weights are larger and move more."""
    groups: list[dict[str, Any]] = [{"params": list(exact.latent), "lr": learning_rate}]
    for weights, bias in zip(exact.readout_weights, exact.readout_bias, strict=True):
        unit = max(1.0, float(weights.detach().abs().max()) / WEIGHT_LIMIT)
        groups.append({"params": [weights, bias], "lr": learning_rate * unit})
    return groups
