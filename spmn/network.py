"""SPMN, the spiking Stimulus-Perception Memory Network: the whole forward pass, top to bottom.

    event --encoder--> z --level 1--> y_1 --level 2--> y_2 ... --decoder--> answer
                            M_1            M_2                 --clues----> what was recalled, and from when

Stimulus, gates a, u, r, memory M, recall and clues follow SPMN 0.0.1 and 0.0.2 (MaShuo-dzu/SPMN, 2025),
after EntNet (arXiv 1612.03969) and Memory Networks (arXiv 1410.3916). All neurons are LIF, as the chip has.

Shapes: B stories, N events, T steps of an event's window, H heads, K keys, V values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spmn.events import QUESTION, STATEMENT, Events, Vocabulary
from spmn.levels import DIGIT, Activity, Levels, RecallReadout, Told
from spmn.neurons import Projection, filled, lif
from spmn.settings import Network


class Clues(NamedTuple):
    """What each level recalled at some events (rows); depth = recall_num of the paper."""

    content: Tensor  # [rows, depth, words], logits of the recalled word
    digits: Tensor  # [rows, depth, 2, 16], logits of the two clock digits of the recalled event
    confidence: Tensor  # [rows, depth], logit that the content is right

    def time(self, now: Tensor) -> Tensor:
        """Time clue [rows, depth, 2]: position (expected event number) and confidence in 0..1.

        now: [rows] event number of the question; nothing recalled can be later, so
        p(event) is p(high digit) p(low digit), renormalised over the events up to now.
        """
        high, low = self.digits.softmax(-1).unbind(-2)
        p = (high[..., :, None] * low[..., None, :]).flatten(-2)  # [rows, depth, 256]
        event = torch.arange(p.shape[-1], device=p.device)
        p = p * (event <= now[:, None, None])
        position = (p @ event.to(p.dtype)) / p.sum(-1).clamp_min(1e-30)
        return torch.stack((position, torch.sigmoid(self.confidence)), -1)


class Sentences(nn.Module):
    """Sentences as vectors.

        x = sum_p word[w_p] * (first[p] + last[n - 1 - p]) / sqrt(length) + kind

    p: position in a sentence of n words; positions count from both ends, because a phrase of several words
    shifts all that follows it.
    """

    def __init__(self, vocabulary: Vocabulary, size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(len(vocabulary.words), size, padding_idx=0)
        from_first, from_last = torch.randn(2, vocabulary.length, size)
        self.position = nn.Parameter(torch.stack((0.7 + 0.7 * from_first, 0.7 * from_last)))
        self.kind = nn.Parameter(torch.randn(2, size))  # statement, question

    def forward(self, words: Tensor, asks: Tensor) -> Tensor:
        """words: [..., length] ids; asks: [...] bool; returns [..., size]."""
        chosen = nn.functional.embedding
        places = self.position[0] + chosen(from_last(words), self.position[1])
        x = (self.word(words) * places).sum(-2) * words.shape[-1] ** -0.5
        found: Tensor = x + chosen(asks.long(), self.kind)
        return found


def from_last(words: Tensor) -> Tensor:
    """Positions of words [..., length] in their sentences, counted from the last word."""
    positions = torch.arange(words.shape[-1], device=words.device)
    return ((words > 0).sum(-1, keepdim=True) - 1 - positions).clamp_min(0)


Rounding = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Rounds what `Encoder.parts` returns."""


class Encoder(Sentences):
    """A sentence becomes a constant current into LIF neurons for the T steps of its window.

        z = LIF(W x + b),   x: `Sentences`

    All before the neurons is linear in (position, word) pairs, so the chip gets one input axon per pair and
    end.
    """

    def __init__(self, settings: Network, vocabulary: Vocabulary) -> None:
        super().__init__(vocabulary, settings.embedding)
        ones = torch.ones(settings.encoder)
        self.projection = Projection(
            settings.embedding, ones, torch.zeros(settings.encoder), settings.weight_scale
        )
        self.rounding: Rounding | None = None

    def forward(self, words: Tensor, asks: Tensor) -> Tensor:
        """words: [S, length] ids; asks: [S] bool; returns constant currents [S, encoder]."""
        if self.rounding:
            parts = self.rounding(self.parts())
            length, known = words.shape[-1], len(self.word.weight)
            first = torch.arange(length, device=words.device) * known
            axons = torch.cat((first + words, (length + from_last(words)) * known + words), -1)
            said = nn.functional.embedding_bag(axons, parts["words"].T.contiguous(), mode="sum")
            return said + torch.cat((parts["statement"], parts["question"]), 1).T[asks.long()]
        current: Tensor = self.projection(super().forward(words, asks))
        return current

    def parts(self) -> dict[str, Tensor]:
        """Synapses of the chip's input axons [encoder, axons]: words, and kinds of event with the bias.

        Axon p * words + w stands for word w at position p, from the first word, and from length on from the
        last.
        """
        known = torch.arange(len(self.word.weight), device=self.word.weight.device)
        words = self.word(known)  # not the weights themselves: padding learns nothing
        pairs = torch.einsum("we,pe->pwe", words, self.position.flatten(0, 1))
        folded = self.projection.folded()
        kinds = folded @ self.kind.T + self.projection.bias[:, None]
        scaled = pairs.flatten(0, 1) * self.position.shape[1] ** -0.5
        return {"words": folded @ scaled.T, "statement": kinds[:, :1], "question": kinds[:, 1:]}


class SPMN(Levels):
    """The spiking memory network.

    Raises SettingsError for a rule that does not exist. The memory is state: it comes in and goes out.
    """

    def __init__(self, settings: Network, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.settings, self.vocabulary = settings, vocabulary
        self.encoder = Encoder(settings, vocabulary)
        self.level = self.stacked(settings)
        ones, seen = torch.ones(settings.decoder), settings.encoder + settings.depth * settings.recall
        self.decoder = Projection(seen, 2 * ones, torch.zeros(settings.decoder), settings.weight_scale)
        self.readout = nn.Linear(settings.decoder, len(vocabulary.answers))
        self.completion = nn.Linear(settings.decoder, len(vocabulary.words))
        parts = {"content": len(vocabulary.words), "digits": 2 * DIGIT, "confidence": 1}
        self.clue = RecallReadout(settings.depth, settings.recall, parts)

    def forward(self, events: Events, memory: Tensor | None = None, record: bool = True) -> Activity:
        """Run B stories of N events; statements are written into `memory` (empty if None), questions are not.

        What follows from a sentence alone is computed once for every distinct sentence of the batch. `record`
        asks for the spikes of all neurons, not only of the encoder and of recall, which answers and clues
        need.
        """
        words, asks, sentence = distinct(events)
        writes, asked, like = events.kind == STATEMENT, events.kind >= QUESTION, self.readout.weight
        told = Told.of(sentence, events.clock, writes, asked, like)
        words, asks = (filled(x.to(like.device), self.training) for x in (words, asks))
        current = self.encoder(words, asks)
        z = lif(current.expand(self.settings.steps, *current.shape), self.settings.dv, self.settings.slope)
        return self.remember(z, told, memory, record)

    def decode(self, activity: Activity, rows: Tensor) -> Tensor:
        """Decoder spikes [T, rows, decoder] at the events where rows [B, N] is True, in row-major order."""
        return self._decoded(activity.seen(rows))

    def _decoded(self, seen: Tensor) -> Tensor:
        currents = self.decoder(seen)
        return lif(currents.transpose(0, 1), self.settings.dv, self.settings.slope)

    def answer(self, activity: Activity, rows: Tensor) -> Tensor:
        """Answer logits [rows, answers]: a linear readout of the decoder's mean spikes."""
        return self._read(self.readout, activity, rows)

    def complete(self, activity: Activity, rows: Tensor) -> Tensor:
        """Logits of the withheld word [rows, words] at retrieval-practice questions, read as answers are."""
        return self._read(self.completion, activity, rows)

    def _read(self, readout: nn.Module, activity: Activity, rows: Tensor) -> Tensor:
        seen = activity.seen(rows)
        mean = self._decoded(filled(seen, self.training)).mean(0)
        logits: Tensor = readout(nn.functional.dropout(mean, self.settings.dropout, self.training))
        return logits[: len(seen)]

    def clues(self, activity: Activity, rows: Tensor) -> Clues:
        """What each level recalls at the events where rows [B, N] is True: the words, when, and how sure."""
        parts = self.clue(self.recalled(activity, rows))
        digits = parts["digits"].unflatten(-1, (2, DIGIT))
        return Clues(parts["content"], digits, parts["confidence"][..., 0])


def distinct(events: Events) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct sentences of a batch: words [S, length], if each asks [S], and which each event is [B, N]."""
    asks = (events.kind >= QUESTION).long()
    rows = torch.cat((events.words, asks[..., None]), -1).flatten(0, 1)
    powers = torch.full(rows.shape[1:], 0x1E3779B97F4A7C15, device=rows.device).cumprod(0)  # modulo 2^64
    keys, sentence = torch.unique((rows * powers).sum(-1), return_inverse=True)
    first = torch.empty_like(keys).scatter_(0, sentence, torch.arange(len(rows), device=rows.device))
    if not torch.equal(rows[first][sentence], rows):  # two sentences with the same key
        rows, sentence = torch.unique(rows, dim=0, return_inverse=True)
        first = torch.arange(len(rows), device=rows.device)
    return rows[first, :-1], rows[first, -1].bool(), sentence.view(asks.shape)
