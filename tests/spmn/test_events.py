"""Vocabulary, retrieval practice and batches."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spmn.datasets.babi import Line, Story
from spmn.errors import VocabularyError
from spmn.events import (
    BLANK,
    PRACTICE,
    QUESTION,
    STATEMENT,
    UNSAYABLE,
    Vocabulary,
    batches,
    collate,
    in_order,
    practise,
    stream,
)

TOLD = ["Mary went to the garden.", "John went to the kitchen.", "Mary went to the office."]
STORY = Story(
    1, (*(Line(n, text) for n, text in enumerate(TOLD, 1)), Line(4, "Where is Mary? ", "office", (3,)))
)


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.of([STORY])


def test_vocabulary(vocabulary: Vocabulary) -> None:
    assert vocabulary.words[:2] == ("", BLANK)
    assert vocabulary.length == 5
    assert vocabulary.answers == ("office",)
    with pytest.raises(VocabularyError, match="'moon'"):
        vocabulary.ids(["mary", "moon"])
    with pytest.raises(VocabularyError, match="6 words"):
        vocabulary.ids(["mary"] * 6)
    with pytest.raises(VocabularyError, match="0 words"):
        vocabulary.ids([])


def test_stream(vocabulary: Vocabulary) -> None:
    events = stream(STORY, vocabulary)
    assert events.kind.tolist() == [STATEMENT] * 3 + [QUESTION]
    assert events.target.tolist() == [-1, -1, -1, 0]
    assert [vocabulary.words[w] for w in events.words[3]] == ["where", "is", "mary", "", ""]
    unheard = Story(1, (STORY.lines[0], Line(2, "Where is Mary?", "moon", (1,))))
    assert stream(unheard, vocabulary).target.tolist() == [-1, UNSAYABLE]
    assert stream(unheard, vocabulary).kind.tolist() == [STATEMENT, QUESTION]


def test_practice_withholds_a_word_of_the_newest_such_statement(vocabulary: Vocabulary) -> None:
    source = stream(STORY, vocabulary)
    blank = vocabulary.words.index(BLANK)
    withheld = Counter[str]()
    for seed in range(200):
        events = practise(source, vocabulary, 1.0, np.random.default_rng(seed))
        assert events.kind.tolist() == [STATEMENT, PRACTICE] * 3 + [QUESTION]
        assert events.clock.tolist() == [0, 0, 1, 1, 2, 2, 3]
        for n in np.flatnonzero(events.kind == PRACTICE):
            words, told = events.words[n], source.words[: n // 2 + 1]
            (at,) = np.flatnonzero(words == blank)
            same = [i for i, line in enumerate(told) if (np.delete(line, at) == np.delete(words, at)).all()]
            assert events.born[n] == same[-1]
            assert events.target[n] == told[same[-1]][at]
            withheld[vocabulary.words[events.target[n]]] += 1
    # told: mary 2, john 1, went, to, the 3, garden, kitchen, office 1: rarer words are withheld more often
    assert withheld["garden"] > 1.2 * withheld["went"]
    assert sum(withheld.values()) == 600


def test_no_practice_changes_nothing(vocabulary: Vocabulary) -> None:
    source = stream(STORY, vocabulary)
    same = practise(source, vocabulary, 0.0, np.random.default_rng(0))
    for name in ("words", "kind", "clock", "target", "born"):
        assert (getattr(same, name) == getattr(source, name)).all()


def test_collate_pads_with_nothing(vocabulary: Vocabulary) -> None:
    short = Story(1, (STORY.lines[0], Line(2, "Where is Mary?", "office", (1,))))
    events = collate([stream(STORY, vocabulary), stream(short, vocabulary)])
    assert events.kind.tolist() == [[0, 0, 0, 1], [0, 1, -1, -1]]
    assert (events.words[1, 2:] == 0).all()
    assert (events.target[1, 2:] == -1).all()


@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=80),
    size=st.integers(1, 400),
    seed=st.integers(0, 99),
)
def test_every_story_is_in_one_batch(lengths: list[int], size: int, seed: int) -> None:
    plan = batches(lengths, size, np.random.default_rng(seed))
    assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= size


def test_batches_mix_tasks_of_similar_length() -> None:
    lengths = [12] * 200 + [13] * 200
    plan = batches(lengths, 400, np.random.default_rng(0))
    mixed = sum(1 for batch in plan if min(batch) < 200 <= max(batch))
    assert mixed > len(plan) / 2


def test_in_order_yields_every_stream(vocabulary: Vocabulary) -> None:
    streams = [stream(STORY, vocabulary)] * 7
    seen = [i for chosen, events in in_order(streams, 9) for i in chosen if torch.is_tensor(events.kind)]
    assert sorted(seen) == list(range(7))
