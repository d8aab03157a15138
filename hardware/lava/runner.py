"""Runs programs in the Lava environment: one worker process, many jobs, a limit for each.

A job that fails or hangs costs its worker, never this process: the worker's process group is ended, what it
left in shared memory is removed, and the next job gets a new worker.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from hardware.errors import RunError
from hardware.files import save
from hardware.inputs import Inputs, check_inputs, save_inputs
from hardware.lava.shared import GRACE, end_group, remove_shared_memory
from hardware.program import Program
from hardware.recording import Recording, load_recording

Mode = Literal["runtime", "models", "loihi2"]

VARIABLE = "SPMN_LAVA_PYTHON"
ENVIRONMENT = Path(".venv-lava", "bin", "python")
PACKAGE = Path(__file__).parents[1]
WORKER = "hardware.lava.worker"
START_LIMIT = 120.0
"""Seconds within which a worker must have imported Lava."""
LIMIT = 600.0
"""Seconds that one program may take if the caller does not say."""


@dataclass(frozen=True)
class Job:
    """One program and its inputs [steps, batch, size]."""

    program: Program
    inputs: Inputs


def run_jobs(
    mode: Mode,
    jobs: Iterable[Job],
    limit: float = LIMIT,
    on_done: Callable[[int, Recording | RunError], None] | None = None,
) -> list[Recording | RunError]:
    """Run jobs one after the other; those that fail give the reason in their place.

    Args:
        mode: "runtime", Lava's own, "models", its ProcessModels stepped in one process, or "loihi2"
            after `loihi2.require_board`.
        limit: seconds per job.
        on_done: called with the number, from 0, and the result of each job as it ends.

    Raises RunError if there is no Lava environment.
    """
    results: list[Recording | RunError] = []
    python = find_python()
    worker: Worker | None = None
    try:
        for number, job in enumerate(jobs):
            result: Recording | RunError
            try:
                worker = worker or Worker(python)
                result = worker.run(mode, job, limit)
            except RunError as error:
                result = RunError(f"job {number + 1} ({job.program.name!r}): {error}")
                if worker is not None:
                    worker.end()
                    worker = None
            results.append(result)
            if on_done is not None:
                on_done(number, result)
    finally:
        if worker is not None:
            worker.end()
    return results


def find_python() -> Path:
    """The Python of the Lava environment.

    That is the one named by the environment variable SPMN_LAVA_PYTHON; else .venv-lava in the current folder
    or beside this package; else the running Python if it has Lava. Raises RunError if there is none.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        if not (Path(named).is_file() and os.access(named, os.X_OK)):
            raise RunError(f"{VARIABLE} is {named!r}, which is no program: name a Python that has Lava")
        return Path(named).absolute()
    for folder in (Path.cwd(), PACKAGE.parent):
        if os.access(folder / ENVIRONMENT, os.X_OK):
            return folder / ENVIRONMENT
    with suppress(ModuleNotFoundError):
        if importlib.util.find_spec("lava.magma") is not None:
            return Path(sys.executable)
    raise RunError(
        "there is no Lava environment: build one with `make lava`, "
        f"or set {VARIABLE} to a Python that has lava-nc"
    )


class Worker:
    """A running worker process with a temporary folder of its own. Raises RunError if it does not start."""

    def __init__(self, python: Path) -> None:
        self.token = f"spmn-{secrets.token_hex(4)}-"
        self.folder = tempfile.TemporaryDirectory(prefix="lava-")
        self.path = Path(self.folder.name)
        # Lava's Python may be of another version: it must see this package, but nothing else beside it
        (self.path / PACKAGE.name).symlink_to(PACKAGE, target_is_directory=True)
        path = [str(self.path), *filter(None, [os.environ.get("PYTHONPATH")])]
        with (self.path / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(python), "-X", "faulthandler", "-m", WORKER, self.token, str(os.getpid())],
                cwd=self.path,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "TMPDIR": str(self.path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._reply(START_LIMIT, f"{python} did not import Lava within {START_LIMIT:g} s")
        except BaseException:
            self.end()
            raise

    def run(self, mode: Mode, job: Job, limit: float) -> Recording:
        """Do one job. Raises RunError if it fails or exceeds `limit` seconds; end the worker then."""
        check_inputs(job.program, job.inputs)
        paths = {part: self.path / f"{part}.h5" for part in ("program", "inputs", "recording")}
        save(job.program, paths["program"])
        save_inputs(job.inputs, paths["inputs"])
        request = {"mode": mode} | {part: str(path) for part, path in paths.items()}
        with suppress(BrokenPipeError):
            os.write(_pipe(self.process.stdin), json.dumps(request).encode() + b"\n")
        error = self._reply(
            limit, f"did not end within its limit of {limit:g} s: give more, or fewer steps or streams"
        )
        if error is not None:
            raise RunError(error)
        return load_recording(paths["recording"])

    def end(self) -> None:
        """End the worker and all it started, and remove its files and its shared memory."""
        end_group(self.process.pid, self.process.poll)
        self.process.communicate()
        remove_shared_memory(self.token)
        self.folder.cleanup()

    def _reply(self, limit: float, too_late: str) -> str | None:
        """Wait for a reply: why the request failed, or None."""
        deadline = time.monotonic() + limit
        reply = b""
        with selectors.DefaultSelector() as selector:
            selector.register(_pipe(self.process.stdout), selectors.EVENT_READ)
            while not reply.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise RunError(too_late + self._last_words())
                read = os.read(_pipe(self.process.stdout), 65536)
                if not read:
                    raise RunError(f"the Lava process ended{self._exit_code()}{self._last_words()}")
                reply += read
        error: str | None = json.loads(reply)["error"]
        return error

    def _exit_code(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            code = self.process.wait(GRACE)
            return f" with signal {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"
        return ""

    def _last_words(self) -> str:
        """The last line of the worker's log that names an error; Lava and Python also warn there."""
        log = (self.path / "log").read_text(errors="replace")
        errors = re.findall(r"^(?:[\w.]*(?:Error|Exception)\b|Fatal).*", log, re.MULTILINE)
        return f"; it last said: {errors[-1]}" if errors else ""


def _pipe(pipe: IO[bytes] | None) -> int:
    assert pipe is not None  # all of a worker's pipes are open
    return pipe.fileno()
