"""Stories of people who walk through rooms and carry things: tasks 1, 2, 3 and 6.

Everybody and everything starts in a room that the story does not tell. Statements come in pairs; after a pair
one question is asked if the last five statements allow one, and the fifth question ends the story.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from spmn.datasets.babi import Line
from spmn.datasets.drafting import Draft, pick

PEOPLE = ("Mary", "John", "Sandra", "Daniel")
ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
THINGS = ("apple", "football", "milk")

MOVE, GET, DROP = "move", "get", "drop"
PHRASES = {
    MOVE: ("went to", "journeyed to", "travelled to", "moved to", "went back to"),
    GET: ("got", "grabbed", "took", "picked up"),
    DROP: ("dropped", "discarded", "put down", "left"),
}

QUESTIONS = 5
STATEMENTS_AT_ONCE = 2
WINDOW = 5  # a question is about somebody or something in that many latest statements
OLDER_STEP = 0.8  # how likely task 3 asks about a step of a path, relative to the next newer one; fitted


class Event(NamedTuple):
    """A told action: the target is the room of a move, the thing of a get or drop."""

    number: int
    action: str
    person: str
    target: str


class Question(NamedTuple):
    """A question with its answer and the numbers of the statements that it rests on."""

    text: str
    answer: str
    support: tuple[int, ...]


Asker = Callable[[Generator, Sequence[Event], Event], Question | None]
"""Makes a question about the person or thing of the last argument, one of the events told, if it can."""


@dataclass(frozen=True)
class RoomTask:
    """What sets one task of this world apart.

    `actions` happen, those of `asked_about` lead to questions, `ask` makes the question, and `there` is the
    share of statements of an action that end in " there".
    """

    actions: tuple[str, ...]
    asked_about: tuple[str, ...]
    ask: Asker
    there: dict[str, float]

    def tell(self, rng: Generator) -> list[Line]:
        """The lines of one story."""
        world = _World(rng, self.actions)
        draft = Draft()
        events: list[Event] = []
        asked = 0
        while asked < QUESTIONS:
            for _ in range(STATEMENTS_AT_ONCE):
                action, person, target = world.act()
                number = draft.tell(self._statement(rng, action, person, target))
                events.append(Event(number, action, person, target))
            question = self._question(rng, events)
            if question is not None:
                draft.ask(*question)
                asked += 1
        return draft.lines

    def _statement(self, rng: Generator, action: str, person: str, target: str) -> str:
        there = " there" if rng.random() < self.there[action] else ""
        return f"{person} {pick(rng, PHRASES[action])} the {target}{there}."

    def _question(self, rng: Generator, events: Sequence[Event]) -> Question | None:
        window = [event for event in events[-WINDOW:] if event.action in self.asked_about]
        candidates = (self.ask(rng, events, window[i]) for i in rng.permutation(len(window)))
        return next(filter(None, candidates), None)


class _World:
    """Where everybody and everything is; what somebody carries is "in" that person."""

    def __init__(self, rng: Generator, actions: tuple[str, ...]) -> None:
        self._rng = rng
        self._actions = actions
        self._where = {item: pick(rng, ROOMS) for item in (*PEOPLE, *THINGS)}

    def act(self) -> tuple[str, str, str]:
        """Let somebody do something possible: (action, person, target)."""
        while True:
            action, person = pick(self._rng, self._actions), pick(self._rng, PEOPLE)
            targets = self._targets(action, person)
            if not targets:
                continue
            target = pick(self._rng, targets)
            if action == MOVE and target == self._where[person]:
                continue
            self._do(action, person, target)
            return action, person, target

    def _targets(self, action: str, person: str) -> Sequence[str]:
        if action == MOVE:
            return ROOMS
        place = self._where[person] if action == GET else person
        return [thing for thing in THINGS if self._where[thing] == place]

    def _do(self, action: str, person: str, target: str) -> None:
        if action == MOVE:
            self._where[person] = target
        else:
            self._where[target] = person if action == GET else self._where[person]


def _where_is_person(rng: Generator, events: Sequence[Event], drawn: Event) -> Question:
    move = _moves(events, drawn.person)[-1]
    return Question(f"Where is {move.person}? ", move.target, (move.number,))


def _is_person_there(rng: Generator, events: Sequence[Event], drawn: Event) -> Question:
    move = _moves(events, drawn.person)[-1]
    true = rng.random() < 0.5
    room = move.target if true else pick(rng, [room for room in ROOMS if room != move.target])
    return Question(f"Is {move.person} in the {room}? ", "yes" if true else "no", (move.number,))


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


def _moves(events: Sequence[Event], person: str) -> list[Event]:
    return [event for event in events if event.action == MOVE and event.person == person]


def _latest(events: Sequence[Event], thing: str) -> Event:
    """The newest get or drop of a thing that has been told of."""
    return next(event for event in reversed(events) if event.target == thing)


_ALL = (MOVE, GET, DROP)
_THERE = {MOVE: 0.0, GET: 1.0, DROP: 0.2}

ROOM_TASKS: dict[int, RoomTask] = {
    1: RoomTask((MOVE,), (MOVE,), _where_is_person, _THERE),
    2: RoomTask(_ALL, (GET, DROP), _where_is_thing, _THERE),
    3: RoomTask(_ALL, (GET, DROP), _where_was_thing, _THERE | {GET: 0.2}),
    6: RoomTask(_ALL, (MOVE,), _is_person_there, _THERE),
}
