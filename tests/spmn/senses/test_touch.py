"""The level-crossing code of pressure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spmn.errors import DataError, SettingsError
from spmn.senses import Touch


def test_by_hand() -> None:
    # levels 1/4 and 3/4; four steps of two samples
    pressure = np.array([0.0, 0.3, 0.8, 0.8, 0.5, 0.1, 0.1, 0.8])[:, None]
    spikes = Touch(channels=1, levels=2)(pressure, 4).reshape(4, 2, 2)  # step, level, up or down
    assert spikes.tolist() == [
        [[1, 0], [0, 0]],
        [[0, 0], [1, 0]],
        [[0, 1], [0, 1]],
        [[1, 0], [1, 0]],
    ]


@given(
    pressure=arrays(np.float64, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(0, 1)),
    steps=st.integers(1, 8),
)
def test_ups_and_downs_balance(pressure: np.ndarray, steps: int) -> None:
    """With a step for every sample nothing is merged: ups less downs are the levels below the pressure."""
    spikes = Touch(3, 5)(pressure, len(pressure)).reshape(len(pressure), 3, 5, 2).astype(int)
    held = (spikes[..., 0] - spikes[..., 1]).cumsum(0)
    assert (held == (pressure[:, :, None] > (np.arange(5) + 0.5) / 5)).all()
    coarse = Touch(3, 5)(pressure, steps)
    assert coarse.shape == (steps, 30)
    assert (coarse.any(0) == spikes.reshape(len(pressure), -1).any(0)).all()


def test_nothing_changes_nothing_is_sent() -> None:
    assert not Touch(2)(np.zeros((50, 2)), 5).any()
    assert Touch(2)(np.full((50, 2), 0.9), 5)[1:].sum() == 0


@pytest.mark.parametrize(
    ("pressure", "said"),
    [
        (np.zeros((5, 3)), r"shape \[5, 3\]; give \[samples, 8\]"),
        (np.zeros((0, 8)), r"shape \[0, 8\].*not empty"),
        (np.full((5, 8), 1.5), "from 1.5 to 1.5; normalise"),
        (np.full((5, 8), np.nan), "from nan to nan"),
    ],
)
def test_what_is_no_touch_is_refused(pressure: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Touch()(pressure, 5)


def test_settings_out_of_range() -> None:
    with pytest.raises(SettingsError, match="levels 0"):
        Touch(levels=0)
