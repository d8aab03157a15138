"""Stories of what fits into what: task 18."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from numpy.random import Generator

from spmn.datasets.babi import Line
from spmn.datasets.drafting import QUESTIONS, Draft, Question, pick, shuffled

SMALL = ("chocolate", "box of chocolates")  # in this order in every story
LARGE = ("box", "chest", "container", "suitcase")
STATEMENTS_AT_ONCE = 5
ATTEMPTS = 100  # to find questions after a block of statements


class Fact(NamedTuple):
    """A told comparison of two things."""

    line: int
    small: str
    large: str


def tell_sizes(rng: Generator) -> list[Line]:
    """A story of task 18: blocks of five comparisons, until a block is followed by five questions.

    A block has a hundred attempts to ask. So where little can be asked fewer than five questions may follow,
    and then more comparisons.
    """
    things = [*SMALL, *shuffled(rng, LARGE)]
    pairs = list(combinations(things, 2))
    draft = Draft()
    told: list[Fact] = []
    while True:
        for _ in range(STATEMENTS_AT_ONCE):
            small, large = pick(rng, pairs)
            fits = rng.random() < 0.5
            text = (
                f"The {small} fits inside the {large}."
                if fits
                else f"The {large} is bigger than the {small}."
            )
            told.append(Fact(draft.tell(text), small, large))
        asked = 0
        for _ in range(ATTEMPTS):
            question = _question(rng, told)
            if question is not None:
                draft.ask(*question)
                asked += 1
            if asked == QUESTIONS:
                return draft.lines


def _question(rng: Generator, told: Sequence[Fact]) -> Question | None:
    """One attempt at a question that takes two statements, which meet in a third thing.

    One of them is drawn, and one of its things as the one in the middle. The other is the first that was told
    of that thing, or the second, if the first was drawn. The question is whether the other one's outer thing
    fits into the drawn one's.
    """
    drawn = pick(rng, told)
    middle = pick(rng, (drawn.small, drawn.large))
    first, *others = (fact for fact in told if middle in (fact.small, fact.large))
    other = first if drawn != first or not others else others[0]
    if (drawn.small == middle) == (other.small == middle):
        return None
    inner, outer = (other.small, drawn.large) if drawn.small == middle else (other.large, drawn.small)
    fits = rng.random() < 0.5
    text = f"Does the {inner} fit in the {outer}?" if fits else f"Is the {outer} bigger than the {inner}?"
    return Question(text, "yes" if drawn.small == middle else "no", (drawn.line, other.line))
