"""The number of an event as digits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spmn.errors import DataError, SettingsError
from spmn.senses import Position


@given(number=st.integers(0, 511), steps=st.integers(1, 5))
def test_digits(number: int, steps: int) -> None:
    spikes = Position()(number, steps)
    assert spikes.shape == (steps, 24)
    assert (spikes == spikes[0]).all()
    assert np.flatnonzero(spikes[0]).tolist() == [number // 64, 8 + number // 8 % 8, 16 + number % 8]


@given(st.integers(0, 80), st.integers(2, 9))
def test_what_its_lines_say_is_the_number(number: int, base: int) -> None:
    sense = Position(digits=2, base=base)
    if number >= sense.span:
        with pytest.raises(DataError, match=str(number)):
            sense(number, 3)
        return
    logits = 20.0 * torch.from_numpy(sense(number, 1).astype(np.float32))
    found = sense.log_probabilities(logits)
    assert found.shape == (1, base**2)
    assert int(found.argmax()) == number
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-4)


def test_codes_are_what_the_sense_says() -> None:
    sense = Position(digits=2, base=5)
    said = [sense(number, 1)[0].tolist() for number in range(sense.span)]
    assert sense.codes.tolist() == said


@pytest.mark.parametrize("wrong", [{"digits": 0}, {"base": 1}, {"digits": 5, "base": 9}])
def test_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=str(next(iter(wrong.values())))):
        Position(**wrong)
