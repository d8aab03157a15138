"""The number of an event as remainders."""

from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spmn.errors import DataError, SettingsError
from spmn.senses import Position


@given(number=st.integers(0, 511), steps=st.integers(1, 5))
def test_remainders(number: int, steps: int) -> None:
    spikes = Position(512, (8, 9, 11))(number, steps)
    assert spikes.shape == (steps, 28)
    assert (spikes == spikes[0]).all()
    assert np.flatnonzero(spikes[0]).tolist() == [number % 8, 8 + number % 9, 17 + number % 11]


@given(st.integers(0, 80), st.integers(2, 9))
def test_what_its_lines_say_is_the_number(number: int, period: int) -> None:
    sense = Position(period * (period + 1), (period, period + 1))
    if number >= sense.span:
        with pytest.raises(DataError, match=str(number)):
            sense(number, 3)
        return
    logits = 20.0 * torch.from_numpy(sense(number, 1).astype(np.float32))
    found = sense.log_probabilities(logits)
    assert found.shape == (1, sense.span)
    assert int(found.argmax()) == number
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-4)


@given(number=st.integers(0, 511), period=st.integers(0, 5), wrong=st.integers(0, 12))
def test_a_wrong_remainder_is_outvoted(number: int, period: int, wrong: int) -> None:
    sense = Position()
    starts = [0, *accumulate(sense.periods)]
    lines = sense.codes[number].clone()
    one = slice(starts[period], starts[period + 1])
    lines[one] = torch.eye(sense.periods[period])[wrong % sense.periods[period]]
    assert int(sense.log_probabilities(lines).argmax()) == number


def test_codes_are_what_the_sense_says() -> None:
    sense = Position(20, (4, 5))
    said = [sense(number, 1)[0].tolist() for number in range(sense.span)]
    assert sense.codes.tolist() == said


@pytest.mark.parametrize(
    ("span", "periods", "quoted"),
    [
        (0, (2,), "span is 0"),
        (5000, (5000,), "5000"),
        (5, (1, 5), "1, 5"),
        (7, (2, 3), "2, 3"),
        (9, (), r"\(\)"),
    ],
)
def test_refused(span: int, periods: tuple[int, ...], quoted: str) -> None:
    with pytest.raises(SettingsError, match=quoted):
        Position(span, periods)
