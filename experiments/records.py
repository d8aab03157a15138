"""Files of measured records, one per line: {"runs": [...]}."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hardware.atomic import atomic


class Keyed(Protocol):
    """A flat dataclass; its lists are tuples."""

    @property
    def key(self) -> Any:
        """What tells records apart, and orders them."""


Record = TypeVar("Record", bound=Keyed)


def read(kind: type[Record], path: Path) -> list[Record]:
    """The records of a file, none where there is no such file."""
    if not path.exists():
        return []
    return [
        kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in record.items()})
        for record in json.loads(path.read_text())["runs"]
    ]


def write(records: Iterable[Keyed], path: Path) -> None:
    """Replace a file."""
    ordered: list[Any] = sorted(records, key=lambda record: record.key)
    lines = ",\n".join(f"  {json.dumps(asdict(record))}" for record in ordered)
    with atomic(path) as temporary:
        temporary.write_text(f'{{\n "runs": [\n{lines}\n ]\n}}\n')


def enter(record: Record, path: Path) -> None:
    """Add a record, in place of one with the same key. One process at a time."""
    with _locked(path):
        known = {r.key: r for r in (*read(type(record), path), record)}
        write(known.values(), path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
