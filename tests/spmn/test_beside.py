"""Networks side by side answer as each did alone, and only fit where there is room for all."""

import dataclasses

import pytest
import torch
from torch import Tensor

from spmn.beside import side_by_side
from spmn.datasets.babi import Story
from spmn.datasets.generator import generate
from spmn.errors import SettingsError
from spmn.events import Vocabulary, collate, stream
from spmn.levels import Activity
from spmn.network import SPMN
from spmn.settings import Network

FIRST = Network(depth=1, heads=2, keys=8, values=32, embedding=12, encoder=16, decoder=20)
SECOND = Network(depth=2, heads=1, keys=8, values=32, embedding=10, encoder=24, decoder=12)
WIDE = Network(depth=3, heads=4, keys=8, values=32, embedding=30, encoder=48, decoder=40)


def network(settings: Network, *tasks: int, seed: int) -> SPMN:
    torch.manual_seed(seed)
    stories = [story for task in tasks for story in generate(task, 200, 0)]
    return SPMN(settings, Vocabulary.of(stories)).eval()


@pytest.fixture
def three() -> tuple[SPMN, SPMN, SPMN]:
    """Networks for tasks 15 and 1, and both in a wider one. Gains and learning rates are alike; the clock
    is the second's, so the first has none."""
    first, second = network(FIRST, 15, seed=1), network(SECOND, 1, seed=2)
    torch.nn.init.zeros_(first.levels[0].clock)
    wide = network(WIDE, 1, 15, 20, seed=3)
    side_by_side([first, second], wide)
    return first, second, wide


def read(network: SPMN, stories: list[Story]) -> tuple[Activity, Tensor]:
    batch = collate([stream(story, network.vocabulary) for story in stories])
    with torch.no_grad():
        activity = network(batch)
    return activity, batch.kind == 1


@pytest.mark.parametrize(
    ("which", "task", "heads", "encoder"), [(0, 15, [1, 2], slice(16)), (1, 1, [3], slice(16, 40))]
)
def test_each_remembers_what_it_did_alone(
    three: tuple[SPMN, SPMN, SPMN], which: int, task: int, heads: list[int], encoder: slice
) -> None:
    alone, wide = three[which], three[2]
    stories = generate(task, 20, 5)[:3]
    expected, asked = read(alone, stories)
    found, _ = read(wide, stories)
    assert expected.memory.sum() > 0
    assert torch.equal(found.encoder[..., encoder], expected.encoder)
    for d, level in enumerate(expected.levels):
        torch.testing.assert_close(found.memory[d][:, heads], expected.memory[d])
        recall = found.levels[d].recall.unflatten(-1, (WIDE.heads, WIDE.values))[..., heads, :].flatten(-2)
        assert (recall != level.recall).float().mean() < 1e-3
    own = slice(0, 20) if which == 0 else slice(20, 32)
    assert (wide.decode(found, asked)[..., own] != alone.decode(expected, asked)).float().mean() < 1e-3


def test_answers_are_the_sum_of_what_all_say(three: tuple[SPMN, SPMN, SPMN]) -> None:
    first, _, wide = three
    found, asked = read(wide, generate(1, 20, 5)[:3])
    decoded = wide.decode(found, asked).mean(0)
    with torch.no_grad():
        logits = wide.answer(found, asked)
    for answer in first.vocabulary.answers:  # mouse, wolf, cat, sheep: the second has never heard of them
        there, here = first.vocabulary.answers.index(answer), wide.vocabulary.answers.index(answer)
        expected = decoded[:, :20] @ first.readout.weight[there] + first.readout.bias[there]
        free = decoded[:, 32:] @ wide.readout.weight[here, 32:]
        torch.testing.assert_close(logits[:, here], (expected + free).detach())


def test_of_an_answer_that_several_know_the_bias_is_the_last_ones() -> None:
    first, second = network(FIRST, 1, seed=1), network(SECOND, 1, seed=2)
    wide = network(WIDE, 1, seed=3)
    assert first.vocabulary.answers == wide.vocabulary.answers
    torch.nn.init.normal_(first.readout.bias)
    torch.nn.init.normal_(second.readout.bias)
    side_by_side([first, second], wide)
    found, asked = read(wide, generate(1, 20, 5)[:3])
    with torch.no_grad():
        logits, decoded = wide.answer(found, asked), wide.decode(found, asked).mean(0)
        said = decoded[:, :20] @ first.readout.weight.T + decoded[:, 20:32] @ second.readout.weight.T
        free = decoded[:, 32:] @ wide.readout.weight[:, 32:].T
        torch.testing.assert_close(logits, said + free + second.readout.bias)


def test_what_a_level_has_once_starts_at_the_mean_by_heads() -> None:
    first, second, wide = network(FIRST, 15, seed=1), network(SECOND, 1, seed=2), network(WIDE, 1, 15, seed=3)
    with torch.no_grad():
        first.levels[0].memory.gain.fill_(3.0)
        second.levels[0].memory.gain.fill_(6.0)
    fresh = wide.levels[2].memory.bias.clone()
    side_by_side([first, second], wide)
    assert wide.levels[0].memory.gain.item() == pytest.approx(4.0)
    assert torch.equal(wide.levels[1].memory.gain, second.levels[1].memory.gain)
    assert torch.equal(wide.levels[1].clock, second.levels[1].clock)
    assert torch.equal(wide.levels[2].memory.bias, fresh)


def test_each_head_keeps_its_own_gain_and_rates() -> None:
    own = dataclasses.replace(SECOND, per_head=True)
    first, second = network(FIRST, 15, seed=1), network(own, 1, seed=2)
    with torch.no_grad():
        first.levels[0].memory.gain.fill_(3.0)
        first.levels[0].memory.rates.logits.fill_(0.2)
        second.levels[0].memory.gain.fill_(5.0)
    wide = network(dataclasses.replace(WIDE, per_head=True), 1, 15, seed=3)
    fresh = wide.levels[0].memory.rates.logits[0].clone()
    side_by_side([first, second], wide)
    memory = wide.levels[0].memory
    assert memory.gain.tolist() == [6.0, 3.0, 3.0, 5.0]  # the first head is nobody's
    assert torch.equal(memory.rates.logits[0], fresh)
    assert (memory.rates.logits[1:3] == 0.2).all()
    assert torch.equal(memory.rates.logits[3], second.levels[0].memory.rates.logits[0])
    assert wide.levels[1].memory.gain.tolist() == [6.0, 6.0, 6.0, second.levels[1].memory.gain.item()]
    shared = network(WIDE, 1, 15, seed=3)
    side_by_side([first, second], shared)
    assert shared.levels[0].memory.gain.item() == pytest.approx((3.0 + 3.0 + 5.0) / 3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"heads": 2}, "heads is 2; the networks side by side in it need 3"),
        ({"encoder": 39}, "encoder is 39; .* need 40"),
        ({"depth": 1}, "depth is 1; one of the networks in it has 2 levels"),
        ({"keys": 16}, "the same keys: it is 8 there and 16 here"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, int], said: str) -> None:
    wide = network(dataclasses.replace(WIDE, **changed), 1, 15, seed=3)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=said):
        side_by_side([network(FIRST, 15, seed=1), network(SECOND, 1, seed=2)], wide)
