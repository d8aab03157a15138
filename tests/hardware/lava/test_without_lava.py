"""What needs no Lava: finding it, what a board needs, and the rules of the package."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hardware import Recording, RunError
from hardware.lava import Job, find_python, loihi2, run_jobs, runner
from hardware.lava.loihi2 import Host, refuse_python_models, require_board

ROOT = Path(__file__).parents[3]


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch(0o755)
    return path


def test_where_lava_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PACKAGE", tmp_path / "site" / "hardware")
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("SPMN_LAVA_PYTHON", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(RunError, match=r"`make lava`.*SPMN_LAVA_PYTHON"):
        find_python()
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: name == "lava.magma" or None)
    assert find_python() == Path(sys.executable)
    beside = executable(tmp_path / "site" / ".venv-lava" / "bin" / "python")
    assert find_python() == beside
    here = executable(tmp_path / "here" / ".venv-lava" / "bin" / "python")
    assert find_python() == here
    monkeypatch.setenv("SPMN_LAVA_PYTHON", sys.executable)
    assert find_python() == Path(sys.executable)
    monkeypatch.setenv("SPMN_LAVA_PYTHON", ".venv-lava/bin/python")
    assert find_python() == here  # the worker runs in another folder
    monkeypatch.setenv("SPMN_LAVA_PYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match="nowhere"):
        find_python()


def test_processes_have_a_folder_of_their_own() -> None:
    """Lava's compiler executes every module beside a Process, and may do so without warning."""
    folder = ROOT / "hardware" / "lava" / "processes"
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"__init__.py", "probes.py"}
    for path in (ROOT / "hardware").rglob("*.py"):
        bases = {
            ast.unparse(base).rpartition(".")[2]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef)
            for base in node.bases
        }
        assert path.parent == folder or not bases & {"AbstractProcess", "PyLoihiProcessModel"}, path


def test_nobody_imports_the_package_tests() -> None:
    """The wheel of Lava installs one of that name."""
    for package in ("hardware", "spmn", "experiments", "tests"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not any(name.split(".")[0] == "tests" for name in names), path


class Computer(Host):
    """A computer that has everything but what is named."""

    def __init__(self, *missing: str) -> None:
        self.missing = missing
        self.asked: list[str] = []

    def ask(self, what: str) -> bool:
        self.asked.append(what)
        return what not in self.missing

    def python(self) -> Path:
        if not self.ask("lava"):
            raise RunError("no Lava")
        return Path("/lava/python")

    def extension(self, python: Path) -> tuple[bool, tuple[int, int]]:
        return self.ask("lava-loihi"), (3, 10 if self.ask("3.10") else 11)

    def slurm(self) -> bool:
        return self.ask("slurm")

    def ethernet(self) -> str:
        return "10.0.0.7" if self.ask("ethernet") else ""

    def answers(self, address: str) -> bool:
        return self.ask("ping")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (("lava", "lava-loihi", "3.10", "slurm", "ethernet", "ping"), "no Lava"),
        (("lava-loihi", "3.10", "slurm", "ethernet", "ping"), "no lava-loihi"),
        (("3.10", "slurm", "ethernet", "ping"), r"Python 3\.11, but lava-loihi needs 3\.10"),
        (("slurm", "ethernet", "ping"), "sinfo works, or set NXSDKHOST"),
        (("slurm", "ping"), r"'10\.0\.0\.7', which does not answer"),
    ],
)
def test_the_first_thing_missing_is_reported(missing, said) -> None:
    with pytest.raises(RunError, match=said):
        require_board(Computer(*missing))


@pytest.mark.parametrize("missing", [(), ("slurm",), ("ethernet", "ping")])
def test_a_board_by_slurm_or_by_ethernet(missing) -> None:
    computer = Computer(*missing)
    require_board(computer)
    assert ("ping" in computer.asked) == ("slurm" in missing)


def test_no_board_here_is_said_before_anything_runs(small, make_inputs, monkeypatch) -> None:
    monkeypatch.setattr(loihi2, "Host", lambda: Computer("slurm", "ethernet"))
    monkeypatch.setattr(loihi2, "run_jobs", lambda *_: pytest.fail("nothing may be compiled"))
    program = small("board")
    with pytest.raises(RunError, match="no Loihi 2 board"):
        loihi2.run(program, make_inputs(program, 3, 1))


def test_this_computer_answers(monkeypatch) -> None:
    host = Host()
    assert host.extension(Path(sys.executable)) == (False, sys.version_info[:2])
    monkeypatch.setenv("PATH", "")
    assert not host.slurm()
    assert not host.answers("127.0.0.1")
    monkeypatch.setenv("NXSDKHOST", "board")
    assert host.ethernet() == "board"
    with pytest.raises(RunError, match="/nowhere/python does not run"):
        host.extension(Path("/nowhere/python"))


def test_python_models_on_the_chip_are_refused() -> None:
    class ChipModel: ...

    class NcDense(ChipModel): ...

    class PyLif: ...

    refuse_python_models({"synapses": NcDense}, ChipModel)
    with pytest.raises(RunError, match=r"cells \(PyLif\), rest \(no model\)"):
        refuse_python_models({"synapses": NcDense, "cells": PyLif, "rest": None}, ChipModel)


@pytest.mark.slow
def test_make_lava_in_an_empty_folder(tmp_path: Path, small, make_inputs, monkeypatch) -> None:
    for name in ("Makefile", "constraints-lava.txt"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run(["make", "lava", f"PYTHON={sys.executable}"], cwd=tmp_path, check=True)
    assert (tmp_path / ".venv-lava" / "installed").exists()
    monkeypatch.delenv("SPMN_LAVA_PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    program = small("made")
    for mode in ("runtime", "models"):
        (result,) = run_jobs(mode, [Job(program, make_inputs(program, 3, 1))])
        assert isinstance(result, Recording), result
