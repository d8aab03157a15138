"""Runners by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware import Recording, RunError, runners
from hardware.emulator import Emulator
from hardware.lava import Job


@pytest.fixture
def registry(monkeypatch):
    """What is registered in a test is gone after it."""
    monkeypatch.setattr(runners, "RUNNERS", dict(runners.RUNNERS))
    return runners


def jobs_of(make_program, make_inputs, *seeds):
    programs = [make_program(seed) for seed in seeds]
    return [Job(program, make_inputs(program, 6, 2)) for program in programs]


def test_these_runners_are_known():
    assert {"emulator", "reference", "lava", "lava-models", "loihi2"} <= set(runners.RUNNERS)


@pytest.mark.parametrize("name", ["emulator", "reference"])
def test_a_run_starts_at_step_1_and_says_what_ran_it(make_program, make_inputs, name):
    (job,) = jobs_of(make_program, make_inputs, 3)
    recording = runners.run(name, job.program, job.inputs)
    assert (recording.runner, recording.first_step, recording.steps) == (name, 1, 6)
    emulator = Emulator(job.program)
    expected = emulator.run(emulator.initial_state(2), job.inputs)[1]
    assert dataclasses.replace(recording, runner="emulator") == expected
    again = runners.run(name, job.program, job.inputs)  # no state is left of the first run
    assert again == recording


def test_unknown_runners_are_named_with_the_known_ones(make_program, make_inputs):
    with pytest.raises(RunError, match="no runner is called 'spinnaker': use one of emulator, reference"):
        runners.runner("spinnaker")
    (job,) = jobs_of(make_program, make_inputs, 3)
    with pytest.raises(RunError, match="'spinnaker'"):
        runners.run("spinnaker", job.program, job.inputs)


@pytest.mark.parametrize("name", ["emulator", "reference"])
def test_errors_are_returned_in_their_place(make_program, make_inputs, name):
    good, bad, last = jobs_of(make_program, make_inputs, 1, 2, 3)
    bad = Job(bad.program, {"in": bad.inputs["in"]})
    first, problem, third = runners.runner(name)([good, bad, last], 1.0)
    assert isinstance(first, Recording)
    assert isinstance(third, Recording)
    assert isinstance(problem, RunError)
    assert "give exactly ['clock', 'in']" in str(problem)
    with pytest.raises(RunError, match="give exactly"):
        runners.run(name, bad.program, bad.inputs)


def test_no_jobs_give_no_recordings():
    assert runners.runner("emulator")([], 1.0) == []


def test_runners_can_be_added(registry, make_program, make_inputs):
    (job,) = jobs_of(make_program, make_inputs, 3)
    limits = []

    def silent(jobs, limit):
        limits.append(limit)
        recordings = registry.runner("emulator")(jobs, limit)
        quiet = []
        for part in recordings:
            probes = {key: np.zeros_like(values) for key, values in part.probes.items()}
            quiet.append(dataclasses.replace(part, runner="silent", probes=probes))
        return quiet

    registry.register("silent", silent)
    recording = registry.run("silent", job.program, job.inputs, limit=7.0)
    assert recording.runner == "silent"
    assert limits == [7.0]
    assert not any(values.any() for values in recording.probes.values())
    with pytest.raises(RunError, match="silent"):
        registry.runner("other")


def test_an_engine_makes_a_runner(make_program, make_inputs):
    strict = runners.in_process(lambda program: Emulator(program, strict=True))
    good, bad = jobs_of(make_program, make_inputs, 1, 1)
    bad = Job(bad.program, bad.inputs | {"in": 300 * bad.inputs["in"].astype(np.int32)})
    results = strict([good, bad], 1.0)
    assert isinstance(results[1], RunError)
    assert "num_message_bits" in str(results[1])
