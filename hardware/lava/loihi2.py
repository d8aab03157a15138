"""The way to a Loihi 2 board: what it needs, checked in order, and the first thing missing said clearly.

The board is reached with lava-loihi, an extension of Lava for members of Intel's Neuromorphic Research
Community (INRC), and its Lava 0.10. This code has never met a board. What can be known without one is done:
the requirements below, building the program, compiling it for the chip, and refusing where Lava silently puts
a Python model in place of a chip's. What cannot be known, reading results back, raises RunError.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardware.errors import RunError
from hardware.inputs import Inputs
from hardware.lava.runner import LIMIT, Job, find_python, run_jobs
from hardware.program import Program
from hardware.recording import Recording

BOARD_PYTHON = (3, 10)
"""lava-loihi is a wheel for this Python only."""
SECONDS = 30.0

_FACTS = """
import importlib.util, json, sys
try:
    installed = importlib.util.find_spec("lava.utils.loihi2_profiler") is not None
except ModuleNotFoundError:
    installed = False
print(json.dumps([installed, *sys.version_info[:2]]))
"""


class Host:
    """What this computer has; each answer costs a process at most."""

    def python(self) -> Path:
        """The Python of the Lava environment. Raises RunError if there is none."""
        return find_python()

    def extension(self, python: Path) -> tuple[bool, tuple[int, int]]:
        """Whether that Python has lava-loihi, as `lava.utils.loihi.is_installed` asks, and its version."""
        answer = self._output([str(python), "-c", _FACTS])
        if not answer:
            raise RunError(f"{python} does not run: build the Lava environment again with `make lava`")
        installed, major, minor = json.loads(answer)
        return bool(installed), (int(major), int(minor))

    def slurm(self) -> bool:
        """True if a SLURM controller answers; the command is not there on most computers."""
        return shutil.which("sinfo") is not None and bool(self._output(["sinfo"]))

    def ethernet(self) -> str:
        """Address of a board's host in the environment variable NXSDKHOST, "" if it is not set."""
        return os.environ.get("NXSDKHOST", "")

    def answers(self, address: str) -> bool:
        """True if the address answers a ping."""
        return shutil.which("ping") is not None and bool(self._output(["ping", "-c", "1", address]))

    def _output(self, command: list[str]) -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout


def require_board(host: Host) -> None:
    """Check, in this order: Lava, lava-loihi, its Python, a board. Raises RunError for the first missing."""
    python = host.python()
    installed, version = host.extension(python)
    if not installed:
        raise RunError(
            f"{python} has no lava-loihi: join the INRC (https://intel-ncl.atlassian.net/wiki/spaces/INRC) "
            "and install its wheel there"
        )
    if version != BOARD_PYTHON:
        raise RunError(
            f"{python} is Python {version[0]}.{version[1]}, but lava-loihi needs 3.10: "
            "build the Lava environment with `make lava PYTHON=python3.10`"
        )
    if host.slurm():
        return
    address = host.ethernet()
    if not address:
        raise RunError("no Loihi 2 board: run where SLURM's sinfo works, or set NXSDKHOST to a board's host")
    if not host.answers(address):
        raise RunError(f"NXSDKHOST is {address!r}, which does not answer: check the address and the board")


def run(program: Program, inputs: Inputs, limit: float = LIMIT) -> Recording:
    """Compile a program for Loihi 2, after all checks.

    Raises RunError, in this order: something that a board needs is missing; a part of the program has no
    model on the chip; and, as long as nobody has tried it on a board, that the program cannot be run.
    """
    require_board(Host())
    (result,) = run_jobs("loihi2", [Job(program, inputs)], limit)
    if isinstance(result, RunError):
        raise result
    return result


def refuse_python_models(models: Mapping[str, Any], chip_model: type) -> None:
    """Raise RunError, naming the parts, unless every part's model class is a `chip_model`.

    Lava takes a Python model, without a word, where the chip has none; None is a part it did not compile.
    """
    elsewhere = {
        part: getattr(model, "__name__", "no model")
        for part, model in models.items()
        if not (isinstance(model, type) and issubclass(model, chip_model))
    }
    if elsewhere:
        named = ", ".join(f"{part} ({model})" for part, model in elsewhere.items())
        raise RunError(f"would not run on the chip: {named}: use parts that Loihi 2 has models for")
