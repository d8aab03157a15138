"""A warm start brings along what belongs to common words, and only between networks of one size."""

import dataclasses
from pathlib import Path

import pytest
import torch

from spmn.datasets.generator import generate
from spmn.errors import CheckpointError, SettingsError
from spmn.events import Vocabulary, collate, stream
from spmn.network import SPMN
from spmn.runs import load_tensors
from spmn.settings import Network
from spmn.stages import Steps, train_stage
from spmn.timeline import Course, Timeline
from spmn.transfer import start_from, transfer

SMALL = Network(depth=2, heads=2, keys=8, values=32, embedding=16, encoder=16, decoder=24)


def network(task: int, seed: int, settings: Network = SMALL) -> SPMN:
    torch.manual_seed(seed)
    return SPMN(settings, Vocabulary.of(generate(task, 200, 0))).eval()


def test_a_story_of_common_words_is_answered_alike() -> None:
    first, other = network(1, seed=1), network(11, seed=2)
    assert first.vocabulary.words != other.vocabulary.words
    assert first.vocabulary.length < other.vocabulary.length
    transfer(first, other)
    stories = generate(1, 20, 5)[:3]
    here, there = (collate([stream(s, n.vocabulary) for s in stories]) for n in (first, other))
    asked = here.kind == 1
    with torch.no_grad():
        expected, got = first(here), other(there)
        torch.testing.assert_close(got.memory, expected.memory)
        common = [
            other.vocabulary.answers.index(a)
            for a in first.vocabulary.answers
            if a in other.vocabulary.answers
        ]
        kept = [first.vocabulary.answers.index(other.vocabulary.answers[i]) for i in common]
        torch.testing.assert_close(
            other.answer(got, asked)[:, common], first.answer(expected, asked)[:, kept]
        )
        words = [
            other.vocabulary.words.index(w) for w in first.vocabulary.words if w in other.vocabulary.words
        ]
        told = [first.vocabulary.words.index(other.vocabulary.words[i]) for i in words]
        before, after = first.clues(expected, asked), other.clues(got, asked)
        torch.testing.assert_close(after.content[..., words], before.content[..., told])
        torch.testing.assert_close(after.digits, before.digits)
        torch.testing.assert_close(after.confidence, before.confidence)
        torch.testing.assert_close(
            other.complete(got, asked)[:, words], first.complete(expected, asked)[:, told]
        )


def test_new_words_keep_their_own_weights() -> None:
    first, other = network(1, seed=1), network(11, seed=2)
    fresh = network(11, seed=2)
    transfer(first, other)
    new = [i for i, w in enumerate(other.vocabulary.words) if w not in first.vocabulary.words]
    assert new
    assert torch.equal(other.encoder.word.weight[new], fresh.encoder.word.weight[new])
    assert not torch.equal(other.encoder.word.weight, fresh.encoder.word.weight)


def test_networks_of_other_sizes_are_refused() -> None:
    wide = network(3, 0, dataclasses.replace(SMALL, encoder=32))
    with pytest.raises(SettingsError, match=r"same size: encoder\.projection"):
        transfer(network(2, 0), wide)
    deep = network(2, 0, dataclasses.replace(SMALL, depth=3))
    with pytest.raises(SettingsError, match="same size"):
        transfer(network(2, 0), deep)


def test_levels_of_another_stage(tmp_path: Path) -> None:
    stage = Timeline(dataclasses.replace(SMALL, values=32), Course(length=6, events=30))
    target = network(1, seed=2, settings=dataclasses.replace(SMALL, values=32))
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
            start_from(tmp_path, network(1, 0, dataclasses.replace(SMALL, values=32, **other)))  # type: ignore[arg-type]
    (tmp_path / "network.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no validated step"):
        start_from(tmp_path, target)
