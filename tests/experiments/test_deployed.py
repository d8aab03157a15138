"""Runs on two runners are compared story by story."""

import numpy as np
import pytest

from experiments.deployed import equal_streams, spike_count
from hardware.recording import Recording


def recording(values: np.ndarray, name: str = "cell") -> Recording:
    key = (name, "spikes")
    return Recording("emulator", 1, len(values), {key: values}, {key: np.arange(1, len(values) + 1)})


@pytest.mark.parametrize("place", [(0, 1, 0), (3, 1, 2)])
def test_one_different_bit_is_one_different_story(place: tuple[int, int, int]) -> None:
    here, there = np.zeros((4, 3, 5), np.int32), np.zeros((4, 3, 5), np.int32)
    there[place] = 1
    assert equal_streams(recording(here), recording(there), 3).tolist() == [True, False, True]
    assert spike_count(recording(there)) == 1


def test_what_only_one_recorded_makes_all_different() -> None:
    some = np.zeros((4, 3, 5), np.int32)
    assert not equal_streams(recording(some), recording(some, "other"), 3).any()
    assert not equal_streams(recording(some), recording(some[:3]), 3).any()
