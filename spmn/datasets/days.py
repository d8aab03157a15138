"""Stories of people's days, told out of order: task 14."""

from __future__ import annotations

from typing import NamedTuple

from numpy.random import Generator

from spmn.datasets.babi import Line
from spmn.datasets.drafting import QUESTIONS, WINDOW, Draft, pick, pick_but, shuffled
from spmn.datasets.rooms import move_phrase
from spmn.datasets.whereabouts import TOWN_PEOPLE, TOWN_ROOMS

TIMES = ("yesterday", "this morning", "this afternoon", "this evening")


class Stay(NamedTuple):
    """Where a person was at one of the four times."""

    person: str
    time: int
    room: str


def tell_days(rng: Generator) -> list[Line]:
    """A story of task 14: after every two stays a question where somebody was before, if it can be asked.

    Everybody's own day goes by in order. The stays since the last question are told in a random order that is
    one cycle, so two always stand the wrong way round. A question is about one of the last five stays, drawn
    evenly; it must not be the person's first, nor be followed by another in the same room.
    """
    draft = Draft()
    stays: list[Stay] = []
    lines: dict[Stay, int] = {}
    days: dict[str, list[Stay]] = {person: [] for person in TOWN_PEOPLE}
    asked = 0
    while asked < QUESTIONS:
        for _ in range(2):
            person = pick(rng, [person for person in TOWN_PEOPLE if len(days[person]) < len(TIMES)])
            day = days[person]
            room = pick_but(rng, TOWN_ROOMS, [stay.room for stay in day[-1:]])
            day.append(Stay(person, len(day), room))
            stays.append(day[-1])
        for stay in shuffled(rng, stays[-WINDOW:]):
            later = days[stay.person][stay.time + 1 :]
            if stay.time > 0 and stay.room not in [other.room for other in later]:
                for untold in _cycled(rng, stays[len(lines) :]):
                    lines[untold] = draft.tell(_sentence(rng, untold))
                before = days[stay.person][stay.time - 1]
                text = f"Where was {stay.person} before the {stay.room}? "
                draft.ask(text, before.room, (lines[stay], lines[before]))
                asked += 1
                break
    return draft.lines


def _sentence(rng: Generator, stay: Stay) -> str:
    move, time = f"{stay.person} {move_phrase(rng, stay.room)}", TIMES[stay.time]
    return f"{move} {time}." if rng.random() < 0.5 else f"{time.capitalize()} {move}."


def _cycled(rng: Generator, items: list[Stay]) -> list[Stay]:
    """The items in a random order that is one cycle: none keeps its place (Sattolo's shuffle)."""
    items = list(items)
    for i in range(len(items) - 1, 0, -1):
        j = int(rng.integers(i))
        items[i], items[j] = items[j], items[i]
    return items
