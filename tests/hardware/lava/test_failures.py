"""What goes wrong in Lava ends within its limit, says why, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hardware import Recording, RunError
from hardware.lava import Job, run_jobs, runner
from hardware.lava.shared import SHARED_MEMORY, lives
from hardware.runners import run

FAULTS = Path(__file__).parent / "faults"
ROOT = Path(__file__).parents[3]
TOKEN = f"{os.getpid():08x}"

pytestmark = pytest.mark.usefixtures("lava_python")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "WORKER", "faulty_worker")
    monkeypatch.setattr(runner.secrets, "token_hex", lambda _: TOKEN)
    monkeypatch.setenv("PYTHONPATH", str(FAULTS))


def groups(token: str) -> set[int]:
    """Process groups of the workers of this token."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if token in path.read_text():
                found.add(os.getpgid(int(path.parent.name)))
        except OSError:
            continue
    return found - {os.getpgid(0)}


def left_behind(token: str) -> list[str]:
    return [str(group) for group in groups(token)] + [
        path.name for path in SHARED_MEMORY.iterdir() if token in path.name
    ]


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(
    ("mode", "fault", "said"),
    [
        ("runtime", "raise", "cell: ValueError: the fault 'raise'"),
        ("runtime", "crash", "cell: its process ended with exit code -11"),
        ("models", "raise", "ValueError: the fault 'raise'"),
        ("models", "crash", "the Lava process ended with signal SIGSEGV; it last said: Fatal Python error"),
        ("models", "hang", "did not end within its limit of 3 s"),
        ("runtime", "hang", "did not end within its limit of 5 s"),
    ],
)
def test_a_failing_job_gives_its_reason_and_the_next_one_runs(mode, fault, said, small, make_inputs) -> None:
    seen: set[str] = set()
    programs = [small(name) for name in ("first", fault, "last")]
    # a fault that hangs must be seen with its processes; others are faster than their limit
    limit = {"models": 3, "runtime": 5}[mode] if fault == "hang" else 100

    def look(number: int, result: Recording | RunError) -> None:
        left = left_behind(TOKEN)
        seen.update(left if number == 0 else [])
        assert (number == 1) == (not left), left

    first, failed, last = run_jobs(
        mode, [Job(program, make_inputs(program, 3, 1)) for program in programs], limit, look
    )
    assert isinstance(first, Recording)
    assert isinstance(failed, RunError)
    assert f"job 2 ('{fault}'): " in str(failed)
    assert said in str(failed)
    assert isinstance(last, Recording)
    assert seen
    assert not left_behind(TOKEN)


PARENT = """
import sys
import numpy as np
from hardware import InputAxons, Population, Probe, Program, Projection
from hardware.lava import runner
from hardware.runners import run
runner.WORKER = "faulty_worker"
runner.secrets.token_hex = lambda _: sys.argv[1]
program = Program(
    "hang", (InputAxons("in", 1),), (Population("cell", 1),),
    (Projection("drive", "in", "cell", np.ones((1, 1), dtype=int)),), probes=(Probe("cell"),),
)
run("lava", program, {"in": np.ones((9, 1, 1), dtype=np.uint8)})
"""


def test_nothing_survives_a_killed_parent(tmp_path_factory: pytest.TempPathFactory) -> None:
    token = f"{os.getpid() + 1:08x}"
    folder = tmp_path_factory.mktemp("t")  # a short path: the worker makes a socket in it
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(FAULTS), str(ROOT))),
        "TMPDIR": str(folder),
    }
    parent = subprocess.Popen([sys.executable, "-c", PARENT, token], env=environment)
    until(lambda: list(SHARED_MEMORY.glob(f"*{token}*")))
    working = groups(token) - {os.getpgid(parent.pid)}
    assert working
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until(lambda: not any(lives(group) for group in working) and not left_behind(token))
    until(lambda: not list(folder.iterdir()))


def until(happened) -> None:
    for _ in range(600):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 s")


def test_compiling_for_the_chip_fails_without_its_models(small, make_inputs) -> None:
    """What is behind the checks of `loihi2` does not fall back to anything either."""
    program = small("chip")
    (result,) = run_jobs("loihi2", [Job(program, make_inputs(program, 3, 1))])
    assert isinstance(result, RunError)
    assert "ModuleNotFoundError" in str(result)


def test_a_python_without_lava_says_so(tmp_path: Path, monkeypatch, small, make_inputs) -> None:
    """The reason comes from the worker, which fails when it imports Lava."""
    (tmp_path / "lava.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = small("none")
    said = "exit code 1; it last said: ModuleNotFoundError: No module named 'lava"
    with pytest.raises(RunError, match=said):
        run("lava-models", program, make_inputs(program, 3, 1))
