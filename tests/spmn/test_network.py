"""The network: state in and out, causality, padding, what reaches what."""

from dataclasses import replace

import pytest
import torch

from spmn.datasets.babi import Story
from spmn.errors import SettingsError
from spmn.events import QUESTION, collate, stream
from spmn.network import SPMN, clock_lines, distinct
from spmn.neurons import lif
from spmn.settings import PRESETS, Network, preset


def test_event_by_event_equals_the_whole_story(network: SPMN, stories: list[Story]) -> None:
    events = collate([stream(s, network.vocabulary) for s in stories[:3]])
    whole = network(events)
    memory = network.start(3)
    for n in range(events.kind.shape[1]):
        one = network(events.at(slice(n, n + 1)), memory)
        memory = one.memory
        for a, b in zip(one.levels, whole.levels, strict=True):
            assert torch.equal(a.recall[:, :, 0], b.recall[:, :, n])
    torch.testing.assert_close(memory, whole.memory)
    assert whole.memory.abs().sum() > 1
    assert all(level.recall.mean() > 0.01 for level in whole.levels)


def test_padding_changes_nothing(network: SPMN, stories: list[Story]) -> None:
    streams = [stream(s, network.vocabulary) for s in (stories[0], stories[-1])]
    assert len(streams[0].kind) != len(streams[1].kind)
    together = network(collate(streams))
    for b, alone in enumerate(streams):
        single = network(collate([alone]))
        torch.testing.assert_close(together.memory[:, b], single.memory[:, 0])


def test_questions_do_not_write(network: SPMN, stories: list[Story]) -> None:
    events = collate([stream(stories[0], network.vocabulary)])
    asked = replace(events, kind=torch.full_like(events.kind, QUESTION))
    assert network(asked).memory.abs().sum() == 0


def test_every_parameter_gets_a_gradient(network: SPMN, stories: list[Story]) -> None:
    events = collate([stream(s, network.vocabulary) for s in stories])
    activity = network(events)
    rows = events.kind == QUESTION
    clues = network.clues(activity, rows)
    total = network.answer(activity, rows).square().sum() + sum(part.square().sum() for part in clues)
    total.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_clues_have_the_papers_shape(network: SPMN, stories: list[Story]) -> None:
    events = collate([stream(s, network.vocabulary) for s in stories[:2]])
    rows = events.kind == QUESTION
    clues = network.clues(network(events), rows)
    count, depth = int(rows.sum()), network.settings.depth
    now = events.clock[rows]
    assert clues.time(now).shape == (count, depth, 2)
    assert clues.content.shape == (count, depth, len(network.vocabulary.words))
    position, confidence = clues.time(now).unbind(-1)
    assert ((position >= 0) & (position <= now[:, None])).all()
    assert ((confidence > 0) & (confidence < 1)).all()


def test_clock_lines() -> None:
    lines = clock_lines(torch.tensor([0, 17, 255, 999]))
    assert [row.nonzero().flatten().tolist() for row in lines] == [[0, 16], [1, 17], [15, 31], [15, 31]]


def test_settings_are_checked() -> None:
    with pytest.raises(SettingsError, match="depth is 0"):
        Network(depth=0)
    with pytest.raises(SettingsError, match="fancy"):
        preset("fancy")
    assert set(PRESETS) >= {"default", "chained", "pair-stdp", "error-driven"}


def test_shared_sentences_change_nothing(network: SPMN, stories: list[Story]) -> None:
    """Currents computed once per distinct sentence are those that each event would drive by itself."""
    events = collate([stream(story, network.vocabulary) for story in stories[:5]])
    words, asks, sentence = distinct(events)
    assert len(words) < events.kind.numel()
    assert (words[sentence] == events.words.flatten(0, 1)).all()
    assert (asks[sentence] == (events.kind.flatten() == QUESTION)).all()
    with torch.no_grad():
        activity = network(events)
        steps, shape = network.settings.steps, events.kind.shape
        alone = network.encoder(events.words.flatten(0, 1), events.kind.flatten() == QUESTION)
        z = lif(alone.expand(steps, *alone.shape), network.settings.dv, network.settings.slope)
        torch.testing.assert_close(activity.encoder, z.view(steps, *shape, -1))
        shared = network.heard(z.view(steps, -1, network.settings.encoder))
        for d, (level, (driven, weights)) in enumerate(zip(network.levels, shared, strict=True)):
            below = [activity.levels[j].recall.flatten(1, 2) for j in range(d)]
            for recall, weight in zip(below, weights, strict=True):
                driven = driven + recall @ weight.T
            torch.testing.assert_close(driven, level.drive(torch.cat([z, *below], -1)), rtol=1e-4, atol=1e-5)
