"""Sentence embeddings: without a download, hashed word and character n-grams, weighted by TF-IDF.

    x_f = (1 + log count_f) * idf_f,   idf_f = log((1 + n) / (1 + df_f)) + 1,   embedding = x / |x|

f is a hash of an n-gram, df_f the number of the n fitted sentences that contain it (Salton and Buckley 1988;
feature hashing: Weinberger et al. 2009, arXiv 0902.2206). Chinese needs no word segmenter: every character
counts as a word. Or those of a network of the sentence-transformers library (Reimers and Gurevych 2019, arXiv
1908.10084).
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from spmn.errors import DataError, SettingsError

Floats = npt.NDArray[np.float32]

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af"
_WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")


def characters(text: str) -> list[str]:
    """Words in lower case; each Chinese, Japanese or Korean character is one."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def jieba(text: str) -> list[str]:
    """Words in lower case, Chinese ones as jieba finds them. Raises SettingsError where it is missing."""
    try:
        from jieba import cut
    except ModuleNotFoundError:
        raise SettingsError(
            'the segmenter "jieba" is not installed: pip install jieba, or go without'
        ) from None
    return [
        word for part in cut(unicodedata.normalize("NFKC", text).lower()) for word in _PLAIN.findall(part)
    ]


_PLAIN = re.compile(r"[^\W_]+")
SEGMENTERS: dict[str, Callable[[str], list[str]]] = {"characters": characters, "jieba": jieba}


@dataclass(frozen=True)
class Grams:
    """Which n-grams of a sentence count, and how many numbers their hashes are."""

    dims: int = 4096
    words: int = 1  # n-grams of 1 to so many words
    letters: tuple[int, ...] = (3, 4)  # n-grams of so many letters within a word, its ends marked
    segmenter: str = "characters"

    def __post_init__(self) -> None:
        for name, value in (
            ("dims", self.dims),
            ("words", self.words),
            *(("letters", n) for n in self.letters),
        ):
            if value < 1:
                raise SettingsError(f"{name} is {value}; it must be at least 1")
        if self.segmenter not in SEGMENTERS:
            raise SettingsError(
                f"there is no segmenter {self.segmenter!r}; choose one of {', '.join(SEGMENTERS)}"
            )

    def __call__(self, sentence: str) -> Counter[int]:
        """How often each hashed n-gram occurs. Raises DataError for a sentence without a word."""
        said = SEGMENTERS[self.segmenter](sentence)
        if not said:
            raise DataError(f"there is no word in the sentence {sentence!r}; remove it")
        grams = [
            "w " + " ".join(said[i : i + n])
            for n in range(1, self.words + 1)
            for i in range(len(said) - n + 1)
        ]
        for word in (f"^{word}$" for word in said if len(word) > 1):
            grams += [f"l {word[i : i + n]}" for n in self.letters for i in range(len(word) - n + 1)]
        return Counter(zlib.crc32(gram.encode()) % self.dims for gram in grams)


class Embedding(Protocol):
    """Sentences as vectors of length 1."""

    @property
    def dims(self) -> int:
        """Numbers of a vector."""

    @property
    def signed(self) -> bool:
        """Whether any of them can be negative."""

    @property
    def record(self) -> dict[str, Any]:
        """Plain values that say which embedding it is."""

    def __call__(self, sentences: Sequence[str]) -> Floats:
        """[sentences, dims]. Raises DataError for a sentence that it cannot take."""


@dataclass(frozen=True, eq=False)
class TfIdf:
    """The embedding above; `fit` it to the sentences that it will be used on."""

    grams: Grams
    idf: Floats  # [dims]

    @classmethod
    def fit(cls, sentences: Sequence[str], grams: Grams | None = None) -> TfIdf:
        """Weights from how many of these sentences contain each n-gram. Raises DataError without a word."""
        grams = grams or Grams()
        seen = np.zeros(grams.dims)
        for sentence in sentences:
            seen[list(grams(sentence))] += 1
        return cls(grams, (np.log((1 + len(sentences)) / (1 + seen)) + 1).astype(np.float32))

    @property
    def dims(self) -> int:
        return self.grams.dims

    @property
    def signed(self) -> bool:
        return False

    @property
    def record(self) -> dict[str, Any]:
        return {"kind": "tf-idf", **asdict(self.grams)}

    def __call__(self, sentences: Sequence[str]) -> Floats:
        """[sentences, dims], of length 1, nothing negative. Raises DataError for one without a word."""
        found = np.zeros((len(sentences), self.grams.dims), np.float32)
        for row, sentence in zip(found, sentences, strict=True):
            for gram, count in self.grams(sentence).items():
                row[gram] = (1 + math.log(count)) * self.idf[gram]
            row /= np.linalg.norm(row)
        return found


@dataclass(frozen=True)
class Transformer:
    """Embeddings of a network that sentence-transformers loads: a name on its hub, or a folder."""

    model: str

    @cached_property
    def _network(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError:
            raise SettingsError(
                "sentence-transformers is not installed: pip install sentence-transformers, "
                "or go without a model"
            ) from None
        try:
            return SentenceTransformer(self.model)
        except (OSError, ValueError) as problem:
            raise SettingsError(
                f"sentence-transformers cannot load {self.model!r} ({problem}); name a model or its folder"
            ) from None

    @property
    def dims(self) -> int:
        return int(self._network.get_sentence_embedding_dimension())

    @property
    def signed(self) -> bool:
        return True

    @property
    def record(self) -> dict[str, Any]:
        return {"kind": "sentence-transformers", "model": self.model}

    def __call__(self, sentences: Sequence[str]) -> Floats:
        """[sentences, dims], of length 1. Raises DataError for a vector that is 0 or not finite."""
        found = np.asarray(self._network.encode(list(sentences)), np.float32)
        norms = np.linalg.norm(found, axis=1)
        wrong = ~(np.isfinite(norms) & (norms > 0))
        if wrong.any():
            sentence = sentences[int(np.flatnonzero(wrong)[0])]
            raise DataError(f"{self.model!r} finds no vector for {sentence!r}; remove the sentence")
        return np.asarray(found / norms[:, None], np.float32)
