"""Runs jobs in the Lava environment: `python -m hardware.lava.worker TOKEN PARENT`, started by `runner`.

Jobs come as JSON lines on standard input, replies go as JSON lines to standard output:

    {"mode": "models", "program": path, "inputs": path, "recording": path}  -->  {"error": null or why}

The first reply, before any job, says that Lava was imported. Whatever else is printed goes to standard error.
Shared memory of this process has names that start with TOKEN. If the process PARENT ends, or closes standard
input, then this process, its children, its shared memory and the current folder, a temporary one, go.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import resource
import select
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import shared_memory
from pathlib import Path
from typing import IO, Any

import numpy as np

from hardware.checks import IntArray
from hardware.errors import HardwareError
from hardware.files import load
from hardware.inputs import Inputs, IntData, check_inputs, load_inputs
from hardware.lava.shared import end_group, remove_shared_memory
from hardware.program import Program
from hardware.recording import Recording, empty_probes, probe_times, save_recording

RunStream = Callable[[Program, Mapping[str, IntArray]], dict[tuple[str, str], IntData]]

WATCH_SECONDS = 1.0
"""How often the worker looks whether its parent still runs."""


def main(arguments: list[str]) -> None:
    """Serve jobs until standard input ends."""
    token, parent = arguments[0], int(arguments[1])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Lava prints must not mix with the replies
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_watch, args=(token, parent, lines), daemon=True).start()
    _prepare_system(token)
    # Lava chooses multiprocessing's start method when it is imported, so nothing may do that before
    from hardware.lava import chip, models, simulation

    modes: dict[str, tuple[str, RunStream]] = {
        "models": ("lava models", models.run_stream),
        "loihi2": ("loihi2", chip.run_stream),
        "runtime": (
            "lava simulation",
            lambda program, payloads: simulation.run_stream(program, payloads, Path.cwd()),
        ),
    }
    _reply(replies, None)
    while True:
        job = json.loads(lines.get())
        error = _serve(job, *modes[job["mode"]])
        _reply(replies, error)
        if error and job["mode"] == "runtime":
            # the runtime cannot be stopped after an error; the parent ends the group
            signal.pause()


def _serve(job: Mapping[str, str], runner: str, run_stream: RunStream) -> str | None:
    """Do one job; returns why it failed."""
    try:
        recording = record(load(job["program"]), load_inputs(job["inputs"]), runner, run_stream)
        save_recording(recording, job["recording"])
    except HardwareError as error:
        return str(error)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return None


def record(program: Program, inputs: Inputs, runner: str, run_stream: RunStream) -> Recording:
    """Run the streams of `inputs` one after the other, for Lava has no batch."""
    steps, batch = check_inputs(program, inputs)
    times = probe_times(program, 0, steps)
    probes = empty_probes(program, times, batch)
    for stream in range(batch if steps else 0):
        payloads = {name: np.asarray(array[:, stream], dtype=np.int64) for name, array in inputs.items()}
        for key, values in run_stream(program, payloads).items():
            probes[key][:, stream] = values
    return Recording(runner, 1, steps, probes, times)


def _reply(replies: IO[str], error: str | None) -> None:
    replies.write(json.dumps({"error": error}) + "\n")
    replies.flush()


def _prepare_system(token: str) -> None:
    # a process that ends while it makes a semaphore leaves a file; Python calls this between two instructions
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a channel of Lava takes a file descriptor
    names: Any = shared_memory
    names._SHM_NAME_PREFIX = f"/{token}"
    names._SHM_SAFE_NAME_LENGTH = len(token) + 9
    configuration: Any = multiprocessing.current_process()
    configuration._config["semprefix"] = f"/{token}"


def _watch(token: str, parent: int, lines: queue.SimpleQueue[str]) -> None:
    """Pass on standard input; end everything when it ends or the parent does."""
    pending = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], WATCH_SECONDS)[0]:
            continue
        read = os.read(0, 65536)
        if not read:
            break
        *complete, pending = (pending + read).split(b"\n")
        for line in complete:
            lines.put(line.decode())
    _end_everything(token)


def _end_everything(token: str) -> None:
    group = os.getpgrp()
    if os.fork():
        return
    os.setsid()  # out of the group that is about to end
    os.closerange(0, 2**20)  # Python's resource tracker ends when nobody holds its pipe
    end_group(group)
    remove_shared_memory(token)
    shutil.rmtree(Path.cwd(), ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
