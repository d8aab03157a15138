"""A warm start brings along what belongs to common words, and only between networks of one size."""

import dataclasses

import pytest
import torch

from spmn.datasets.generator import generate
from spmn.errors import SettingsError
from spmn.events import Vocabulary, collate, stream
from spmn.network import SPMN
from spmn.settings import Network
from spmn.transfer import levels, transfer

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


def test_heads_that_shared_gain_and_rates_each_start_with_them() -> None:
    own = dataclasses.replace(SMALL, per_head=True)
    shared, target = network(1, seed=1), network(1, seed=2, settings=own)
    with torch.no_grad():
        shared.levels[0].memory.gain.fill_(3.0)
        shared.levels[1].memory.rates.logits.copy_(torch.tensor([0.1, 0.2]))
    transfer(shared, target)
    assert target.levels[0].memory.gain.tolist() == [3.0, 3.0]
    torch.testing.assert_close(target.levels[1].memory.rates.logits, torch.tensor([[0.1, 0.2]] * 2))
    with torch.no_grad():
        target.levels[0].memory.gain.copy_(torch.tensor([3.0, 5.0]))
    transfer(target, shared)
    assert shared.levels[0].memory.gain.item() == 4.0
    levels(target.state_dict(), shared)
    torch.testing.assert_close(shared.levels[1].memory.rates.logits, torch.tensor([0.1, 0.2]))


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
