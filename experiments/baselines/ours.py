"""The spiking network as one among the others: answers alone, no practice, no clues."""

from __future__ import annotations

from torch import Tensor

from experiments.baselines.interface import Baseline
from spmn.events import QUESTION, Events, Vocabulary
from spmn.network import SPMN
from spmn.settings import Network


class Ours(Baseline):
    """`spmn.network.SPMN` with its default sizes, or a given one."""

    name = "SPMN"

    def __init__(self, vocabulary: Vocabulary, network: SPMN | None = None) -> None:
        super().__init__()
        self.network = network or SPMN(Network(), vocabulary)

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


class Shipped(Ours):
    """A network that comes with the package, trained by the recipe of its task."""

    name = "SPMN (shipped)"
