"""What is written about the twenty tasks is what was measured, and what is shipped is what was trained."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from experiments import records
from experiments import results as page
from experiments.babi import bits, results, shipping, writing
from experiments.babi.__main__ import app as experiment
from experiments.babi.results import Result, interval, kept
from hardware.files import load
from hardware.fits import place
from spmn import pretrained
from spmn.cli import app
from spmn.data import Source, fingerprint
from spmn.datasets import babi
from spmn.datasets.generator import generate
from spmn.errors import CheckpointError, DataError, SpmnError
from spmn.events import Vocabulary
from spmn.export import export
from spmn.network import SPMN
from spmn.report import never_told, score
from spmn.runs import Run, open_run
from spmn.settings import RECIPES, Network, Preset, Training, preset, to_dict
from spmn.training import start, train
from spmn.warm_start import cuts, starts

RESULT = Result(
    1, 0, "official", 2, 100, 0.02, 0.03, 0.02, 0.99, 60.0, 1000, 9e3, 2e6, 1e3, (0.5, 0.02), (0.6, 0.1)
)


def test_the_better_seed_by_its_larger_error_is_kept() -> None:
    def one(seed: int, error: float, chip: float, protocol: str = "official", task: int = 1) -> Result:
        return dataclasses.replace(RESULT, task=task, seed=seed, error=error, chip=chip, protocol=protocol)

    runs = [one(0, 0.01, 0.05), one(1, 0.03, 0.02), one(2, 0.02, 0.03), one(3, 0.0, 0.0, "generated")]
    assert [r.seed for r in kept(runs)] == [1]
    assert [(r.task, r.seed) for r in kept([*runs, one(4, 0.5, 0.5, task=3)])] == [(1, 1), (3, 4)]


def test_interval() -> None:
    """Against Newcombe 1998 (Statistics in Medicine 17, 857), table I, method 3."""
    assert interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert interval(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_stories_that_were_told_in_training_are_not_asked_about_again() -> None:
    """Of task 4 there are so few that most generated ones were."""
    training, validation = Source((4,)).split()
    run = Run(Path(), Network(), Training(), Source((1, 4)), Vocabulary.of(training), "")
    held = shipping.few(run)
    assert held == {4: sorted(fingerprint(story) for story in validation)}
    assert not {fingerprint(story) for story in training} & set(held[4])


@pytest.mark.parametrize("shelf", [shipping.SHELF / "task04", shipping.JOINT], ids=["babi", "babi-joint"])
def test_shipped_networks_for_task_4_are_asked_what_they_had_set_aside(shelf: Path) -> None:
    held = pretrained.set_aside(shelf, 4)
    assert held
    assert pretrained.set_aside(shelf, 1) is None
    asked = [fingerprint(story) for story in never_told(shelf, 4)]
    assert set(asked) <= held
    assert 300 < len(asked) == len(set(asked))


def test_results_survive_the_file(tmp_path: Path) -> None:
    both = [dataclasses.replace(RESULT, seed=1), RESULT]
    records.write(both, tmp_path / "r.json")
    assert records.read(Result, tmp_path / "r.json") == both[::-1]
    better = dataclasses.replace(RESULT, error=0.01)
    records.enter(better, tmp_path / "r.json")
    assert records.read(Result, tmp_path / "r.json") == [better, both[0]]
    assert records.read(Result, tmp_path / "none.json") == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short training on files with official names."""
    folder = tmp_path_factory.mktemp("babi")
    babi.write(folder / "qa1_single-supporting-fact_train.txt", generate(1, 300, 0))
    small = Network(depth=1, heads=2, keys=16, values=32, embedding=16, encoder=32, decoder=32)
    preset = Preset(small, Training(epochs=2))
    run = start(folder / "task1-seed0", Source((1,), str(folder)), preset)
    train(run, threads=1)
    return run


def test_a_run_is_measured_and_shipped(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = results.finished([run.folder.parent])
    scored: list[SPMN] = []
    monkeypatch.setattr(
        results, "score", lambda network, *rest: scored.append(network) or score(network, *rest)
    )
    (result,) = results.measure(found)
    for parameter in scored[0].parameters():
        assert torch.equal(parameter, parameter.half().float())  # what is shipped is what was measured
    assert result.protocol == "official"
    assert result.curve == tuple(line["error"] for line in run.metrics)
    size = shipping.ship([found], [result], tmp_path)
    shipped = open_run(tmp_path / "task01")
    assert str(run.folder.parent) not in (tmp_path / "task01" / "run.json").read_text()
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) == size
    for ours, theirs in zip(
        shipped.trained().parameters(), results.halved(run.trained()).parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    with pytest.raises(CheckpointError, match="not among these"):
        shipping.ship([found], [dataclasses.replace(result, seed=7)], tmp_path)
    with pytest.raises(CheckpointError, match="not among these"):
        shipping.ship([found], [dataclasses.replace(result, curve=(0.1, 0.2))], tmp_path)


@pytest.fixture
def shelf(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set "tiny" with a network for task 1."""
    shipping.ship([run], results.measure(run), tmp_path / "shelf" / "tiny")
    (tmp_path / "shelf" / "tiny" / "README.md").write_text("card")
    monkeypatch.setattr(pretrained, "HERE", tmp_path / "shelf")
    return tmp_path / "shelf" / "tiny"


@pytest.mark.usefixtures("shelf")
def test_pretrained_networks_are_scored(run: Run, tmp_path: Path) -> None:
    told = generate(1, 60, 9)
    babi.write(tmp_path / "qa1_single-supporting-fact_test.txt", told)

    def asked(*options: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["evaluate", "--pretrained", "tiny", "--json", *options])
        assert done.exit_code == 0, done.output
        scores: dict[str, Any] = json.loads(done.stdout)
        return scores

    official = asked("--data", str(tmp_path), "--split", "test", "--runner", "emulator")
    report = official["tasks"]["1"]
    network = results.halved(run.trained())
    expected = score(network, told, "test", "emulator", export(network))
    assert (report["split"], report["runner"]) == ("test", "emulator")
    assert report["errors"] == {"1": expected.errors[1]}
    assert official["torch_mean"] == expected.torch_errors[1]
    assert report["cost"]["spikes"] == expected.cost["spikes"]

    generated = asked("--limit", "50")["tasks"]["1"]
    assert (generated["split"], generated["runner"], generated["questions"]) == (
        "generated",
        "torch",
        {"1": 50},
    )
    valid = asked("--data", str(run.folder.parent), "--split", "valid", "--tasks", "1")["tasks"]["1"]
    assert valid["errors"]["1"] == results.measure(run)[0].error

    table = CliRunner().invoke(app, ["evaluate", "--pretrained", "tiny", "--limit", "50"])
    assert "pretrained tiny: generated stories, runner: torch" in table.output


@pytest.mark.usefixtures("shelf")
def test_a_name_stands_for_a_pretrained_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pretrained.located("tiny/1") == pretrained.folder("tiny", 1)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["evaluate", "tiny/1", "--limit", "20"])
    assert "tiny/1: generated stories" in done.output  # the official files are elsewhere
    tuned = CliRunner().invoke(app, ["finetune", "tiny/1"])
    assert isinstance(tuned.exception, DataError)
    assert "name the official files' folder" in str(tuned.exception)
    (tmp_path / "tiny" / "1").mkdir(parents=True)
    assert pretrained.located("tiny/1") == Path("tiny/1")  # a folder of that name comes first


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pretrained", "huge"], "no pretrained networks 'huge'; choose one of tiny"),
        (["--pretrained", "tiny", "--tasks", "2"], "no network for task 2; it has 1"),
        (["--pretrained", "tiny", "--split", "valid"], "name them with --data"),
        (["--pretrained", "tiny", "--data", "nowhere"], "nowhere"),
        (["--pretrained", "tiny", "--memory-bits", "4"], "goes with a RUN"),
        (["--pretrained", "tiny", "--program", "p.h5"], "--program p.h5 goes with a RUN"),
        ([], "RUN folder or --pretrained"),
        (["tiny/1", "--pretrained", "tiny"], "RUN folder or --pretrained"),
        (["tiny/1", "--tasks", "1"], "goes with --pretrained"),
    ],
)
def test_what_cannot_be_scored_is_refused(options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", *options])
    assert isinstance(done.exception, SpmnError)
    assert said in str(done.exception)


def test_measuring_again_gives_the_same(run: Run) -> None:
    assert results.measure(run) == results.measure(run)


def test_generated_stories_have_a_column_of_their_own() -> None:
    runs = [
        RESULT,
        dataclasses.replace(RESULT, protocol="generated", error=0.123, chip=0.234),
        dataclasses.replace(RESULT, protocol="generated", error=0.9, changed="depth 2"),
    ]
    (row,) = [line for line in writing.table(runs).splitlines() if line.startswith("| 1 ")]
    assert "| 2.0 | 2.0 | 12.3, 23.4 |" in row
    assert [r.error for r in kept(runs)] == [RESULT.error]


def test_how_long_generated_stories_are_read_is_free(run: Run) -> None:
    told = dataclasses.replace(run.training, epochs=99, cycles=2, stories=77)
    official = results.changed(dataclasses.replace(run, training=told))
    generated = dataclasses.replace(run, training=told, source=Source((1,)))
    assert {"epochs 99", "cycles 2", "stories 77"} <= set(official.split(", "))
    assert not {"epochs 99", "cycles 2", "stories 77"} & set(results.changed(generated).split(", "))


@pytest.mark.usefixtures("shelf")
def test_bits_of_memory(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "RESULTS", tmp_path / "bits.json")
    monkeypatch.setattr(bits, "BITS", (6, 2))
    options = ["--networks", "tiny", "--data", str(run.folder.parent), "--limit", "10"]
    done = CliRunner().invoke(experiment, ["bits", *options])
    assert done.exit_code == 0, done.output
    found = records.read(bits.Bits, tmp_path / "bits.json")
    assert [(r.network, r.task, r.bits, r.questions) for r in found] == [
        ("tiny", 1, 6, 10),
        ("tiny", 1, 2, 10),
    ]
    network = open_run(pretrained.folder("tiny", 1)).trained()
    told = run.source.split()[1][:2]
    for r in found:
        report = score(network, told, "valid", "emulator", export(network, memory_bits=r.bits))
        assert r.error == report.errors[1]
        assert 0 < r.low < r.high
    row = writing.memory(found)[3].splitlines()[2]
    assert row.startswith(f"| 1 | 10 | {100 * found[0].torch:.1f} | {100 * found[0].error:.1f} | ")
    assert writing.memory([]) == []


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short training on two tasks together, of one of which the files hold too little."""
    folder = tmp_path_factory.mktemp("both")
    for task, questions in ((1, 300), (6, 100)):
        babi.write(folder / f"qa{task}_{babi.TASKS[task]}_train.txt", generate(task, questions, 0))
    small = Network(depth=1, heads=2, keys=16, values=32, embedding=16, encoder=32, decoder=32)
    run = start(
        folder / "joint-seed0",
        Source((1, 6), str(folder), fill=200),
        Preset(small, Training(epochs=2, fill=200)),
    )
    train(run, threads=1)
    return run


def test_one_network_for_several_tasks_is_measured_and_shipped(
    both: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [dataclasses.replace(r, changed="") for r in results.measure(both)]
    assert [(r.task, r.together, r.protocol) for r in found] == [
        (1, 2, "official"),
        (6, 2, "official and generated"),
    ]
    assert [r.key[:3] for r in found] == [key[:3] for key in results.keys(both)]
    lines = [line["errors"] for line in both.metrics]
    assert [r.curve for r in found] == [tuple(line[task] for line in lines) for task in ("1", "6")]
    assert [r.training for r in found] == [
        tuple(line["training_errors"][task] for line in both.metrics) for task in ("1", "6")
    ]
    assert kept(found) == results.alone(found) == []  # none is for one task alone
    assert results.joint(found) == {}  # not all tasks
    for module in (results, writing):
        monkeypatch.setattr(module, "TASKS", {task: babi.TASKS[task] for task in (1, 6)})
    assert [r.folder for r in results.finished([both.folder.parent])] == [both.folder]
    better = [dataclasses.replace(r, seed=1, chip=r.chip / 2, error=r.error / 2) for r in found]
    assert list(results.joint([*found, *better])) == [1, 0]
    assert min(r.error for r in found) > results.FLOOR
    solved = dataclasses.replace(found[0], seed=2, chip=0.049, error=0.049)  # one of two, though on average
    worse = dataclasses.replace(found[1], seed=2, error=0.999)
    assert list(results.joint([solved, worse, *found, *better])) == [2, 1, 0]

    monkeypatch.setattr(pretrained, "HERE", tmp_path)
    monkeypatch.setattr(shipping, "_run_of", lambda runs, result: both)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "README.md").write_text("card")
    size = shipping.ship_joint([both], found, tmp_path / "two")
    assert size == sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert (tmp_path / "two" / "README.md").read_text() == "card"
    assert pretrained.tasks("two") == [1, 6]
    assert pretrained.located("two") == pretrained.folder("two", 6) == tmp_path / "two"
    assert open_run(tmp_path / "two").metrics[-1]["errors"] == lines[-1]
    with pytest.raises(CheckpointError, match="measure it first"):
        shipping.ship_joint([both], [], tmp_path / "two")

    options = ["--data", str(both.folder.parent), "--split", "valid", "--runner", "emulator", "--json"]
    done = CliRunner().invoke(app, ["evaluate", "--pretrained", "two", *options])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)["tasks"]
    assert {task: report[task]["errors"] for task in report} == {
        str(r.task): {str(r.task): r.chip} for r in found
    }

    assert [path.name for path in writing.pictures(found, tmp_path)] == [writing.JOINT_PICTURE]
    text = "\n".join(writing.joint_parts(found))
    assert text.endswith(f"](babi/{writing.JOINT_PICTURE})")
    assert f"| 6 yes no questions* | {100 * found[1].error:.1f} % | {100 * found[1].chip:.1f} % |" in text
    assert f"| **mean of 2** | **{50 * (found[0].error + found[1].error):.1f} %** |" in text
    assert "spmn ask babi-joint" in writing.joint_card(found)
    bad = [dataclasses.replace(r, changed="focus 0.5", error=0.05, chip=0.06, seconds=5400.0) for r in found]
    bad[1] = dataclasses.replace(bad[1], error=0.049, chip=0.049)
    rows = writing.joint_runs([*bad, *found]).splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [["| none", "0 (shipped)"], ["| focus 0.5", "0"]]
    equal = f"{100 * found[0].agreement:.1f} %"
    assert rows[1] == f"| focus 0.5 | 0 | 5.0, 5.5 | {equal} | 1 (5.0) | 1 (6.0) | 2 | 1.5 |"


needs_results = pytest.mark.skipif(not results.RESULTS.exists(), reason="nothing was measured yet")


@needs_results
def test_texts_are_made_from_the_results() -> None:
    found = page.measured()
    for path, text in page.texts(found).items():
        assert path.read_text() == text, (
            f"{path} is not what the JSON files say: python -m experiments.results"
        )
    assert writing.table(found.babi) in page.README.read_text()
    for picture in re.findall(r"\]\((.*\.png)\)", page.PAGE.read_text()):
        assert (page.PAGE.parent / picture).exists()


@needs_results
def test_what_is_shipped_is_what_the_results_say() -> None:
    chosen = {r.task: r for r in kept(records.read(Result, results.RESULTS))}
    assert sorted(chosen) == pretrained.tasks("babi")
    for task, result in chosen.items():
        run = open_run(pretrained.folder("babi", task))
        assert run.training.seed == result.seed
        assert tuple(line["error"] for line in run.metrics) == result.curve
        recipe = RECIPES["single"][task]
        assert to_dict(run.network) == to_dict(recipe.network)
        assert to_dict(run.training) == {**to_dict(recipe.training), "seed": result.seed}
    assert sum(p.stat().st_size for p in shipping.SHELF.rglob("*") if p.is_file()) <= shipping.LIMIT


@needs_results
def test_the_shipped_network_for_all_tasks_is_what_the_results_say() -> None:
    runs = results.joint(records.read(Result, results.RESULTS))
    chosen = next(iter(runs.values()))
    assert [r.task for r in chosen] == list(babi.TASKS)
    run = open_run(shipping.JOINT)
    recipe = preset("joint", run.source.tasks)
    assert to_dict(run.network) == to_dict(recipe.network)
    assert to_dict(run.training) == {**to_dict(recipe.training), "seed": chosen[0].seed}
    assert [results.curve(run, r.task) for r in chosen] == [r.curve for r in chosen]
    assert dict(run.source.cuts).keys() == cuts(recipe.training.warm_start).keys()
    assert sum(p.stat().st_size for p in shipping.JOINT.rglob("*") if p.is_file()) <= shipping.LIMIT


@needs_results
def test_shipped_networks_say_what_those_they_began_with_had_set_aside() -> None:
    for task in pretrained.tasks("babi"):
        run = open_run(pretrained.folder("babi", task))
        known = dict(run.source.cuts)
        for begun in starts(run.training.warm_start):
            source = open_run(begun).source
            assert known.keys() >= {*source.tasks, *dict(source.cuts)} - {task}


def test_stories_that_a_warm_start_was_trained_on_are_not_scored(tmp_path: Path) -> None:
    """A run whose own record once said something else of them."""
    start(tmp_path / "first", Source((1,), questions=600, seed=3), Preset())
    source = Source((1,), questions=600, seed=4)
    run = start(tmp_path / "second", source, Preset())
    run = dataclasses.replace(run, training=Training(warm_start=str(tmp_path / "first")))
    scored, own, theirs = (
        {story.key for story in stories}
        for stories in (
            results.set_aside(run),
            source.split()[1],
            dataclasses.replace(source, cuts=((1, 3),)).split()[1],
        )
    )
    assert scored == own & theirs != own
    said = [results.changed(dataclasses.replace(run, source=dataclasses.replace(source, cuts=((1, seed),))))
            for seed in (3, 4)]  # fmt: skip
    assert said[1].removeprefix(said[0]) == ", task 1 cut by seed 4"


@needs_results
def test_the_network_for_all_tasks_fits_a_chip_as_the_readme_says() -> None:
    placed = place(load(shipping.JOINT / "program.h5"), "loihi2")
    assert placed.fits
    told = f"takes {len(placed.cores)} of the {placed.cores_available} neuro-cores of a Loihi 2"
    assert told in " ".join(page.README.read_text().split())


@needs_results
@pytest.mark.parametrize("network", pretrained.sets())
def test_shipped_programs_are_what_their_networks_export_to(network: str) -> None:
    """Made by an older exporter, or of other weights, they fail. Another CPU may round a weight up."""
    for folder in pretrained.networks(network):
        shipped, made = load(folder / "program.h5"), shipping.program(folder)
        for a, b in zip(shipped.projections, made.projections, strict=True):
            assert np.abs(a.weights - b.weights).max() <= 2
            assert dataclasses.replace(a, weights=b.weights) == b
        for c, d in zip(shipped.populations, made.populations, strict=True):
            assert dataclasses.replace(c, vth=d.vth) == d
            assert c.vth == pytest.approx(d.vth, abs=1)
        assert shipped.plastic == made.plastic
        assert shipped.attributes == made.attributes


@needs_results
def test_records_are_complete() -> None:
    for result in records.read(Result, results.RESULTS):
        assert json.loads(json.dumps(dataclasses.asdict(result)))["task"] in babi.TASKS
        assert 0 <= min(result.error, result.chip) <= 1
        assert len(result.curve) == result.epochs
