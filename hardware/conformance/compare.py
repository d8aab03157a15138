"""The first difference between two recordings, and whole series of comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardware.conformance.generate import Case
from hardware.errors import RunError
from hardware.lava import Job
from hardware.program import Probe, Program
from hardware.recording import Recording

RunAll = Callable[[Sequence[Job]], Sequence[Recording | RunError]]
"""Runs programs one after the other from step 1; a failure is returned, not raised."""


@dataclass(frozen=True)
class Difference:
    """Where two recordings part.

    Args:
        step: first step at which some probe differs.
        target, variable: the probe; of those that differ at that step the first of the program.
        stream, index: the first entry that differs.
        left, right: its values.
    """

    step: int
    target: str
    variable: str
    stream: int
    index: tuple[int, ...]
    left: int
    right: int

    def __str__(self) -> str:
        place = ", ".join(str(number) for number in self.index)
        return (
            f"step {self.step}: {self.variable} of {self.target!r} [{place}], stream {self.stream}: "
            f"{self.left} against {self.right}"
        )


@dataclass(frozen=True)
class Result:
    """What the comparison of one case gave: no difference and no failure means equal."""

    case: Case
    difference: Difference | None = None
    failure: str = ""

    @property
    def equal(self) -> bool:
        return self.difference is None and not self.failure


def watched(program: Program) -> Program:
    """The program with probes of all spikes at every step and of plastic weights after every event."""
    every = program.schedule.window if program.schedule else 1
    spikes = [Probe(part.name) for part in program.populations]
    weights = [Probe(part.name, "weights", every) for part in program.plastic]
    return replace(program, probes=(*spikes, *weights))


def first_difference(left: Recording, right: Recording) -> Difference | None:
    """The earliest difference between the probes of two recordings; None if all their bits are equal.

    A probe that only one of them has, or that was recorded at other steps, is a difference at step 0 of as
    many entries as each has.
    """
    found: list[Difference] = []
    for key in dict.fromkeys([*left.probes, *right.probes]):
        a, b = left.probes.get(key), right.probes.get(key)
        if (
            a is None
            or b is None
            or a.shape != b.shape
            or not np.array_equal(left.times[key], right.times[key])
        ):
            return Difference(0, *key, 0, (), 0 if a is None else a.size, 0 if b is None else b.size)
        differs = np.argwhere(a != b)
        if len(differs):
            time, stream, *index = (int(number) for number in differs[0])
            place = (time, stream, *index)
            step = int(left.times[key][time])
            found.append(Difference(step, *key, stream, tuple(index), int(a[place]), int(b[place])))
    return min(found, key=lambda difference: difference.step, default=None)


def compare(cases: Iterable[Case], left: RunAll, right: RunAll, together: int = 50) -> Iterable[Result]:
    """Run cases on two runners and yield what came out, `together` cases at a time."""
    waiting: list[Case] = []
    for case in cases:
        waiting.append(case)
        if len(waiting) == together:
            yield from _compare(waiting, left, right)
            waiting = []
    if waiting:
        yield from _compare(waiting, left, right)


def _compare(cases: Sequence[Case], left: RunAll, right: RunAll) -> Iterable[Result]:
    jobs = [Job(case.program, case.inputs) for case in cases]
    for case, a, b in zip(cases, left(jobs), right(jobs), strict=True):
        failed = [recording for recording in (a, b) if isinstance(recording, RunError)]
        if isinstance(a, Recording) and isinstance(b, Recording):
            yield Result(case, first_difference(a, b))
        else:
            yield Result(case, failure="; ".join(str(problem) for problem in failed))
