"""Programs on disk: HDF5, one dataset per array ("projections/3/weights") and per column of numbers or texts.

A column holds a field of all parts of a list ("projections/weight_exp"). docs/program-format.md lists the
datasets.
"""

from __future__ import annotations

import json
import re
import types
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from hardware import store
from hardware.errors import FileError, HardwareError
from hardware.program import Program
from hardware.store import Leaf

Part = TypeVar("Part")

AGAIN = ": write the file again"
INTEGERS = (np.int8, np.int16, np.int32, np.int64)
ELSEWHERE = -(2**15)
"""In a column, of a part that has an array instead: no field has this number in its range."""


def save(program: Program, path: str | Path) -> None:
    """Write a program; the file appears complete or not at all. Raises FileError."""
    store.write(path, "program", {name: _narrowed(leaf) for name, leaf in _leaves(program, "")})


def load(path: str | Path) -> Program:
    """Read a program and validate it.

    Raises FileError, naming the dataset, if the file is missing, truncated, foreign, changed, of another
    version, or holds a program that breaks a limit of the chip.
    """
    leaves = store.read(path, "program", _fault)
    try:
        return _program(leaves)
    except HardwareError as error:
        raise FileError(f"{path}: {error}") from error


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Leaf]]:
    """Every dataset of the fields of `value`; None and tuples of no parts leave nothing."""
    for field, hint in _hints(type(value)).items():
        item = getattr(value, field)
        name = f"{path}/{field}".strip("/")
        if is_dataclass(item):
            yield from _leaves(item, name)
        elif isinstance(item, Mapping):
            yield name, json.dumps(dict(item), sort_keys=True)
        elif isinstance(item, tuple) and is_dataclass(get_args(hint)[0]):
            yield from _columns(item, name)
        elif isinstance(item, str) or (isinstance(item, tuple) and get_args(hint)[0] is str):
            yield name, item
        elif item is not None:
            yield name, np.asarray(item, dtype=np.int64)


def _columns(parts: tuple[Any, ...], path: str) -> Iterator[tuple[str, Leaf]]:
    """A column of every field that may be a scalar, and of each part the arrays and texts that are none."""
    leaves = [dict(_leaves(part, "")) for part in parts]
    for field in leaves[0] if leaves else ():
        values = [part[field] for part in leaves]
        own = {index: value for index, value in enumerate(values) if not _scalar(value)}
        yield from ((f"{path}/{index}/{field}", value) for index, value in own.items())
        if field in _scalars(type(parts[0])):
            column = [ELSEWHERE if index in own else value for index, value in enumerate(values)]
            texts = tuple(value for value in column if isinstance(value, str))
            yield f"{path}/{field}", texts or np.array(column, dtype=np.int64)


def _scalar(value: object) -> bool:
    return not isinstance(value, tuple) and np.ndim(value) == 0  # type: ignore[arg-type]


def _narrowed(leaf: Leaf) -> Leaf:
    """Integers in the smallest signed type that holds all of them: most weights need 8 bits, not 64."""
    if not isinstance(leaf, np.ndarray) or not leaf.size:
        return leaf
    return leaf.astype(np.min_scalar_type(min(leaf.min(), ~leaf.max())))


def _scalars(part: type[Any]) -> dict[str, Any]:
    """Field -> type of the fields of a part, and of the parts in it, that may be one number or text."""
    found: dict[str, Any] = {}
    for field, hint in _hints(part).items():
        if is_dataclass(hint):
            found |= {f"{field}/{name}": inner for name, inner in _scalars(hint).items()}  # type: ignore[arg-type]
        elif get_origin(hint) not in (tuple, np.ndarray):
            found[field] = hint
    return found


def _hints(part: type[Any]) -> dict[str, Any]:
    """Field -> type of the fields that make a part."""
    hints = get_type_hints(part)
    return {field.name: hints[field.name] for field in fields(part) if field.init}


def _program(leaves: Mapping[str, Leaf]) -> Program:
    """The program of all these leaves. Raises FileError with the name of the first that is wrong."""
    rest = dict(leaves)
    program = _build(Program, rest, "")
    for name in sorted(rest):
        _refuse(name, "belongs to no part of a program")
    return program


def _fault(leaves: Mapping[str, Leaf]) -> str:
    try:
        _program(leaves)
    except HardwareError as error:
        return str(error).removesuffix(AGAIN)
    return ""


def _build(part: type[Part], leaves: dict[str, Leaf], path: str) -> Part:
    """The dataclass `part` whose fields lie below `path`; they are taken out of `leaves`."""
    values = {
        field: _field(hint, leaves, f"{path}/{field}".strip("/")) for field, hint in _hints(part).items()
    }
    try:
        return part(**values)
    except (HardwareError, ArithmeticError, ValueError) as error:  # a rule may hold numbers beyond any float
        fault = _at_fault(path, values, str(error))
        raise FileError(f"{fault}: {error}" if fault else str(error)) from error


def _field(hint: Any, leaves: dict[str, Leaf], path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType) and type(None) in arguments:
        return _build(arguments[0], leaves, path) if _below(leaves, path) else None
    if is_dataclass(hint):
        return _build(hint, leaves, path)  # type: ignore[arg-type]
    if origin is tuple and is_dataclass(arguments[0]):
        present = range(_spread(arguments[0], leaves, path))  # type: ignore[arg-type]
        return tuple(_build(arguments[0], leaves, f"{path}/{index}") for index in present)  # type: ignore[arg-type]
    if path not in leaves:
        _refuse(path, "is missing")
    return _value(hint, leaves.pop(path), path)


def _below(leaves: Mapping[str, Leaf], path: str) -> bool:
    """True if there are datasets in the group `path`."""
    return any(name.startswith(f"{path}/") for name in leaves)


def _spread(part: type[Any], leaves: dict[str, Leaf], path: str) -> int:
    """Replace the columns of a list of parts by a leaf of each part; how many parts there are."""
    if not _below(leaves, path):
        return 0
    hints = _scalars(part)
    columns = {field: _column(hint, leaves, f"{path}/{field}") for field, hint in hints.items()}
    count = Counter(len(column) for column in columns.values()).most_common(1)[0][0]
    for field, column in columns.items():
        if len(column) != count:
            _refuse(f"{path}/{field}", f"has {len(column)} values where other columns have {count}")
        for index, value in enumerate(column):
            name = f"{path}/{index}/{field}"
            if value == ELSEWHERE and int in get_args(hints[field]):
                if _scalar(leaves.get(name, "")):
                    _refuse(name, "is missing or no array")
            elif name in leaves:
                _refuse(name, f"contradicts dataset '{path}/{field}', part {index}")
            else:
                leaves[name] = value if isinstance(value, str) else np.asarray(value)
    return count


def _column(hint: Any, leaves: dict[str, Leaf], path: str) -> tuple[Any, ...]:
    """The values of a field of this type in all parts of a list."""
    numbers = hint is int or int in get_args(hint)
    values: tuple[Any, ...] = _field(tuple[int, ...] if numbers else tuple[str, ...], leaves, path)
    return values


def _value(hint: Any, leaf: Leaf, path: str) -> Any:
    """What a field of this type has in memory; its leaf must be of the type that `_leaves` gives it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Mapping:
        if isinstance(leaf, str):
            try:
                texts = json.loads(leaf)
            except (ValueError, RecursionError):
                texts = None
            if isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values()):
                return texts
        _refuse(path, f"is {_shown(leaf)}: give JSON of texts by name")
    if hint is str or origin is Literal:
        return leaf if isinstance(leaf, str) else _refuse(path, f"is {_shown(leaf)}: give a text")
    if origin is tuple and arguments[0] is str:
        return leaf if isinstance(leaf, tuple) else _refuse(path, f"is {_shown(leaf)}: give texts")
    if not isinstance(leaf, np.ndarray) or leaf.dtype not in INTEGERS:
        _refuse(path, f"is {_shown(leaf)}: give signed integers")
    if origin is tuple:
        return tuple(leaf.tolist()) if leaf.ndim == 1 else _refuse(path, f"is {_shown(leaf)}: give a list")
    scalar = leaf.ndim == 0
    if (scalar and hint is not int and int not in arguments) or (not scalar and hint is int):
        _refuse(path, f"is {_shown(leaf)}: give {'an array' if scalar else 'one integer'}")
    return int(leaf) if scalar else leaf.astype(np.int64)


def _shown(leaf: Leaf) -> str:
    if isinstance(leaf, np.ndarray):
        return f"{leaf.dtype} {leaf.shape}"
    return f"the text {leaf[:30]!r}" if isinstance(leaf, str) else f"{len(leaf)} texts"


def _refuse(path: str, reason: str) -> NoReturn:
    raise FileError(f"dataset {path!r} {reason}{AGAIN}")


def _at_fault(path: str, values: Mapping[str, Any], message: str) -> str:
    """The dataset, or else the group, that the message of a failed check is about; "" if it tells neither.

    What lies in a column is shown with the number of its part.

    A message is "owner: what: advice" or "what: advice"; `what` quotes a text or names a field.
    """
    owner, _, rest = message.partition(": ")
    by_owner = re.fullmatch(r"(probe of )?[\w.\-]+", owner) is not None
    what = rest.partition(": ")[0] if by_owner else owner
    parts = dict(_parts(path, values))
    for text in reversed(re.findall("'([^']*)'", what if by_owner else message)):
        holders = [
            _named(f"{where}/{name}", value)
            for where, part in parts.items()
            for name, value in part.items()
            if (isinstance(value, str) and value == text) or (isinstance(value, tuple) and text in value)
        ]
        if len(holders) == 1:
            return holders[0]
    owners = [where for where, part in parts.items() if by_owner and part.get("name") == owner]
    group = owners[-1] if owners else path
    found = [
        (match.start(), _named(f"{where}/{name}", value))
        for where, part in parts.items()
        if where == group or where.rpartition("/")[0] == group
        for name, value in part.items()
        if (match := re.search(rf"\b{name.rstrip('s').replace('_', '[_ ]')}s?\b", what))
    ]
    return min(found)[1] if found else _named(group, None)


def _named(path: str, value: object) -> str:
    """How a message shows the dataset of a field; a scalar of a part in a list is in its column."""
    part = re.search(r"/(\d+)(?=/|$)", path)
    if part and _scalar(value):
        return f"dataset {path[: part.start()] + path[part.end() :]!r}, part {part[1]}"
    return f"dataset {path.strip('/')!r}" if path else ""


def _parts(path: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """This part and all below it, as field -> value."""
    yield path, values
    for name, value in values.items():
        below = f"{path}/{name}".strip("/")
        if is_dataclass(value):
            yield from _parts(below, vars(value))
        elif isinstance(value, tuple):
            for index, part in enumerate(value):
                if is_dataclass(part):
                    yield from _parts(f"{below}/{index}", vars(part))
