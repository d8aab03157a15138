"""A small network and stories to test with."""

import pytest
import torch

from spmn.datasets.babi import Story
from spmn.datasets.generator import generate
from spmn.events import Vocabulary
from spmn.network import SPMN
from spmn.settings import Network

SMALL = Network(depth=2, heads=2, keys=8, values=32, embedding=16, encoder=16, decoder=24, per_head=True)


@pytest.fixture(scope="session")
def stories() -> list[Story]:
    return generate(1, 40, seed=3) + generate(15, 20, seed=3)


@pytest.fixture(scope="session")
def vocabulary(stories: list[Story]) -> Vocabulary:
    return Vocabulary.of(stories)


@pytest.fixture
def network(vocabulary: Vocabulary) -> SPMN:
    """Untrained, but with enough spikes everywhere, and with gains and rates that differ between heads."""
    torch.manual_seed(6)
    network = SPMN(SMALL, vocabulary).eval()
    with torch.no_grad():
        for level in network.levels:
            level.drive.gain.mul_(2.0)
            level.memory.gain.mul_(torch.tensor([1.4, 1.7]))
            level.memory.rates.logits.add_(torch.tensor([[0.0], [-0.1]]))
            level.memory.bias.normal_(0, 0.2)
    return network
