"""A trained network as a chip program: folded, quantised, scheduled.

Every event takes a window of 2 T steps. Level d runs L = 3 steps behind level d - 1, the time from its LIF
neurons through relay and plastic synapses to its recall, so events overlap in the pipeline. With
o = 3 (d - 1), in steps from the start of an event:

    0 .. T-1            words and kind of the event arrive on the input axons
    1 .. T              encoder spikes z
    o+2 .. o+T+1        k, q, a, u, r: see z and the recall of the levels below, each delayed to meet
    o+3 .. o+T+2        relays pass read keys on with payload 1; latches collect k, a, u, r
    o+4 .. o+T+3        recall y, driven by the plastic synapses
    o+T+3               gate latches that saw a spike fire, if the event is a statement
    o+T+4               so open the key and association latches; recall neurons are reset
    o+T+5               relays pass written keys on with payload p, recall neurons are taught: M learns

The decoder runs as if it were level depth + 1. Reading sets x1 = round(1/2) = 0 and so teaches nothing. What
recall neurons fire at o+T+5 and o+T+6 reaches the next level outside its window, where the "quiet" line
inhibits it. No neuron but Loihi's own is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from hardware import program as chip
from hardware.arithmetic import half_payload
from hardware.errors import ProgramError, RuleError
from hardware.host import ClockLine, Host, Readout, Schedule, TimeAxons, TokenAxons
from hardware.lowering import lower, realised
from hardware.program import (
    InputAxons,
    PlasticProjection,
    Population,
    Probe,
    Program,
    Projection,
)
from hardware.rules import ChipRule
from spmn.errors import ExportError
from spmn.events import CLOCK
from spmn.levels import DIGIT, Level, Levels, clock_lines
from spmn.network import SPMN
from spmn.quantise import Array, Sources, quantise, rounded

LAG = 3
"""Steps by which a level runs behind the one below."""
RECALL_STEP = 4
"""Of an event: the first step in which level 1 recalls."""
INPUT_LIMIT = 2**15 - 2**10
"""Most that plastic synapses may bring to a neuron in one step; the rest of 16 bits is left to others."""
MEMORY_BITS = 6
"""Bits of M. With more, the safe payload leaves too few levels of x1 for the learning rates."""
PAYLOAD = 16
"""Largest payload: x1 = 8 resolves the learning rates well enough."""
LATCH = 252
"""Threshold of a latch: T spikes do not reach it, nor does the opening alone, but both together do."""
READOUT_SCALE = 2**16
LONGEST_TAU = 65535
"""x1 must not decay to nothing before the rule sees it; the chip knows no trace without decay."""

ROLES = ("write_key", "read_key", "association", "update", "reset")
"""Populations of a level that what is seen drives, in the order of `Level.sizes`."""

CLOCKED = {"statement": 1, "question": 1, "clock": 2 * DIGIT, "bias": 1, "quiet": 1, "write": 1}
"""Input axons that every exported network has, and how many."""

CLOCK_AT_ONCE = {"clock": 2}
"""Axons of the clock that spike in a step: the lines of two digits."""


@torch.no_grad()
def export(
    network: SPMN,
    memory_bits: int = MEMORY_BITS,
    payload: int | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Program:
    """The network as a program of chip integers.

    memory_bits: 2..8 bits of M: its weights run from 0 to 2^bits - 2, which stands for M = 1.
    payload: what a written key sends; x1 = payload / 2. Without one, 16, or as much as can never push a
    recall neuron's input beyond 16 bits; a larger one is not checked. What room is left shifts M up.

    Raises ExportError where the network's rule or sizes cannot be expressed.
    """
    steps, depth = network.settings.steps, network.settings.depth
    with expressible():
        draft = drafted(network, lambda draft: encoder(draft, network), memory_bits, payload)
        sources = driven(network, network.decoder.folded(), network.decoder.bias)
        add_driven(draft, "decoder", sources, depth, network)
        readout = Readout(
            name="answer",
            populations=("decoder",),
            first_step=LAG * depth + 2,
            steps=steps,
            weights=rounded(network.readout.weight * READOUT_SCALE),
            bias=rounded(network.readout.bias * READOUT_SCALE * steps),
            answers=network.vocabulary.answers,
        )
        spoken, active = tuple(range(steps)), tuple(range(1, steps + 1))
        host = Host(
            vocabulary=network.vocabulary.words,
            tokens=TokenAxons("words", network.vocabulary.length, spoken, ends=2),
            time=TimeAxons("clock", clock_lines(torch.arange(CLOCK)).long().numpy(), active),
            readouts=(readout,),
        )
        return draft.program("spmn", host, (readout,), depth, attributes or {})


@contextmanager
def expressible() -> Iterator[None]:
    """What a program cannot hold raises ExportError."""
    try:
        yield
    except (ProgramError, RuleError) as problem:
        raise ExportError(f"this network does not fit the chip: {problem}") from None


def drafted(network: Levels, hear: Callable[[Draft], None], memory_bits: int, payload: int | None) -> Draft:
    """The encoder, which `hear` adds, and all memory levels. Raises ExportError, ProgramError, RuleError."""
    steps = network.settings.steps
    if not 2 <= memory_bits <= 8:
        raise ExportError(f"memory_bits is {memory_bits}; plastic weights have 2 to 8 bits")
    if steps < 2:
        raise ExportError(f"steps is {steps}; the write phase needs a window of at least 2 steps: retrain")
    draft = Draft(steps, 2 * max(steps, 3))
    hear(draft)
    for d, level in enumerate(network.levels):
        memory_level(draft, network, d, level, payload, memory_bits)
    return draft


@dataclass
class Draft:
    """Parts of a program as they are collected."""

    steps: int  # T
    window: int
    inputs: dict[str, int] = field(default_factory=dict)
    populations: list[Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    plastic: list[PlasticProjection] = field(default_factory=list)

    def population(self, name: str, size: int, vth: int, dv: int, first: int, halves: int = 1) -> None:
        """LIF neurons, cleared before their input of step `first` of each window (or half window)."""
        interval = self.window // halves
        offset = (first + 1) % interval  # the chip counts steps from 1
        self.populations.append(
            Population(name, size, vth=vth, dv=dv, reset_interval=interval, reset_offset=offset)
        )

    def connect(
        self, source: str, target: str, weights: Array, delay: int = 0, exp: int = 0, payload_bits: int = 0
    ) -> None:
        """A projection; of one sign where its weights are, for then all their bits count.

        Stored sparsely where fewer than a third are not 0: that takes less memory whatever an index takes.
        """
        mode: chip.SignMode = "mixed"
        if (weights >= 0).all():
            mode = "excitatory"
        elif (weights <= 0).all():
            mode = "inhibitory"
        name = f"{source}.to.{target}"
        self.projections.append(
            Projection(
                name,
                source,
                target,
                weights,
                weight_exp=exp,
                sign_mode=mode,
                num_message_bits=payload_bits,
                delays=delay,
                storage="sparse" if 3 * np.count_nonzero(weights) < weights.size else "dense",
            )
        )

    def program(
        self,
        name: str,
        host: Host | None,
        readouts: tuple[Readout, ...],
        depth: int,
        attributes: Mapping[str, str],
    ) -> Program:
        """All parts together; a run goes on until the last event has left the pipeline of `depth` levels."""
        window, steps = self.window, self.steps
        spoken, active = tuple(range(steps)), tuple(range(1, steps + 1))
        lines = (
            ClockLine("statement", spoken, on="statement"),
            ClockLine("question", spoken, on="question"),
            ClockLine("bias", active),
            ClockLine("quiet", tuple(range(steps + 1, window + 1))),
            ClockLine("write", (steps + 2,), on="statement"),
        )
        last = max((r.first_step + r.steps for r in readouts), default=LAG * (depth - 1) + steps + 6)
        return Program(
            name=name,
            inputs=tuple(InputAxons(name, size) for name, size in self.inputs.items()),
            populations=tuple(self.populations),
            projections=tuple(self.projections),
            plastic=tuple(self.plastic),
            probes=tuple(Probe(name) for readout in readouts for name in readout.populations),
            schedule=Schedule(window, max(0, last - window), lines),
            host=host,
            attributes=attributes,
        )


def encoder(draft: Draft, network: SPMN) -> None:
    """Words, by position from both ends, and the kind of the event drive the encoder for T steps."""
    parts = network.encoder.parts()
    draft.inputs = {"words": parts["words"].shape[1], **CLOCKED}
    vth, quantised = quantise(parts, words_at_once(network))
    draft.population("encoder", len(parts["words"]), vth, chip_decay(network), first=1)
    for source, (weights, exp) in quantised.items():
        draft.connect(source, "encoder", weights, exp=exp)


def words_at_once(network: SPMN) -> dict[str, int]:
    """Axons of words that spike in a step: one at each position, counted from either end."""
    return {"words": 2 * network.vocabulary.length}


def driven(network: Levels, folded: Tensor, bias: Tensor, clock: Tensor | None = None) -> dict[str, Tensor]:
    """What drives some neurons, by where it comes from: encoder, recall heads by level, clock, bias.

    folded: weights [neurons, seen]; clock: [V, 32], into the last V neurons.
    """
    found = seen_by(network, folded)
    if clock is not None:
        found["clock"] = nn.functional.pad(clock, (0, 0, len(bias) - len(clock), 0))
    found["bias"] = bias[:, None]
    return found


def roles(network: Levels, level: Level, folded: Tensor) -> dict[str, dict[str, Tensor]]:
    """What drives each population of a level, as `driven`; the association also hears the clock."""
    rows, biases = torch.split(folded, level.sizes), torch.split(level.drive.bias, level.sizes)
    return {
        role: driven(network, weights, bias, level.clock if role == "association" else None)
        for role, weights, bias in zip(ROLES, rows, biases, strict=True)
    }


def seen_by(network: Levels, folded: Tensor) -> dict[str, Tensor]:
    """Columns of a projection by the population they come from: encoder, then recall heads by level."""
    settings = network.settings
    names, sizes = ["encoder"], [settings.encoder]
    for d in range((folded.shape[1] - settings.encoder) // settings.recall):
        names += [f"level{d + 1}.recall.{h}" for h in range(settings.heads)]
        sizes += [settings.values] * settings.heads
    return dict(zip(names, torch.split(folded, sizes, 1), strict=True))


def add_driven(draft: Draft, name: str, sources: Sources, d: int, network: Levels) -> None:
    """LIF neurons of level d (from 0): driven by what it sees in its window, inhibited outside."""
    offset, size = LAG * d, len(sources["bias"])
    vth, quantised = quantise(sources, CLOCK_AT_ONCE)
    draft.population(name, size, vth, chip_decay(network), first=offset + 2)
    for source, (weights, exp) in quantised.items():
        below = int(source.split(".")[0].removeprefix("level")) if source.startswith("level") else None
        delay = offset if below is None else LAG * (d - below)
        draft.connect(source, name, weights, delay=delay, exp=exp)
    if d > 0:
        draft.connect("quiet", name, np.full((size, 1), -255), delay=offset, exp=6)


def memory_level(
    draft: Draft, network: Levels, d: int, level: Level, payload: int | None, memory_bits: int
) -> None:
    """Keys, association, gates, latches, relays, plastic synapses and recall of level d (from 0)."""
    s, offset, name = network.settings, LAG * d, f"level{d + 1}"
    for role, sources in roles(network, level, level.drive.folded()).items():
        add_driven(draft, f"{name}.{role}", sources, d, network)

    spike = LATCH // s.steps
    opening = LATCH - spike + 1
    for role, size in zip(ROLES, level.sizes, strict=True):
        if role != "read_key":
            draft.population(f"{name}.{role}.latch", size, LATCH, dv=0, first=offset + 3)
            draft.connect(f"{name}.{role}", f"{name}.{role}.latch", spike * np.eye(size, dtype=np.int64))
    for gate, opened, per_head in (("reset", "write_key", s.keys), ("update", "association", s.values)):
        draft.connect("write", f"{name}.{gate}.latch", np.full((s.heads, 1), opening), delay=offset)
        opens = opening * np.kron(np.eye(s.heads, dtype=np.int64), np.ones((per_head, 1), np.int64))
        draft.connect(f"{name}.{gate}.latch", f"{name}.{opened}.latch", opens)

    full = full_memory(memory_bits)
    payload = payload or safe_payload(s.keys, full)
    if payload < 2:
        raise ExportError(f"the payload of a written key is {payload}; it must be at least 2 to teach")
    shift = max(0, room(payload * full * s.keys))
    for h, rule in enumerate(chip_rules(level, payload, full)):
        vth = recall_threshold(level, h, full << shift)
        teacher = max(0, math.ceil(math.log2((vth + 1) / 255)))
        _, resting = quantise({"bias": level.memory.bias[h, :, None]}, vth=vth)
        relay, recall = f"{name}.relay.{h}", f"{name}.recall.{h}"
        draft.populations.append(Population(relay, s.keys, kind="relay"))
        draft.connect(f"{name}.read_key", relay, one_head(s.keys, s.heads, h))
        draft.connect(f"{name}.write_key.latch", relay, payload * one_head(s.keys, s.heads, h))

        draft.population(recall, s.values, vth, chip_decay(network), first=offset + RECALL_STEP, halves=2)
        empty = np.zeros((s.values, s.keys), np.int64)
        seed = 16 * (d * s.heads + h)
        draft.plastic.append(
            PlasticProjection(
                f"{name}.memory.{h}", relay, recall, empty, rule, seed, weight_exp=shift, graded="overwrite"
            )
        )
        taught = 255 * one_head(s.values, s.heads, h)
        draft.connect(f"{name}.association.latch", recall, taught, exp=teacher)
        weights, exp = resting["bias"]
        draft.connect("bias", recall, weights, delay=offset + 2, exp=exp)


def one_head(size: int, heads: int, h: int) -> Array:
    """[size, heads * size]: neurons of head h, one to one."""
    chosen = np.zeros((size, heads * size), np.int64)
    chosen[:, h * size : (h + 1) * size] = np.eye(size)
    return chosen


def full_memory(bits: int) -> int:
    """What stands for M = 1 in so many bits."""
    return (1 << bits) - 2


def safe_payload(keys: int, full: int) -> int:
    """What a written key sends at most: PAYLOAD, or what never pushes a recall neuron beyond 16 bits.

    Raises ExportError where that is less than 2, which teaches nothing.
    """
    doublings = room(full * keys)
    if doublings < 1:
        raise ExportError(
            f"{keys} keys whose synapses weigh up to {full} bring a recall neuron up to {full * keys:,}, and "
            f"{INPUT_LIMIT // 2:,} is the most with which they can be taught: give fewer --memory-bits, or "
            "train with fewer keys"
        )
    return min(PAYLOAD, 1 << doublings)


def room(most: int) -> int:
    """Doublings by which the largest input of a recall neuron may grow within 16 bits.

    It receives at most payload * full * keys from its plastic synapses, the rest from its teacher and bias.
    """
    return math.floor(math.log2(INPUT_LIMIT / most))


def recall_threshold(level: Level, head: int, full: int) -> int:
    """Threshold of a head's recall neurons, if M = 1 brings a current of `full`: full 0.15 K / gain."""
    gain = float(level.memory.gain.expand(level.memory.heads)[head])
    if gain <= 0:
        raise ExportError(f"a recall gain is {gain:.3g}; only excitatory recall can be deployed: retrain")
    return round(full * 0.15 * level.memory.keys / gain)


def chip_rules(level: Level, payload: int, full: int) -> list[ChipRule]:
    """The level's rule with the trained rates of each head in chip integers; `full` stands for M = 1.

    Raises ExportError, RuleError for a rule that the chip has not.
    """
    rule = level.memory.rule
    if rule.resolution != "event":
        raise ExportError(
            f"the rule {rule.name!r} learns in every step, so on the chip reading would teach it; "
            "train with --preset default to deploy, or evaluate with --runner torch"
        )
    heads = level.memory.heads
    rates = {name: rate.expand(heads).tolist() for name, rate in level.memory.rates().items()}
    by_head = [{name: rate[h] for name, rate in rates.items()} for h in range(heads)]
    level_of_x1 = x1_level(payload)
    return [lower(rule, own, x1_level=level_of_x1, x1_tau=LONGEST_TAU, w_max=full) for own in by_head]


def x1_level(payload: int) -> int:
    """What a graded spike of this payload sets x1 to."""
    return int(half_payload(np.array([payload], np.int32))[0])


def realised_strengths(level: Level) -> list[list[float]]:
    """coefficient * rate of every product of each head's rule, as the chip has it by default: [H, P].

    Raises ExportError for a rule that it has not.
    """
    rule, full = level.memory.rule, full_memory(MEMORY_BITS)
    payload = safe_payload(level.memory.keys, full)
    with expressible():
        lowered = chip_rules(level, payload, full)
        rates = [realised(rule, own, x1_level=x1_level(payload), w_max=full) for own in lowered]
    return [[p.coefficient * rate for p, rate in zip(rule.products, own, strict=True)] for own in rates]


def chip_decay(network: Levels) -> int:
    """Membrane leak in 4096ths."""
    return round(4096 * network.settings.dv)
