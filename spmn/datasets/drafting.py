"""What all story generators share: random choice, the numbering of lines, and the rhythm of most tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, TypeVar

from numpy.random import Generator

from spmn.datasets.babi import Line

QUESTIONS = 5
WINDOW = 5  # a question is about somebody or something in that many latest statements

_Item = TypeVar("_Item")
_Event = TypeVar("_Event")


class Question(NamedTuple):
    """A question with its answer and the numbers of the statements that it rests on."""

    text: str
    answer: str
    support: tuple[int, ...]


def pick(rng: Generator, items: Sequence[_Item]) -> _Item:
    """One of the items, each as likely as the others."""
    return items[int(rng.integers(len(items)))]


def pick_but(rng: Generator, items: Iterable[_Item], excluded: Collection[_Item]) -> _Item:
    """One of the items that are not excluded, each as likely as the others."""
    return pick(rng, [item for item in items if item not in excluded])


def pick_two(rng: Generator, items: Sequence[_Item]) -> tuple[_Item, _Item]:
    """Two different items in random order."""
    first, second = rng.permutation(len(items))[:2]
    return items[int(first)], items[int(second)]


def shuffled(rng: Generator, items: Sequence[_Item]) -> list[_Item]:
    """The items in random order."""
    return [items[int(i)] for i in rng.permutation(len(items))]


class Draft:
    """A story being told: numbers its lines from 1."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def tell(self, text: str) -> int:
        """Add a statement; its number."""
        self.lines.append(Line(len(self.lines) + 1, text))
        return len(self.lines)

    def ask(self, text: str, answer: str, support: Iterable[int]) -> None:
        """Add a question with its answer and the numbers of the statements that it rests on."""
        self.lines.append(Line(len(self.lines) + 1, text, answer, tuple(support)))


def tell_in_pairs(
    rng: Generator,
    tell_two: Callable[[Draft], Iterable[_Event]],
    ask: Callable[[Sequence[_Event], _Event], Question | None],
    can_ask: Callable[[_Event], bool] = lambda event: True,
    before: int = 0,
) -> list[Line]:
    """The lines of a story in the rhythm of tasks 1-3 and 5-13.

    Two statements at a time, one event each; then a question about one of the last five events, drawn evenly
    from those that can be asked about, if `ask(events, event)` makes one. The fifth question ends the story.
    No question is asked before `before` events were told.
    """
    draft = Draft()
    events: list[_Event] = []
    asked = 0
    while asked < QUESTIONS:
        events += tell_two(draft)
        if len(events) < before:
            continue
        window = [event for event in events[-WINDOW:] if can_ask(event)]
        candidates = (ask(events, event) for event in shuffled(rng, window))
        question = next(filter(None, candidates), None)
        if question is not None:
            draft.ask(*question)
            asked += 1
    return draft.lines
