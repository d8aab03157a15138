"""The wheel works away from the checkout."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w"]
    subprocess.run([*build, str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_holds_the_three_packages_and_runs(wheel: Path, tmp_path: Path) -> None:
    """Unpacked in an empty folder, before everything else on the path."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"spmn", "hardware", "experiments"}
    assert {f"{package}/py.typed" for package in ("spmn", "hardware", "experiments")} <= set(names)
    assert {"spmn/presets.json", "spmn/datasets/babi.sha256"} <= set(names)
    code = "import spmn, hardware, experiments.demo; print(spmn.__file__, hardware.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.count(str(tmp_path)) == 2


@pytest.mark.slow
def test_installs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run(pip, check=True, cwd=tmp_path)
    spmn = str(tmp_path / "env" / "bin" / "spmn")
    subprocess.run([spmn, "doctor"], check=True, cwd=tmp_path)
    subprocess.run([spmn, "data", "babi", "--tasks", "1", "--out", "d", "--train", "50", "--test", "20"],
                   check=True, cwd=tmp_path)  # fmt: skip
    assert len(list((tmp_path / "d").iterdir())) == 2
