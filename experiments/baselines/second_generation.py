"""SPMN 0.0.1, the second-generation network that the spiking one replaces (MaShuo-dzu/SPMN, 2025).

From what is perceived, x, three masks of the shape of M are made, one depth level after the other:

    h_i = tanh(P_i x + conv(h_{i-1}))                     i = 1 .. depth, h_0 = 0; 16 maps of 8 x 8
    r_i, a_i, u_i = sigmoid, tanh, tanh of a transposed convolution of h_i

    M~ = tanh(M * a * u),      M' = (1 - r) * M + r * M~

Recall reads M~ through convolutions. Sizes that its source leaves open are ours, chosen so that M has as many
numbers as the spiking network's.

Of M = 0 nothing can ever be learnt, for M~ is 0 then. M starts as a parameter, at first drawn from N(0, 1).
And because |a u| < 1, |M~| <= |M|: what one event has shrunk no later one brings back; what is stored is how
much is left, and the sign.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments.baselines.interface import Baseline, read, told
from spmn.events import Events, Vocabulary
from spmn.network import Sentences
from spmn.perceiver import Scene
from spmn.senses import Analog
from spmn.similarity import PEAK

DEPTH, WIDTH = 3, 64
"""M is [depth, width, width]: 12,288 numbers, as many as the spiking network's M has by default."""
MAPS, GRID = 16, 8


class Masks(NamedTuple):
    """All [..., depth, width, width]."""

    r: Tensor
    a: Tensor
    u: Tensor


class Memory(nn.Module):
    """Masks from what is perceived, and M."""

    def __init__(self, perceived: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(DEPTH, WIDTH, WIDTH))
        self.perceive = nn.ModuleList(nn.Linear(perceived, MAPS * GRID**2) for _ in range(DEPTH))
        self.compress = nn.ModuleList(nn.Conv2d(MAPS, MAPS, 3, padding=1) for _ in range(DEPTH - 1))
        size = WIDTH // GRID
        self.expand = nn.ModuleList(nn.ConvTranspose2d(MAPS, 3, size, stride=size) for _ in range(DEPTH))

    def masks(self, x: Tensor) -> Masks:
        """Of perceived events [S, n]."""
        levels, h = [], None
        for d in range(DEPTH):
            grid = self.perceive[d](x).view(-1, MAPS, GRID, GRID)
            h = torch.tanh(grid if h is None else grid + self.compress[d - 1](h))
            levels.append(self.expand[d](h))
        r, a, u = torch.stack(levels, 1).unbind(2)
        return Masks(r.sigmoid(), a.tanh(), u.tanh())


def candidate(m: Tensor, masks: Masks) -> Tensor:
    """M~"""
    return torch.tanh(m * masks.a * masks.u)


def updated(m: Tensor, masks: Masks) -> Tensor:
    """M'"""
    return (1 - masks.r) * m + masks.r * candidate(m, masks)


class SecondGeneration(Baseline):
    """SPMN 0.0.1 on stories: recall M~ of the question goes to the decoder, with the question."""

    name = "SPMN 0.0.1"
    learning_rate = 1e-3

    def __init__(self, vocabulary: Vocabulary, size: int = 64) -> None:
        super().__init__()
        self.sentences = Sentences(vocabulary, size)
        self.memory = Memory(size)
        step = WIDTH // GRID
        self.recall = nn.Sequential(
            nn.Conv2d(DEPTH, MAPS, step, stride=step), nn.ReLU(), nn.Flatten(), nn.LayerNorm(MAPS * GRID**2)
        )
        self.decoder = nn.Sequential(
            nn.Linear(MAPS * GRID**2 + size, 128), nn.ReLU(), nn.Linear(128, len(vocabulary.answers))
        )

    def forward(self, events: Events) -> Tensor:
        of = told(events)
        x = self.sentences(of.words, of.asks)
        masks = self.memory.masks(x)

        def at(which: Tensor) -> Masks:
            return Masks(*(mask[which] for mask in masks))

        def answer(which: Tensor, m: Tensor) -> Tensor:
            recalled = self.recall(candidate(m, at(which)))
            logits: Tensor = self.decoder(torch.cat((recalled, x[which]), -1))
            return logits

        start = self.memory.start.expand(len(of.statement), -1, -1, -1)
        return read(of, start, answer, lambda which, m: updated(m, at(which)))

    def state(self, events: int) -> int:
        return 4 * DEPTH * WIDTH**2

    def uncounted(self) -> int:
        return 5 * DEPTH * WIDTH**2


class Stored(NamedTuple):
    """What a stage reads of a network: here dM itself, since M does not start at 0."""

    memory: Tensor  # [depth, B, 1, width, width]


class Hearing(nn.Module):
    """SPMN 0.0.1 that hears embeddings, for the similarity stage: each stored in its own copy of M."""

    def __init__(self, sense: Analog, size: int = 64) -> None:
        super().__init__()
        self.senses = {"text": sense}
        self.sense = nn.Linear(sense.lines, size)
        self.memory = Memory(size)

    def forward(self, events: Scene, record: bool = False) -> Stored:
        vectors = PEAK * events.seen["text"][:, 0, 0]  # of length 1, but for payloads that are full
        x = self.sense(vectors * vectors.shape[1] ** 0.5)
        m = self.memory.start.expand(len(x), -1, -1, -1)
        change = updated(m, self.memory.masks(x)) - m
        return Stored(change.transpose(0, 1)[:, :, None])
