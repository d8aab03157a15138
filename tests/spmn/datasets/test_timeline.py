"""Streams of events and cues: what a cue stands for is what happened, as often as its difficulty says."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spmn.datasets.timeline import DIFFICULTIES, PLACES, VOCABULARY, Difficulty, generate
from spmn.errors import SettingsError


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    length=st.integers(4, 120),
    start=st.integers(0, 392),
    name=st.sampled_from(list(DIFFICULTIES)),
)
def test_what_a_cue_stands_for(seed: int, length: int, start: int, name: str) -> None:
    difficulty = DIFFICULTIES[name]
    streams = generate(np.random.default_rng(seed), 2, length, 2, difficulty, start)
    assert streams.events.shape == (2, length, 3)
    for b in range(2):
        told = [streams.said(b, n) for n in range(length)]
        pairs = Counter(" ".join(event.split()[:2]) for event in told)
        assert max(pairs.values()) <= difficulty.times
        asked = [streams.asked(b, c) for c in range(2)]
        assert len(set(asked)) == 2
        for cue, happened in zip(asked, streams.all_happened[2 * b : 2 * b + 2], strict=True):
            expected = [
                (start + n, event.split()[2]) for n, event in enumerate(told) if event.startswith(cue + " ")
            ]
            assert [(event.position, PLACES[event.content]) for event in happened] == expected
            assert happened or difficulty.absent


def test_how_often() -> None:
    random = np.random.default_rng(0)
    counts = {
        name: Counter(map(len, generate(random, 400, 50, 2, difficulty).all_happened))
        for name, difficulty in DIFFICULTIES.items()
    }
    assert counts["once"] == {1: 800}
    assert counts["perhaps"][0] == pytest.approx(200, abs=45)
    assert counts["perhaps"][0] + counts["perhaps"][1] == 800
    again = counts["again"]
    assert again[0] == pytest.approx(200, abs=45)
    assert again[2] == pytest.approx(again[1], rel=0.25)


def test_the_seed_says_all() -> None:
    one, same, other = (
        generate(np.random.default_rng(seed), 3, 30, 2, DIFFICULTIES["again"]) for seed in (1, 1, 2)
    )
    assert (one.events == same.events).all()
    assert (one.cues == same.cues).all()
    assert (one.events != other.events).any()


def test_every_word_means_one_thing() -> None:
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 96


@pytest.mark.parametrize(
    ("length", "cues", "said"), [(0, 2, "of 0 events"), (513, 2, "none after 512"), (9, 5, "give 1 to 4")]
)
def test_refused(length: int, cues: int, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        generate(np.random.default_rng(0), 1, length, cues, Difficulty(times=2))
    with pytest.raises(SettingsError, match="absent 1"):
        Difficulty(absent=1.0)
