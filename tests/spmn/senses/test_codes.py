"""Rate and latency codes: how many spikes, and when."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spmn.errors import SettingsError
from spmn.senses.codes import CODES, code_named, latency, poisson, rate

VALUES = arrays(np.float32, st.integers(1, 20), elements=st.floats(0, 1, width=32))


@settings(deadline=None)  # the first use of a code imports its library
@given(values=VALUES, steps=st.integers(1, 12))
def test_the_rate_code_counts(values: np.ndarray, steps: int) -> None:
    spikes = rate(values, steps)
    assert spikes.shape == (steps, len(values))
    assert (spikes.sum(0) == np.floor(values * steps + 0.5)).all()
    if steps > 1:  # evenly: any two windows of equal length differ by at most a spike
        for length in range(1, steps):
            counts = np.lib.stride_tricks.sliding_window_view(spikes, length, 0).sum(-1, dtype=int)
            assert (counts.max(0) - counts.min(0) <= 1).all()


def test_the_latency_code_by_hand() -> None:
    spikes = latency(np.array([1.0, 0.76, 0.5, 0.05, 0.04, 0.0], np.float32), 5)
    when = [np.flatnonzero(line).tolist() for line in spikes.T]
    assert when == [[0], [1], [2], [4], [], []]


@settings(deadline=None)  # the first use of a code imports its library
@given(values=VALUES, steps=st.integers(1, 12))
def test_larger_values_spike_earlier(values: np.ndarray, steps: int) -> None:
    spikes = latency(values, steps)
    assert (spikes.sum(0) == (values >= 0.05)).all()
    when = np.where(spikes.any(0), spikes.argmax(0), steps)
    order = np.argsort(-values)
    assert (np.diff(when[order]) >= 0).all()


def test_the_poisson_code_has_the_rate_and_the_seed() -> None:
    values = np.linspace(0, 1, 11, dtype=np.float32)
    spikes = poisson(np.repeat(values, 200), 20, seed=3)
    assert spikes.reshape(20, 11, 200).mean((0, 2)) == pytest.approx(values, abs=0.03)
    assert (poisson(values, 20, seed=3) == poisson(values, 20, seed=3)).all()
    assert (poisson(values, 20, seed=3) != poisson(values, 20, seed=4)).any()


def test_names() -> None:
    for name in CODES:
        assert code_named(name)(np.ones(3, np.float32), 4).dtype == np.uint8
    with pytest.raises(SettingsError, match="no code 'morse'; choose one of rate, latency, poisson"):
        code_named("morse")
