"""Text as plain and graded spikes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spmn.embedding import Grams
from spmn.errors import DataError, SettingsError
from spmn.senses import Analog, Tokens, Words


def test_a_line_per_gram() -> None:
    sense = Tokens(Grams(dims=512))
    spikes = sense("The cat sat", 4)
    assert spikes.shape == (4, sense.lines) == (4, 512)
    assert set(np.flatnonzero(spikes[0])) == set(sense.grams("the cat sat"))
    assert (spikes == spikes[0]).all()
    assert (sense("我还有几天过生日", 3)[0].sum()) == 8
    with pytest.raises(DataError, match="no word"):
        sense("...", 4)


@given(x=arrays(np.float64, 6, elements=st.floats(-1, 1)), steps=st.integers(1, 5))
def test_a_vector_is_a_constant_current(x: np.ndarray, steps: int) -> None:
    sense = Analog(6, signed=True)
    spikes = sense(x, steps).astype(float)
    assert spikes.shape == (steps, sense.lines) == (steps, 12)
    assert np.abs((spikes[:, :6] - spikes[:, 6:]) / 255 - x).max() <= 1 / 510 + 1e-12
    assert (np.minimum(spikes[:, :6], spikes[:, 6:]) == 0).all()


def test_peak_and_width() -> None:
    assert Analog(3, peak=0.5)(np.array([0.1, 0.5, 0.9]), 1).tolist() == [[51, 255, 255]]
    assert Analog(3, width=2)(np.array([0.1, 0.5, 1.0]), 1).tolist() == [[0, 2, 3]]
    for wrong in ({"dims": 0}, {"dims": 3, "peak": 0.0}, {"dims": 3, "width": 9}):
        with pytest.raises(SettingsError, match=str(next(iter(reversed(wrong.values()))))):
            Analog(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ([0.1, np.nan, 0.0], "holds nan"),
        ([0.1, np.inf, 0.0], "holds inf"),
        ([0.1, 0.2], r"shape \[2\]; this sense takes \[3\]"),
        ([0.1, -0.2, 0.0], "holds -0.2; negative values need"),
    ],
)
def test_what_is_no_vector_is_refused(vector: list[float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Analog(3)(np.array(vector), 2)


def test_known_words() -> None:
    sense = Words(("anna", "key", "zoo"))
    assert sense("zoo anna", 2).tolist() == [[1, 0, 1]] * 2
    for wrong, said in (("anna keys", "'keys' in 'anna keys'"), (" ", "no word in ' '")):
        with pytest.raises(DataError, match=said):
            sense(wrong, 2)
    for vocabulary in ((), ("a", "a")):
        with pytest.raises(SettingsError, match="each once"):
            Words(vocabulary)
