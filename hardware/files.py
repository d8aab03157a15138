"""Programs on disk: HDF5, one dataset per field, named by the path to it ("projections/3/weights").

docs/program-format.md lists the datasets.
"""

from __future__ import annotations

import itertools
import json
import re
import types
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


def save(program: Program, path: str | Path) -> None:
    """Write a program; the file appears complete or not at all. Raises FileError."""
    store.write(path, "program", dict(_leaves(program, "")))


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
    """Every field below `value` with its path; None and tuples of no parts leave nothing."""
    for field, hint in _hints(type(value)).items():
        item = getattr(value, field)
        name = f"{path}/{field}".strip("/")
        if is_dataclass(item):
            yield from _leaves(item, name)
        elif isinstance(item, Mapping):
            yield name, json.dumps(dict(item), sort_keys=True)
        elif isinstance(item, tuple) and is_dataclass(get_args(hint)[0]):
            for index, part in enumerate(item):
                yield from _leaves(part, f"{name}/{index}")
        elif isinstance(item, str) or (isinstance(item, tuple) and get_args(hint)[0] is str):
            yield name, item
        elif item is not None:
            yield name, np.asarray(item, dtype=np.int64)


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
        raise FileError(f"dataset {fault!r}: {error}" if fault else str(error)) from error


def _field(hint: Any, leaves: dict[str, Leaf], path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType) and type(None) in arguments:
        return _build(arguments[0], leaves, path) if _below(leaves, path) else None
    if is_dataclass(hint):
        return _build(hint, leaves, path)  # type: ignore[arg-type]
    if origin is tuple and is_dataclass(arguments[0]):
        below = _below(leaves, path)
        present = itertools.takewhile(lambda index: str(index) in below, itertools.count())
        return tuple(_build(arguments[0], leaves, f"{path}/{index}") for index in present)  # type: ignore[arg-type]
    if path not in leaves:
        _refuse(path, "is missing")
    return _value(hint, leaves.pop(path), path)


def _below(leaves: Mapping[str, Leaf], path: str) -> set[str]:
    """Names of the groups and datasets in the group `path`."""
    return {name[len(path) + 1 :].split("/")[0] for name in leaves if name.startswith(f"{path}/")}


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
    if not isinstance(leaf, np.ndarray) or leaf.dtype != np.int64:
        _refuse(path, f"is {_shown(leaf)}: give 64-bit integers")
    if origin is tuple:
        return tuple(leaf.tolist()) if leaf.ndim == 1 else _refuse(path, f"is {_shown(leaf)}: give a list")
    scalar = leaf.ndim == 0
    if (scalar and hint is not int and int not in arguments) or (not scalar and hint is int):
        _refuse(path, f"is {_shown(leaf)}: give {'an array' if scalar else 'one integer'}")
    return int(leaf) if scalar else leaf


def _shown(leaf: Leaf) -> str:
    if isinstance(leaf, np.ndarray):
        return f"{leaf.dtype} {leaf.shape}"
    return f"the text {leaf[:30]!r}" if isinstance(leaf, str) else f"{len(leaf)} texts"


def _refuse(path: str, reason: str) -> NoReturn:
    raise FileError(f"dataset {path!r} {reason}{AGAIN}")


def _at_fault(path: str, values: Mapping[str, Any], message: str) -> str:
    """The dataset, or else the group, that the message of a failed check is about; "" if it tells neither.

    A message is "owner: what: advice" or "what: advice"; `what` quotes a text or names a field.
    """
    owner, _, rest = message.partition(": ")
    by_owner = re.fullmatch(r"(probe of )?[\w.\-]+", owner) is not None
    what = rest.partition(": ")[0] if by_owner else owner
    parts = dict(_parts(path, values))
    for text in reversed(re.findall("'([^']*)'", what if by_owner else message)):
        holders = [
            f"{where}/{name}".strip("/")
            for where, part in parts.items()
            for name, value in part.items()
            if isinstance(value, str) and value == text
        ]
        if len(holders) == 1:
            return holders[0]
    owners = [where for where, part in parts.items() if by_owner and part.get("name") == owner]
    group = owners[-1] if owners else path
    found = [
        (match.start(), f"{where}/{name}".strip("/"))
        for where, part in parts.items()
        if where == group or where.rpartition("/")[0] == group
        for name in part
        if (match := re.search(rf"\b{name.rstrip('s').replace('_', '[_ ]')}s?\b", what))
    ]
    return min(found)[1] if found else group


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
