"""The first stages from the command line: from a text file to the nearest memories, and a time line."""

import itertools
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spmn.cli import app
from spmn.datasets.sentences import generate
from spmn.errors import CheckpointError, DataError, SettingsError
from spmn.runs import read_metrics

QUICK = ["--steps", "6", "--heads", "4", "--threads", "1"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "mine.txt"
    path.write_text("\n".join((*generate("en", 60).sentences, "...")))
    return path


@pytest.fixture(scope="module")
def run(corpus: Path) -> Path:
    folder = corpus.parent / "run"
    done = CliRunner().invoke(
        app, ["train", "similarity", "--data", str(corpus), "--out", str(folder), *QUICK]
    )
    assert done.exit_code == 0, done.output
    assert "54 sentences" in done.output
    assert "(1 lines without a word left out)" in done.output
    assert "pairs of 6 others, device cpu" in done.output
    assert "integers (emulator)" in done.output
    assert "people" not in done.output  # nobody scored these sentences
    return folder


def test_a_text_file_is_learnt(run: Path) -> None:
    assert [line["step"] for line in read_metrics(run)] == [0, 6]
    pictures = {"scatter.png", "map.png", "map.txt"}
    weights = {"network.safetensors", "checkpoint.safetensors"}
    assert {path.name for path in run.iterdir()} == {"run.json", "metrics.jsonl"} | pictures | weights
    assert len((run / "map.txt").read_text().splitlines()) == 6


def test_scored_pairs_are_judged_by_people_too(tmp_path: Path) -> None:
    said = generate("zh", 40).sentences
    for name, half in (("train.csv", said[:20]), ("dev.csv", said[20:])):
        (tmp_path / name).write_text(
            "".join(f"{a},{b},{n}\n" for n, (a, b) in enumerate(itertools.pairwise(half)))
        )
    options = [
        "--data",
        str(tmp_path / "train.csv"),
        "--valid",
        str(tmp_path / "dev.csv"),
        "--out",
        str(tmp_path / "run"),
    ]
    done = CliRunner().invoke(app, ["train", "similarity", *options, *QUICK])
    assert done.exit_code == 0, done.output
    assert "judged on 19 pairs of 20 others" in done.output
    assert "people" in done.output


def test_nearest_memories_of_typed_sentences(run: Path, corpus: Path) -> None:
    asked = corpus.read_text().splitlines()[7]
    done = CliRunner().invoke(
        app, ["similar", str(run), "--data", str(corpus), "--count", "2"], input=f"{asked}\n\n[/]\n"
    )
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "60 sentences stored" in lines[0]
    assert lines[1] == f" 1.000  {asked}"
    assert len(lines) == 4
    assert "no word in the sentence '[/]'" in lines[3]


def test_a_run_of_another_kind_is_named(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["ask", str(run)])
    assert isinstance(done.exception, CheckpointError)
    assert "of stage 'similarity', which this command does not take; spmn similar takes it" in str(
        done.exception
    )


def test_our_own_corpora_have_names(tmp_path: Path, run: Path) -> None:
    done = CliRunner().invoke(app, ["similar", str(run), "--data", "zh"], input="")
    assert "4000 sentences stored" in done.output


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (["--data", "nowhere.txt"], DataError, "'nowhere.txt' cannot be read"),
        (["--loss", "huber"], SettingsError, "no loss 'huber'"),
        (["--segmenter", "latin"], SettingsError, "no segmenter 'latin'"),
        (["--learning-rate", "inf"], SettingsError, "learning_rate is inf"),
        (["--seed", "-1"], SettingsError, "seed is -1"),
        (["--data", "en", "--valid", "en.txt"], DataError, "0 sentences are left to validate on"),
        (["--threads", "-1"], SystemExit, "2"),
    ],
)
def test_what_cannot_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], error: type, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "en.txt").write_text("\n".join(generate("en").sentences))
    done = CliRunner().invoke(app, ["train", "similarity", "--out", str(tmp_path / "run"), *QUICK, *options])
    assert isinstance(done.exception, error)
    assert said in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_another_training_in_the_folder(run: Path, corpus: Path) -> None:
    done = CliRunner().invoke(
        app, ["train", "similarity", "--data", str(corpus), "--out", str(run), *QUICK, "--seed", "1"]
    )
    assert isinstance(done.exception, CheckpointError)


def test_a_time_line_is_learnt_and_judged(tmp_path: Path) -> None:
    sizes = {"steps": 2, "heads": 2, "length": 12, "streams": 3, "upto": 25, "threads": 1}
    options = [f"--{name}={value}" for name, value in sizes.items()]
    options += ["--difficulty", "perhaps", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, ["train", "timeline", *options])
    assert done.exit_code == 0, done.output
    assert "streams of up to 12 events, cues: perhaps, device cpu" in done.output
    curve = json.loads((tmp_path / "curve.json").read_text())
    assert list(curve) == ["10", "12", "20", "25"]
    assert list(curve["12"]) == ["torch", "emulator", "chance", "list of 1,638 events"]
    assert curve["12"]["torch"]["cues"] == 6
    assert curve["25"]["list of 1,638 events"]["recall"] == 1
    assert {"timeline.png", "curve.png", "network.safetensors"} <= {path.name for path in tmp_path.iterdir()}


def test_difficulties_have_names(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["train", "timeline", "--difficulty", "odd", "--out", str(tmp_path / "run")]
    )
    assert isinstance(done.exception, SettingsError)
    assert "once, perhaps, again" in str(done.exception)


def test_a_negative_seed_is_refused() -> None:
    done = CliRunner().invoke(app, ["train", "timeline", "--seed", "-1"])
    assert isinstance(done.exception, SettingsError)
    assert "seed is -1" in str(done.exception)


def test_a_curve_that_leaves_the_time_line_is_refused_before_training(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["train", "timeline", "--upto", "600", "--out", str(tmp_path / "run"), "--steps", "1"]
    )
    assert isinstance(done.exception, SettingsError)
    assert "length is 600; it must be from 2 to 512" in str(done.exception)
    assert not (tmp_path / "run").exists()
