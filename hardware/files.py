"""Programs on disk: HDF5, one dataset per field, named by the path to it ("projections/3/weights")."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from hardware import store
from hardware.errors import FileError, HardwareError
from hardware.program import Program
from hardware.store import Leaf

Part = TypeVar("Part")


def save(program: Program, path: str | Path) -> None:
    """Write a program; the file appears complete or not at all. Raises FileError."""
    store.write(path, "program", dict(_leaves(program, "")))


def load(path: str | Path) -> Program:
    """Read a program and validate it.

    Raises FileError, naming the dataset, if the file is missing, truncated, foreign, changed, of another
    version, or holds a program that breaks a limit of the chip.
    """
    leaves = store.read(path, "program")
    try:
        return _build(Program, leaves, "")
    except KeyError as error:
        raise FileError(f"{path}: dataset {error} is missing: write the file again") from error
    except HardwareError as error:
        raise FileError(f"{path}: {error}") from error


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Leaf]]:
    """Every field below `value` with its path; None and empty tuples leave nothing."""
    if is_dataclass(value):
        for field in fields(value):
            if field.init:
                yield from _leaves(getattr(value, field.name), f"{path}/{field.name}".strip("/"))
    elif isinstance(value, tuple) and value and is_dataclass(value[0]):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}/{index}")
    elif isinstance(value, tuple) and value:
        yield path, value if isinstance(value[0], str) else np.array(value, dtype=np.int64)
    elif isinstance(value, Mapping):
        yield path, json.dumps(dict(value), sort_keys=True)
    elif isinstance(value, str):
        yield path, value
    elif isinstance(value, (int, np.ndarray)):
        yield path, np.asarray(value, dtype=np.int64)


def _build(part: type[Part], leaves: Mapping[str, Leaf], path: str) -> Part:
    """The dataclass `part` whose fields lie below `path`."""
    hints = get_type_hints(part)
    values = {}
    for field in fields(part):  # type: ignore[arg-type]
        if field.init:
            values[field.name] = _field(hints[field.name], leaves, f"{path}/{field.name}".strip("/"))
    return part(**values)


def _field(hint: Any, leaves: Mapping[str, Leaf], path: str) -> Any:
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType) and type(None) in arguments:
        present = any(name.startswith(f"{path}/") for name in leaves)
        return _field(arguments[0], leaves, path) if present else None
    if get_origin(hint) is tuple and is_dataclass(arguments[0]):
        count = len({name[len(path) + 1 :].split("/")[0] for name in leaves if name.startswith(f"{path}/")})
        return tuple(_build(arguments[0], leaves, f"{path}/{index}") for index in range(count))  # type: ignore[arg-type]
    if is_dataclass(hint):
        return _build(hint, leaves, path)  # type: ignore[arg-type]
    if get_origin(hint) is tuple and path not in leaves:
        return ()
    leaf = leaves[path]
    if isinstance(leaf, np.ndarray):
        if leaf.ndim == 0:
            return int(leaf)
        return tuple(leaf.tolist()) if get_origin(hint) is tuple else leaf
    return json.loads(str(leaf)) if get_origin(hint) is Mapping else leaf
