"""Recall scored like a detector: which events were found, how well placed, and how many were made up.

A slot says: at this position of the time line, with this confidence, this happened. It finds an event of its
cue if it lies within a tolerance and no slot of higher confidence has found that event already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spmn.errors import SettingsError

TOLERANCE = 0.01
"""Largest distance of a slot from its event, as a share of the time line; at least one event."""


class Slot(NamedTuple):
    """One event that is recalled."""

    position: float  # in events from the start of the stream
    confidence: float  # 0 to 1
    content: int


class Happened(NamedTuple):
    """One event that a cue stands for."""

    position: int
    content: int


@dataclass(frozen=True)
class Scores:
    """Over all cues. Shares are 0 where there is nothing to share in.

    The last two ask the surest slot of every cue that stands for something, near or far, about the event that
    is nearest to it. A cue without a slot is off by 1, the whole time line, and wrong.
    """

    cues: int
    average_precision: float  # area under precision over recall, interpolated (PASCAL VOC 2010)
    precision: float  # of slots of at least the threshold's confidence
    recall: float  # events found by them
    localisation: float  # median distance, as a share of the time line
    content: float  # share of cues whose content is right


def score(
    slots: Sequence[Sequence[Slot]],
    happened: Sequence[Sequence[Happened]],
    lengths: Sequence[int],
    tolerance: float = TOLERANCE,
    threshold: float = 0.5,
) -> Scores:
    """Slots of every cue against the events that it stands for, perhaps none.

    Args:
        lengths: events in the stream of each cue.
        tolerance: largest distance of a slot from its event, as a share of the time line, at least one event.
        threshold: of confidence, for precision and recall.

    Raises SettingsError where the three sequences differ in length, or a confidence is not from 0 to 1.
    """
    if not len(slots) == len(happened) == len(lengths):
        raise SettingsError(f"slots of {len(slots)} cues, events of {len(happened)}, {len(lengths)} lengths")
    ordered = sorted(
        ((slot, cue) for cue, of in enumerate(slots) for slot in of), key=lambda one: -one[0].confidence
    )
    if ordered and not (ordered[0][0].confidence <= 1 and ordered[-1][0].confidence >= 0):
        worst = ordered[0][0] if not ordered[0][0].confidence <= 1 else ordered[-1][0]
        raise SettingsError(f"a confidence is {worst.confidence}; it must be from 0 to 1")
    free = [list(events) for events in happened]
    found = []
    for slot, cue in ordered:
        reach = max(1.0, tolerance * lengths[cue])
        near = [event for event in free[cue] if abs(event.position - slot.position) <= reach]
        found.append(bool(near))
        if near:
            free[cue].remove(min(near, key=lambda e: abs(e.position - slot.position)))
    distances, right = [], []
    for said, of, length in zip(slots, happened, lengths, strict=True):
        if of and said:
            surest = max(said, key=lambda slot: slot.confidence)
            event = min(of, key=lambda e: abs(e.position - surest.position))
            distances.append(abs(event.position - surest.position) / length)
            right.append(event.content == surest.content)
        elif of:
            distances.append(1.0)
            right.append(False)
    events = sum(len(of) for of in happened)
    hits = np.cumsum(found)
    sure = sum(slot.confidence >= threshold for slot, _ in ordered)
    hit = int(hits[sure - 1]) if sure else 0
    return Scores(
        cues=len(slots),
        average_precision=_area(hits, events),
        precision=hit / sure if sure else 0.0,
        recall=hit / events if events else 0.0,
        localisation=float(np.median(distances)) if distances else 0.0,
        content=sum(right) / len(right) if right else 0.0,
    )


def _area(hits: np.ndarray[tuple[int], np.dtype[np.int64]], events: int) -> float:
    """sum over slots of (rise of recall) * (largest precision from here on)."""
    if not events or not len(hits):
        return 0.0
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits, prepend=0) * envelope).sum() / events)
