"""TF-IDF of hashed n-grams, against its formula worked by hand and against what similarity should mean."""

import math

import numpy as np
import pytest

from spmn.embedding import Grams, TfIdf, characters
from spmn.errors import DataError, SettingsError

TOLD = ["the cat sat", "the dog sat", "a bird sang", "the cat the cat"]


def test_words() -> None:
    assert characters("The cat's ＡＢＣ, 3.5 kg_") == ["the", "cat", "s", "abc", "3", "5", "kg"]
    assert characters("我还有3天过生日！ok") == [*"我还有", "3", *"天过生日", "ok"]


def test_grams_by_hand() -> None:
    grams = Grams(dims=2**30, words=2, letters=(3,))
    # words the, cat; the pair; letters of ^the$ and ^cat$: 3 each... ^th the he$, ^ca cat at$
    assert sum(grams("The cat").values()) == 2 + 1 + 3 + 3
    assert set(grams("the cat")) & set(grams("cat the")) == set(Grams(2**30, 1, (3,))("the cat"))
    assert sum(Grams(dims=2**30, words=1, letters=(3, 4))("我 是").values()) == 2  # letters have no letters


def test_weights_by_hand() -> None:
    grams = Grams(dims=2**20, words=1, letters=())
    tfidf = TfIdf.fit(TOLD, grams)
    (row,) = tfidf(["the cat the cat the"])
    ((the,), (cat,)) = (list(grams(word)) for word in ("the", "cat"))
    x = np.array([(1 + math.log(3)) * (math.log(5 / 4) + 1), (1 + math.log(2)) * (math.log(5 / 3) + 1)])
    assert row[[the, cat]] == pytest.approx(x / np.linalg.norm(x), rel=1e-6)
    assert np.count_nonzero(row) == 2


def test_similar_sentences_are_near() -> None:
    rows = TfIdf.fit(TOLD)(["the cat sat", "the cats sat", "a bird sang"])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)
    assert rows[0] @ rows[1] > 0.5 > 0.1 > rows[0] @ rows[2]


@pytest.mark.parametrize("sentence", ["", "  ", "?!", "\n"])
def test_a_sentence_without_a_word_is_refused(sentence: str) -> None:
    with pytest.raises(DataError, match="no word in the sentence"):
        TfIdf.fit(TOLD)([sentence])


def test_settings_out_of_range() -> None:
    with pytest.raises(SettingsError, match="dims is 0"):
        Grams(dims=0)
    with pytest.raises(SettingsError, match="letters is 0"):
        Grams(letters=(0,))
    with pytest.raises(SettingsError, match="no segmenter 'latin'; choose one of characters, jieba"):
        Grams(segmenter="latin")
