"""Scores of recalled events, worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spmn.detection import Happened, Slot, score
from spmn.errors import SettingsError


def test_by_hand() -> None:
    slots = [
        [Slot(10.4, 0.9, 3), Slot(10.0, 0.8, 3), Slot(50.0, 0.3, 1)],  # found, found again: false, made up
        [Slot(71.0, 0.6, 2)],  # within one event, wrong content
        [Slot(20.0, 0.7, 0)],  # nothing happened
        [],  # missed
    ]
    happened = [[Happened(10, 3)], [Happened(70, 5)], [], [Happened(5, 1)]]
    found = score(slots, happened, [100] * 4)
    # by confidence: hit, no, no, hit, no; precision at hits 1 and 2/4
    assert found.average_precision == pytest.approx((1 + 0.5) / 3)
    assert found.precision == 2 / 4  # 0.9, 0.8, 0.7, 0.6
    assert found.recall == pytest.approx(2 / 3)
    # the surest slot of each cue that stands for something: 0.4 and 1 events off, nothing: all of the line
    assert found.localisation == pytest.approx(0.01)
    assert found.content == pytest.approx(1 / 3)
    assert found.cues == 4


def test_what_is_far_off_counts_as_far_off() -> None:
    slots = [[Slot(90.0, 0.6, 1), Slot(10.0, 0.4, 2)]]
    found = score(slots, [[Happened(10, 2), Happened(30, 1)]], [100])
    assert found.recall == 0  # at the threshold; the unsure slot found one
    assert found.average_precision > 0
    assert found.localisation == pytest.approx(0.6)
    assert found.content == 1  # that of the event nearest to the surest slot
    nothing = score([[Slot(3.0, 0.9, 1)]], [[]], [100])
    assert (nothing.localisation, nothing.content) == (0.0, 0.0)


def test_tolerance_grows_with_the_time_line() -> None:
    slots, happened = [[Slot(104.0, 1.0, 0)]], [[Happened(100, 0)]]
    assert score(slots, happened, [500]).recall == 1
    assert score(slots, happened, [300]).recall == 0
    assert score(slots, happened, [300], tolerance=0.02).recall == 1


def test_two_events_of_one_cue() -> None:
    happened = [[Happened(10, 1), Happened(11, 2)]]
    found = score([[Slot(10.6, 0.9, 2), Slot(10.1, 0.8, 1)]], happened, [100])
    assert (found.average_precision, found.recall, found.content) == (1, 1, 1)


def test_nothing_recalled_and_nothing_there() -> None:
    found = score([[], []], [[Happened(1, 0)], []], [10, 10])
    assert (found.average_precision, found.precision, found.recall, found.content) == (0, 0, 0, 0)
    assert found.localisation == 1
    assert score([[Slot(1.0, 0.9, 0)]], [[]], [10]).average_precision == 0


@given(
    events=st.lists(st.integers(0, 99), min_size=1, max_size=30, unique=True),
    noise=st.lists(st.floats(0, 0.49), max_size=20),
    seed=st.integers(0, 9),
)
def test_less_sure_inventions_cost_nothing(events: list[int], noise: list[float], seed: int) -> None:
    """All events found with confidence above all that is made up: a perfect score."""
    slots = [[Slot(float(p), 0.5 + p / 200, p)] for p in events] + [[Slot(3.0, c, 0)] for c in noise]
    happened = [[Happened(p, p)] for p in events] + [[] for _ in noise]
    found = score(slots, happened, [100] * len(slots))
    assert found.average_precision == pytest.approx(1)
    assert (found.recall, found.precision, found.localisation, found.content) == (1, 1, 0, 1)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_what_is_no_confidence(confidence: float) -> None:
    with pytest.raises(SettingsError, match="a confidence is"):
        score([[Slot(1.0, confidence, 0)]], [[]], [10])


def test_lengths_differ() -> None:
    with pytest.raises(SettingsError, match="slots of 1 cues, events of 2, 1 lengths"):
        score([[]], [[], []], [10])
