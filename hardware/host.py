"""What the host computer does around a program: when events come, words to axons, spike counts to answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hardware.checks import (
    MAX_SIZE,
    IntArray,
    Value,
    check_choice,
    check_int,
    check_name,
    check_shape,
    check_steps,
    check_unique,
    integer_array,
)
from hardware.errors import ProgramError


@dataclass(frozen=True)
class ClockLine:
    """An input axon that spikes at fixed steps of every event, statement or question.

    steps count from the event's first step, 0, and may lie beyond its window: events overlap in the pipeline.
    """

    name: str
    steps: tuple[int, ...]
    on: Literal["event", "statement", "question"] = "event"

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", check_steps(self.name, self.steps))
        check_choice(self.name, "on", self.on, ("event", "statement", "question"))


@dataclass(frozen=True)
class Schedule:
    """`window` steps for every event, then `drain` steps so that the last event leaves the pipeline."""

    window: int
    drain: int = 0
    lines: tuple[ClockLine, ...] = ()

    def __post_init__(self) -> None:
        check_int("schedule", "window", self.window, 1, 2**31 - 1)
        check_int("schedule", "drain", self.drain, 0, 2**31 - 1)
        check_unique("clock line", [line.name for line in self.lines])


@dataclass(frozen=True)
class TokenAxons:
    """Words of an event: axon position * len(vocabulary) + word id spikes at each of `steps` of the event.

    With `ends` = 2 each word drives a second axon, too: (positions + position counted back from the last
    word) * len(vocabulary) + word id.
    """

    name: str
    positions: int
    steps: tuple[int, ...]
    ends: int = 1

    def __post_init__(self) -> None:
        check_int(self.name, "positions", self.positions, 1, MAX_SIZE)
        check_int(self.name, "ends", self.ends, 1, 2)
        object.__setattr__(self, "steps", check_steps(self.name, self.steps))


@dataclass(frozen=True, eq=False)
class TimeAxons(Value):
    """Order of an event in its story: event n drives the axons set in code[min(n, rows - 1)] at `steps`.

    code: [events, axons] of 0 and 1.
    """

    name: str
    code: IntArray
    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", integer_array(self.name, "code", self.code, 2, 0, 1))
        object.__setattr__(self, "steps", check_steps(self.name, self.steps))
        if self.code.shape[0] == 0:
            raise ProgramError(f"{self.name}: code has no row: give one row per event")


@dataclass(frozen=True, eq=False)
class Readout(Value):
    """Answer of a question: argmax over answers of weights @ counts + bias.

    counts are the spikes of `populations`, one after the other, in the steps
    [start + first_step, start + first_step + steps) of a question that starts at step `start`.

    Args:
        weights: [answers, neurons] integers. bias: [answers] integers.
        answers: the answer words, in the order of the rows of weights.
    """

    name: str
    populations: tuple[str, ...]
    first_step: int
    steps: int
    weights: IntArray
    bias: IntArray
    answers: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name(self.name)
        check_int(self.name, "first_step", self.first_step, 0, 2**31 - 1)
        check_int(self.name, "steps", self.steps, 1, 2**31 - 1)
        limit = 2**31 - 1
        object.__setattr__(self, "populations", tuple(self.populations))
        object.__setattr__(self, "answers", tuple(self.answers))
        object.__setattr__(
            self, "weights", integer_array(self.name, "weights", self.weights, 2, -limit, limit)
        )
        object.__setattr__(self, "bias", integer_array(self.name, "bias", self.bias, 1, -limit, limit))
        check_unique(f"{self.name}: answer", self.answers)
        check_shape(self.name, "bias", self.bias, (len(self.answers),))
        if self.weights.shape[0] != len(self.answers) or not self.answers:
            raise ProgramError(
                f"{self.name}: {self.weights.shape[0]} rows of weights for {len(self.answers)} answers: "
                "give one row per answer"
            )


@dataclass(frozen=True)
class Host:
    """What the host computer does: words to axons, spike counts to answers."""

    vocabulary: tuple[str, ...]
    tokens: TokenAxons
    time: TimeAxons | None = None
    readouts: tuple[Readout, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        check_unique("word", self.vocabulary)
        check_unique("readout", [readout.name for readout in self.readouts])
