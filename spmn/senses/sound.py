"""Sound: what a mel filter bank hears, as a rate or latency code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from spmn.errors import DataError, SettingsError
from spmn.senses.codes import code_named
from spmn.senses.image import averaging
from spmn.senses.interface import Floats, Sense, Spikes

RATE = 16_000
"""Samples per second to which every sound is resampled."""
WINDOW, HOP = 400, 160
"""Samples of an analysis window (25 ms) and from one to the next (10 ms)."""
RANGE = 50.0
"""Decibels below the loudest cell that are still heard."""


class Waveform(NamedTuple):
    """A sound: samples [n] (mono) or [n, channels], and how many there are per second."""

    samples: npt.NDArray[Any]
    rate: int


@dataclass(frozen=True)
class Sound(Sense):
    """A sound of any length and sampling rate, as `frames` x `bands` cells of a mel spectrogram.

        mel = 2595 log10(1 + f / 700 Hz),   triangular bands, evenly spaced from `low` to `high` (both Hz)
        cell = 1 + dB / 50,   dB: power relative to the loudest cell, at least -50

    (Stevens, Volkmann and Newman 1937; HTK's formula.) Loudness does not matter; silence gives no spikes.
    Channels are averaged. The sound is cut into `frames` equal parts: an event holds it whole.

    Lines: frames x bands. Cost: at most one spike per line with the latency code, T times the cell's value
    with the rate codes.
    """

    name: ClassVar[str] = "sound"
    bands: int = 24
    frames: int = 8
    low: float = 50.0
    high: float = 7600.0
    code: str = "latency"

    def __post_init__(self) -> None:
        if not (self.bands >= 1 and self.frames >= 1):
            raise SettingsError(f"bands is {self.bands}, frames {self.frames}; give at least 1")
        if not 0 <= self.low < self.high <= RATE / 2:
            raise SettingsError(f"the bands go from {self.low} to {self.high} Hz; give 0 to {RATE // 2}")
        code_named(self.code)

    @property
    def lines(self) -> int:
        return self.frames * self.bands

    def __call__(self, stimulus: Waveform, steps: int) -> Spikes:
        """Raises DataError for what `heard` does not take."""
        return code_named(self.code)(self.cells(stimulus), steps)

    def cells(self, sound: Waveform) -> Floats:
        """[frames, bands], from 0 to 1. Raises DataError as `heard` does."""
        samples = heard(sound)
        missing = max(0, WINDOW - len(samples))
        framed = np.lib.stride_tricks.sliding_window_view(np.pad(samples, (0, missing)), WINDOW)[::HOP]
        power = np.abs(np.fft.rfft(framed * np.hanning(WINDOW), axis=1)) ** 2 @ self._filters.T
        cells = averaging(len(power), self.frames) @ power
        loudest = cells.max()
        if loudest < 1e-9:  # of full scale: nothing but rounding
            return np.zeros((self.frames, self.bands), np.float32)
        decibels = 10 * np.log10(np.maximum(cells / loudest, 1e-12))
        return np.asarray(np.clip(1 + decibels / RANGE, 0, 1), np.float32)

    @cached_property
    def _filters(self) -> npt.NDArray[np.float64]:
        """[bands, frequencies]: triangles."""
        low, high = (2595 * math.log10(1 + f / 700) for f in (self.low, self.high))
        hertz = 700 * (10 ** (np.linspace(low, high, self.bands + 2) / 2595) - 1)
        at = np.fft.rfftfreq(WINDOW, 1 / RATE)
        left, middle, right = (edges[:, None] for edges in (hertz[:-2], hertz[1:-1], hertz[2:]))
        triangle = np.minimum((at - left) / (middle - left), (right - at) / (right - middle))
        # the lowest bands are narrower than the analysis is fine: widened, or they would hear nothing
        widened = 1 - np.abs(at - middle) * WINDOW / RATE
        filters: npt.NDArray[np.float64] = np.maximum(triangle, widened).clip(0)
        return filters


def heard(sound: Waveform) -> npt.NDArray[np.float64]:
    """Mono samples at RATE, full scale 1.

    16- and 32-bit integers are signed, 8-bit ones unsigned with 128 as silence, as in a wav file.

    Raises DataError for an empty or non-finite sound, another type or shape, or a rate that is not positive.
    """
    samples = np.asarray(sound.samples)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise DataError(
            f"a sound of shape {list(samples.shape)}; give [samples] or [samples, channels], not empty"
        )
    if samples.ndim == 2 and samples.shape[1] > min(64, len(samples)):
        raise DataError(
            f"a sound of {samples.shape[1]} channels of {len(samples)} samples; give [samples, channels]"
        )
    if not 100 <= sound.rate <= 1_000_000:
        raise DataError(f"a sound of {sound.rate} samples per second; give 100 to 1,000,000")
    scales = {np.dtype(np.uint8): 2.0**7, np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31}
    if samples.dtype in scales:
        silence = 128.0 if samples.dtype == np.uint8 else 0.0
        samples = (samples - silence) / scales[samples.dtype]
    elif not np.issubdtype(samples.dtype, np.floating):
        raise DataError(f"a sound of type {samples.dtype}; give uint8, int16, int32 or floats from -1 to 1")
    if not np.isfinite(samples).all():
        raise DataError("a sound holds samples that are not finite; mend the recording")
    mono = samples.reshape(len(samples), -1).mean(1).astype(np.float64)
    return resampled(mono - mono.mean(), sound.rate, RATE)


def resampled(samples: npt.NDArray[np.float64], given: int, wanted: int) -> npt.NDArray[np.float64]:
    """The sound at another rate, by its Fourier series: what lies above half the lower rate is cut off."""
    if given == wanted:
        return samples
    length = max(1, round(len(samples) * wanted / given))
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(length // 2 + 1, np.complex128)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return np.fft.irfft(kept, length) * (length / len(samples))


def read_sound(path: Path | str) -> Waveform:
    """A sound file that libsndfile reads: wav of 8 to 32 bits or float, flac, ogg.

    Raises DataError where the file cannot be read, SettingsError where the library is missing.
    """
    try:
        import soundfile
    except (ModuleNotFoundError, OSError):
        raise SettingsError(
            "soundfile, which reads sound files, is not installed: pip install soundfile"
        ) from None
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, TypeError) as problem:
        raise DataError(f"{str(path)!r} is no sound that can be read ({problem}); give a wav file") from None
    return Waveform(samples, int(rate))
