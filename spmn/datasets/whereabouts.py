"""Stories of who is where, told in other ways than by one plain sentence: tasks 9 to 13.

As in `rooms`, everybody starts in a room that the story does not tell; a question follows every two
statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from numpy.random import Generator

from spmn.datasets.babi import Line
from spmn.datasets.drafting import Draft, Question, pick, pick_but, pick_two, tell_in_pairs
from spmn.datasets.rooms import PEOPLE, ROOMS, move_phrase, whether

TOWN_PEOPLE = ("Fred", "Mary", "Bill", "Julie")
TOWN_ROOMS = ("bedroom", "cinema", "kitchen", "office", "park", "school")
PRONOUNS = {"Mary": "she", "Sandra": "she", "John": "he", "Daniel": "he"}
ADVERBS = ("After that", "Afterwards", "Following that", "Then")

MOVES, IS, IS_NOT, IS_NO_LONGER, EITHER = "moves", "is", "is not", "is no longer", "is either"


class Report(NamedTuple):
    """What a statement says of a person: in the `named` rooms the answer is `there`, elsewhere no."""

    person: str
    room: str  # where the person is, or for a denial is not
    named: tuple[str, ...]
    there: str
    text: str
    number: int = 0


@dataclass(frozen=True)
class ReportTask:
    """Tasks 9 and 10: a person secretly moves to another room, and one of `forms`, evenly drawn, tells of it.

    A denial names the room just left; "either" names the new room and any of the six, in random order. What
    is asked for is the room denied, or half the time each the true room and one of the others.
    """

    forms: tuple[str, ...]
    people: tuple[str, ...] = PEOPLE
    rooms: tuple[str, ...] = ROOMS

    def tell(self, rng: Generator) -> list[Line]:
        """The lines of one story."""
        where = {person: pick(rng, self.rooms) for person in self.people}

        def tell_one(draft: Draft) -> Report:
            person = pick(rng, self.people)
            left, where[person] = where[person], pick_but(rng, self.rooms, (where[person],))
            report = self._report(rng, person, left, where[person])
            return report._replace(number=draft.tell(report.text))

        def ask(reports: Sequence[Report], drawn: Report) -> Question:
            last = next(report for report in reversed(reports) if report.person == drawn.person)
            if last.there == "no":
                return Question(f"Is {last.person} in the {last.room}? ", "no", (last.number,))
            return whether(rng, last.person, last.room, self.rooms, last.there, last.named, last.number)

        return tell_in_pairs(rng, lambda draft: [tell_one(draft), tell_one(draft)], ask)

    def _report(self, rng: Generator, person: str, left: str, room: str) -> Report:
        form = pick(rng, self.forms)
        if form == MOVES:
            return Report(person, room, (room,), "yes", f"{person} {move_phrase(rng, room)}.")
        if form == EITHER:
            first, second = pick_two(rng, (room, pick(rng, self.rooms)))
            return Report(
                person, room, (first, second), "maybe", f"{person} {EITHER} in the {first} or the {second}."
            )
        named, there = (room, "yes") if form == IS else (left, "no")
        return Report(person, named, (named,), there, f"{person} {form} in the {named}.")


class Visit(NamedTuple):
    """That a sentence takes a person to a room, with the lines that a reader needs for it."""

    person: str
    room: str
    lines: tuple[int, ...]


@dataclass(frozen=True)
class CompanyTask:
    """Tasks 11, 12 and 13: `size` people at a time go to a room where none of them is.

    Where they `go_on`, every second sentence takes them further, by a pronoun. A sentence about two people
    makes two events.
    """

    size: int
    go_on: bool

    def tell(self, rng: Generator) -> list[Line]:
        """The lines of one story."""
        where = {person: pick(rng, ROOMS) for person in PEOPLE}

        def go(
            draft: Draft, people: Sequence[str], subject: str, room: str, before: Sequence[int]
        ) -> list[Visit]:
            where.update(dict.fromkeys(people, room))
            line = draft.tell(f"{subject} {move_phrase(rng, room)}.")
            return [Visit(person, room, (*before, line)) for person in people]

        def by_name(draft: Draft) -> list[Visit]:
            while True:
                people = pick_two(rng, PEOPLE)[: self.size]
                room = pick(rng, ROOMS)
                if room not in [where[person] for person in people]:
                    return go(draft, people, " and ".join(people), room, ())

        def tell_two(draft: Draft) -> list[Visit]:
            visits = by_name(draft)
            if not self.go_on:
                return visits + by_name(draft)
            people = [visit.person for visit in visits]
            pronoun = "they" if self.size > 1 else PRONOUNS[people[0]]
            room = pick_but(rng, ROOMS, (where[people[0]],))
            return visits + go(draft, people, f"{pick(rng, ADVERBS)} {pronoun}", room, visits[0].lines)

        def ask(visits: Sequence[Visit], drawn: Visit) -> Question:
            last = next(visit for visit in reversed(visits) if visit.person == drawn.person)
            return Question(f"Where is {last.person}? ", last.room, last.lines)

        return tell_in_pairs(rng, tell_two, ask)


WHEREABOUTS_TASKS: dict[int, ReportTask | CompanyTask] = {
    9: ReportTask((*4 * (MOVES,), *2 * (IS,), IS_NOT, IS_NO_LONGER)),
    10: ReportTask((*2 * (MOVES,), IS, EITHER), TOWN_PEOPLE, TOWN_ROOMS),
    11: CompanyTask(1, go_on=True),
    12: CompanyTask(2, go_on=False),
    13: CompanyTask(2, go_on=True),
}
