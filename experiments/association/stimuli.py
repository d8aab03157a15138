"""Drawn shapes, synthesised two-syllable sounds and misspelt words: endless instances of KINDS kinds each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from spmn.embedding import Grams
from spmn.senses import Image, Sense, Sound, Tokens, Waveform

KINDS = 24
SENSES: dict[str, Sense] = {
    "image": Image(20, code="rate"),
    "sound": Sound(bands=24, frames=8, code="rate"),
    "word": Tokens(Grams(dims=512, letters=(2, 3))),
}

SHAPES = tuple(itertools.product((2, 3, 4, 5), (False, True), ("filled", "ring", "dotted")))
"""Lobes, turned by half a lobe or not, and what is inside."""
VOWELS = ((300, 2300), (450, 1900), (700, 1200), (450, 850), (330, 1300))
"""First and second formant in Hz, roughly those of i, e, a, o, and a central vowel."""
SYLLABLES = tuple(itertools.product(VOWELS, VOWELS))[:KINDS]
SPOKEN_RATE = 16_000
WORDS = (
    "bamboo", "cactus", "dragon", "engine", "falcon", "guitar", "helmet", "island", "jacket", "kettle",
    "lemon", "magnet", "needle", "orchid", "pepper", "quartz", "rabbit", "saddle", "temple", "umpire",
    "violin", "walnut", "yogurt", "zodiac",
)  # fmt: skip

Random = np.random.Generator


def shape(kind: int, random: Random) -> npt.NDArray[np.float32]:
    """An image [40, 40] of floats: r(angle) = R (1 + 0.3 cos(lobes angle)), shifted by up to 2 pixels, sized
    by up to 12 %, turned by up to 6 degrees, noise of deviation 0.1."""
    lobes, turned, inside = SHAPES[kind]
    y, x = np.mgrid[-20:20, -20:20] + 0.5 + random.uniform(-2, 2, (2, 1, 1))
    size = 12.5 * random.uniform(0.88, 1.12)
    angle = np.arctan2(y, x) + np.deg2rad(random.uniform(-6, 6)) + np.pi / lobes * turned
    edge = size * (1 + 0.3 * np.cos(lobes * angle)) - np.hypot(x, y)
    drawn = np.clip(edge, 0, 1)
    if inside != "filled":
        drawn = drawn * np.clip(3.5 - edge, 0, 1)
    if inside == "dotted":
        drawn = drawn + np.clip(3.5 - np.hypot(x, y), 0, 1)
    noisy = 0.1 + 0.8 * np.clip(drawn, 0, 1) + random.normal(0, 0.1, drawn.shape)
    return np.asarray(np.clip(noisy, 0, 1), np.float32)


def sound(kind: int, random: Random) -> Waveform:
    """Two vowels of 0.2 s, each up to 20 % longer or shorter: harmonics of a voice of 100 to 220 Hz, louder
    near two formants, which shift by up to 5 %; white noise 20 dB below."""
    pitch = random.uniform(100, 220)
    parts = []
    for formants in SYLLABLES[kind]:
        t = np.arange(int(SPOKEN_RATE * 0.2 * random.uniform(0.8, 1.2))) / SPOKEN_RATE
        harmonics = pitch * np.arange(1, int(4000 / pitch))
        centres = np.array(formants)[:, None] * random.uniform(0.95, 1.05, (2, 1))
        near = (1 / (1 + ((harmonics - centres) / 90) ** 2)).sum(0)
        phases = random.uniform(0, 2 * np.pi, len(harmonics))
        voice = near @ np.sin(2 * np.pi * harmonics[:, None] * t + phases[:, None])
        parts.append(voice * np.hanning(len(t)))
    said = np.concatenate(parts)
    said = said + random.normal(0, 0.1 * said.std(), len(said))
    return Waveform((0.5 * said / np.abs(said).max()).astype(np.float32), SPOKEN_RATE)


def word(kind: int, random: Random) -> str:
    """The word with one letter replaced by another."""
    letters = list(WORDS[kind])
    at, shift = random.integers(len(letters)), random.integers(1, 26)
    letters[at] = chr((ord(letters[at]) - ord("a") + shift) % 26 + ord("a"))
    return "".join(letters)


DRAWN: dict[str, Callable[[int, Random], Any]] = {"image": shape, "sound": sound, "word": word}
