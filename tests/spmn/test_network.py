"""The network: state in and out, causality, padding, what reaches what."""

from dataclasses import replace
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from spmn.datasets.babi import Story
from spmn.errors import SettingsError
from spmn.events import PRACTICE, QUESTION, STATEMENT, Events, collate, stream
from spmn.levels import Level, Told, clock_lines
from spmn.network import SPMN, distinct
from spmn.neurons import ROWS, Projection, lif
from spmn.settings import PRESETS, Network, preset

aten = torch.ops.aten


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
    answers = network.answer(activity, rows), network.complete(activity, rows)
    total = sum((part.square().sum() for part in (*answers, *clues)), torch.zeros(()))
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
    lines = clock_lines(torch.tensor([0, 18, 255, 999]))
    assert [row.nonzero().flatten().tolist() for row in lines] == [[0, 16], [1, 18], [15, 31], [15, 31]]


def test_settings_are_checked() -> None:
    with pytest.raises(SettingsError, match="depth is 0"):
        Network(depth=0)
    with pytest.raises(SettingsError, match="fancy"):
        preset("fancy")
    assert set(PRESETS) >= {"default", "pair-stdp", "error-driven"}


def test_shared_sentences_change_nothing(
    network: SPMN, stories: list[Story], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Currents computed once per distinct sentence are those that each event would drive by itself."""
    events = collate([stream(story, network.vocabulary) for story in stories[:5]])
    shared: list[Tensor] = []
    run = Level.forward

    def forward(level: Level, words: Tensor, below: Tensor | None, told: Told, *others: Tensor):
        driven = words[told.sentence.flatten()]
        assert len(words) < len(driven)
        shared.append(driven if below is None else driven + below)
        return run(level, words, below, told, *others)

    monkeypatch.setattr(Level, "forward", forward)
    with torch.no_grad():
        activity = network(events)
        alone = network.encoder(events.words.flatten(0, 1), events.kind.flatten() == QUESTION)
        steps, shape = network.settings.steps, events.kind.shape
        z = lif(alone.expand(steps, *alone.shape), network.settings.dv, network.settings.slope)
        torch.testing.assert_close(activity.encoder, z.view(steps, *shape, -1))
        for d, level in enumerate(network.levels):
            seen = torch.cat([z, *(below.recall.flatten(1, 2) for below in activity.levels[:d])], -1)
            torch.testing.assert_close(shared[d].transpose(0, 1), level.drive(seen), rtol=1e-4, atol=1e-5)
    assert len(shared) == network.settings.depth


class Products(TorchDispatchMode):
    """Shapes of the operands of all products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[torch.Size, ...]] = set()

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        if operator.overloadpacket in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm):
            self.shapes.add(tuple(x.shape for x in arguments))
        return operator(*arguments, **(options or {}))


def products(network: SPMN, events: Events) -> set[tuple[torch.Size, ...]]:
    with Products() as mode:
        activity, rows = network(events, record=False), events.kind == QUESTION
        answers = network.answer(activity, rows), network.complete(activity, rows)
        read = *answers, *network.clues(activity, rows)
        assert all(len(x) == rows.sum() for x in read)
        sum(x.sum() for x in read).backward()
    return mode.shapes


def test_batches_of_as_many_events_have_the_same_products(network: SPMN, stories: list[Story]) -> None:
    """oneDNN compiles every new shape, and keeps it."""
    told = [stream(s, network.vocabulary) for s in stories[:2]]
    events = collate(told)
    fewer = replace(events, words=events.words[:1].expand_as(events.words).clone(), kind=events.kind.clone())
    fewer.kind[:, :-1] = STATEMENT
    counts = [(len(distinct(e)[0]), int((e.kind == QUESTION).sum())) for e in (events, fewer)]
    assert counts[0][0] != counts[1][0]
    assert counts[0][1] != counts[1][1]
    assert max(map(max, counts)) <= ROWS
    network.train()
    assert products(network, events) == products(network, fewer)


def said(words: Tensor, kind: Tensor) -> Events:
    """Events of which only the words and kinds matter."""
    return Events(words, kind, *(torch.zeros_like(kind) for _ in range(3)), task=torch.zeros(len(kind)))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (4, 9, 5))),
    vocabulary=st.sampled_from([1, 2, 40, 2**62]),
    seed=st.integers(0, 999),
)
def test_distinct_sentences(shape: tuple[int, int, int], vocabulary: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(0, vocabulary, shape, generator=random)
    kind = torch.randint(-1, PRACTICE + 1, shape[:2], generator=random)
    found, asks, sentence = distinct(said(words, kind))
    assert torch.equal(found[sentence], words)
    assert torch.equal(asks[sentence], kind >= QUESTION)
    rows = torch.cat((words, (kind >= QUESTION).long()[..., None]), -1).flatten(0, 1)
    assert len(found) == len(asks) == len({tuple(row) for row in rows.tolist()})


def test_sentences_with_the_same_key_are_told_apart() -> None:
    """Words p, 0 and 0, 1 weigh p p + 0 p^2 and 0 p + 1 p^2."""
    words = torch.tensor(
        [[[0x1E3779B97F4A7C15, 0], [0, 1], [0, 1]], [[3, 2], [0x1E3779B97F4A7C15, 0], [0, 1]]]
    )
    kind = torch.zeros(2, 3, dtype=torch.long)
    with mock.patch.object(torch, "unique", wraps=torch.unique) as unique:
        found, asks, sentence = distinct(said(words, kind))
    assert unique.call_count == 2, "the keys do not collide: write new ones"
    assert torch.equal(found[sentence], words)
    assert not asks.any()
    assert len(found) == 3


def test_what_was_picked_out_at_questions_is_what_happened_there(network: SPMN, stories: list[Story]) -> None:
    events = collate([stream(story, network.vocabulary) for story in stories[:3]])
    activity = network(events)
    questions = events.kind == QUESTION
    some = questions & (events.clock % 2 == 0)
    assert 0 < some.sum() < questions.sum() == len(activity.read)
    for rows in (questions, some, ~questions, events.clock < 4, torch.zeros_like(questions)):
        spikes = torch.cat((activity.encoder, *(level.recall for level in activity.levels)), -1)
        assert torch.equal(activity.seen(rows), spikes.permute(1, 2, 0, 3)[rows])
        assert activity.seen(rows).requires_grad


def test_weight_scale_reaches_every_projection(network: SPMN) -> None:
    drawn = []
    for scale in (1.0, 2.0):
        torch.manual_seed(0)
        built = SPMN(replace(network.settings, weight_scale=scale), network.vocabulary)
        drawn.append([module.weight for module in built.modules() if isinstance(module, Projection)])
    assert len(drawn[0]) == network.settings.depth + 2
    for short, long in zip(*drawn, strict=True):
        torch.testing.assert_close(2 * short, long)
