"""The corpus of our own."""

import pytest

from spmn.datasets.sentences import LANGUAGES, generate
from spmn.embedding import characters
from spmn.errors import DataError


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_differ_and_repeat_with_the_seed(language: str) -> None:
    found = generate(language, 500, seed=3)
    assert len(set(found.sentences)) == len(found.sentences) == 500
    assert found == generate(language, 500, seed=3)
    assert found.sentences != generate(language, 500, seed=4).sentences
    assert all(5 <= len(characters(sentence)) <= 25 for sentence in found.sentences)


def test_another_language_is_refused() -> None:
    with pytest.raises(DataError, match="no corpus 'fr'; choose one of en, zh, or name a file"):
        generate("fr")


def test_no_more_than_the_grammar_has() -> None:
    with pytest.raises(DataError, match="250000 sentences of 'en'; ask for at most 124740"):
        generate("en", 250_000)
