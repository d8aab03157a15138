"""The most frequent answer, whatever is told: what a network must beat to have read anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.baselines.interface import Baseline
from spmn.events import QUESTION, Events, Vocabulary


class Majority(Baseline):
    """One trained logit per answer; trained, they are the logarithms of the answers' shares."""

    name = "majority"
    learning_rate = 0.1

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(len(vocabulary.answers)))

    def forward(self, events: Events) -> Tensor:
        return self.logits.repeat(int((events.kind == QUESTION).sum()), 1)

    def state(self, events: int) -> int:
        return 0
