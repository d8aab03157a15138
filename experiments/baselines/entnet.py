"""Recurrent entity network (Henaff et al. 2017, arXiv:1612.03969): slots that are gated by what they hold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.baselines.interface import Baseline, read, told
from spmn.events import Events, Vocabulary
from spmn.network import Sentences


class EntNet(Baseline):
    """20 slots of 100, as published.

        g = sigmoid(s . h + s . w);   h <- unit(h + g phi(U h + V w + W s)), which starts as w
        p = softmax(q . h);           answer = R psi(q + H sum p h)

    s: statement, q: question, w: the slot's key, phi and psi: PReLU.
    """

    name = "EntNet"

    def __init__(self, vocabulary: Vocabulary, slots: int = 20, size: int = 100) -> None:
        super().__init__()
        self.sentences = Sentences(vocabulary, size)
        self.key = nn.Parameter(0.1 * torch.randn(slots, size))
        self.own, self.keyed, self.said = (nn.Linear(size, size, bias=False) for _ in range(3))
        self.recalled = nn.Linear(size, size, bias=False)
        self.phi, self.psi = nn.PReLU(size, init=1.0), nn.PReLU(size, init=1.0)
        self.answer = nn.Linear(size, len(vocabulary.answers), bias=False)
        with torch.no_grad():
            self.sentences.word.weight.mul_(0.1)
            self.sentences.kind.mul_(0.1)

    def forward(self, events: Events) -> Tensor:
        of = told(events)
        x = self.sentences(of.words, of.asks)
        keyed, said = self.keyed(self.key), self.said(x)

        def write(which: Tensor, h: Tensor) -> Tensor:
            s = x[which][:, None]
            gate = torch.sigmoid((s * h).sum(-1) + (s * self.key).sum(-1))[..., None]
            new = self.phi((self.own(h) + keyed + said[which][:, None]).flatten(0, 1)).view_as(h)
            return nn.functional.normalize(h + gate * new, dim=-1)

        start = self.key.expand(len(of.statement), -1, -1)
        return read(of, start, lambda which, h: self.recall(x[which], h), write)

    def recall(self, q: Tensor, h: Tensor) -> Tensor:
        """Answer logits of questions [Q, n] to slots [Q, slots, n]."""
        p = (h @ q[..., None]).softmax(1)
        logits: Tensor = self.answer(self.psi(q + self.recalled((p * h).sum(1))))
        return logits

    def state(self, events: int) -> int:
        return 4 * self.key.numel()

    def uncounted(self) -> int:
        return 4 * self.key.numel()  # two gates, gating and normalising
