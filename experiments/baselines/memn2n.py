"""End-to-end memory network (Sukhbaatar et al. 2015, arXiv:1503.08895): every statement is kept as it was.

Left out are its linear start (softmax put in late), random noise (empty memories), the tie of the answers to
the last hop's words, and its fixed position code: sentences are those of all networks here.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from experiments.baselines.interface import Baseline, memories, told
from spmn.events import CLOCK, Events, Vocabulary
from spmn.network import Sentences


class MemN2N(Baseline):
    """Three hops over the statements, the newest of which has age 0.

    u_0 = E_0(question);   p = softmax(u_k . m_k);   u_{k+1} = u_k + sum p m_{k+1};   m_k = E_k(s) + T_k(age)

    E: sentences, T: ages, both shared by neighbouring hops. Older statements than CLOCK share an age.
    """

    name = "MemN2N"
    learning_rate = 1e-3

    def __init__(self, vocabulary: Vocabulary, size: int = 64, hops: int = 3) -> None:
        super().__init__()
        self.size, self.length = size, vocabulary.length
        self.sentences = nn.ModuleList(Sentences(vocabulary, size) for _ in range(hops + 1))
        self.age = nn.Parameter(0.1 * torch.randn(hops + 1, CLOCK, size))
        self.answer = nn.Linear(size, len(vocabulary.answers))
        with torch.no_grad():  # what is matched is a product of two of them
            for part in self.sentences:
                assert isinstance(part, Sentences)
                part.word.weight.mul_(0.1)
                part.kind.mul_(0.1)

    def forward(self, events: Events) -> Tensor:
        of = told(events)
        statement = of.statement[of.story]  # [Q, N]
        seen = memories(of, statement.shape[1])
        u = self.sentences[0](of.words, of.asks)[of.question]
        age = (of.before[:, None] - 1 - torch.arange(statement.shape[1], device=u.device)).clamp(0, CLOCK - 1)
        memory = [
            part(of.words, of.asks)[statement] + times[age]
            for part, times in zip(self.sentences, self.age, strict=True)
        ]
        for given, content in itertools.pairwise(memory):
            match = (given @ u[..., None])[..., 0].masked_fill(~seen, -1e9)
            share = match.softmax(-1) * seen  # of nothing told, nothing is recalled
            u = u + (share[:, None] @ content)[:, 0]
        logits: Tensor = self.answer(u)
        return logits

    def uncounted(self) -> int:
        """Sums over word vectors, which are most of what it does."""
        return len(self.sentences) * self.length * self.size

    def state(self, events: int) -> int:
        return 4 * len(self.sentences) * self.size * events
