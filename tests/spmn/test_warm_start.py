"""Warm starts: from a run, from several, from another stage; what they were validated on stays unseen."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from spmn.data import Source
from spmn.datasets.babi import write
from spmn.datasets.generator import generate
from spmn.errors import CheckpointError, SettingsError
from spmn.events import Vocabulary
from spmn.network import SPMN
from spmn.runs import Run, load_tensors, open_run
from spmn.settings import Network, Preset, Training, to_dict
from spmn.stages import Steps, train_stage
from spmn.timeline import Course, Timeline
from spmn.training import babi, start, train
from spmn.warm_start import cuts, start_from

NETWORK = Network(depth=1, heads=2, keys=16, values=16, embedding=24, encoder=24, decoder=32)
LEVELS = Network(depth=2, heads=2, keys=8, values=32, embedding=16, encoder=16, decoder=24)


def test_a_warm_start_begins_with_the_weights_of_a_run(tmp_path: Path) -> None:
    source = Source((1,), questions=60)
    first = start(tmp_path / "first", source, Preset(NETWORK, Training(epochs=1)))
    train(first)
    still = Training(epochs=1, seed=1, learning_rate=1e-12, warm_start=str(tmp_path / "first"))
    second = start(tmp_path / "second", source, Preset(NETWORK, still))
    train(second)
    for (name, ours), theirs in zip(
        second.trained().named_parameters(), first.trained().parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_a_warm_start_keeps_what_it_was_validated_on(tmp_path: Path) -> None:
    """No story that any network of a chain of warm starts was trained on is a validation story later."""

    def trained(name: str, tasks: tuple[int, ...], seed: int, begins: str = "", **sizes: int) -> str:
        changes = [f"{k}={v}" for k, v in {**to_dict(NETWORK), **sizes, "stories": 60}.items()]
        source, preset = babi(tasks, None, "default", 1, seed, [*changes, f"warm_start={begins}"])
        run = start(tmp_path / name, source, preset)
        train(run)
        assert open_run(run.folder) == run
        return str(run.folder)

    first = trained("first", (1,), seed=3)
    second = trained("second", (2,), seed=4, begins=first)
    third = trained("third", (6,), seed=5)
    assert cuts(second) == {1: 3, 2: 4}
    assert cuts(f"{second} + {third}") == {1: 3, 2: 4, 6: 5}
    double = {name: 2 * getattr(NETWORK, name) for name in ("embedding", "encoder", "heads", "decoder")}
    wide = trained("wide", (1, 2, 6, 7), seed=0, begins=f"{second} + {third}", **double)
    assert open_run(Path(wide)).source.cuts == ((1, 3), (2, 4), (6, 5))
    assert cuts(wide) == {1: 3, 2: 4, 6: 5, 7: 0}
    again = trained("again", (1,), seed=9)
    with pytest.raises(SettingsError, match=r"stories of task 1 that differ \(seeds 3 and 9\)"):
        cuts(f"{second} + {again}")
    with pytest.raises(CheckpointError, match="no run folder"):
        cuts(str(tmp_path / "none"))


def test_no_validation_story_was_told_to_what_a_training_starts_from(tmp_path: Path) -> None:
    write(tmp_path / "qa1_single-supporting-fact_train.txt", generate(1, 200, 0))

    def begun(name: str, seed: int, begins: str = "", **others: float) -> Run:
        given = {**to_dict(NETWORK), "epochs": 1, "warm_start": begins, **others}
        changes = [f"{k}={v}" for k, v in given.items()]
        source, preset = babi((1,), tmp_path, "default", None, seed, changes)
        return start(tmp_path / name, source, preset)

    first = begun("first", seed=3)
    train(first)
    told = {story.key for story in first.source.split()[0]}
    for name, share in (("same", 0.1), ("fewer", 0.05)):
        second = begun(name, seed=9, begins=str(first.folder), validation=share)
        assert not told & {story.key for story in second.source.split()[1]}
    with pytest.raises(SettingsError, match=r"validation is 0\.2, .* at most 0\.1 can be validated on"):
        begun("more", seed=9, begins=str(first.folder), validation=0.2)
    own = Source((1,), str(tmp_path), seed=9)
    preset = Preset(NETWORK, Training(warm_start=str(first.folder)))
    with pytest.raises(SettingsError, match=r"cut by seed 9, .* give the Source cuts=\(\(1, 3\),\)"):
        start(tmp_path / "own", own, preset)


def test_levels_of_another_stage(tmp_path: Path) -> None:
    stage = Timeline(LEVELS, Course(length=6, events=30))
    target = network(1, seed=2, settings=LEVELS)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointError, match="no run folder"):
        start_from(tmp_path, target)
    train_stage(stage, Steps(steps=1, validate_every=1), tmp_path, threads=1)
    start_from(tmp_path, target)
    trained = load_tensors(tmp_path / "network.safetensors")[0]
    for name, tensor in target.state_dict().items():
        theirs = name.startswith("level.") and not name.endswith("clock")
        assert torch.equal(tensor, trained[name] if theirs else before[name])
    for other in ({"encoder": 20}, {"depth": 1}, {"steps": 4}, {"rule": "error-driven"}):
        (name,) = other
        with pytest.raises(SettingsError, match=f"levels of the same kind: {name} is"):
            start_from(tmp_path, network(1, 0, dataclasses.replace(LEVELS, **other)))  # type: ignore[arg-type]
    record = json.loads((tmp_path / "run.json").read_text())
    del record["network"]["per_head"]  # a run that is older than the setting
    (tmp_path / "run.json").write_text(json.dumps(record))
    train_stage(stage, Steps(steps=1, validate_every=1), tmp_path, threads=1)
    (tmp_path / "network.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no validated step"):
        start_from(tmp_path, target)


def network(task: int, seed: int, settings: Network) -> SPMN:
    torch.manual_seed(seed)
    return SPMN(settings, Vocabulary.of(generate(task, 200, 0))).eval()
