"""Stories of why people go somewhere and get something: task 20."""

from __future__ import annotations

from numpy.random import Generator

from spmn.datasets.babi import Line
from spmn.datasets.drafting import Draft, pick
from spmn.datasets.rooms import GET, PHRASES, move_phrase

PEOPLE = ("Antoine", "Jason", "Sumit", "Yann")
WANTED = {
    "hungry": ("kitchen", "apple"),
    "thirsty": ("kitchen", "milk"),
    "bored": ("garden", "football"),
    "tired": ("bedroom", "pajamas"),
}
"""Motive -> the room it leads to and the thing that is got there."""


def tell_motives(rng: Generator) -> list[Line]:
    """A story of task 20: four people feel something, go somewhere and get something, each in that order.

    A question follows every statement. Several people may have one motive; only one of them gets the
    thing, after which the others just go there.
    """
    draft = Draft()
    motives = {person: pick(rng, tuple(WANTED)) for person in PEOPLE}
    line: dict[str, int] = {}
    moved: set[str] = set()
    taken: set[str] = set()
    active = list(PEOPLE)
    while active:
        person = pick(rng, active)
        name, motive = person.lower(), motives[person]
        room, thing = WANTED[motive]
        if person not in line:
            line[person] = draft.tell(f"{person} is {motive}.")
            draft.ask(f"Where will {name} go?", room, (line[person],))
        elif person not in moved:
            moved.add(person)
            draft.tell(f"{person} {move_phrase(rng, room)}.")
            draft.ask(f"Why did {name} go to the {room}?", motive, (line[person],))
        else:
            taken.add(motive)
            draft.tell(f"{person} {pick(rng, PHRASES[GET])} the {thing} there.")
            draft.ask(f"Why did {name} get the {thing}?", motive, (line[person],))
        active = [other for other in PEOPLE if other not in moved or motives[other] not in taken]
    return draft.lines
