"""Text: the n-grams of a sentence as plain spikes, or an embedding of it as graded ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from spmn.embedding import Grams
from spmn.errors import DataError, SettingsError
from spmn.senses.interface import Sense, Spikes


@dataclass(frozen=True)
class Tokens(Sense):
    """Hashed words and letter n-grams of a sentence: each that occurs is a line that spikes in every step.

    Chinese needs no segmenter. Cost: T spikes per n-gram, about 50 n-grams in a short English sentence.
    """

    name: ClassVar[str] = "tokens"
    grams: Grams = field(default_factory=Grams)

    @property
    def lines(self) -> int:
        return self.grams.dims

    def __call__(self, stimulus: str, steps: int) -> Spikes:
        """stimulus: a sentence. Raises DataError for one without a word."""
        spikes = np.zeros((steps, self.lines), np.uint8)
        spikes[:, list(self.grams(stimulus))] = 1
        return spikes


@dataclass(frozen=True)
class Words(Sense):
    """Words of a closed vocabulary: each that is said is a line that spikes in every step.

    Their order does not matter. Cost: T spikes per word.
    """

    name: ClassVar[str] = "words"
    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.vocabulary or len(set(self.vocabulary)) < len(self.vocabulary):
            raise SettingsError(f"a vocabulary of {list(self.vocabulary)}; give at least one word, each once")

    @property
    def lines(self) -> int:
        return len(self.vocabulary)

    def __call__(self, stimulus: str, steps: int) -> Spikes:
        """stimulus: words and spaces. Raises DataError for no word, and for one that is not known."""
        said = stimulus.split()
        strange = [word for word in said if word not in self.vocabulary]
        if strange or not said:
            what = f"the word {strange[0]!r}" if strange else "no word"
            raise DataError(f"{what} in {stimulus!r}; this sense knows {', '.join(self.vocabulary[:8])}, ...")
        spikes = np.zeros((steps, self.lines), np.uint8)
        spikes[:, [self.vocabulary.index(word) for word in said]] = 1
        return spikes


@dataclass(frozen=True)
class Analog(Sense):
    """A vector, such as the embedding of a sentence, as spikes with a payload in every step.

        payload = round(full |x_i| / peak), at most full = 2^width - 1,
        on line i if x_i > 0, on line dims + i if x_i < 0

    The chip's synapses multiply payload and weight: the vector is a constant current. The wider the payload,
    the coarser the weights, for their sums have 16 bits. `signed` False: nothing is negative, and there is
    one line per number. Cost: T graded spikes per number that is not rounded to 0.
    """

    name: ClassVar[str] = "analog"
    dims: int
    signed: bool = False
    peak: float = 1.0
    width: int = 8

    def __post_init__(self) -> None:
        if not (self.dims >= 1 and self.peak > 0 and 1 <= self.width <= 8):
            raise SettingsError(
                f"dims is {self.dims}, peak {self.peak}, width {self.width}; "
                "give at least 1, more than 0, and 1 to 8 bits"
            )

    @property
    def lines(self) -> int:
        return self.dims * (1 + self.signed)

    @property
    def bits(self) -> int:
        return self.width

    def __call__(self, stimulus: npt.NDArray[Any], steps: int) -> Spikes:
        """stimulus: [dims]. Raises DataError for another shape, a value that is not finite, or, unless
        signed, a negative one."""
        x = np.asarray(stimulus, np.float64)
        if x.shape != (self.dims,):
            raise DataError(f"a vector of shape {list(x.shape)}; this sense takes [{self.dims}]")
        if not np.isfinite(x).all():
            raise DataError(
                f"a vector holds {x[~np.isfinite(x)][0]}; remove the sentence or mend its embedding"
            )
        if not self.signed and (x < 0).any():
            raise DataError(f"a vector holds {x.min():.3g}; negative values need Analog(signed=True)")
        return np.repeat(self.payloads(x)[None], steps, 0)

    def payloads(self, vectors: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """[..., lines] of vectors [..., dims] that were checked."""
        parts = (vectors, -vectors) if self.signed else (vectors,)
        payload = np.concatenate([np.clip(part, 0, None) for part in parts], -1) * (self.full / self.peak)
        return np.minimum(np.rint(payload), self.full).astype(np.uint8)
