"""The commands `spmn data ...` as a user meets them; those of training are in test_cli.py."""

import io
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from spmn.cli import app, main
from spmn.datasets import babi


def spmn(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)], env={"COLUMNS": "200"})


def failing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path
) -> str:
    monkeypatch.setattr(sys, "argv", ["spmn", "data", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_all_tasks_are_written_and_right(tmp_path: Path) -> None:
    done = spmn("babi", "--tasks", "1-20", "--out", tmp_path, "--train", "100", "--test", "20", "--seed", "3")
    assert done.exit_code == 0, done.output
    names = {babi.file_name(task, split) for task in babi.TASKS for split in ("train", "test")}
    assert {path.name for path in tmp_path.iterdir()} == names
    checked = spmn("check", tmp_path)
    assert checked.exit_code == 0
    assert len(re.findall(r"\d+ (?:train|test) .* 0 +│ 0 +│ 0 +│ +│", checked.output)) == 40
    first = (tmp_path / babi.file_name(18, "test")).read_bytes()
    spmn("babi", "--tasks", "18", "--out", tmp_path, "--train", "100", "--test", "20", "--seed", "3")
    assert (tmp_path / babi.file_name(18, "test")).read_bytes() == first


def test_faults_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / babi.file_name(1, "train")
    path.write_text("1 Mary went to the garden.\n2 Mary ran.\n3 Where is Mary? \toffice\t1\n")
    line = failing(capsys, monkeypatch, "check", tmp_path)
    assert f"2 wrong lines: correct the files or fetch them anew; the first is in {path}: " in line
    assert "'2 Mary ran.': wrong sentence" in line


def test_check_says_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = failing(capsys, monkeypatch, "check", tmp_path)
    assert f"no bAbI file in '{tmp_path}'" in line
    assert "qa1_single-supporting-fact_train.txt" in line


def test_check_does_not_pass_over_a_folder_with_the_name_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / babi.file_name(1, "train")).mkdir()
    assert "Is a directory" in failing(capsys, monkeypatch, "check", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--download", "--tasks", "1"], "--download takes the whole archive: leave out --tasks"),
        (["--download", "--seed", "0"], "leave out --seed"),
        (["--url", "http://a/b"], "--url 'http://a/b' says where to fetch from: add --download"),
        (["--tasks", "21"], "'21' in '21' names no tasks"),
        (["--download", "--url", "nowhere"], "'nowhere' is no web address"),
    ],
)
def test_options_that_make_no_sense(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert says in failing(capsys, monkeypatch, "babi", "--out", tmp_path / "out", *arguments)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    served = tmp_path / "served"
    served.mkdir()
    story = babi.format_story(babi.Story(1, (babi.Line(1, "Mary went to the garden."), QUESTION))).encode()
    with tarfile.open(served / "all.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo(f"tasks/en-10k/{babi.file_name(1, 'test')}")
        member.size = len(story)
        tar.addfile(member, io.BytesIO(story))
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(served))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/all.tar.gz"
        server.shutdown()


QUESTION = babi.Line(2, "Where is Mary? ", "garden", (1,))


def test_download_then_check(address: str, tmp_path: Path) -> None:
    done = spmn("babi", "--download", "--url", address, "--out", tmp_path / "data")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "data" / "tasks" / "en-10k"
    assert f"unpacked 1 files in {folder.parent}, 0 of the 19 with a known sha256" in done.output
    assert f"next: spmn data check {folder}" in done.output
    checked = spmn("check", folder)
    assert checked.exit_code == 0
    assert "1 test" in checked.output


def test_a_failed_download_is_one_line(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = failing(
        capsys, monkeypatch, "babi", "--download", "--url", f"{address}x", "--out", tmp_path / "data"
    )
    assert f"cannot fetch '{address}x': the server says 404" in line


def test_no_torch_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from spmn.cli import main;"
        "sys.argv = ['spmn', 'data', 'babi', '--train', '9', '--test', '9', '--out', sys.argv[1]]; main()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    assert spmn("check", tmp_path).exit_code == 0
