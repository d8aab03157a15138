"""Several processes train as one does: the same gradient, one folder, and they stop and go on together."""

import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spmn import parallel, settings
from spmn.data import Source
from spmn.datasets.babi import write
from spmn.datasets.generator import generate
from spmn.errors import SettingsError, Stopped
from spmn.runs import load_tensors, open_run
from spmn.settings import Network, Preset, Training
from spmn.training import start, train

NETWORK = Network(depth=1, heads=2, keys=16, values=16, embedding=24, encoder=24, decoder=32, dropout=0.0)
CHOSEN = Training(focus=0.9, repeat=600, chip_weights_from=0.5)  # all must choose the same stories
WIDE = Preset(NETWORK, replace(CHOSEN, epochs=2, events_per_batch=60, practice=0.05))
NARROW = replace(WIDE, training=replace(WIDE.training, epochs=1, events_per_batch=31))  # one or two stories
UNSOLVED = 2.0  # so that the second epoch tells less than all stories
SOURCE = Source((1,), questions=150)
LIMIT = 120  # seconds that a process may take

WORKER = f"""
import os, signal, sys, torch
from pathlib import Path
from spmn import parallel, settings, training
from spmn.data import Source
from spmn.settings import Network, Preset, Training

training.CHECKPOINT_SECONDS = 0.0
settings.UNSOLVED = {UNSOLVED}

def report(kind, values):
    if kind == "batch":
        print("LOSS", folder.name, repr(values["loss"]))
        if (values["epoch"], values["batch"]) == (0, 3) and deed:
            other = int((folder / "pid").read_text())
            os.kill(other, signal.SIGTERM if deed == "stop" else signal.SIGKILL)
            if deed == "kill":
                os.kill(os.getpid(), signal.SIGKILL)

with parallel.joined() as group:
    for argument in sys.argv[1:]:
        folder, _, deed = argument.partition(":")
        folder = Path(folder)
        preset = {NARROW!r} if folder.name == "narrow" else {WIDE!r}
        run = group.lead_first(lambda: training.start(folder, {SOURCE!r}, preset))
        if group.rank == 1:
            (folder / "pid").write_text(str(os.getpid()))
        training.train(run, group, 1, report)
        assert torch.get_num_threads() == 1  # numba's threads start in train, and bring OpenMP's along
        assert group.same({{"finished": 1}})
"""


def launch(*arguments: str | Path) -> tuple[list[int], str]:
    """Two processes that run WORKER as one group, as torchrun starts them; exit codes, and all they wrote.

    An argument is a run folder, and after a colon what happens in its third batch: "stop" (SIGTERM to process
    1), "lose" (SIGKILL to process 1) or "kill" (SIGKILL to both).
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, arguments)],
            env={**group, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    try:
        wrote = "".join(process.communicate(timeout=LIMIT)[0] for process in started)
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [process.returncode for process in started], wrote


def losses(wrote: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"LOSS {name} (\S+)", wrote)]


def alone(folder: Path, preset: Preset, stop: int = 0) -> list[float]:
    """Train in this process, and stop after some batches; the losses of all batches."""
    found: list[float] = []

    def report(kind: str, values: dict[str, float]) -> None:
        if kind == "batch":
            found.append(values["loss"])
            if len(found) == stop:
                signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "UNSOLVED", UNSOLVED)
        train(start(folder, SOURCE, preset), threads=1, report=report)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def history(folder: Path) -> list[tuple[list[int], str]]:
    """What three groups of processes did, one after the other, in the runs that the tests below look at."""
    with pytest.raises(Stopped):
        alone(folder / "mixed", WIDE, stop=4)
    return [
        launch(folder / "wide", folder / "narrow", folder / "mixed", f"{folder / 'killed'}:kill"),
        launch(f"{folder / 'killed'}:stop"),
        launch(folder / "killed", f"{folder / 'lost'}:lose"),
    ]


@pytest.mark.parametrize(("name", "preset"), [("wide", WIDE), ("narrow", NARROW)])
def test_losses_are_those_of_one_process(
    history: list[tuple[list[int], str]], folder: Path, tmp_path: Path, name: str, preset: Preset
) -> None:
    expected = alone(tmp_path / "run", preset)
    assert len(expected) > 10
    # about float32's resolution after a dozen steps; a wrong weight of a part shows in the second loss
    assert losses(history[0][1], name) == pytest.approx(expected, abs=2e-6)
    for line, other in zip(open_run(folder / name).metrics, open_run(tmp_path / "run").metrics, strict=True):
        for key in ("loss", "accuracy", "encoder_rate", "error", "content"):
            assert line[key] == pytest.approx(other[key], abs=1e-5), key


def test_a_run_of_one_process_goes_on_with_two(history: list[tuple[list[int], str]], tmp_path: Path) -> None:
    expected = alone(tmp_path / "run", WIDE)
    rest = losses(history[0][1], "mixed")
    assert 0 < len(rest) < len(expected)
    assert rest == pytest.approx(expected[-len(rest) :], abs=2e-6)


def test_killed_and_stopped_together_a_run_goes_on_bit_equal(
    history: list[tuple[list[int], str]], folder: Path
) -> None:
    (killed, _), (stopped, wrote), _ = history
    assert killed == [-signal.SIGKILL, -signal.SIGKILL]
    assert stopped == [1, 130]
    assert "the same command goes on" in wrote
    assert len(losses(wrote, "killed")) < 6  # the signal went to process 1 alone, and both heeded it
    for name in ("checkpoint.safetensors", "network.safetensors"):
        expected, _ = load_tensors(folder / "wide" / name)
        found, _ = load_tensors(folder / "killed" / name)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert torch.equal(tensor, found[key]), key
    assert not list((folder / "killed").glob(".*"))


def test_a_lost_process_is_told_in_one_line(history: list[tuple[list[int], str]]) -> None:
    codes, wrote = history[2]
    assert codes == [1, -signal.SIGKILL]
    assert "process 0 of 2 lost another one; see what that one says" in wrote
    assert losses(wrote, "killed")


def test_torchrun_runs_the_same_command(tmp_path: Path) -> None:
    write(tmp_path / "qa1_single-supporting-fact_train.txt", generate(1, 60, seed=0))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "spmn", "train", "babi", 
        "--data", str(tmp_path), "--epochs", "1", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    try:
        wrote = process.communicate(timeout=LIMIT)[0]
    finally:
        process.terminate()  # torchrun ends its processes
        process.wait()
    assert process.returncode == 0, wrote
    wrote = " ".join(wrote.split())
    assert wrote.count("device cpu, 2 processes") == wrote.count("best epoch 1") == 1
    assert "find_unused_parameters" not in wrote
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "run.json", "checkpoint.safetensors", "network.safetensors", "metrics.jsonl", "curves.png"
    }  # fmt: skip


def test_where_process_0_fails_the_others_end() -> None:
    class Follower(parallel.Group):
        def sum(self, values: dict[str, float]) -> dict[str, float]:
            return {name: value + 1.0 for name, value in values.items()}

    with pytest.raises(SystemExit):
        Follower(rank=1, size=2).lead(lambda: pytest.fail("only process 0 acts"))
    with pytest.raises(ZeroDivisionError):
        parallel.ALONE.lead(lambda: 1 / 0)


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match="use --nproc-per-node 1"), parallel.joined("cuda"):
        pass


def test_what_all_processes_find_is_said_once() -> None:
    problem = SettingsError("the loss is nan")
    with pytest.raises(SettingsError, match="the loss is nan"):
        parallel.Group(rank=0, size=2).fail(problem)
    with pytest.raises(SystemExit) as silent:
        parallel.Group(rank=1, size=2).fail(problem)
    assert silent.value.code == 1
