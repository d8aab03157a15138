"""H-Mem (Limbacher and Legenstein 2020): the rate-based forerunner of the spiking Hebbian memory network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.baselines.interface import Baseline, read, told
from spmn.events import Events, Vocabulary
from spmn.network import Sentences


class HMem(Baseline):
    """One Hebbian matrix M, read before it is written; three hops of recall.

        k = relu(K s);   v = relu(V s + F M k);   M <- M + plus (1 - M) v k^T - minus M k^2
        k_0 = relu(R q);   v_h = M k_h;   k_{h+1} = relu(R q + G v_h);   answer = O v_2

    s: statement, q: question. plus and minus are trained, keys and values scaled to a length of at most 1
    so that M stays below its bound 1.
    """

    name = "H-Mem"
    learning_rate = 1e-3

    def __init__(self, vocabulary: Vocabulary, size: int = 64, width: int = 100, hops: int = 3) -> None:
        super().__init__()
        self.width, self.hops = width, hops
        self.sentences = Sentences(vocabulary, size)
        self.key, self.value, self.asked = (nn.Linear(size, width) for _ in range(3))
        self.before, self.again = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.strength = nn.Parameter(torch.tensor([0.0, 0.0]))  # of plus and minus, before the sigmoid
        self.answer = nn.Linear(width, len(vocabulary.answers))

    def forward(self, events: Events) -> Tensor:
        of = told(events)
        x = self.sentences(of.words, of.asks)
        keys, values, asks = short(self.key(x).relu()), self.value(x), self.asked(x)
        plus, minus = self.strength.sigmoid()

        def write(which: Tensor, m: Tensor) -> Tensor:
            k = keys[which][:, None]
            v = short((values[which] + self.before((m @ k.mT)[..., 0])).relu())[..., None]
            after: Tensor = m + plus * (1 - m) * v * k - minus * m * k**2
            return after

        start = x.new_zeros(len(of.statement), self.width, self.width)  # [B, value, key]
        return read(of, start, lambda which, m: self.recall(asks[which], m), write)

    def recall(self, q: Tensor, m: Tensor) -> Tensor:
        """Answer logits of questions [Q, n] to matrices [Q, n, n]."""
        v = q.new_zeros(q.shape)
        for hop in range(self.hops):
            k = short((q + self.again(v)).relu() if hop else q.relu())
            v = (m @ k[..., None])[..., 0]
        logits: Tensor = self.answer(v)
        return logits

    def state(self, events: int) -> int:
        return 4 * self.width**2

    def uncounted(self) -> int:
        return 5 * self.width**2


def short(x: Tensor) -> Tensor:
    """Rows longer than 1 scaled to 1."""
    scaled: Tensor = x / x.norm(dim=-1, keepdim=True).clamp_min(1.0)
    return scaled
