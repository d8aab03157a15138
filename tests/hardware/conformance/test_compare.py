"""The first difference between two recordings, and series of comparisons."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from hardware import Emulator, Recording, RunError
from hardware.conformance import Case, Difference, compare, first_difference, random_case, watched
from hardware.lava import Job
from hardware.reference import Reference


def record(case: Case) -> Recording:
    emulator = Emulator(case.program)
    return emulator.run(emulator.initial_state(1), case.inputs)[1]


@pytest.fixture(scope="module")
def recording(make_program, make_inputs) -> Recording:
    program = make_program(4)
    emulator = Emulator(program)
    return emulator.run(emulator.initial_state(3), make_inputs(program, 20, 3))[1]


def changed(recording: Recording, *changes: tuple[tuple[str, str], tuple[int, ...], int]) -> Recording:
    """A copy with `by` added to probes at some places."""
    probes = {key: values.copy() for key, values in recording.probes.items()}
    for key, place, by in changes:
        probes[key][place] += by
    return dataclasses.replace(recording, probes=probes)


def test_equal_recordings_have_no_difference(recording: Recording) -> None:
    assert first_difference(recording, changed(recording)) is None
    # who ran it and what it cost is no part of the comparison
    other = dataclasses.replace(recording, runner="another", operations=None)
    assert first_difference(recording, other) is None


def test_the_earliest_difference_is_found_whatever_the_order_of_probes(recording: Recording) -> None:
    u, v = ("cells", "u"), ("cells", "v")
    assert list(recording.probes).index(u) < list(recording.probes).index(v)
    other = changed(recording, (u, (9, 0, 0), 5), (v, (4, 2, 1), -3), (v, (4, 2, 0), 0), (v, (7, 0, 0), 1))
    difference = first_difference(recording, other)
    value = int(recording[v][4, 2, 1])
    assert difference == Difference(5, "cells", "v", 2, (1,), value, value - 3)
    assert str(difference) == f"step 5: v of 'cells' [1], stream 2: {value} against {value - 3}"
    back = first_difference(other, recording)
    assert back is not None
    assert (back.left, back.right) == (value - 3, value)


def test_of_one_step_the_first_probe_and_the_first_entry_are_named(recording: Recording) -> None:
    u, weights = ("cells", "u"), ("pair", "weights")
    other = changed(recording, (weights, (3, 0, 0, 0), 1), (u, (3, 2, 0), 1))
    difference = first_difference(recording, other)
    assert difference is not None
    assert (difference.step, difference.variable, difference.stream) == (4, "u", 2)
    other = changed(recording, (weights, (3, 1, 4, 0), 1), (weights, (3, 1, 2, 1), 1))
    difference = first_difference(recording, other)
    assert difference is not None
    assert (difference.stream, difference.index) == (1, (2, 1))


def test_steps_of_rare_probes_are_steps_of_the_run(recording: Recording) -> None:
    rare = ("store", "weights")
    assert recording.times[rare].tolist()[:3] == [1, 4, 7]
    difference = first_difference(recording, changed(recording, (rare, (2, 0, 0, 0), 1)))
    assert difference is not None
    assert difference.step == 7


def test_a_missing_probe_is_a_difference(recording: Recording) -> None:
    key = ("cells", "u")
    fewer = dataclasses.replace(recording, probes={k: p for k, p in recording.probes.items() if k != key})
    size = recording[key].size
    assert first_difference(recording, fewer) == Difference(0, "cells", "u", 0, (), size, 0)
    assert first_difference(fewer, recording) == Difference(0, "cells", "u", 0, (), 0, size)


def test_other_steps_or_shapes_are_a_difference(recording: Recording) -> None:
    key = ("cells", "u")
    later = dataclasses.replace(recording, times=recording.times | {key: recording.times[key] + 1})
    shorter = dataclasses.replace(recording, probes=recording.probes | {key: recording[key][:-1]})
    for other in (later, shorter):
        difference = first_difference(recording, other)
        assert difference is not None
        assert (difference.step, difference.target, difference.variable) == (0, "cells", "u")


def on(engine: type[Emulator] | type[Reference], jobs: Sequence[Job]) -> list[Recording | RunError]:
    engines = [engine(job.program) for job in jobs]
    return [one.run(one.initial_state(1), job.inputs)[1] for one, job in zip(engines, jobs, strict=True)]


emulated, referred = partial(on, Emulator), partial(on, Reference)


def test_a_series_goes_on_after_failures_and_differences() -> None:
    cases = [random_case(seed) for seed in range(7)]

    def faulty(jobs: Sequence[Job]) -> list[Recording | RunError]:
        recordings = referred(jobs)
        for number, job in enumerate(jobs):
            if job.program.name == "case-2":
                recordings[number] = RunError("no memory")
            if job.program.name == "case-5":
                good = recordings[number]
                assert isinstance(good, Recording)
                key = next(iter(good.probes))
                recordings[number] = changed(good, (key, (6, 0, 0), 1))
        return recordings

    results = list(compare(iter(cases), emulated, faulty, together=3))
    assert [result.case.seed for result in results] == list(range(7))
    assert [result.equal for result in results] == [True, True, False, True, True, False, True]
    assert (results[2].failure, results[2].difference) == ("no memory", None)
    assert results[5].difference is not None
    assert (results[5].difference.step, results[5].failure) == (7, "")
    both = list(compare(cases[2:3], faulty, faulty))
    assert both[0].failure == "no memory; no memory"


def test_cases_are_run_some_at_a_time() -> None:
    """So that a runner in another process starts once for many of them."""
    sizes = []

    def counting(jobs: Sequence[Job]) -> list[Recording | RunError]:
        sizes.append(len(jobs))
        return emulated(jobs)

    assert all(result.equal for result in compare((random_case(s) for s in range(7)), counting, emulated, 3))
    assert sizes == [3, 3, 1]


def test_watched_programs_record_spikes_and_weights(hosted, memory) -> None:
    spikes = {("echo", "spikes"): 1}
    assert {probe.key: probe.every for probe in watched(hosted).probes} == spikes
    kept = {("values", "spikes"): 1, ("memory", "weights"): 1}
    assert {probe.key: probe.every for probe in watched(memory).probes} == kept
    timed = dataclasses.replace(memory, schedule=dataclasses.replace(hosted.schedule, lines=()))
    assert {probe.key: probe.every for probe in watched(timed).probes} == kept | {("memory", "weights"): 4}


def test_emulator_and_reference_agree_on_a_series() -> None:
    results = list(compare([random_case(seed) for seed in range(1000, 1040)], emulated, referred))
    assert [str(result.difference or result.failure) for result in results if not result.equal] == []
    assert np.mean([result.case.alive for result in results]) > 0.9
