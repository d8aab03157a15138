"""Streams of events on a time line, and cues to recall them by: SPMN's stage of time and place.

Somebody does something with a thing at a place: "anna key kitchen". A cue is the first two, "anna key":
when was that, and where? Of a pair of person and thing at most `times` events are in a stream, and nobody
else's; a cue may also stand for nothing that happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spmn.detection import Happened
from spmn.errors import SettingsError


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


PEOPLE = _listed(
    "adam anna ben bill carl carol clara daniel diana emil emma eva frank fred greta hans ines ivan "
    "jane john julia karl laura leo lily mary nina oscar paul rosa sam vera"
)
THINGS = _listed(
    "apple bag ball bell bike book bottle bowl box bread brush camera candle chair clock coat coin "
    "cup drum football guitar hammer hat key knife lamp letter map milk pen phone rope"
)
PLACES = _listed(
    "attic balcony bank bathroom beach bedroom bridge cafe cellar church cinema farm forest garage "
    "garden hallway harbour hospital hotel kitchen library market museum office park river roof "
    "school shop station tower zoo"
)
VOCABULARY = (*PEOPLE, *THINGS, *PLACES)


@dataclass(frozen=True)
class Difficulty:
    """What makes cues hard."""

    times: int = 1  # most often that a cue's pair occurs in a stream
    absent: float = 0.0  # share of cues whose pair never occurs

    def __post_init__(self) -> None:
        if not (self.times >= 1 and 0 <= self.absent < 1):
            raise SettingsError(
                f"times is {self.times}, absent {self.absent}; give at least 1, and a share below 1"
            )


DIFFICULTIES = {
    "once": Difficulty(),
    "perhaps": Difficulty(absent=0.25),
    "again": Difficulty(times=2, absent=0.25),
}
"""once: every cue stands for one event; perhaps: for one or none; again: for none, one or two."""
LONGEST = 512
"""Positions of the time line; there are 1,024 pairs."""


@dataclass(frozen=True, eq=False)
class Streams:
    """B streams of N events and C cues each, as numbers of words; `start` is when the first event happens."""

    events: np.ndarray[tuple[int, int, int], np.dtype[np.int64]]  # [B, N, 3]: who, what, where
    cues: np.ndarray[tuple[int, int, int], np.dtype[np.int64]]  # [B, C, 2]: who, what
    start: int = 0

    @cached_property
    def all_happened(self) -> list[list[Happened]]:
        """The events that each cue stands for, stream by stream, first one first; the content is the number
        of the place."""
        same = (self.events[:, None, :, :2] == self.cues[:, :, None]).all(-1)  # [B, C, N]
        found: list[list[Happened]] = [[] for _ in range(same.shape[0] * same.shape[1])]
        for b, c, n in np.argwhere(same).tolist():
            found[b * same.shape[1] + c].append(Happened(self.start + n, int(self.events[b, n, 2])))
        return found

    def said(self, stream: int, event: int) -> str:
        """An event in words."""
        return _words(self.events[stream, event], (PEOPLE, THINGS, PLACES))

    def asked(self, stream: int, cue: int) -> str:
        """A cue in words."""
        return _words(self.cues[stream, cue], (PEOPLE, THINGS))


def generate(
    random: np.random.Generator, count: int, length: int, cues: int, difficulty: Difficulty, start: int = 0
) -> Streams:
    """Streams of `length` events; the pairs of their cues differ from each other.

    Raises SettingsError for a stream that leaves the time line, and for more cues than there are pairs.
    """
    pairs = len(PEOPLE) * len(THINGS)
    if not (length >= 1 and 0 <= start <= LONGEST - length):
        raise SettingsError(
            f"streams of {length} events from {start} on; give at least 1, and none after {LONGEST}"
        )
    if not 1 <= cues <= length // difficulty.times:
        raise SettingsError(
            f"{cues} cues of streams of {length} events; give 1 to {length // difficulty.times}"
        )
    events = np.empty((count, length, 3), np.int64)
    asked = np.empty((count, cues, 2), np.int64)
    for b in range(count):
        order = random.permutation(pairs)
        often = random.integers(1, difficulty.times + 1, length)
        told = random.permutation(np.repeat(order[:length], often)[:length])
        here = np.unique(told)
        absent = np.setdiff1d(order, here)
        never = random.random(cues) < difficulty.absent
        chosen = random.permutation(here)[:cues]
        chosen = np.where(never, random.permutation(absent)[:cues], chosen)
        events[b, :, 0], events[b, :, 1] = np.divmod(told, len(THINGS))
        events[b, :, 2] = random.integers(len(PLACES), size=length)
        asked[b, :, 0], asked[b, :, 1] = np.divmod(chosen, len(THINGS))
    return Streams(events, asked, start)


def _words(
    numbers: np.ndarray[tuple[int, ...], np.dtype[np.int64]], lists: tuple[tuple[str, ...], ...]
) -> str:
    return " ".join(words[n] for words, n in zip(lists, numbers.tolist(), strict=True))
