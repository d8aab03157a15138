"""Stories of what lies next to what: rooms (tasks 4 and 19) and coloured things (task 17)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from numpy.random import Generator

from spmn.datasets.babi import Line
from spmn.datasets.drafting import Draft, pick, pick_but, pick_two, shuffled
from spmn.datasets.rooms import ROOMS

Step = tuple[int, int]

COMPASS: dict[Step, str] = {(0, 1): "north", (0, -1): "south", (1, 0): "east", (-1, 0): "west"}
SIDES: dict[Step, str] = {
    (0, 1): "above", (0, -1): "below", (1, 0): "to the right of", (-1, 0): "to the left of",
}  # fmt: skip
STEPS = tuple(COMPASS)
SHAPES = ("triangle", "pink rectangle", "red sphere", "blue square", "yellow square", "red square")
POSITION_QUESTIONS = 8
DEAD_ENDS = 3  # rooms of task 19 that are not on the way asked for


class Edge(NamedTuple):
    """`place` lies one step from `hub`."""

    place: str
    step: Step
    hub: str

    def turned(self) -> Edge:
        """The same, seen from the other end."""
        return Edge(self.hub, _opposite(self.step), self.place)


def tell_neighbours(rng: Generator) -> list[Line]:
    """A story of task 4: three rooms in a row, and what lies so from another, or another so from what."""
    first, hub, last = shuffled(rng, ROOMS)[:3]
    step = pick(rng, STEPS)
    draft = Draft()
    told = _tell_edges(rng, draft, [Edge(first, step, hub), Edge(last, _opposite(step), hub)])
    edge, line = pick(rng, list(told.items()))
    if rng.random() < 0.5:
        text = f"What is {COMPASS[edge.step]} of the {edge.hub}?"
    else:
        text = f"What is the {edge.hub} {COMPASS[_opposite(edge.step)]} of?"
    draft.ask(text, edge.place, (line,))
    return draft.lines


def tell_ways(rng: Generator) -> list[Line]:
    """A story of task 19: a way of two steps, the second not back, with three more rooms beside it.

    They are on different free sides of the rooms of the way, never of each other; two rooms can come to lie
    in the same place.
    """
    start, middle, end, *others = shuffled(rng, ROOMS)
    first = pick(rng, STEPS)
    second = pick_but(rng, STEPS, (_opposite(first),))
    taken = {(start, first), (middle, _opposite(first)), (middle, second), (end, _opposite(second))}
    free = [(room, step) for room in (start, middle, end) for step in STEPS if (room, step) not in taken]
    way = [Edge(middle, first, start), Edge(end, second, middle)]
    beside = zip(others, shuffled(rng, free)[:DEAD_ENDS], strict=True)
    draft = Draft()
    told = _tell_edges(rng, draft, [*way, *(Edge(room, step, hub) for room, (hub, step) in beside)])
    lines = {frozenset((edge.place, edge.hub)): line for edge, line in told.items()}
    draft.ask(
        f"How do you go from the {start} to the {end}?",
        f"{COMPASS[first][0]},{COMPASS[second][0]}",
        (lines[frozenset((start, middle))], lines[frozenset((middle, end))]),
    )
    return draft.lines


def tell_positions(rng: Generator) -> list[Line]:
    """A story of task 17: two things next to a third one, and eight questions how the two lie to each other.

    Half of the questions are true. Things in one row are neither above nor below each other.
    """
    first, hub, second = shuffled(rng, SHAPES)[:3]
    steps = dict(zip((first, second), pick_two(rng, STEPS), strict=True))
    draft = Draft()
    lines: dict[str, int] = {}
    for thing in shuffled(rng, (first, second)):
        edge = Edge(thing, steps[thing], hub)
        if rng.random() < 2 / 3:
            edge = edge.turned()
        lines[thing] = draft.tell(f"The {edge.place} is {SIDES[edge.step]} the {edge.hub}.")
    for _ in range(POSITION_QUESTIONS):
        subject, other = pick_two(rng, (first, second))
        apart = [a - b for a, b in zip(steps[subject], steps[other], strict=True)]
        true = [step for step in STEPS if step[0] * apart[0] + step[1] * apart[1] > 0]
        yes = rng.random() < 0.5
        asked = pick(rng, true) if yes else pick_but(rng, STEPS, true)
        text = f"Is the {subject} {SIDES[asked]} the {other}?"
        draft.ask(text, "yes" if yes else "no", (lines[subject], lines[other]))
    return draft.lines


def _tell_edges(rng: Generator, draft: Draft, edges: Iterable[Edge]) -> dict[Edge, int]:
    """Tell all edges; each as told, with its line.

    A room is drawn as the subject, and then one of its neighbours, until all is told: so a room with one
    neighbour is the subject more often, and edges between rooms with many come late.
    """
    edges = list(edges)
    views = [*edges, *(edge.turned() for edge in edges)]
    rooms = sorted({edge.place for edge in views})
    told: dict[Edge, int] = {}
    while len(told) < len(edges):
        room = pick(rng, rooms)
        edge = pick(rng, [view for view in views if view.place == room])
        if edge not in told and edge.turned() not in told:
            told[edge] = draft.tell(f"The {edge.place} is {COMPASS[edge.step]} of the {edge.hub}.")
    return told


def _opposite(step: Step) -> Step:
    return -step[0], -step[1]
