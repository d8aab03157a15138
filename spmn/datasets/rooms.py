"""Stories of people who walk through rooms, carry things and hand them on: tasks 1, 2, 3, 5, 6, 7 and 8.

Everybody and everything starts in a room that the story does not tell. Then, again and again, an action and a
person are drawn until that person can do it. See `tell_in_pairs` for when a question is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from spmn.datasets.babi import Line
from spmn.datasets.drafting import Draft, Question, pick, pick_but, tell_in_pairs

PEOPLE = ("Mary", "John", "Sandra", "Daniel")
ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
THINGS = ("apple", "football", "milk")

MOVE, GET, DROP, GIVE = "move", "get", "drop", "give"
PHRASES = {
    MOVE: ("went to", "journeyed to", "travelled to", "moved to", "went back to"),
    GET: ("got", "grabbed", "took", "picked up"),
    DROP: ("dropped", "discarded", "put down", "left"),
    GIVE: ("gave", "handed", "passed"),
}

OLDER_STEP = 0.8  # how likely task 3 asks about a step of a path, relative to the next newer one; fitted
NUMBERS = ("none", "one", "two", "three")
GIFT_QUESTIONS = (
    *2 * (("What did {person} give to {receiver}? ", "target"),),
    ("Who gave the {target}? ", "person"),
    ("Who gave the {target} to {receiver}? ", "person"),
    ("Who received the {target}? ", "receiver"),
    ("Who did {person} give the {target} to? ", "receiver"),
)
"""What task 5 asks about a gift and which part of it answers, each line equally often."""


class Event(NamedTuple):
    """A told action: the target is the room of a move, or the thing."""

    number: int
    action: str
    person: str
    target: str
    receiver: str = ""  # of a gift


Asker = Callable[[Generator, Sequence[Event], Event], Question | None]
"""Makes a question about the person or thing of the last argument, one of the events told, if it can."""


def move_phrase(rng: Generator, room: str) -> str:
    """Such as "went back to the garden"; the "back" says nothing."""
    return f"{pick(rng, PHRASES[MOVE])} the {room}"


def whether(
    rng: Generator, person: str, place: str, rooms: Sequence[str], there: str, named: Sequence[str], line: int
) -> Question:
    """Asks, half the time each, whether the person is in `place` or in one of the other rooms.

    The answer is `there` for the named rooms, else no.
    """
    asked = place if rng.random() < 0.5 else pick_but(rng, rooms, (place,))
    return Question(f"Is {person} in the {asked}? ", there if asked in named else "no", (line,))


@dataclass(frozen=True)
class RoomTask:
    """What sets one task of this world apart.

    `actions` happen, those of `asked_about` lead to questions, `ask` makes the question, and `got_there` is
    the share of sentences about getting that end in " there". `people` are in the order in which they
    receive.
    """

    actions: tuple[str, ...]
    asked_about: tuple[str, ...]
    ask: Asker
    got_there: float = 1.0
    people: tuple[str, ...] = PEOPLE

    def tell(self, rng: Generator, before: int = 0) -> list[Line]:
        """The lines of one story, with at least so many statements before its first question."""
        world = _World(rng, self.actions, self.people)

        def tell_one(draft: Draft) -> Event:
            event = Event(0, *world.act())
            return event._replace(number=draft.tell(self._sentence(rng, event)))

        return tell_in_pairs(
            rng,
            lambda draft: [tell_one(draft), tell_one(draft)],
            lambda events, drawn: self.ask(rng, events, drawn),
            lambda event: event.action in self.asked_about,
            before,
        )

    def _sentence(self, rng: Generator, event: Event) -> str:
        share = {GET: self.got_there, DROP: 0.2}.get(event.action, 0.0)
        end = " there" if rng.random() < share else f" to {event.receiver}" if event.receiver else ""
        return f"{event.person} {pick(rng, PHRASES[event.action])} the {event.target}{end}."


class _World:
    """Where everybody and everything is; what somebody carries is "in" that person."""

    def __init__(self, rng: Generator, actions: tuple[str, ...], people: tuple[str, ...]) -> None:
        self._rng = rng
        self._actions = actions
        self._people = people
        self._where = {item: pick(rng, ROOMS) for item in (*people, *THINGS)}

    def act(self) -> tuple[str, str, str, str]:
        """Let somebody do something possible: (action, person, target, receiver)."""
        while True:
            action, person = pick(self._rng, self._actions), pick(self._rng, self._people)
            possible = self._gifts() if action == GIVE else self._deeds(action, person)
            if not possible:
                continue
            person, target, receiver = pick(self._rng, possible)
            if action == MOVE and target == self._where[person]:
                continue
            if action == MOVE:
                self._where[person] = target
            else:
                self._where[target] = {GET: person, DROP: self._where[person], GIVE: receiver}[action]
            return action, person, target, receiver

    def _deeds(self, action: str, person: str) -> list[tuple[str, str, str]]:
        if action == MOVE:
            return [(person, room, "") for room in ROOMS]
        place = self._where[person] if action == GET else person
        return [(person, thing, "") for thing in THINGS if self._where[thing] == place]

    def _gifts(self) -> list[tuple[str, str, str]]:
        """The first thing that can be given, to the first who can receive it: as published, not drawn."""
        for thing in THINGS:
            holder = self._where[thing]
            for other in self._people:
                if holder in self._people and other != holder and self._where[other] == self._where[holder]:
                    return [(holder, thing, other)]
        return []


def _where_is_person(rng: Generator, events: Sequence[Event], drawn: Event) -> Question:
    move = _moves(events, drawn.person)[-1]
    return Question(f"Where is {move.person}? ", move.target, (move.number,))


def _is_person_there(rng: Generator, events: Sequence[Event], drawn: Event) -> Question:
    move = _moves(events, drawn.person)[-1]
    return whether(rng, move.person, move.target, ROOMS, "yes", (move.target,), move.number)


def _where_is_thing(rng: Generator, events: Sequence[Event], drawn: Event) -> Question | None:
    last = _latest(events, drawn.target)
    moves = _moves(events, last.person)
    if last.action == DROP:
        moves = [move for move in moves if move.number < last.number]
    # Who has not moved since the get may stand in a room that was never told.
    if not moves or (last.action == GET and moves[-1].number < last.number):
        return None
    return Question(f"Where is the {last.target}? ", moves[-1].target, (last.number, moves[-1].number))


def _where_was_thing(rng: Generator, events: Sequence[Event], drawn: Event) -> Question | None:
    last = _latest(events, drawn.target)
    got, until = last.number, events[-1].number + 1
    if last.action == DROP:
        got, until = _latest(events[: events.index(last)], last.target).number, last.number
    path = [move for move in _moves(events, last.person) if got < move.number < until]
    rooms = [move.target for move in path]
    # The room asked about has to be named by its last visit, or the answer would not be unique.
    steps = [i for i in range(len(path) - 1, 0, -1) if rooms[i] not in rooms[i + 1 :]]
    if not steps:
        return None
    likely = OLDER_STEP ** np.arange(len(steps))
    step = rng.choice(steps, p=likely / likely.sum())
    before, after = path[step - 1], path[step]
    text = f"Where was the {last.target} before the {after.target}? "
    return Question(text, before.target, (last.number, after.number, before.number))


def _about_gift(rng: Generator, events: Sequence[Event], drawn: Event) -> Question:
    gift = _latest([event for event in events if event.action == GIVE], drawn.target)
    text, role = pick(rng, GIFT_QUESTIONS)
    return Question(text.format(**gift._asdict()), getattr(gift, role), (gift.number,))


def _how_many(rng: Generator, events: Sequence[Event], drawn: Event) -> Question:
    person = drawn.person
    own = [event for event in events if event.action != MOVE and person in (event.person, event.receiver)]
    gained = sum(event.action == GET or event.receiver == person for event in own)
    answer = NUMBERS[2 * gained - len(own)]
    return Question(f"How many objects is {person} carrying? ", answer, tuple(event.number for event in own))


def _what(rng: Generator, events: Sequence[Event], drawn: Event) -> Question:
    """Things, and the lines of the support by thing, in the order in which the person first got them."""
    histories: dict[str, list[Event]] = {}
    for event in events:
        if event.action != MOVE and event.person == drawn.person:
            histories.setdefault(event.target, []).append(event)
    held = [thing for thing, history in histories.items() if history[-1].action == GET]
    support = tuple(event.number for history in histories.values() for event in history)
    return Question(f"What is {drawn.person} carrying? ", ",".join(held) or "nothing", support)


def _moves(events: Sequence[Event], person: str) -> list[Event]:
    return [event for event in events if event.action == MOVE and event.person == person]


def _latest(events: Sequence[Event], thing: str) -> Event:
    """The newest event with a thing that has been told of."""
    return next(event for event in reversed(events) if event.target == thing)


_CARRYING = (MOVE, GET, DROP)
_GIVING = (*_CARRYING, GIVE)

ROOM_TASKS: dict[int, RoomTask] = {
    1: RoomTask((MOVE,), (MOVE,), _where_is_person),
    2: RoomTask(_CARRYING, (GET, DROP), _where_is_thing),
    3: RoomTask(_CARRYING, (GET, DROP), _where_was_thing, got_there=0.2),
    5: RoomTask(_GIVING, (GIVE,), _about_gift, people=("Mary", "Fred", "Bill", "Jeff")),
    6: RoomTask(_CARRYING, (MOVE,), _is_person_there),
    7: RoomTask(_GIVING, (GET, DROP, GIVE), _how_many, people=("John", "Mary", "Sandra", "Daniel")),
    8: RoomTask(_CARRYING, (GET, DROP), _what),
}
