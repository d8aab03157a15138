"""Long short-term memory over sentences (Hochreiter and Schmidhuber 1997)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.baselines.interface import Baseline, told
from spmn.events import Events, Vocabulary
from spmn.network import Sentences


class LSTM(Baseline):
    """h = LSTM(statements); answer = MLP(h after the last of them, question)."""

    name = "LSTM"

    def __init__(self, vocabulary: Vocabulary, size: int = 64, hidden: int = 256) -> None:
        super().__init__()
        self.hidden = hidden
        self.sentences = Sentences(vocabulary, size)
        self.start = nn.Parameter(torch.zeros(hidden))
        self.lstm = nn.LSTM(size, hidden, batch_first=True)
        self.decoder = nn.Sequential(
            nn.Linear(hidden + size, 128), nn.ReLU(), nn.Linear(128, len(vocabulary.answers))
        )

    def forward(self, events: Events) -> Tensor:
        of = told(events)
        x = self.sentences(of.words, of.asks)
        h = self.lstm(x[of.statement])[0]
        h = torch.cat((self.start.expand(len(h), 1, -1), h), 1)[of.story, of.before]
        logits: Tensor = self.decoder(torch.cat((h, x[of.question]), -1))
        return logits

    def state(self, events: int) -> int:
        return 4 * 2 * self.hidden
