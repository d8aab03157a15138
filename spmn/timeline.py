"""SPMN's stage 1, time and place: what happened, and when, is recalled from a cue.

Events with their position in the stream are stored one after the other in one memory. A cue then makes every
level recall one slot: position in time, confidence, content. Level d is trained to recall the d-th latest
event of the cue, and to be unsure where there is none (after the second training stage of SPMN,
MaShuo-dzu/SPMN, 2025).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hardware.program import Program
from spmn import detection
from spmn.datasets.timeline import (
    DIFFICULTIES,
    LONGEST,
    PEOPLE,
    PLACES,
    THINGS,
    VOCABULARY,
    Streams,
    generate,
)
from spmn.detection import Scores, Slot
from spmn.errors import SettingsError
from spmn.neurons import Projection
from spmn.perceiver import Perceiver, Scene
from spmn.perceiver_chip import export_perceiver, store
from spmn.runs import reading
from spmn.senses import Position, Words
from spmn.settings import Network, building, require
from spmn.stages import Stage, load_best, read_record

POSITION = Position(LONGEST)
SENSES = {"words": Words(VOCABULARY), "position": POSITION}
READS = {"content": len(PLACES), "position": POSITION.lines, "confidence": 1}
NETWORK = Network(depth=2, heads=16, keys=64, values=32, encoder=256, decoder=1)
LENGTHS = (10, 20, 50, 100, 200, 350)
"""Events of streams on which it is seen how recall falls off."""
SHORTEST = 30
"""Events of the shortest streams in training: their logarithm is drawn evenly, for short ones teach first."""


@dataclass(frozen=True)
class Course:
    """What the stage trains on."""

    difficulty: str = "again"
    length: int = 100  # events of the longest streams
    cues: int = 100  # of each stream in training, if it has as many
    events: int = 1500  # of all streams of a batch, without cues

    def __post_init__(self) -> None:
        if self.difficulty not in DIFFICULTIES:
            raise SettingsError(
                f"there is no difficulty {self.difficulty!r}; choose one of {', '.join(DIFFICULTIES)}"
            )
        shortest = 2 * DIFFICULTIES[self.difficulty].times
        require(shortest <= self.length <= LONGEST, "length", self.length, f"from {shortest} to {LONGEST}")
        for name in ("cues", "events"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


def watching(streams: Streams) -> Scene:
    """Streams as what the senses say of them: all events, then all cues."""
    count, length = streams.events.shape[:2]
    cues = streams.cues.shape[1]
    starts = np.array([0, len(PEOPLE), len(PEOPLE) + len(THINGS)])
    said = torch.zeros(count, length + cues, 1, len(VOCABULARY))
    said[:, :length, 0].scatter_(2, torch.from_numpy(streams.events + starts), 1.0)
    said[:, length:, 0].scatter_(2, torch.from_numpy(streams.cues + starts[:2]), 1.0)
    when = torch.zeros(count, length + cues, 1, POSITION.lines)
    when[:, :length, 0] = POSITION.codes[streams.start : streams.start + length]
    asks = torch.zeros(count, length + cues, dtype=torch.bool)
    asks[:, length:] = True
    clock = torch.arange(length + cues).expand(asks.shape)
    return Scene({"words": said, "position": when}, asks, torch.ones_like(asks), clock)


def build(network: Network) -> Perceiver:
    """A network that hears of events and when they happen."""
    with building(network):
        perceiver = Perceiver(network, SENSES, READS)
    perceiver.unclocked()
    perceiver.alike(keys=-0.5, associations=-0.8)
    return perceiver


class Timeline(Stage):
    """Stage 1 on generated streams, fresh ones in every step."""

    name = "timeline"
    decides = "average_precision"

    def __init__(self, network: Network = NETWORK, course: Course | None = None, seed: int = 0) -> None:
        self.settings, self.course = network, course or Course()
        self.difficulty = DIFFICULTIES[self.course.difficulty]
        torch.manual_seed(seed)
        self.network: Perceiver = build(network)
        random = np.random.default_rng([seed, 0, 11])  # no step of the training draws from this
        self.network.calibrate(watching(typical(random)))
        with (
            torch.no_grad()
        ):  # events have a position, cues have none: let both start with much the same keys
            part = self.network.sense["position"]
            assert isinstance(part, Projection)
            part.gain.mul_(0.4)
        self.held_out = generate(random, 100, self.course.length, 2, self.difficulty)

    @property
    def record(self) -> dict[str, Any]:
        return {"network": asdict(self.settings), "course": asdict(self.course)}

    def loss(self, random: np.random.Generator) -> Tensor:
        course = self.course
        shortest = min(SHORTEST, course.length)
        length = round(shortest * (course.length / shortest) ** random.random())
        cues = min(course.cues, length // self.difficulty.times)
        # short streams, too, teach all positions, and the early ones first
        start = int((LONGEST - length + 2) ** random.random()) - 1
        streams = generate(random, max(1, course.events // length), length, cues, self.difficulty, start)
        return slot_loss(recall(self.network, streams), streams)

    def validate(self) -> dict[str, float]:
        slots = read_slots(recall(self.network, self.held_out), self.course.length)
        scores = judge(slots, self.held_out)
        return {name: float(value) for name, value in asdict(scores).items()}


def recall(network: Perceiver, streams: Streams) -> dict[str, Tensor]:
    """What the float network reads from its recall at all cues, in order: READS, each [B C, depth, n]."""
    return network.read(watching(streams))


def recall_on_chip(
    network: Perceiver, program: Program, streams: Streams, memory_bits: int
) -> dict[str, Tensor]:
    """The same from the spikes that the emulator recalls; the readout is the host's."""
    return network.slots(store(network, program, watching(streams), memory_bits).recalled)


def program(network: Perceiver, memory_bits: int) -> Program:
    """The network in chip integers."""
    return export_perceiver(network, watching(typical(np.random.default_rng(7))), memory_bits)


def typical(random: np.random.Generator) -> Streams:
    """Events at all positions."""
    return generate(random, 4, LONGEST, 20, DIFFICULTIES["once"])


def slot_loss(read: Mapping[str, Tensor], streams: Streams) -> Tensor:
    """Cross-entropy of position and content of the slots that should hold an event, and of all confidences.

    Slot d should hold the d-th latest event of its cue.
    """
    depth = read["confidence"].shape[1]
    targets = [[events[::-1][d : d + 1] for d in range(depth)] for events in streams.all_happened]
    there = torch.tensor([[bool(slot) for slot in slots] for slots in targets])
    events = [slot[0] for slots in targets for slot in slots if slot]
    position, content = torch.tensor(events, dtype=torch.long).view(-1, 2).T
    when = POSITION.log_probabilities(read["position"][there])
    each = functional.nll_loss(when, position, reduction="sum")
    each = each + functional.cross_entropy(read["content"][there], content, reduction="sum")
    sure = functional.binary_cross_entropy_with_logits(read["confidence"][..., 0], there.float())
    return each / max(1, len(content)) + sure


def read_slots(read: Mapping[str, Tensor], now: int) -> list[list[Slot]]:
    """Slots of every cue: the likeliest position before `now`, the confidence, and the likeliest content."""
    position = POSITION.log_probabilities(read["position"])[..., :now].argmax(-1)
    confidence = read["confidence"][..., 0].sigmoid()
    content = read["content"].argmax(-1)
    return [
        [Slot(*slot) for slot in zip(*values, strict=True)]
        for values in zip(position.tolist(), confidence.tolist(), content.tolist(), strict=True)
    ]


def judge(slots: Sequence[Sequence[Slot]], streams: Streams) -> Scores:
    """Slots of all cues, stream by stream, against what happened."""
    happened = streams.all_happened
    return detection.score(slots, happened, [streams.events.shape[1]] * len(happened))


def judged(
    network: Perceiver,
    deployed: Program,
    course: Course,
    length: int,
    count: int,
    memory_bits: int,
    seed: int = 0,
) -> dict[str, Scores]:
    """Scores of every way to answer two cues of each of so many new streams: in float, in integers, by
    chance, and from a plain list of the events that takes as many bits as M."""
    random = np.random.default_rng([seed, 13, length])
    streams = generate(random, count, length, 2, DIFFICULTIES[course.difficulty])
    held = entries(network.settings, memory_bits)
    with torch.no_grad():
        slots = {
            "torch": read_slots(recall(network, streams), length),
            "emulator": read_slots(recall_on_chip(network, deployed, streams, memory_bits), length),
            "chance": chance(streams, random),
            f"list of {held:,} events": buffered(streams, held),
        }
    return {name: judge(found, streams) for name, found in slots.items()}


def chance(streams: Streams, random: np.random.Generator) -> list[list[Slot]]:
    """One slot per cue, of an event drawn from the stream."""
    count, length = streams.events.shape[:2]
    rows = np.repeat(np.arange(count), streams.cues.shape[1])
    drawn = random.integers(length, size=len(rows))
    content = streams.events[rows, drawn, 2]
    at = zip(streams.start + drawn, content, strict=True)
    return [[Slot(float(n), float(random.random()), int(c))] for n, c in at]


def buffered(streams: Streams, entries: int) -> list[list[Slot]]:
    """A plain list of the last so many events, searched for each cue from its end."""
    forgotten = streams.start + streams.events.shape[1] - entries
    return [
        [Slot(event.position, 1.0, event.content) for event in events if event.position >= forgotten]
        for events in streams.all_happened
    ]


def entries(network: Network, memory_bits: int) -> int:
    """Events that a plain list of as many bits as M holds."""
    synapses = network.depth * network.heads * network.keys * network.values
    return int(synapses * memory_bits // math.log2(len(PEOPLE) * len(THINGS) * len(PLACES)))


def open_timeline(folder: Path | str) -> tuple[Perceiver, Course]:
    """A run of `spmn train timeline`, at its best step. Raises CheckpointError where there is none."""
    record = read_record(folder, Timeline.name)
    with reading(Path(folder) / "run.json"):
        network, course = build(Network(**record["network"])), Course(**record["course"])
    load_best(network, folder)
    return network, course
