"""Range checks shared by the program's parts: a message names the part, quotes the value, gives the range."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from hardware.errors import ProgramError

IntArray = npt.NDArray[np.int64]

MAX_SIZE = 2**20
"""Most neurons or axons of one part."""

_NAME = re.compile(r"[A-Za-z0-9_.\-]+")


class Value:
    """Base of frozen dataclasses that hold arrays: equal if all fields are, arrays element by element."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            _equal(getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)  # type: ignore[arg-type]
            if field.compare
        )


def _equal(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return np.array_equal(np.asarray(left), np.asarray(right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    return bool(left == right)


def check_name(name: str) -> None:
    """Raises ProgramError unless `name` is made of letters, digits, "_", "-" and, not alone, "."."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.strip("."):
        raise ProgramError(
            f"the name {name!r} is not usable: use letters, digits, '_', '-' and, not alone, '.'"
        )


def check_int(owner: str, name: str, value: int, low: int, high: int) -> None:
    """Raises ProgramError unless `value` is an integer in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ProgramError(f"{owner}: {name} is {value!r}: give an integer from {low} to {high}")
    if not low <= value <= high:
        raise ProgramError(f"{owner}: {name} is {value}, outside {low}..{high}")


def check_choice(owner: str, name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ProgramError unless `value` is one of `choices`."""
    if value not in choices:
        raise ProgramError(f"{owner}: {name} is {value!r}: use one of {', '.join(map(repr, choices))}")


def check_unique(what: str, names: Iterable[object]) -> None:
    """Raises ProgramError if one of `names` comes twice."""
    seen = set()
    for name in names:
        if name in seen:
            raise ProgramError(f"{what} {name!r} is defined twice: give each its own name")
        seen.add(name)


def check_steps(owner: str, steps: Sequence[int]) -> tuple[int, ...]:
    """The steps as a tuple. Raises ProgramError unless they are distinct integers >= 0."""
    for step in steps:
        check_int(owner, "a step", step, 0, 2**31 - 1)
    check_unique(f"{owner}: step", steps)
    return tuple(steps)


def integer_array(owner: str, name: str, value: Any, ndim: int, low: int, high: int) -> IntArray:
    """A read-only int64 copy of `value`.

    Raises ProgramError unless it holds integers in [low, high] and has `ndim` dimensions.
    """
    given = np.asarray(value)
    if given.dtype.kind not in "iu":
        raise ProgramError(f"{owner}: {name} has dtype {given.dtype}: give integers, rounded by the exporter")
    if given.ndim != ndim:
        raise ProgramError(f"{owner}: {name} has shape {given.shape}: give {ndim} dimension(s)")
    if given.size and not (low <= int(given.min()) and int(given.max()) <= high):
        raise ProgramError(f"{owner}: {name} spans {given.min()}..{given.max()}, outside {low}..{high}")
    array = np.array(given, dtype=np.int64)
    array.setflags(write=False)
    return array


def check_shape(owner: str, name: str, array: IntArray, shape: tuple[int, ...]) -> None:
    """Raises ProgramError unless the array has this shape."""
    if array.shape != shape:
        raise ProgramError(f"{owner}: {name} has shape {array.shape}, but its ends need {shape}")
