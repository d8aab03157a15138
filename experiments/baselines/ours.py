"""The spiking network as one among the others: answers alone, no practice, no clues."""

from __future__ import annotations

from torch import Tensor

from experiments.baselines.interface import Baseline
from spmn.events import QUESTION, Events, Vocabulary
from spmn.network import SPMN
from spmn.settings import Network


class Ours(Baseline):
    """`spmn.network.SPMN` with its default sizes."""

    name = "SPMN"

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.network = SPMN(Network(), vocabulary)

    def forward(self, events: Events) -> Tensor:
        activity = self.network(events, record=False)
        return self.network.answer(activity, events.kind == QUESTION)

    def state(self, events: int) -> int:
        s = self.network.settings
        return 4 * s.depth * s.heads * s.keys * s.values

    def uncounted(self) -> int:
        """Of the plastic memory: T reads and one update of every synapse."""
        s = self.network.settings
        return s.depth * s.heads * s.keys * s.values * (s.steps + 2)
