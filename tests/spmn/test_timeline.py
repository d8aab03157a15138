"""Stage 1: what its senses see, what it is trained towards, and how it is judged."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from spmn import timeline
from spmn.datasets.timeline import DIFFICULTIES, PLACES, Streams, generate
from spmn.errors import SettingsError
from spmn.perceiver import scene
from spmn.settings import Network
from spmn.timeline import POSITION, SENSES, Course, Timeline, buffered, chance, judge, read_slots, slot_loss

SMALL = Network(depth=2, heads=2, keys=16, values=32, encoder=32, decoder=1)


def streams(seed: int, count: int = 40, length: int = 20, difficulty: str = "again") -> Streams:
    return generate(np.random.default_rng(seed), count, length, 2, DIFFICULTIES[difficulty])


def ideal(of: Streams, sure: float = 8.0) -> dict[str, torch.Tensor]:
    """What a network would read that recalled the latest event first, and knew it."""
    cues = len(of.all_happened)
    read = {name: torch.zeros(cues, 2, size) for name, size in timeline.READS.items()}
    read["confidence"] -= sure
    for cue, events in enumerate(of.all_happened):
        for d, event in enumerate(reversed(events)):
            read["confidence"][cue, d] = sure
            read["content"][cue, d, event.content] = sure
            read["position"][cue, d] = sure * POSITION.codes[event.position]
    return read


def test_what_is_seen_is_what_the_senses_say() -> None:
    told = generate(np.random.default_rng(0), 2, 6, 2, DIFFICULTIES["again"], start=400)
    events = [
        [{"words": told.said(b, n), "position": 400 + n} for n in range(6)]
        + [{"words": told.asked(b, c)} for c in range(2)]
        for b in range(2)
    ]
    expected, found = scene(SENSES, events, 5), timeline.watching(told)
    for name in SENSES:
        assert torch.equal(found.seen[name], expected.seen[name])
    assert found.asks.tolist() == [[False] * 6 + [True] * 2] * 2
    assert found.real.all()


def test_an_ideal_recall_has_no_loss_and_all_the_precision() -> None:
    told = streams(1)
    assert float(slot_loss(ideal(told, 30.0), told)) < 1e-3
    scores = judge(read_slots(ideal(told), 20), told)
    assert scores.average_precision == scores.precision == scores.recall == scores.content == 1
    assert scores.localisation == 0


@pytest.mark.parametrize("part", ["content", "position", "confidence"])
def test_each_part_counts(part: str) -> None:
    told = streams(2)
    read = ideal(told)
    best = float(slot_loss(read, told))
    read[part] = read[part].flip(1) if part == "confidence" else -read[part]
    assert float(slot_loss(read, told)) > best + 1


def test_nothing_recalled_is_later_than_now() -> None:
    read = {name: torch.zeros(1, 2, size) for name, size in timeline.READS.items()}
    read["position"][0, 0] = 9 * POSITION.codes[300]
    read["position"][0, 1] = 9 * POSITION.codes[7]
    assert [slot.position for slot in read_slots(read, 512)[0]] == [300, 7]
    assert [slot.position < 100 for slot in read_slots(read, 100)[0]] == [True, True]


def test_slots_are_in_order_latest_first() -> None:
    told = streams(3)
    read = ideal(told)
    twice = [len(events) == 2 for events in told.all_happened]
    assert any(twice)
    for part in ("content", "position"):
        read[part][twice] = read[part][twice].flip(1)
    assert float(slot_loss(read, told)) > float(slot_loss(ideal(told), told)) + 1


def test_cues_of_nothing_have_a_loss() -> None:
    told = streams(4, count=1, length=4, difficulty="perhaps")
    nothing = Streams(told.events, np.array([[[31, 31], [30, 30]]]))
    assert nothing.all_happened == [[], []]
    assert 0 < float(slot_loss(ideal(nothing), nothing)) < 0.01


def test_a_list_forgets_what_came_first() -> None:
    told = streams(5)
    assert judge(buffered(told, 20), told).average_precision == 1
    assert judge(buffered(told, 10), told).recall == pytest.approx(0.5, abs=0.15)
    later = generate(np.random.default_rng(5), 40, 20, 2, DIFFICULTIES["again"], 100)
    assert judge(buffered(later, 20), later).average_precision == 1
    assert judge(buffered(later, 10), later).recall == judge(buffered(told, 10), told).recall
    assert timeline.entries(replace(SMALL, depth=1), 6) == math.floor(2 * 16 * 32 * 6 / 15)


def test_chance_is_low() -> None:
    told = streams(6, count=300, length=100, difficulty="once")
    scores = judge(chance(told, np.random.default_rng(0)), told)
    assert scores.recall < 0.1  # three events of a hundred are near enough
    assert scores.average_precision < 0.02
    right = [slot[0].content == events[0].content for slot, events in zip(
        chance(told, np.random.default_rng(0)), told.all_happened, strict=True)]  # fmt: skip
    assert np.mean(right) == pytest.approx(1 / len(PLACES), abs=0.03)


def test_it_trains_and_runs_as_integers() -> None:
    stage = Timeline(SMALL, Course("again", length=4, cues=2, events=100))
    optimiser = torch.optim.AdamW(stage.network.parameters(), 1e-2)
    losses = []
    for step in range(80):
        loss = stage.loss(np.random.default_rng(step))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.1
    network = stage.network.eval()
    deployed = timeline.program(network, 6)
    scores = timeline.judged(network, deployed, stage.course, length=8, count=5, memory_bits=6)
    assert list(scores) == ["torch", "emulator", "chance", "list of 819 events"]
    assert all(of.cues == 10 for of in scores.values())


def test_every_way_to_answer_is_judged_by_its_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Timeline(SMALL)
    for runner, function in (("torch", "recall"), ("emulator", "recall_on_chip")):
        with monkeypatch.context() as patched:
            for name in ("recall", "recall_on_chip"):
                wrong = name != function
                patched.setattr(timeline, name, lambda *of, wrong=wrong: told_by(of, wrong))
            scores = timeline.judged(
                stage.network, timeline.program(stage.network, 6), stage.course, 30, 20, 6
            )
        perfect = [name for name, of in scores.items() if of.average_precision == 1]
        assert perfect == [runner, "list of 819 events"]


def told_by(arguments: tuple[object, ...], wrong: bool) -> dict[str, torch.Tensor]:
    """The ideal recall of the streams among some arguments, or one that names other places and times."""
    (told,) = [of for of in arguments if isinstance(of, Streams)]
    read = ideal(told)
    return {name: -x for name, x in read.items()} if wrong else read


def test_short_streams_teach_all_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def noted(*of: object) -> Streams:
        starts.append(of[5])
        return generate(*of)  # type: ignore[arg-type]

    stage = Timeline(SMALL, Course("once", length=10, cues=2, events=10))
    monkeypatch.setattr(timeline, "generate", noted)
    for step in range(30):
        stage.loss(np.random.default_rng(step))
    assert min(starts) == 0
    assert max(starts) > 300


def test_cues_start_with_the_keys_of_their_events() -> None:
    network = timeline.build(SMALL)
    for level in network.levels:
        key, both, last = SMALL.width, 2 * SMALL.width, 2 * SMALL.width + SMALL.recall
        assert torch.equal(level.drive.weight[key:both], level.drive.weight[:key])
        assert torch.equal(level.drive.gain[key:both], level.drive.gain[:key])
        assert level.drive.bias[:both].unique().tolist() == pytest.approx([-0.5])
        assert level.drive.bias[both:last].unique().tolist() == pytest.approx([-0.8])
        assert (level.drive.bias[last:] == 1).all()  # gates stay open


def test_the_program_was_calibrated_at_all_positions() -> None:
    told = timeline.typical(np.random.default_rng(0))
    assert timeline.watching(told).seen["position"][:, : timeline.LONGEST].sum((0, 1, 2)).min() > 0
    assert POSITION.span == timeline.LONGEST


def test_integers_recall_what_the_float_network_recalls() -> None:
    stage = Timeline(SMALL)
    told = streams(8, count=4)
    program = timeline.program(stage.network, 6)
    with torch.no_grad():
        for level in stage.network.levels:
            level.drive.bias[SMALL.width : 2 * SMALL.width] += 0.5  # of read keys: more is recalled
        program = timeline.program(stage.network, 6)
        ours = timeline.recall(stage.network, told)
        theirs = timeline.recall_on_chip(stage.network, program, told, 6)
    for name, size in timeline.READS.items():
        assert ours[name].shape == theirs[name].shape == (8, 2, size)
        assert (ours[name] - theirs[name]).abs().mean() < 0.5 * ours[name].std()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"difficulty": "odd"}, "no difficulty 'odd'"),
        ({"length": 3}, "length is 3; it must be from 4 to 512"),
        ({"difficulty": "once", "length": 600}, "from 2 to 512"),
        ({"cues": 0}, "cues is 0"),
    ],
)
def test_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Course(**wrong)  # type: ignore[arg-type]
