"""What all story generators share: random choice and the numbering of a story's lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from numpy.random import Generator

from spmn.datasets.babi import Line

_Item = TypeVar("_Item")


def pick(rng: Generator, items: Sequence[_Item]) -> _Item:
    """One of the items, each as likely as the others."""
    return items[int(rng.integers(len(items)))]


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
