"""SPMN, the spiking Stimulus-Perception Memory Network: the whole forward pass, top to bottom.

    event --encoder--> z --level 1--> y_1 --level 2--> y_2 ... --decoder--> answer
                            M_1            M_2                 --clues----> what was recalled, and from when

Stimulus, gates a, u, r, memory M, recall and clues follow SPMN 0.0.1 and 0.0.2 (MaShuo-dzu/SPMN, 2025),
after EntNet (arXiv 1612.03969) and Memory Networks (arXiv 1410.3916). All neurons are LIF, as the chip has.

Shapes: B stories, N events, T steps of an event's window, H heads, K keys, V values.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spmn import operators
from spmn.events import CLOCK, QUESTION, STATEMENT, Events, Vocabulary
from spmn.neurons import Projection, event_driven, lif
from spmn.plasticity import PlasticMemory, by_event, rule_named
from spmn.settings import Network

DIGIT = 16
"""The clock is read as two base-16 digits, one line per value of each: 32 lines, 256 events."""


class LevelSpikes(NamedTuple):
    """Spikes of one memory level, all [T, B, N, n] of 0 and 1.

    Of a run that was not recorded only `recall` is there; the others have T = 0. On a CPU they carry no
    gradient.
    """

    write_key: Tensor  # k, n = H K
    read_key: Tensor  # q, n = H K
    association: Tensor  # a, n = H V
    update: Tensor  # u, n = H: lets the association through to be stored
    reset: Tensor  # r, n = H: lets the write key through, so that anything is learnt at all
    recall: Tensor  # y, n = H V


class Activity(NamedTuple):
    """All spikes of a run, and the memory after it."""

    stimulus: Tensor  # z of the distinct sentences, [T, S, encoder]
    sentence: Tensor  # which sentence each event is, [B, N]
    asked: Tensor  # [B, N], questions of all kinds
    levels: tuple[LevelSpikes, ...]
    read: Tensor  # at the questions alone: spikes of the encoder and recall of all levels, [R, T, sum]
    memory: Tensor  # M, [depth, B, H, K, V]

    @property
    def encoder(self) -> Tensor:
        """z, [T, B, N, encoder]."""
        return self.stimulus[:, self.sentence]

    def seen(self, rows: Tensor) -> Tensor:
        """Spikes of the encoder and recall of all levels [rows, T, sum] at the events where rows [B, N] is
        True.

        In row-major order. At questions they were picked out in the run; elsewhere they are looked up.
        """
        chosen = rows[self.asked]
        if int(chosen.sum()) == int(rows.sum()):
            return self.read[chosen]
        parts = (self.encoder, *(level.recall for level in self.levels))
        return torch.cat([spikes.permute(1, 2, 0, 3)[rows] for spikes in parts], -1)


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


class Encoder(nn.Module):
    """A sentence becomes a constant current into LIF neurons for the T steps of its window.

        x = sum_p word[w_p] * (first[p] + last[n - 1 - p]) / sqrt(length) + kind;   z = LIF(W x + b)

    p: position in a sentence of n words; positions count from both ends, because a phrase of several words
    shifts all that follows it. All before the neurons is linear in (position, word) pairs, so the chip gets
    one input axon per pair and end.
    """

    def __init__(self, settings: Network, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.word = nn.Embedding(len(vocabulary.words), settings.embedding, padding_idx=0)
        from_first, from_last = torch.randn(2, vocabulary.length, settings.embedding)
        self.position = nn.Parameter(torch.stack((0.7 + 0.7 * from_first, 0.7 * from_last)))
        self.kind = nn.Parameter(torch.randn(2, settings.embedding))  # statement, question
        ones = torch.ones(settings.encoder)
        self.projection = Projection(
            settings.embedding, ones, torch.zeros(settings.encoder), settings.weight_scale
        )

    def forward(self, words: Tensor, asks: Tensor) -> Tensor:
        """words: [S, length] ids; asks: [S] bool; returns constant currents [S, encoder]."""
        first = torch.arange(words.shape[-1], device=words.device)
        last = ((words > 0).sum(-1, keepdim=True) - 1 - first).clamp_min(0)
        x = (self.word(words) * (self.position[0] + self.position[1][last])).sum(1) * len(first) ** -0.5
        current: Tensor = self.projection(x + self.kind[asks.long()])
        return current


class Level(nn.Module):
    """One level of depth: gates and keys from what is seen, recall from the plastic memory M."""

    def __init__(self, settings: Network, inputs: int) -> None:
        super().__init__()
        self.settings = settings
        key, value, heads = settings.width, settings.recall, settings.heads
        self.sizes = [key, key, value, heads, heads]  # k, q, a, u, r
        gains = [torch.full((n,), g) for n, g in zip(self.sizes, (1.0, 1.0, 2.0, 2.0, 2.0), strict=True)]
        biases = [torch.full((n,), b) for n, b in zip(self.sizes, (-0.3, -0.3, 0.0, 1.0, 1.0), strict=True)]
        self.drive = Projection(inputs, torch.cat(gains), torch.cat(biases), settings.weight_scale)
        self.clock = nn.Parameter(1.5 * torch.eye(settings.values, 2 * DIGIT))  # into the last head's a
        self.memory = PlasticMemory(rule_named(settings.rule), heads, settings.keys, settings.values)
        self.by_event = by_event(self.memory.rule)

    def forward(
        self,
        words: Tensor,
        sentence: Tensor,
        below: Tensor | None,
        clock: Tensor,
        writes: Tensor,
        reads: Tensor,
        memory: Tensor,
        record: bool = True,
    ) -> tuple[LevelSpikes, Tensor, Tensor]:
        """Spikes of the level, recall at the events in `reads` alone [R, T, H V], and M after the last event.

        words: [S, T, n] currents that `drive` makes of the sentences, sentence: [B, N] which one each
        event is; below: [B N, T, n] what it makes of the recall of the levels below; clock: [B, N, 32]
        lines; writes, reads: [B, N]; memory: [B, H, K, V].
        """
        s = self.settings
        timed = clock @ self.clock.T
        if self.by_event is None or not operators.on_cpu(memory):
            spikes, memory = self.parts(words, sentence, below, timed, writes, memory)
            return spikes, spikes.recall.permute(1, 2, 0, 3)[reads], memory
        rule, learnt = self.memory.rule, self.by_event
        recall, read, memory, others = operators.level(
            words, sentence.flatten(), below, timed, writes, reads, memory,
            self.memory.rates.strengths(learnt), self.memory.scale, self.memory.bias, (s.dv, s.slope),
            (learnt.factors, learnt.predict, rule.low, rule.high), record,
        )  # fmt: skip
        fields = (*others.split_with_sizes(self.sizes, -1), recall)
        return LevelSpikes(*(x.permute(2, 0, 1, 3) for x in fields)), read, memory

    def parts(
        self,
        words: Tensor,
        sentence: Tensor,
        below: Tensor | None,
        timed: Tensor,
        writes: Tensor,
        memory: Tensor,
    ) -> tuple[LevelSpikes, Tensor]:
        """`forward` step by step, for every rule and device; always recorded. timed: [B, N, V] clock
        currents."""
        s = self.settings
        driven = words[sentence]
        if below is not None:
            driven = driven + below.view(driven.shape)
        driven = driven.permute(2, 0, 1, 3)
        last = sum(self.sizes[:3])
        driven[..., last - s.values : last] += timed
        k, q, a, u, r = lif(driven, s.dv, s.slope).split_with_sizes(self.sizes, -1)

        def by_head(x: Tensor) -> Tensor:
            return x.view(*x.shape[:-1], s.heads, -1)

        gates = u.amax(0), r.amax(0)
        currents, memory = self.memory(by_head(q), by_head(k), by_head(a), *gates, writes, memory)
        y = lif(currents.flatten(-2), s.dv, s.slope)
        return LevelSpikes(k, q, a, u, r, y), memory


class ClueHeads(nn.Module):
    """Reads each level's recall: which word, from when, and how sure (SPMN's content and time clue).

    out_d = W_d mean(y_d) + b_d for every level d: logits of words, of two clock digits, and of confidence.
    """

    def __init__(self, depth: int, inputs: int, words: int) -> None:
        super().__init__()
        self.parts = [words, 2 * DIGIT, 1]
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(depth, inputs, sum(self.parts)).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(depth, 1, sum(self.parts)).uniform_(-bound, bound))

    def forward(self, recalled: Tensor) -> Clues:
        """recalled: mean recall spikes [rows, depth, H V]."""
        out = torch.baddbmm(self.bias, recalled.transpose(0, 1), self.weight).transpose(0, 1)
        content, digits, confidence = out.split_with_sizes(self.parts, -1)
        return Clues(content, digits.view(*digits.shape[:-1], 2, DIGIT), confidence[..., 0])


class SPMN(nn.Module):
    """The spiking memory network.

    Raises SettingsError for a rule that does not exist. The memory is state: it comes in and goes out.
    """

    def __init__(self, settings: Network, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.settings, self.vocabulary = settings, vocabulary
        self.encoder = Encoder(settings, vocabulary)
        inputs = [settings.encoder + d * settings.recall for d in range(settings.depth + 1)]
        self.level = nn.ModuleList(Level(settings, n) for n in inputs[:-1])
        ones = torch.ones(settings.decoder)
        self.decoder = Projection(inputs[-1], 2 * ones, torch.zeros(settings.decoder), settings.weight_scale)
        self.readout = nn.Linear(settings.decoder, len(vocabulary.answers))
        self.completion = nn.Linear(settings.decoder, len(vocabulary.words))
        self.clue = ClueHeads(settings.depth, settings.recall, len(vocabulary.words))

    @property
    def levels(self) -> list[Level]:
        """The memory levels, lowest first."""
        return list(self.level)  # type: ignore[arg-type]

    def start(self, batch: int) -> Tensor:
        """Empty memories [depth, B, H, K, V]."""
        return torch.stack([level.memory.start(batch) for level in self.levels])

    def forward(self, events: Events, memory: Tensor | None = None, record: bool = True) -> Activity:
        """Run B stories of N events; statements are written into `memory` (empty if None), questions are not.

        Level by level, not event by event: within a level only M depends on the events before. What follows
        from a sentence alone is computed once for every distinct sentence of the batch. `record` asks for the
        spikes of all neurons, not only of the encoder and of recall, which answers and clues need.
        """
        s = self.settings
        memory = self.start(len(events.words)) if memory is None else memory
        words, asks, sentence = distinct(events)
        current = self.encoder(words, asks)
        z = lif(current.expand(s.steps, *current.shape), s.dv, s.slope)
        heard = self.thinned(z.transpose(0, 1).contiguous())
        kept = 1 - s.spike_dropout if self.training else 1.0
        clock = clock_lines(events.clock).to(current.dtype)
        writes, asked = events.kind == STATEMENT, events.kind >= QUESTION
        levels: list[LevelSpikes] = []
        reads, memories = [], []
        for level, m in zip(self.levels, memory, strict=True):
            folded = level.drive.folded() if kept == 1 else level.drive.folded() / kept
            from_words, from_recall = folded.tensor_split((s.encoder,), 1)
            driven = nn.functional.linear(heard, from_words, level.drive.bias)
            below = None
            if levels:
                recalled = torch.cat([below.recall.permute(1, 2, 0, 3).flatten(0, 1) for below in levels], -1)
                below = event_driven(self.thinned(recalled), from_recall)
            spikes, read, after = level(driven, sentence, below, clock, writes, asked, m, record)
            levels.append(spikes)
            reads.append(read)
            memories.append(after)
        heard_then = z.transpose(0, 1).index_select(0, sentence[asked])
        read = torch.cat([heard_then, *reads], -1)
        return Activity(z, sentence, asked, tuple(levels), read, torch.stack(memories))

    def thinned(self, spikes: Tensor) -> Tensor:
        """Spikes [rows, T, n] without those of some neurons, drawn for each row for all of its window."""
        if not self.training or not self.settings.spike_dropout:
            return spikes
        kept = (
            torch.rand(len(spikes), 1, spikes.shape[-1], device=spikes.device) >= self.settings.spike_dropout
        )
        return spikes * kept

    def decode(self, activity: Activity, rows: Tensor) -> Tensor:
        """Decoder spikes [T, rows, decoder] at the events where rows [B, N] is True, in row-major order."""
        currents = self.decoder(activity.seen(rows))
        return lif(currents.transpose(0, 1), self.settings.dv, self.settings.slope)

    def answer(self, activity: Activity, rows: Tensor) -> Tensor:
        """Answer logits [rows, answers]: a linear readout of the decoder's mean spikes."""
        return self.readout(self._decoded(activity, rows))  # type: ignore[no-any-return]

    def complete(self, activity: Activity, rows: Tensor) -> Tensor:
        """Logits of the withheld word [rows, words] at retrieval-practice questions, read as answers are."""
        return self.completion(self._decoded(activity, rows))  # type: ignore[no-any-return]

    def _decoded(self, activity: Activity, rows: Tensor) -> Tensor:
        mean = self.decode(activity, rows).mean(0)
        return nn.functional.dropout(mean, self.settings.dropout, self.training)

    def clues(self, activity: Activity, rows: Tensor) -> Clues:
        """What each level recalls at the events where rows [B, N] is True."""
        recalled = activity.seen(rows)[..., self.settings.encoder :].mean(1)
        clues: Clues = self.clue(recalled.view(len(recalled), self.settings.depth, self.settings.recall))
        return clues


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


def clock_lines(clock: Tensor) -> Tensor:
    """The lines of the clock that are on at event numbers `clock`: [..., 32], two ones each."""
    at = clock.clamp(0, CLOCK - 1)
    digits = (at // DIGIT, at % DIGIT)
    return torch.cat([nn.functional.one_hot(d, DIGIT) for d in digits], -1)
