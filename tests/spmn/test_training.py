"""Training: it learns, resumes bit-equal after SIGKILL, and leaves nothing half-written."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spmn import renaming, training
from spmn.data import Source
from spmn.datasets.babi import TASKS, Story
from spmn.errors import CheckpointError, SettingsError, SpmnError
from spmn.evaluation import answer, score_clues
from spmn.events import PRACTICE, QUESTION, Stream, collate, practise, stream
from spmn.network import SPMN
from spmn.renaming import Renaming
from spmn.runs import Run, load_tensors, open_run, save_tensors
from spmn.schedule import one_cycle
from spmn.settings import Network, Preset, Training
from spmn.training import Objective, chosen, start, step, train

NETWORK = Network(depth=1, heads=2, keys=16, values=16, embedding=24, encoder=24, decoder=32)
PRESET = Preset(
    NETWORK, Training(epochs=3, events_per_batch=60, focus=0.5, repeat=900, chip_weights_from=0.4)
)
SOURCE = Source((1,), questions=600)


def test_learns_task_1(tmp_path: Path) -> None:
    run = start(tmp_path, Source((1,), questions=8000), Preset(training=Training(epochs=6)))
    train(run)
    first, last = run.metrics[0], run.metrics[-1]
    assert last["error"] < 0.2
    assert last["loss"] < 0.5 * first["loss"]
    assert last["content"] > last["content_chance"] + 0.05
    network = open_run(tmp_path).trained()
    streams = [stream(s, run.vocabulary) for s in run.source.split()[1]]
    assert answer(network, streams).errors(streams)[1] == min(line["error"] for line in run.metrics)
    assert score_clues(network, streams[:20]).questions > 100


TRAIN = """
import sys
from pathlib import Path
from spmn import training
from tests_training import PRESET, SOURCE
training.CHECKPOINT_SECONDS = 0.2
training.train(training.start(Path(sys.argv[1]), SOURCE, PRESET), threads=1)
print("finished")
"""


def launch(folder: Path) -> subprocess.Popen[bytes]:
    code = TRAIN.replace(
        "from tests_training import PRESET, SOURCE",
        f"""
from spmn.data import Source
from spmn.settings import Network, Preset, Training
PRESET = Preset({NETWORK!r}, {PRESET.training!r})
SOURCE = {SOURCE!r}
""",
    )
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)


def test_resumes_bit_equal_after_sigkill(tmp_path: Path) -> None:
    whole = launch(tmp_path / "whole")
    assert whole.communicate()[0].strip() == b"finished"

    killed, kills = tmp_path / "killed", 0
    for _ in range(2):
        process = launch(killed)
        while not (killed / "checkpoint.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 1.0))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills > 0
    (killed / ".network.1.tmp.safetensors").write_bytes(b"half a file")
    assert launch(killed).communicate()[0].strip() == b"finished"

    for name in ("checkpoint.safetensors", "network.safetensors"):
        expected, _ = load_tensors(tmp_path / "whole" / name)
        found, _ = load_tensors(killed / name)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert torch.equal(tensor, found[key]), key
    lines = [open_run(folder).metrics for folder in (tmp_path / "whole", killed)]
    assert [{k: v for k, v in line.items() if k != "seconds"} for line in lines[0]] == [
        {k: v for k, v in line.items() if k != "seconds"} for line in lines[1]
    ]
    assert not list(killed.glob(".*"))


def test_interrupt_leaves_a_resumable_checkpoint(tmp_path: Path) -> None:
    process = launch(tmp_path / "run")
    while not (tmp_path / "run" / "checkpoint.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.wait()
    assert process.returncode != 0
    assert launch(tmp_path / "run").communicate()[0].strip() == b"finished"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    quick = replace(PRESET, training=replace(PRESET.training, epochs=1))
    run = start(tmp_path / "run", replace(SOURCE, questions=50), quick)
    train(run)
    return run


def test_another_training_in_the_same_folder_is_refused(run: Run) -> None:
    with pytest.raises(CheckpointError, match="holds another training"):
        start(run.folder, replace(run.source, seed=9), Preset(run.network, run.training))


@pytest.mark.parametrize("name", ["network.safetensors", "run.json"])
def test_damaged_files_are_refused(run: Run, name: str) -> None:
    path = run.folder / name
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"not a file of ours", b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=name):
            open_run(run.folder).trained()


def test_foreign_weights_are_refused(run: Run) -> None:
    save_tensors(run.folder / "network.safetensors", {"a": torch.zeros(2)}, {})
    wrong = len(run.build().state_dict()) + 1
    with pytest.raises(CheckpointError, match=f"does not fit.* is missing in .* and {wrong - 1} more differ"):
        open_run(run.folder).trained()


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("network", "depth", 2.5),
        ("network", "heads", True),
        ("network", "encoder", 10**12),
        ("vocabulary", "length", "6"),
        ("vocabulary", "length", -1),
        ("vocabulary", "counts", [1]),
        ("source", "folder", 5),
        ("source", "tasks", ["1"]),
        ("training", "epochs", None),
    ],
)
def test_records_of_wrong_values_are_refused(tmp_path: Path, part: str, name: str, value: object) -> None:
    path = start(tmp_path, replace(SOURCE, questions=50), PRESET).folder / "run.json"
    record = json.loads(path.read_text())
    record[part][name] = value
    path.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=r"run\.json' is damaged or foreign"):
        open_run(tmp_path)


def test_a_record_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="damaged or foreign"):
        open_run(tmp_path)


def test_a_trained_run_of_an_unknown_rule_is_refused(run: Run) -> None:
    path = run.folder / "run.json"
    path.write_text(path.read_text().replace("two-factor", "foo"))
    with pytest.raises(CheckpointError, match=r"run\.json' is damaged or foreign"):
        open_run(run.folder).trained()


def test_epochs_that_are_lost_are_missed(run: Run) -> None:
    path = run.folder / "metrics.jsonl"
    path.unlink()
    with pytest.raises(CheckpointError, match=r"metrics.jsonl' ends before epoch 1, where the checkpoint"):
        train(run)
    for left, said in (("", "ends before epoch 1"), ('{"epo', "is damaged"), ("5\n", "is damaged")):
        path.write_text(left)
        with pytest.raises(CheckpointError, match=said):
            train(run)


@pytest.mark.parametrize(
    ("network", "settings", "said"),
    [
        ({}, {"rename": "zzz"}, "rename names 'zzz'"),
        ({"rule": "foo"}, {}, "foo"),
        ({"heads": 2**31 - 1, "keys": 2**31 - 1}, {}, "no network of .*heads=2147483647"),
        ({"rule": "pair-stdp"}, {"chip_weights_from": 0.5}, "learns in every step"),
        ({}, {"warm_start": "nowhere"}, "no run folder"),
    ],
)
def test_nothing_is_written_of_a_training_that_cannot_begin(
    tmp_path: Path, network: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    preset = Preset(replace(NETWORK, **network), Training(**settings))
    with pytest.raises(SpmnError, match=said):
        start(tmp_path / "run", replace(SOURCE, questions=50), preset)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tmp_path, replace(SOURCE, questions=50), PRESET)
    monkeypatch.setattr(training, "step", lambda *_: dict.fromkeys(training.SUMS, math.nan))
    with pytest.raises(SettingsError, match="the loss is nan in epoch 1, batch 1; lower learning_rate"):
        train(run)
    assert {path.name for path in tmp_path.iterdir()} == {"run.json"}


def test_what_has_an_option_is_not_changed_as_a_setting() -> None:
    for changes, epochs, said in ((["seed=7"], None, "--seed alone"), (["epochs=2"], 3, "--epochs alone")):
        with pytest.raises(SettingsError, match=said):
            training.babi((1,), None, "default", epochs, 0, changes)
    assert training.babi((1,), None, "default", None, 0, ["epochs=2"])[1].training.epochs == 2


def test_weights_can_be_read_by_whoever_may_read_the_run(run: Run) -> None:
    modes = {path.stat().st_mode for path in run.folder.iterdir()}
    assert len(modes) == 1, modes


def test_other_versions_are_refused(run: Run) -> None:
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**record, "version": 99}))
    with pytest.raises(CheckpointError, match="version 99"):
        open_run(run.folder)


def test_missing_folders_and_unfinished_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run folder"):
        open_run(tmp_path)
    run = start(tmp_path, replace(SOURCE, questions=50), PRESET)
    with pytest.raises(CheckpointError, match="no finished epoch"):
        run.trained()


def test_one_cycle() -> None:
    factors = [one_cycle(i / 100, 0.1) for i in range(101)]
    assert factors[0] == 0.01
    assert factors[10] == 1.0
    assert factors[-1] == pytest.approx(0)
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_cycles_repeat_the_schedule_and_lower_the_practice() -> None:
    settings = Training(epochs=10, cycles=2, practice=0.4, practice_late=0.1)
    assert [settings.cycle(done) for done in (0.0, 0.25, 0.5, 0.75)] == [
        (0, 0.0),
        (0, 0.5),
        (1, 0.0),
        (1, 0.5),
    ]
    assert settings.cycle(1.0) == (1, 1.0)
    decaying = Training(epochs=3, cycles=3, learning_rate=0.8, cycle_decay=0.5)
    assert [decaying.peak(done) for done in (0.0, 0.3, 0.4, 0.7, 1.0)] == [0.8, 0.8, 0.4, 0.2, 0.2]
    assert [settings.practice_at(done) for done in (0.0, 0.49, 0.5, 1.0)] == [0.4, 0.4, 0.1, 0.1]
    with pytest.raises(SettingsError, match="cycles is 11"):
        Training(epochs=10, cycles=11)


def test_a_step_is_as_long_as_its_cycle_says(network: SPMN, stories: list[Story]) -> None:
    batch = collate([stream(s, network.vocabulary) for s in stories[:2]])
    optimiser = torch.optim.AdamW(network.parameters(), lr=1.0)
    settings = Training(epochs=2, cycles=2, learning_rate=8e-4, cycle_decay=0.5, warm_up=0.0)
    step(Objective(network, 0.1), optimiser, batch, settings, done=0.5)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(4e-4)


def test_names_change_from_a_share_of_the_epochs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed: list[int] = []
    lines: list[int] = []

    class Counting(Renaming):
        def __call__(self, story: Stream, random: np.random.Generator) -> Stream:
            renamed.append(len(lines))
            return super().__call__(story, random)

    monkeypatch.setattr(renaming, "Renaming", Counting)
    settings = Training(epochs=4, rename="john mary", rename_from=0.5)
    run = start(tmp_path, Source((1,), questions=60), Preset(NETWORK, settings))
    train(run, report=lambda kind, values: lines.append(1) if kind == "epoch" else None)
    assert sorted(set(renamed)) == [2, 3]  # epochs done before


def test_no_validation_story_is_told_with_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of task 4 there are so few stories that each is another one renamed."""
    told = set[bytes]()

    def heard(story: Stream, *rest: Any) -> Stream:
        told.add(story.key)
        return practise(story, *rest)

    monkeypatch.setattr(training, "practise", heard)
    settings = Training(epochs=2, rename="bathroom bedroom garden hallway kitchen office")
    run = start(tmp_path, Source((4,), questions=600), Preset(NETWORK, settings))
    train(run)
    own, held = ({stream(s, run.vocabulary).key for s in side} for side in run.source.split())
    assert told - own
    assert not told & held


def test_practice_questions_count_with_their_weight(network: SPMN, stories: list[Story]) -> None:
    drawn = np.random.default_rng(0)
    vocabulary = network.vocabulary
    told = [practise(stream(s, vocabulary), vocabulary, 0.5, drawn) for s in stories[:4]]
    batch = collate(told)
    rows = batch.kind == PRACTICE
    with torch.no_grad():
        without, with_it = (
            float(Objective(network, 0.1, practice_weight=w)(batch).total) for w in (0.0, 2.0)
        )
        words = network.complete(network(batch), rows)
    expected = 2 * float(nn.functional.cross_entropy(words, batch.target[rows]))
    assert with_it - without == pytest.approx(expected, rel=1e-4)


def test_the_sums_of_a_batch_are_those_of_its_events(network: SPMN, stories: list[Story]) -> None:
    told = [stream(s, network.vocabulary) for s in (*stories[:3], *stories[-2:])]  # two tasks, two lengths
    batch, asked, wrong, losses, spikes = collate(told), Counter[int](), Counter[int](), 0.0, 0.0
    with torch.no_grad():
        sums = Objective(network, 0.1)(batch).sums(batch)
        for s in told:
            alone = collate([s])
            activity = network(alone)
            logits, target = network.answer(activity, alone.kind == QUESTION), s.target[s.kind == QUESTION]
            asked[s.task] += len(target)
            wrong[s.task] += int((logits.argmax(-1).numpy() != target).sum())
            losses += float(nn.functional.cross_entropy(logits, torch.from_numpy(target), reduction="sum"))
            spikes += float(activity.encoder.mean((0, 3)).sum())
    assert sums.keys() == set(training.SUMS)
    for task in TASKS:
        assert (sums[f"asked {task}"], sums[f"wrong {task}"]) == (asked[task], wrong[task])
    assert 0 < sum(wrong.values()) < sum(asked.values())
    assert sums["events"] == sum(len(s.kind) for s in told) < batch.kind.numel()
    assert (sums["loss"], sums["spikes"]) == pytest.approx((losses, spikes), rel=1e-4)


def test_what_is_known_is_told_less_often_and_little_stories_again() -> None:
    settings = Training(focus=0.8, repeat=200)
    assert [settings.told(1000, error, 0.0) for error in (0.0, 0.025, 0.05, 1.0)] == pytest.approx(
        [0.2, 0.6, 1, 1]
    )
    assert settings.told(50, 1.0, 0.0) == 4.0
    assert settings.told(50, 0.0, 0.0) == pytest.approx(0.8)
    assert Training().told(50, 0.0, 0.0) == 1.0


def test_what_is_far_from_solved_is_told_again_and_again() -> None:
    settings = Training(focus=0.8, repeat=200, insist=3.0, insist_from=0.5)
    assert [settings.told(100, error, 0.5) for error in (0.0, 0.05, 0.1, 0.15, 1.0)] == pytest.approx(
        [0.4, 2, 4, 6, 6]
    )
    assert settings.told(1000, 1.0, 0.5) == 1.0  # enough as it is
    assert settings.told(100, 1.0, 0.4) == 2.0  # not yet


def test_an_epoch_tells_stories_as_often_as_its_task_needs() -> None:
    def story(task: int, events: int) -> Stream:
        none = np.full(events, -1)
        return Stream(task, np.zeros((events, 3), np.int64), none, none, none, none)

    streams = [*(story(1, 10) for _ in range(100)), *(story(2, 10) for _ in range(100)), story(3, 100)]
    settings = Training(focus=0.9, repeat=250)
    drawn = chosen(streams, settings, {"1": 0.0, "2": 0.05}, 0.0, np.random.default_rng(0))
    told = [sum(s.task == task for s in drawn) for task in (1, 2, 3)]
    assert 2 <= told[0] <= 25  # 10 expected
    assert told[1] == 100
    assert 2 <= told[2] <= 3  # 2.5 expected, with no error known
    known = Training(focus=0.999)
    assert len(chosen(streams[:2], known, {"1": 0.0}, 0.0, np.random.default_rng(0))) == 1  # at least one
    random = np.random.default_rng(0)
    assert chosen(streams, Training(), {}, 0.0, random) == streams
    assert random.random() == np.random.default_rng(0).random()  # nothing is drawn where nothing is chosen


def test_training_errors_are_counted_by_task(tmp_path: Path) -> None:
    still = Training(
        epochs=1, learning_rate=1e-12, practice=0.0
    )  # answers of the drawn weights, but for dropout
    run = start(tmp_path, Source((1, 15), questions=200), Preset(replace(NETWORK, dropout=0.0), still))
    train(run)
    network, training = run.trained(), run.source.split()[0]
    streams = [stream(s, run.vocabulary) for s in training]
    expected = answer(network, streams).errors(streams)
    assert run.metrics[0]["training_errors"] == pytest.approx(
        {str(t): e for t, e in expected.items()}, abs=1e-4
    )
    wrong = sum(expected[s.task] * len(s.questions) for s in training) / sum(
        len(s.questions) for s in training
    )
    assert run.metrics[0]["accuracy"] == pytest.approx(1 - wrong, abs=1e-4)
