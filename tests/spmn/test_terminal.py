"""What is printed stays as it is, and what is typed is text."""

import io
import sys

import pytest
from rich.console import Console

from spmn.errors import DataError
from spmn.terminal import console, plain, table, typed


def test_brackets_and_colons_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("wrote r[/b]/:smile:")
    plain(stderr=True).print("[/] [red]q")
    assert capsys.readouterr() == ("wrote r[/b]/:smile:\n", "[/] [red]q\n")


def test_tables_break_what_is_too_long() -> None:
    long = table("name", "value")
    long.add_row("level1.write_key.latch.to.level1.memory", "7*x0*y0 + x1*y0")
    shown = Console(width=20, file=io.StringIO())
    with shown.capture() as captured:
        shown.print(long)
    assert "…" not in captured.get()


def test_what_a_row_is_about_stays_whole() -> None:
    wide = table("name", "rule", "another rule")
    wide.add_row("level1.write_key.latch", "7*x0*y0 + x1*y0", "7*x0*y0 + x1*y0")
    shown = Console(width=48, file=io.StringIO())
    with shown.capture() as captured:
        shown.print(wide)
    assert "level1.write_key.latch" in captured.get()


def test_lines_that_nobody_types_come_without_a_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = io.BytesIO("\ufeffcafé \n\nlast".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content, encoding="ascii", errors="strict"))
    assert list(typed()) == ["café", "", "last"]
    assert capsys.readouterr().out == ""


def test_lines_that_are_no_text_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Mary\n\xff\n"), encoding="utf-8"))
    lines = typed()
    assert next(lines) == "Mary"
    with pytest.raises(DataError, match="standard input is no UTF-8 text"):
        next(lines)
