"""What all commands share: where they print, and how they read text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Column, Table

from spmn.errors import DataError


def plain(stderr: bool = False) -> Console:
    """A console that prints paths, words and typed lines as they are: brackets in them are no markup.

    Where nobody looks on, as in a file, lines may be long.
    """
    made = Console(stderr=stderr, markup=False, emoji=False, soft_wrap=True)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = 160
    return made


console = plain()


def table(*headers: str, title: str | None = None, caption: str | None = None) -> Table:
    """A table that breaks what is too long for the terminal instead of cutting it."""
    # what a row is about stays whole as long as the other columns can give way
    columns = (Column(header, overflow="fold", no_wrap=n == 0) for n, header in enumerate(headers))
    return Table(*columns, title=title, caption=caption)


def cell(value: object) -> str:
    """A value as a table shows it: numbers with their thousands apart, both ends of a range."""
    if isinstance(value, (int, float)):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return " to ".join(map(cell, value))
    return "" if value is None else str(value)


def told(content: bytes, source: str) -> str:
    """Text from a file or from standard input. Raises DataError where it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{source} is no UTF-8 text ({problem.reason}): give a sentence per line") from None


def typed() -> Iterator[str]:
    """Lines of standard input to its end, after a prompt where somebody types them.

    Raises DataError where they are not UTF-8.
    """
    if not sys.stdin.isatty():
        for line in sys.stdin.buffer:
            yield told(line, "standard input").strip()
        return
    while True:
        try:
            line = console.input("> ")
        except EOFError:
            return
        except UnicodeDecodeError as problem:
            raise DataError(f"the line typed is no UTF-8 text ({problem.reason}): type it again") from None
        yield line.strip()
