"""The command line as a user meets it: what it prints, and how it fails."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from hardware.files import load
from hardware.program import Program
from spmn import cli
from spmn import doctor as doctor_module
from spmn import finetune as finetuning
from spmn.cli import app
from spmn.datasets.babi import read
from spmn.finetune import Score
from spmn.pretrained import folder
from spmn.runs import open_run


def spmn(
    *arguments: str | Path, say: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    code = "from spmn.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, input=say, check=False, cwd=cwd, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    done = spmn("data", "babi", "--tasks", "1,15", "--out", out, "--train", "200", "--test", "40")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run[b]"
    done = spmn(
        "train", "babi", "--tasks", "1,15", "--data", data, "--epochs", "1", "--out", out, "--threads", "1"
    )
    assert done.returncode == 0, done.stderr
    assert f"next: spmn evaluate {out}" in done.stdout
    return out


def test_generated_files_are_official_in_form(data: Path) -> None:
    names = {path.name for path in data.iterdir()}
    assert "qa15_basic-deduction_test.txt" in names
    assert len(names) == 4
    train = {story.key for story in read(data / "qa1_single-supporting-fact_train.txt", 1)}
    test = {story.key for story in read(data / "qa1_single-supporting-fact_test.txt", 1)}
    assert not train & test


def test_a_run_leaves_what_it_promises(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        "run.json",
        "checkpoint.safetensors",
        "network.safetensors",
        "metrics.jsonl",
        "curves.png",
    }
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("runner", ["torch", "emulator"])
def test_evaluate(run: Path, data: Path, split: str, runner: str) -> None:
    done = spmn(
        "evaluate", run, "--data", data, "--split", split, "--runner", runner, "--limit", "20", "--json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["runner"] == runner
    assert set(report["errors"]) == {"1", "15"}
    assert 0 <= report["agreement"] <= 1
    assert bool(report["cost"]) == (runner == "emulator")
    shown = spmn("evaluate", run, "--limit", "20", "--runner", runner)
    assert shown.returncode == 0, shown.stderr
    assert f"runner: {runner}" in shown.stdout


def test_export_and_info(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "program.h5"
    assert spmn("export", run, "--out", file).returncode == 0
    assert load(file).host is not None
    shown = spmn("info", file).stdout
    assert "level1.memory.0" in shown
    assert "x0*x1*y0" in shown


def test_ask(run: Path) -> None:
    talk = "Mary went to the garden.\nWhere is Mary?\nWhere is the moon?\nforget\nWhere is Mary?\n"
    done = spmn("ask", run, say=talk)
    assert done.returncode == 0, done.stderr
    assert "from: 1 Mary went to the garden." in done.stdout
    assert "'moon'" in done.stdout
    assert "level 1" in done.stdout
    assert f"right in {open_run(run).metrics[-1]['content']:.0%} of practice questions" in done.stdout
    assert ">" not in done.stdout  # nobody types


def test_plot(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "[red]q[b]"
    done = spmn("plot", run, "--story", "1", "--stdp", "--out", out)
    assert done.returncode == 0, done.stderr
    for name in ("raster", "memory", "recall", "stdp"):
        assert f"wrote {out / name}.png" in done.stdout
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_of_a_network_of_the_package_go_to_runs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "located", lambda name: run if name == Path("babi/1") else name)
    monkeypatch.chdir(tmp_path)
    before = set(run.iterdir())
    done = CliRunner().invoke(app, ["plot", "babi/1", "--stdp"])
    assert done.exit_code == 0, done.output
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    pictures = {f"runs/babi-1/story0/{name}.png" for name in ("raster", "memory", "recall")}
    assert names == {"runs/babi-1/stdp.png", *pictures}
    assert set(run.iterdir()) == before


def test_doctor() -> None:
    shown = spmn("doctor")
    assert shown.returncode == 0
    for word in ("torch", "emulator", "lava", "loihi2", "cuda"):
        assert word in shown.stdout


def test_brackets_are_printed_not_read_as_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "PACKAGES", {"no-such-package": "pip install 'spmn[extra]'"})
    assert "spmn[extra]" in CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"}).output


def failing(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode not in (0, 2), done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for text in says:
        assert text in lines[0]


def test_bad_input_ends_in_one_clear_line(run: Path, data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(data, broken)
    file = broken / "qa1_single-supporting-fact_train.txt"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:6], "Mary went nowhere\n", *lines[7:]]))
    out = tmp_path / "out"

    failing(spmn("train", "babi", "--data", tmp_path / "none", "--out", out), "none", "does not exist")
    failing(spmn("train", "babi", "--data", broken, "--out", out), "line 7")
    failing(spmn("train", "babi", "--tasks", "21", "--out", out), "21")
    failing(spmn("train", "babi", "--preset", "magic", "--out", out), "magic", "default")
    failing(spmn("train", "babi", "--epochs", "0", "--out", out), "epochs is 0")
    failing(spmn("evaluate", tmp_path), "no run folder")
    failing(spmn("info", run / "run.json"), "run.json")
    failing(spmn("info", tmp_path / "none.h5"), "none.h5")
    failing(spmn("export", run, "--out", tmp_path / "no" / "such" / "p.h5"), "p.h5")
    failing(spmn("plot", run, "--story", "999"), "999")
    assert not out.exists()

    truncated = tmp_path / "run"
    shutil.copytree(run, truncated)
    weights = truncated / "network.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    failing(spmn("export", truncated, "--out", tmp_path / "p.h5"), "network.safetensors", "truncated")
    assert not (tmp_path / "p.h5").exists()


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line in which a command of this process fails, before it prints anything."""
    monkeypatch.setattr(sys, "argv", ["spmn", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (1, "")
    (line,) = err.strip().splitlines()
    return line


OTHER = str(folder("babi", 17) / "program.h5")
"""The program of a network that reads other words."""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask", "babi"], ["'babi' is no run folder", "babi/1 to babi/20, babi-joint"]),
        (["ask", "babix/1"], ["babi/1 to babi/20"]),
        (["ask", "babi/21"], ["no network for task 21"]),
        (["finetune", "babi/1"], ["official files", "--data"]),
        (["evaluate", "RUN", "--runner", "magic"], ["no runner is called 'magic'"]),
        (["evaluate", "--pretrained", "babi", "--runner", "magic"], ["no runner is called 'magic'"]),
        (["evaluate", "--pretrained", "babi", "--tasks", ""], ["'' in ''"]),
        (["evaluate", "--pretrained", "babi", "--memory-bits", "6"], ["--memory-bits 6 goes with a RUN"]),
        (["evaluate", "RUN", "--memory-bits", "4"], ["--memory-bits 4 goes with a runner of integers"]),
        (["evaluate", "RUN", "--program", OTHER], ["--program 'spmn' goes with a runner of integers"]),
        (
            ["evaluate", "RUN", "--program", OTHER, "--runner", "emulator"],
            ["'spmn' reads other words, or gives other answers", "spmn export"],
        ),
        (
            ["evaluate", "RUN", "--program", OTHER, "--runner", "emulator", "--memory-bits", "4"],
            ["--memory-bits 4 goes without --program"],
        ),
        (["train", "babi", "--tasks", "", "--out", "out"], ["'' in ''"]),
        (["train", "babi", "--data", "file", "--out", "out"], ["that is a file, no folder"]),
        (["train", "babi", "--set", "seed=7", "--out", "out"], ["use --seed alone"]),
        (["train", "babi", "--set", "learning_rate=inf", "--out", "out"], ["learning_rate is inf"]),
        (["sweep", "babi", "--preset", "magic", "--out", "out"], ["there is no preset 'magic'"]),
        (["plot", "--stdp", "--story", "3"], ["--story 3 goes with a RUN"]),
        (["plot", "--stdp", "nowhere"], ["'nowhere' is no run folder"]),
        (["plot", "--stdp", "--out", "file"], ["cannot write", "File exists"]),
        (["finetune", "RUN", "--learning-rate", "nan"], ["learning_rate is nan"]),
        (["finetune", "RUN", "--seed", "-1"], ["seed is -1"]),
        (["similar", "RUN"], ["of stage 'babi'", "spmn ask"]),
    ],
)
def test_what_is_refused_before_anything_is_done(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    line = said(monkeypatch, capsys, *(run if argument == "RUN" else argument for argument in arguments))
    for text in says:
        assert text in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no CUDA device" in said(monkeypatch, capsys, "finetune", run, "--device", "cuda")


@pytest.mark.parametrize(
    "arguments", ["sweep babi --jobs 0", "sweep babi --jobs -1", "train babi --threads -1"]
)
def test_counts_below_1_are_refused(arguments: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*arguments.split(), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_typed_bytes_that_are_no_text_are_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["spmn", "ask", str(run)])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    with pytest.raises(SystemExit):
        cli.main()
    assert "standard input is no UTF-8 text" in capsys.readouterr().err


def test_finetuning_says_how_many_stories_there_are(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [Score(0.4, 1.0), Score(0.3, 0.9), Score(0.3, 0.8), Score(0.3, 0.8)]

    def tuned(program: Program, *rest: Any, report: finetuning.Report, **options: Any) -> Program:
        for epoch, score in enumerate(scores):
            report(epoch, scores[0] if epoch else None, score)
        return program

    monkeypatch.setattr(finetuning, "finetune", tuned)
    out = tmp_path / "p.h5"
    done = CliRunner().invoke(app, ["finetune", str(run), "--stories", "100000", "--out", str(out)])
    assert done.exit_code == 0, done.output
    used = len(open_run(run).source.split()[0])
    assert f"{used} stories, 3 epochs" in done.output
    assert "epoch 0: 40.00% of all validation questions wrong" in done.output
    assert "kept: epoch 2" in done.output
    assert load(out).attributes["fine-tuned"] == f"{used} stories"


def test_a_word_never_seen_is_quoted(run: Path, data: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    shutil.copytree(data, strange)
    file = strange / "qa1_single-supporting-fact_test.txt"
    file.write_text(file.read_text().replace("garden", "moon"))
    failing(spmn("evaluate", run, "--data", strange, "--split", "test"), "'moon'")


def test_a_full_disk_is_said(data: Path, tmp_path: Path) -> None:
    """No file may grow beyond 100 kB: what a full disk looks like to the program."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "sys.argv[0] = 'spmn'; from spmn.cli import main; main()"
    )
    command = ["train", "babi", "--data", str(data), "--epochs", "1", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    failing(done, "cannot write", ".safetensors", "make room")
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {"run.json", "metrics.jsonl"}
