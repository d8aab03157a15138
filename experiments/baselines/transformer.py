"""A small Transformer (Vaswani et al. 2017) whose tokens are sentences."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from experiments.baselines.interface import Baseline, memories, told
from spmn.events import Events, Vocabulary
from spmn.network import Sentences


class Transformer(Baseline):
    """Statements attend to themselves and those before, a question to itself and the statements before it.

    Positions are sinusoids of the statement's number. Layers: pre-norm attention and MLP.
    """

    name = "Transformer"
    learning_rate = 1e-3

    def __init__(self, vocabulary: Vocabulary, size: int = 64, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.size, self.layers, self.heads = size, layers, heads
        self.sentences = Sentences(vocabulary, size)
        self.read = nn.ModuleList(nn.Linear(size, 3 * size) for _ in range(layers))
        self.put = nn.ModuleList(nn.Linear(size, size) for _ in range(layers))
        self.think = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 4 * size), nn.ReLU(), nn.Linear(4 * size, size))
            for _ in range(layers)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(size) for _ in range(layers))
        self.answer = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, len(vocabulary.answers)))

    def forward(self, events: Events) -> Tensor:
        of = told(events)
        x = self.sentences(of.words, of.asks)
        count = of.statement.shape[1]
        at = sinusoids(count + 1, self.size).to(x)
        story = x[of.statement] + at[:count]
        asked = (x[of.question] + at[of.before])[:, None]  # [Q, 1, size]
        earlier = torch.ones(count, count, dtype=torch.bool, device=x.device).tril()
        before = memories(of, count)
        itself = before.new_ones(len(before), 1, 1)
        for layer in range(self.layers):
            q, k, v = self.split(layer, story)
            aq, ak, av = self.split(layer, asked)
            story = self.mixed(layer, story, self.attend(q, k, v, earlier))
            # a question also attends to itself: to something, even if nothing was told
            keys, values = torch.cat((k[of.story], ak), 2), torch.cat((v[of.story], av), 2)
            seen = torch.cat((before[:, None], itself), -1)[:, None]
            asked = self.mixed(layer, asked, self.attend(aq, keys, values, seen))
        logits: Tensor = self.answer(asked[:, 0])
        return logits

    def split(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, heads, N, size / heads]."""
        parts = self.read[layer](self.norm[layer](x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """softmax(q k / sqrt(n)) v, heads side by side: [B, N, size]."""
        match = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(~seen, -1e9)
        return (match.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def mixed(self, layer: int, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.put[layer](attended)
        found: Tensor = x + self.think[layer](x)
        return found

    def state(self, events: int) -> int:
        return 4 * 2 * self.layers * self.size * events  # keys and values


def sinusoids(count: int, size: int) -> Tensor:
    """[count, size]: sin and cos of n / 10000^(2 i / size)."""
    n, i = torch.arange(count)[:, None], torch.arange(size // 2)
    angle = n / 10_000 ** (2 * i / size)
    return torch.cat((angle.sin(), angle.cos()), -1)
