"""Tasks times seeds as independent training runs, on processes of this machine or on a Ray cluster.

    OUT/task<t>-seed<s>/     a run folder of `spmn train babi`
    OUT/task<t>-seed<s>.log  what that command printed; locked for as long as it runs
    OUT/sweep.json           state and result of every job, and the errors of each task over its seeds

The same sweep again skips what has finished and goes on with the rest.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from hardware.atomic import atomic
from spmn.errors import CheckpointError, SettingsError, Stopped
from spmn.parallel import interruptible
from spmn.runs import open_run
from spmn.settings import Training, changed
from spmn.settings import preset as preset_named
from spmn.training import babi

TRAIN = ("-m", "spmn", "train", "babi")
"""What Python runs for a job."""
PATIENCE = 30.0
"""Seconds that a job has to write its checkpoint when it is told to stop."""
POLL = 0.2
VERSION = 1

WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"


@dataclass
class Job:
    """One training run of a sweep, and what became of it."""

    task: int
    seed: int
    folder: Path  # absolute
    preset: str = "default"
    epochs: int | None = None  # None: as the preset says
    data: Path | None = None
    device: str = "cpu"
    threads: int = 1
    changes: tuple[str, ...] = ()  # settings other than the preset's, "name=value"
    state: str = WAITING
    reason: str = ""  # why it failed
    metrics: list[dict[str, Any]] = field(default_factory=list)  # its finished epochs, when last looked at

    @property
    def log(self) -> Path:
        """What the job prints."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def options(self) -> list[str]:
        """Options of `spmn train babi`."""
        given = {
            "--tasks": self.task,
            "--seed": self.seed,
            "--preset": self.preset,
            "--epochs": self.epochs,
            "--data": None if self.data is None else self.data.absolute(),
            "--device": self.device,
            "--threads": self.threads,
            "--out": self.folder,
        }
        pairs = [(name, value) for name, value in given.items() if value is not None]
        pairs += [("--set", change) for change in self.changes]
        return [word for name, value in pairs for word in (name, str(value))]

    @property
    def training(self) -> Training:
        """How its network is trained."""
        chosen = changed(preset_named(self.preset, (self.task,)), self.changes).training
        return replace(chosen, epochs=self.epochs or chosen.epochs)

    @property
    def length(self) -> int:
        """Its epochs."""
        return self.training.epochs

    @property
    def finished(self) -> bool:
        """Whether all epochs are in `metrics`."""
        return len(self.metrics) >= self.length

    @property
    def error(self) -> float | None:
        """Validation error of the epoch whose weights are kept."""
        kept = self.training.kept(self.metrics)
        return None if kept is None else float(kept["error"])

    @property
    def seconds(self) -> float:
        """Time trained."""
        return float(self.metrics[-1]["seconds"]) if self.metrics else 0.0

    def look(self) -> None:
        """Read the finished epochs, none where the folder does not hold this very training."""
        source, preset = babi((self.task,), self.data, self.preset, self.epochs, self.seed, self.changes)
        try:
            run = open_run(self.folder)
            same = (run.network, run.training, run.source) == (preset.network, preset.training, source)
            self.metrics = run.metrics if same else []
        except (CheckpointError, ValueError):  # not there yet, or damaged: the job itself will say so
            self.metrics = []

    def settle(self, code: int, reason: str, told: bool) -> None:
        """Note how the job ended, and whether it was told to."""
        self.look()
        if code == 0 and self.finished:
            self.state = DONE
        elif told or code in (130, -signal.SIGINT, -signal.SIGTERM):
            self.state = STOPPED
        else:
            self.state, self.reason = FAILED, reason or self._last_words(code)

    def _last_words(self, code: int) -> str:
        if code == 0:
            return f"it ended well, but {str(self.folder)!r} is not here: --out must be on a shared disk"
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        said = [line.strip() for line in lines if line.strip()][-1:]
        last = said[0] if said and not said[0].startswith("$ ") else "it said nothing"
        return last if code > 0 else f"ended by {signal.Signals(-code).name}: {last}"


class Handle(Protocol):
    """A job that was started."""

    reason: str
    """Why it failed, where it left no last line to tell."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""

    def stop(self, number: signal.Signals) -> None:
        """Tell it to write a checkpoint and end (SIGTERM), or end it (SIGKILL)."""


class Process:
    """A job in a process group of its own on this machine.

    Raises CheckpointError where another process trains in this folder: a sweep that was killed leaves its
    jobs running.
    """

    reason = ""

    def __init__(self, job: Job) -> None:
        alone = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
        threads = {"OMP_NUM_THREADS": str(job.threads), "NUMBA_NUM_THREADS": str(job.threads)}
        command = [sys.executable, *TRAIN, *job.options]
        try:
            job.log.parent.mkdir(parents=True, exist_ok=True)
            with job.log.open("a") as log:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the job inherits it and holds it to its end
                log.write(f"$ {' '.join(command)}\n")
                log.flush()
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**alone, **threads},
                )
        except BlockingIOError:
            raise CheckpointError(
                f"another process trains in {str(job.folder)!r}; wait for it or end it"
            ) from None
        except OSError as problem:
            raise CheckpointError(
                f"cannot write {str(job.log)!r}: {problem.strerror}; name another --out"
            ) from None

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)


class Cluster:
    """An existing Ray cluster, whose machines have spmn installed and share the disk of the run folders.

    Raises SettingsError where ray is not installed or the cluster cannot be reached.
    """

    def __init__(self, address: str) -> None:
        try:
            self.ray: Any = importlib.import_module("ray")
        except ModuleNotFoundError:
            raise SettingsError("--ray needs ray, which is not installed: pip install ray") from None
        try:
            self.ray.init(address=address)
        except Exception as problem:  # ray raises many kinds
            raise SettingsError(
                f"--ray {address}: {_last_line(problem)}; start a cluster (ray start --head) or name another"
            ) from None

    def start(self, job: Job) -> Handle:
        """Hand a job to the cluster, which starts it when there is room."""
        gpus = 1 if job.device == "cuda" else 0
        work = self.ray.remote(num_cpus=job.threads, num_gpus=gpus, max_retries=0)(to_its_end)
        return _Remote(self.ray, work.remote(job))


class _Remote:
    reason = ""

    def __init__(self, ray: Any, reference: Any) -> None:
        self.ray, self.reference = ray, reference

    def poll(self) -> int | None:
        ready, _ = self.ray.wait([self.reference], timeout=0)
        if not ready:
            return None
        try:
            return int(self.ray.get(self.reference))
        except Exception as problem:  # of the job, of its machine, or of ray
            self.reason = _last_line(problem)
            return 1

    def stop(self, number: signal.Signals) -> None:
        self.ray.cancel(self.reference, force=number == signal.SIGKILL)


def to_its_end(job: Job) -> int:
    """Run a job on this machine; its exit code. This is what a machine of a Ray cluster does.

    An exception meanwhile, such as the KeyboardInterrupt by which Ray cancels, stops the job first.
    """
    process = Process(job)
    with _ending([process]):
        while (code := process.poll()) is None:
            time.sleep(POLL)
    return code


def run(
    jobs: Sequence[Job],
    file: Path,
    start: Callable[[Job], Handle] = Process,
    at_once: int = 1,
    report: Callable[[Sequence[Job]], None] = lambda jobs: None,
) -> None:
    """Run all jobs that have not finished, `at_once` at a time; a job that fails does not stop the others.

    `file` (sweep.json) is written whenever a job's state changes; `report` is called again and again.
    Raises Stopped after SIGINT or SIGTERM, when every job has written a checkpoint and ended.
    """
    for job in jobs:
        job.look()
        job.state = DONE if job.finished else WAITING
    waiting = [job for job in jobs if job.state == WAITING]
    running: dict[int, tuple[Job, Handle]] = {}

    def settle(told: bool) -> None:
        for number, (job, handle) in list(running.items()):
            if (code := handle.poll()) is not None:
                del running[number]
                job.settle(code, handle.reason, told)
                write(jobs, file)

    with interruptible() as interrupted:
        with _ending([]) as handles:
            while (waiting or running) and not interrupted():
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    try:
                        handle = start(job)
                    except CheckpointError as problem:
                        job.state, job.reason = FAILED, str(problem)
                    else:
                        handles.append(handle)
                        running[id(job)] = job, handle
                        job.state = RUNNING
                    write(jobs, file)
                settle(told=False)
                for job, _ in running.values():
                    job.look()
                report(jobs)
                time.sleep(POLL)
        settle(told=True)
        report(jobs)
    write(jobs, file)
    if left := sum(job.state not in (DONE, FAILED) for job in jobs):
        raise Stopped(
            f"{left} of {len(jobs)} runs were stopped or not begun; the same command goes on from here"
        )


@contextmanager
def _ending(handles: list[Handle]) -> Iterator[list[Handle]]:
    """Whatever still runs at the end is told to stop, and ended where that takes longer than PATIENCE."""
    try:
        yield handles
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            late = time.monotonic() + PATIENCE
            left = [handle for handle in handles if handle.poll() is None]
            for handle in left:
                handle.stop(number)
            while time.monotonic() < late and any(handle.poll() is None for handle in left):
                time.sleep(POLL)


def summary(jobs: Collection[Job]) -> dict[int, dict[str, float]]:
    """By task, over the seeds that are done: how many, mean, min and max error, mean seconds."""
    tasks: dict[int, dict[str, float]] = {}
    for task in sorted({job.task for job in jobs}):
        done = [job for job in jobs if job.task == task and job.state == DONE]
        errors = [job.error for job in done if job.error is not None]
        if errors:
            tasks[task] = {
                "seeds": len(errors),
                "mean": sum(errors) / len(errors),
                "min": min(errors),
                "max": max(errors),
                "seconds": sum(job.seconds for job in done) / len(done),
            }
    return tasks


def write(jobs: Sequence[Job], file: Path) -> None:
    """Write sweep.json, whole or not at all. Raises CheckpointError where that cannot be done."""
    record = {
        "version": VERSION,
        "jobs": [
            {
                "task": job.task,
                "seed": job.seed,
                "preset": job.preset,
                "changes": list(job.changes),
                "data": None if job.data is None else str(job.data),
                "folder": job.folder.name,
                "state": job.state,
                "reason": job.reason,
                "epochs": len(job.metrics),
                "of": job.length,
                "error": job.error,
                "seconds": job.seconds,
            }
            for job in jobs
        ],
        "tasks": summary(jobs),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as path:
            path.write_text(json.dumps(record, indent=1))
    except OSError as problem:
        raise CheckpointError(
            f"cannot write {str(file)!r}: {problem.strerror}; make room or name another --out"
        ) from None


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds named by a list such as `0-2,7`, each once. Raises SettingsError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise SettingsError(
                f"{part!r} in {text!r} is no seed: write seeds, and ranges upwards, as in '0-2,7'"
            )
        seeds.extend(range(first, last + 1))
    return tuple(dict.fromkeys(seeds))


def _last_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[-1]
