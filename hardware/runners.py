"""What can run a program, by name; all give the same recordings.

    emulator        compiled, on this CPU
    reference       plain numpy, slow
    lava            Lava's own runtime, one operating system process per Lava Process ("lava simulation")
    lava-models     Lava's ProcessModels stepped in one process
    loihi2          a board

Others, such as PyTorch's exact mode, are registered by the packages that bring them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hardware import lava
from hardware.emulator import Emulator
from hardware.errors import RunError
from hardware.inputs import Inputs, check_inputs
from hardware.lava import Job, loihi2
from hardware.lava.runner import LIMIT
from hardware.program import Program
from hardware.recording import Recording
from hardware.reference import Reference

Runner = Callable[[Sequence[Job], float], list[Recording | RunError]]
"""Runs jobs one after the other, each from step 1; a job that fails gives its reason in its place.

The second argument limits the seconds of a job on runners that use other processes; others do not look at it.
"""


def one_by_one(run_job: Callable[[Program, Inputs, float], Recording]) -> Runner:
    """A runner from run_job(program, inputs, limit); a RunError becomes the result of its job."""

    def run_jobs(jobs: Sequence[Job], limit: float) -> list[Recording | RunError]:
        results: list[Recording | RunError] = []
        for job in jobs:
            try:
                results.append(run_job(job.program, job.inputs, limit))
            except RunError as problem:
                results.append(problem)
        return results

    return run_jobs


def in_process(engine: Callable[[Program], Any]) -> Runner:
    """A runner from a class such as `Emulator`: engine(program).run(state, inputs) -> (state, recording)."""

    def run_job(program: Program, inputs: Inputs, limit: float) -> Recording:
        _, batch = check_inputs(program, inputs)
        running = engine(program)
        recording: Recording = running.run(running.initial_state(batch), inputs)[1]
        return recording

    return one_by_one(run_job)


RUNNERS: dict[str, Runner] = {
    "emulator": in_process(Emulator),
    "reference": in_process(Reference),
    "lava": partial(lava.run_jobs, "runtime"),
    "lava-models": partial(lava.run_jobs, "models"),
    "loihi2": one_by_one(loihi2.run),
}


def register(name: str, runner: Runner) -> None:
    """Make a runner known under `name`."""
    RUNNERS[name] = runner


def runner(name: str) -> Runner:
    """The runner of that name. Raises RunError for an unknown one."""
    if name not in RUNNERS:
        raise RunError(f"no runner is called {name!r}: use one of {', '.join(RUNNERS)}")
    return RUNNERS[name]


def run(name: str, program: Program, inputs: Inputs, limit: float = LIMIT) -> Recording:
    """Run a program from step 1 on the runner of that name.

    Args:
        inputs: input axons -> [steps, batch, size] payloads, 0 for no spike; all of them.
        limit: seconds after which a runner in another process is ended.

    Raises RunError if the runner is unknown, cannot be used here, or fails.
    """
    (result,) = runner(name)([Job(program, inputs)], limit)
    if isinstance(result, RunError):
        raise result
    return result
