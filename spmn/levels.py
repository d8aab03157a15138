"""Memory levels: what every SPMN is made of, whatever its events are and whatever is asked of it.

    z --level 1--> y_1 --level 2--> y_2 ...
        M_1            M_2

Shapes: B stories, N events, T steps of an event's window, H heads, K keys, V values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spmn import operators
from spmn.events import CLOCK
from spmn.neurons import Projection, event_driven, filled, lif
from spmn.plasticity import PlasticMemory, by_event, rule_named
from spmn.settings import Network

DIGIT = 16
"""The clock is read as two base-16 digits, one line per value of each: 32 lines, 256 events."""


class LevelSpikes(NamedTuple):
    """Spikes of one memory level, all [T, B, N, n] of 0 and 1.

    Of a run that was not recorded only `recall` is there; the others have T = 0. Where a level is one kernel
    (`operators.fused`) they carry no gradient.
    """

    write_key: Tensor  # k, n = H K
    read_key: Tensor  # q, n = H K
    association: Tensor  # a, n = H V
    update: Tensor  # u, n = H: lets the association through to be stored
    reset: Tensor  # r, n = H: lets the write key through, so that anything is learnt at all
    recall: Tensor  # y, n = H V


class Told(NamedTuple):
    """What happens at the events of B stories, the same for all levels, on the device that computes.

    `asked` is left where it was given: where that is the CPU, picking rows out need not wait for a GPU.
    """

    sentence: Tensor  # [B, N], which of the distinct events each is
    lines: Tensor  # [B, N, 32], lines of the clock that are on
    writes: Tensor  # [B, N] bool, stored in M
    asked: Tensor  # [B, N] bool, whose recall is read out
    reads: Tensor  # [R], numbers of these events in row-major order
    places: Tensor  # [B N], the place of each event among them, or -1

    @classmethod
    def of(cls, sentence: Tensor, clock: Tensor, writes: Tensor, asked: Tensor, like: Tensor) -> Told:
        """From event numbers `clock` [B, N] and what else is known of every event; with the device and type
        of `like`. Raises SettingsError where shapes differ."""
        given = {"clock": clock, "writes": writes, "asked": asked}
        operators.check_shapes({name: (x, tuple(sentence.shape)) for name, x in given.items()})
        reads = asked.flatten().nonzero()[:, 0]
        places = reads.new_full((asked.numel(),), -1)
        places[reads] = torch.arange(len(reads), device=reads.device)
        there = (sentence, clock_lines(clock), writes, reads, places)
        sentence, lines, writes, reads, places = (x.to(like.device) for x in there)
        return cls(sentence, lines.to(like.dtype), writes, asked, reads, places)


class Activity(NamedTuple):
    """All spikes of a run, and the memory after it."""

    stimulus: Tensor  # z of the distinct sentences, [T, S, encoder]; the last ones may be of no event
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
            return self.read if bool(chosen.all()) else self.read[chosen]
        parts = (self.encoder, *(level.recall for level in self.levels))
        return torch.cat([spikes.permute(1, 2, 0, 3)[rows] for spikes in parts], -1)


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
        self.memory = PlasticMemory(
            rule_named(settings.rule), heads, settings.keys, settings.values, settings.per_head
        )
        self.by_event = by_event(self.memory.rule)

    def forward(
        self,
        words: Tensor,
        below: Tensor | None,
        told: Told,
        memory: Tensor,
        record: bool = True,
    ) -> tuple[LevelSpikes, Tensor, Tensor]:
        """Spikes of the level, recall at the R events that are asked alone [R, T, H V], and M after the last
        event.

        words: [S, T, n] currents that `drive` makes of the sentences; below: [B N, T, n] what it makes of the
        recall of the levels below; memory: [B, H, K, V].
        """
        s = self.settings
        timed = told.lines @ self.clock.T
        if self.by_event is None or not operators.fused(memory):
            spikes, memory = self.parts(words, told.sentence, below, timed, told.writes, memory)
            return spikes, spikes.recall.permute(1, 2, 0, 3).flatten(0, 1)[told.reads], memory
        rule, learnt = self.memory.rule, self.by_event
        recall, read, memory, others = operators.level(
            words, told.sentence.flatten(), below, timed, told.writes, told.places, len(told.reads), memory,
            self.memory.rates.strengths(), self.memory.scale, self.memory.bias, (s.dv, s.slope),
            (*learnt, rule.low, rule.high), record,
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


class RecallReadout(nn.Module):
    """Reads the recall of each level, in named parts.

        out_d = W_d mean(y_d) + b_d     for every level d

    parts: name -> how many numbers.
    """

    def __init__(self, depth: int, inputs: int, parts: Mapping[str, int]) -> None:
        super().__init__()
        self.parts = dict(parts)
        bound, outputs = inputs**-0.5, sum(parts.values())
        self.weight = nn.Parameter(torch.empty(depth, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(depth, 1, outputs).uniform_(-bound, bound))

    def forward(self, recalled: Tensor) -> dict[str, Tensor]:
        """recalled: mean recall spikes [rows, depth, H V]; each part is [rows, depth, n]."""
        rows = filled(recalled, self.training).transpose(0, 1)
        out = torch.baddbmm(self.bias, rows, self.weight).transpose(0, 1)[: len(recalled)]
        return dict(zip(self.parts, out.split_with_sizes(list(self.parts.values()), -1), strict=True))


class Levels(nn.Module):
    """A network of memory levels: what is seen at every event goes through all of them.

    Networks add what makes spikes of their events and what reads the recall. The memory is state: it comes in
    and goes out. Raises SettingsError for a rule that does not exist.
    """

    settings: Network
    level: nn.ModuleList

    @staticmethod
    def stacked(settings: Network) -> nn.ModuleList:
        """The levels, lowest first, each driven by the encoder and by the recall of those below."""
        inputs = [settings.encoder + d * settings.recall for d in range(settings.depth)]
        return nn.ModuleList(Level(settings, n) for n in inputs)

    @property
    def levels(self) -> list[Level]:
        """The memory levels, lowest first."""
        return list(self.level)  # type: ignore[arg-type]

    def start(self, batch: int) -> Tensor:
        """Empty memories [depth, B, H, K, V]."""
        return torch.stack([level.memory.start(batch) for level in self.levels])

    def remember(self, z: Tensor, told: Told, memory: Tensor | None = None, record: bool = True) -> Activity:
        """Store the events that write and recall at every event, most of all at those that ask.

        Level by level, not event by event: within a level only M depends on the events before.

        z: [T, S, encoder] encoder spikes of S distinct events; memory: [depth, B, H, K, V], empty if None.
        `record` asks for the spikes of all neurons, not only of recall.

        Raises SettingsError for a memory of another shape.
        """
        s = self.settings
        shape = (s.depth, len(told.sentence), s.heads, s.keys, s.values)
        memory = self.start(len(told.sentence)) if memory is None else memory
        operators.check_shapes({"memory": (memory, shape)})
        memory = memory.to(self.levels[0].drive.weight)
        heard = self.thinned(z.transpose(0, 1).contiguous())
        kept = 1 - s.spike_dropout if self.training else 1.0
        levels: list[LevelSpikes] = []
        reads, memories = [], []
        for level, m in zip(self.levels, memory, strict=True):
            folded = level.drive.used() if kept == 1 else level.drive.used() / kept
            from_words, from_recall = folded.split_with_sizes([s.encoder, folded.shape[1] - s.encoder], 1)
            driven = nn.functional.linear(heard, from_words, level.drive.bias)
            below = None
            if levels:
                recalled = torch.cat([below.recall.permute(1, 2, 0, 3).flatten(0, 1) for below in levels], -1)
                below = event_driven(self.thinned(recalled), from_recall)
            spikes, read, after = level(driven, below, told, m, record)
            levels.append(spikes)
            reads.append(read)
            memories.append(after)
        heard_then = z.transpose(0, 1).index_select(0, told.sentence.flatten()[told.reads])
        read = torch.cat([heard_then, *reads], -1)
        return Activity(z, told.sentence, told.asked, tuple(levels), read, torch.stack(memories))

    def recalled(self, activity: Activity, rows: Tensor) -> Tensor:
        """Mean recall spikes [rows, depth, H V] at the events where rows [B, N] is True."""
        recalled = activity.seen(rows)[..., self.settings.encoder :].mean(1)
        return recalled.view(len(recalled), self.settings.depth, self.settings.recall)

    def thinned(self, spikes: Tensor) -> Tensor:
        """Spikes [rows, T, n] without those of some neurons, drawn for each row for all of its window."""
        if not self.training or not self.settings.spike_dropout:
            return spikes
        kept = (
            torch.rand(len(spikes), 1, spikes.shape[-1], device=spikes.device) >= self.settings.spike_dropout
        )
        return spikes * kept


def clock_lines(clock: Tensor) -> Tensor:
    """The lines of the clock that are on at event numbers `clock`: [..., 32], two ones each."""
    at = clock.clamp(0, CLOCK - 1)
    digits = torch.stack((at // DIGIT, at % DIGIT), -1)
    return (digits[..., None] == torch.arange(DIGIT, device=clock.device)).flatten(-2)
