"""Answers of a deployed program, in the form that the float network's answers have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardware.cost import energy
from hardware.errors import RunError
from hardware.lava import Job
from hardware.lava.runner import LIMIT
from hardware.program import Program
from hardware.recording import Recording
from hardware.runners import in_process, register, runner
from hardware.schedule import Event, encode, read_answers
from spmn.evaluation import Answers
from spmn.events import QUESTION, Stream
from spmn.exact import Exact

STORIES = 64
"""Stories that run side by side."""

# a program has no float network, so that "torch" can only mean its exact mode
for name in ("exact", "torch"):
    register(name, in_process(Exact))


@dataclass(frozen=True)
class Cost:
    """Operations per question as counted by the emulator, and what they would cost on Loihi 1, an estimate.

    NeuroBench's names: effective_acs, effective_macs (synaptic operations without and with payload),
    membrane_updates. low_energy, high_energy: microjoules, if all of these updates are inactive or active.
    """

    spikes: float
    synaptic_operations: float
    effective_acs: float
    effective_macs: float
    membrane_updates: float
    plastic_updates: float
    low_energy: float
    high_energy: float


def chip_events(stream: Stream) -> list[Event]:
    """A story in the form that the chip's host takes."""
    return [
        Event(tuple(int(w) for w in words if w > 0), bool(kind >= QUESTION))
        for words, kind in zip(stream.words, stream.kind, strict=True)
    ]


def answer_on(
    name: str, program: Program, streams: Sequence[Stream], limit: float = LIMIT
) -> tuple[Answers, Cost | None]:
    """Run stories on a runner of `hardware.runners`; answers are read from the recorded spikes.

    The cost is None from runners that do not count. Raises RunError if the runner is unknown or fails;
    `limit` is in seconds per STORIES stories.
    """
    run = runner(name)
    given: list[tuple[int, ...]] = [()] * len(streams)
    recordings: list[Recording] = []
    order = sorted(range(len(streams)), key=lambda i: len(streams[i].kind))
    for start in range(0, len(order), STORIES):
        chosen = order[start : start + STORIES]
        stories = [chip_events(streams[i]) for i in chosen]
        (recording,) = run([Job(program, encode(program, stories))], limit)
        if isinstance(recording, RunError):
            raise recording
        recordings.append(recording)
        for i, answers in zip(chosen, read_answers(program, recording, stories)["answer"], strict=True):
            given[i] = tuple(int(a) for a in answers)
    asked = max(1, sum(len(answers) for answers in given))
    rates = _rates(program, recordings, sum(len(stream.kind) for stream in streams))
    return Answers(recordings[0].runner, tuple(given), rates), _cost(recordings, asked)


def _rates(program: Program, recordings: Sequence[Recording], events: int) -> dict[str, float]:
    """Mean spikes per neuron and step of an event, as the float network counts them: an event has T steps,
    though the chip takes 2 T, of which those that only latch, relay and learn are not counted. Nothing from
    runners that do not count."""
    counted = [part.operations for part in recordings if part.operations is not None]
    assert program.host is not None  # answers were read
    steps = events * next(readout.steps for readout in program.host.readouts if readout.name == "answer")
    return {
        name: sum(int(part.spikes[:, index].sum()) for part in counted) / (steps * size)
        for index, (name, size) in enumerate(program.sizes.items() if counted else ())
    }


def _cost(recordings: Sequence[Recording], asked: int) -> Cost | None:
    counted = [part.operations for part in recordings if part.operations is not None]
    if not counted:
        return None
    totals = np.zeros(8)
    for part in counted:
        spent = energy(part)
        totals += [
            part.spikes.sum(),
            part.synaptic.sum(),
            part.synaptic.sum() - part.graded.sum(),
            part.graded.sum(),
            part.neuron.sum(),
            part.plastic.sum(),
            spent.low.sum() / 1e6,
            spent.high.sum() / 1e6,
        ]
    return Cost(*(totals / asked))
