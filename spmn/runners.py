"""Answers of the integer program on the chip emulator, in the form that the float network's answers have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardware.emulator import Emulator
from hardware.program import Program
from hardware.schedule import Event, encode, read_answers
from spmn.evaluation import Answers
from spmn.events import QUESTION, Stream

STORIES = 64
"""Stories that the emulator runs side by side."""


@dataclass(frozen=True)
class Cost:
    """Operations per question, counted by the emulator."""

    spikes: float
    synaptic_operations: float
    neuron_updates: float
    plastic_updates: float


def chip_events(stream: Stream) -> list[Event]:
    """A story in the form that the chip's host takes."""
    return [
        Event(tuple(int(w) for w in words if w > 0), bool(kind >= QUESTION))
        for words, kind in zip(stream.words, stream.kind, strict=True)
    ]


def emulate(program: Program, streams: Sequence[Stream]) -> tuple[Answers, Cost]:
    """Run stories on the emulator; answers are read from the recorded spikes."""
    emulator = Emulator(program)
    given: list[tuple[int, ...]] = [()] * len(streams)
    totals, spikes, asked = np.zeros(4), dict[str, float](), 0
    updates = dict[str, float]()
    order = sorted(range(len(streams)), key=lambda i: len(streams[i].kind))
    for start in range(0, len(order), STORIES):
        chosen = order[start : start + STORIES]
        stories = [chip_events(streams[i]) for i in chosen]
        inputs = encode(program, stories)
        _, recording = emulator.run(emulator.initial_state(len(stories)), inputs)
        for i, answers in zip(chosen, read_answers(program, recording, stories)["answer"], strict=True):
            given[i] = tuple(int(a) for a in answers)
            asked += len(answers)
        counted = recording.operations
        assert counted is not None
        totals += [counted.spikes.sum(), counted.synaptic.sum(), counted.neuron.sum(), counted.plastic.sum()]
        steps = recording.steps * len(stories)
        for name, fired in zip(counted.names, counted.spikes.sum(0), strict=True):
            spikes[name] = spikes.get(name, 0.0) + float(fired)
            updates[name] = updates.get(name, 0.0) + steps * program.sizes[name]
    rates = {name: spikes[name] / updates[name] for name in spikes}
    return Answers("emulator", tuple(given), rates), Cost(*(totals / max(asked, 1)))
