"""A sweep runs every job once, survives failures and interruptions, and leaves no process behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spmn import sweep
from spmn.datasets.babi import write
from spmn.datasets.generator import generate
from spmn.errors import CheckpointError, SettingsError, Stopped
from spmn.sweep import DONE, FAILED, RUNNING, STOPPED, WAITING, Job
from spmn.training import babi, start

EPOCHS = 2

TRAINER = """
import os, shutil, signal, sys, time
from pathlib import Path

here = Path(__file__).parent
option = dict(zip(sys.argv[1::2], sys.argv[2::2]))
out, seed = Path(option["--out"]), int(option["--seed"])
out.mkdir(parents=True, exist_ok=True)
(out / "pid").write_text(str(os.getpid()))
with (out / "begun").open("a") as file:
    file.write("x")
shutil.copy(here / "template" / out.name / "run.json", out)
if (here / "deaf").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("working", os.environ["OMP_NUM_THREADS"], os.environ.get("WORLD_SIZE"), flush=True)
late = time.monotonic() + 60
while (here / "hold").exists() and time.monotonic() < late:
    time.sleep(0.02)
if (here / f"fail{seed}").exists():
    print("spmn: out of luck")
    sys.exit(1)
line = '{"epoch": %d, "error": %f, "seconds": 3.0}\\n'
lines = [line % (e, (seed + 3 - e) / 10) for e in range(int(option["--epochs"]))]
(out / "metrics.jsonl").write_text("".join(lines))
"""
"""Stands in for `spmn train babi`: does what the files beside it say."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trainer, which knows the runs of task 1 with seeds 0 to 2."""
    write(tmp_path / "qa1_single-supporting-fact_train.txt", generate(1, 60, seed=0))
    (tmp_path / "trainer.py").write_text(TRAINER)
    for seed in range(3):
        start(tmp_path / "template" / f"task1-seed{seed}", *babi((1,), tmp_path, "default", EPOCHS, seed))
    monkeypatch.setattr(sweep, "TRAIN", (str(tmp_path / "trainer.py"),))
    monkeypatch.setattr(sweep, "POLL", 0.02)
    return tmp_path


def jobs(folder: Path, preset: str = "default") -> list[Job]:
    out = folder / "out"
    return [Job(1, seed, out / f"task1-seed{seed}", preset, EPOCHS, folder) for seed in range(3)]


def states(planned: Sequence[Job]) -> list[str]:
    return [job.state for job in planned]


def until(condition: Callable[[], bool]) -> None:
    late = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < late
        time.sleep(0.02)


def gone(folder: Path) -> bool:
    """Whether the trainer of a run has ended."""
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def interrupt_when(condition: Callable[[Sequence[Job]], bool]) -> Callable[[Sequence[Job]], None]:
    """A report that presses Ctrl-C once."""
    pressed: list[bool] = []

    def report(planned: Sequence[Job]) -> None:
        if not pressed and condition(planned):
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)

    return report


def working(job: Job) -> bool:
    return job.log.exists() and "working" in job.log.read_text()


def test_a_job_passes_on_its_changes(tmp_path: Path) -> None:
    job = Job(1, 0, tmp_path / "a", changes=("depth=2", "epochs=7"))
    assert [b for a, b in zip(job.options, job.options[1:], strict=False) if a == "--set"] == [
        "depth=2",
        "epochs=7",
    ]
    assert job.length == 7


def test_a_failing_job_does_not_stop_the_others_and_is_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # of some other training
    (folder / "fail1").touch()
    planned, file = jobs(folder), folder / "out" / "sweep.json"
    most: list[int] = []
    sweep.run(planned, file, at_once=2, report=lambda now: most.append(states(now).count(RUNNING)))
    assert states(planned) == [DONE, FAILED, DONE]
    assert planned[1].reason == "spmn: out of luck"
    assert max(most) <= 2
    assert planned[0].log.read_text().splitlines()[-1] == "working 1 None"
    written = json.loads(file.read_text())
    assert [job["state"] for job in written["jobs"]] == ["done", "failed", "done"]
    assert written["jobs"][1]["reason"] == "spmn: out of luck"
    assert written["tasks"]["1"] == pytest.approx(
        {"seeds": 2, "mean": 0.3, "min": 0.2, "max": 0.4, "seconds": 3.0}
    )

    (folder / "fail1").unlink()
    again = jobs(folder)
    sweep.run(again, file)
    assert states(again) == [DONE] * 3
    assert [len((job.folder / "begun").read_text()) for job in again] == [1, 2, 1]
    assert sweep.summary(again)[1]["mean"] == pytest.approx(0.3)
    assert not list((folder / "out").glob(".*"))


def test_a_finished_run_of_other_settings_is_not_taken_for_this_one(folder: Path) -> None:
    sweep.run(jobs(folder), folder / "out" / "sweep.json")
    others = jobs(folder, preset="pair-stdp")
    sweep.run(others, folder / "out" / "sweep.json")
    assert all((job.folder / "begun").read_text() == "xx" for job in others)
    assert states(others) == [FAILED] * 3


def test_ctrl_c_ends_all_jobs_which_go_on_later(folder: Path) -> None:
    (folder / "hold").touch()
    planned, file = jobs(folder), folder / "out" / "sweep.json"
    with pytest.raises(Stopped, match="3 of 3 runs were stopped or not begun"):
        sweep.run(
            planned,
            file,
            at_once=2,
            report=interrupt_when(lambda now: all(working(job) for job in now[:2])),
        )
    assert states(planned) == [STOPPED, STOPPED, WAITING]
    assert [job["state"] for job in json.loads(file.read_text())["jobs"]] == states(planned)
    assert all(gone(job.folder) for job in planned[:2])

    (folder / "hold").unlink()
    again = jobs(folder)
    sweep.run(again, file, at_once=2)
    assert states(again) == [DONE] * 3


def test_a_job_that_does_not_heed_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "hold").touch()
    (folder / "deaf").touch()
    monkeypatch.setattr(sweep, "PATIENCE", 0.3)
    planned = jobs(folder)
    with pytest.raises(Stopped):
        sweep.run(planned, folder / "out" / "sweep.json", report=interrupt_when(lambda now: working(now[0])))
    assert states(planned) == [STOPPED, WAITING, WAITING]
    assert gone(planned[0].folder)


def test_a_job_killed_by_the_system_says_so(folder: Path) -> None:
    (folder / "hold").touch()
    job = jobs(folder)[0]

    def kill(now: Sequence[Job]) -> None:
        if now[0].state == RUNNING and working(job):
            os.kill(int((job.folder / "pid").read_text()), signal.SIGKILL)

    sweep.run([job], folder / "out" / "sweep.json", report=kill)
    assert job.state == FAILED
    assert job.reason == "ended by SIGKILL: working 1 None"


def test_two_sweeps_never_train_in_one_folder(folder: Path) -> None:
    (folder / "hold").touch()
    first, second = jobs(folder)[:2], jobs(folder)[:2]
    process = sweep.Process(first[0])
    try:
        until(lambda: working(first[0]))
        with pytest.raises(CheckpointError, match="another process trains in"):
            sweep.Process(second[0])
    finally:
        process.stop(signal.SIGTERM)
    until(lambda: process.poll() == 130)
    (folder / "hold").unlink()
    sweep.run(second, folder / "out" / "sweep.json")
    assert states(second) == [DONE, DONE]


def test_a_cancelled_job_of_a_cluster_is_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "hold").touch()
    job = jobs(folder)[0]
    real = time.sleep

    def cancel(seconds: float) -> None:
        if working(job) and not (folder / "cancelled").exists():
            (folder / "cancelled").touch()
            raise KeyboardInterrupt
        real(seconds)

    monkeypatch.setattr("spmn.sweep.time.sleep", cancel)
    with pytest.raises(KeyboardInterrupt):
        sweep.to_its_end(job)
    assert gone(job.folder)


class Ray(SimpleNamespace):
    """As much of ray as a sweep uses; tasks run in threads."""

    def __init__(self) -> None:
        super().__init__(asked=[], tasks=[])

    def init(self, address: str) -> None:
        if address == "nowhere":
            raise ConnectionError("some trace\nno cluster at nowhere")
        self.asked.append(address)

    def remote(self, **resources: Any) -> Callable[[Callable[[Job], int]], Any]:
        self.asked.append(resources)

        def decorate(function: Callable[[Job], int]) -> Any:
            def begin(job: Job) -> Any:
                task = SimpleNamespace(result=None, thread=None)

                def body() -> None:
                    if job.seed == 2:
                        task.result = RuntimeError("worker died\nnode 7 was lost")
                    else:
                        task.result = function(job)

                task.thread = threading.Thread(target=body)
                task.thread.start()
                return task

            return SimpleNamespace(remote=begin)

        return decorate

    def wait(self, tasks: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        ready = [task for task in tasks if not task.thread.is_alive()]
        return ready, [task for task in tasks if task not in ready]

    def get(self, task: Any) -> int:
        if isinstance(task.result, Exception):
            raise task.result
        return int(task.result)

    def cancel(self, task: Any, force: bool) -> None:
        self.asked.append(("cancel", force))


def test_jobs_run_on_a_ray_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    planned = jobs(folder)
    planned[0].threads, planned[1].device = 3, "cuda"
    sweep.run(planned, folder / "out" / "sweep.json", sweep.Cluster("head:6379").start, at_once=3)
    assert states(planned) == [DONE, DONE, FAILED]
    assert planned[2].reason == "node 7 was lost"
    assert ray.asked[0] == "head:6379"
    assert [(r["num_cpus"], r["num_gpus"]) for r in ray.asked[1:]] == [(3, 0), (1, 1), (1, 0)]
    with pytest.raises(SettingsError, match="no cluster at nowhere"):
        sweep.Cluster("nowhere")


def test_ctrl_c_cancels_on_a_ray_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(sweep, "PATIENCE", 0.2)
    (folder / "hold").touch()
    planned = jobs(folder)[:1]
    with pytest.raises(Stopped):
        sweep.run(
            planned,
            folder / "out" / "sweep.json",
            sweep.Cluster("auto").start,
            report=interrupt_when(lambda now: working(now[0])),
        )
    assert ray.asked[-2:] == [("cancel", False), ("cancel", True)]  # this ray heeds neither
    (folder / "hold").unlink()
    until(lambda: gone(planned[0].folder))


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"pip install ray"):
        sweep.Cluster("auto")


def test_seeds() -> None:
    assert sweep.parse_seeds("0-2, 7,1") == (0, 1, 2, 7)
    for wrong in ("", "a", "3-1", "-1", "1,,2"):
        with pytest.raises(SettingsError, match="is no seed"):
            sweep.parse_seeds(wrong)


def test_the_command_trains_and_reports(folder: Path) -> None:
    out = folder / "real"
    command = [sys.executable, "-m", "spmn", "sweep", "babi", "--tasks", "1,2", "--seeds", "0", "--jobs", "2"]
    done = subprocess.run(
        [*command, "--data", str(folder), "--epochs", "1", "--out", str(out)],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "1 of 2 runs failed" in done.stderr
    assert "task2-seed0 failed: spmn: no file" in done.stdout
    assert "1 failed, 1 done" in done.stdout
    assert len((out / "task1-seed0" / "metrics.jsonl").read_text().splitlines()) == 1
    error = json.loads((out / "sweep.json").read_text())["tasks"]["1"]["mean"]
    assert f"{error:.2%}" in done.stdout
