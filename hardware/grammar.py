"""Text of learning rules, shared by the symbolic rule and the chip's: sums of products of items.

rule    = [+-] product { (+|-) product }
product = item { * item }
item    = number | 2 ^ integer | name | ( number +- variable ) | ( variable +- number )
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from hardware.errors import RuleError

VARIABLES = ("x0", "x1", "x2", "y0", "y1", "y2", "y3", "w")
TAGS = ("t", "d")
"""Further variables of a synapse, which only the chip's rules have."""


@dataclass(frozen=True)
class Factor:
    """constant + sign * variable."""

    variable: str
    sign: int = 1
    constant: float = 0

    def __str__(self) -> str:
        if self.sign < 0:
            return f"({self.constant:g}-{self.variable})"
        return f"({self.variable}{self.constant:+g})" if self.constant else self.variable


@dataclass(frozen=True)
class Item:
    """One item of a product: a number, a name or a bracket, with its position in the text."""

    position: int
    number: float | None = None
    exponent: int = 0
    name: str | None = None
    bracket: Factor | None = None


_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d*)?|\.\d+)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*^()]))")


def fail(text: str, position: int, reason: str) -> NoReturn:
    raise RuleError(f"{reason} at position {position} of the learning rule {text!r}")


class _Tokens:
    """Tokens of a rule, with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        end = len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                fail(text, position, f"unknown text {text[position:].strip()[:10]!r}")
            kind = match.lastgroup
            self.tokens.append((kind, match[kind], match.start(kind)))
            position = match.end()
        self.tokens.append(("end", "", end))

    def next_is(self, *signs: str) -> bool:
        kind, value, _ = self.tokens[0]
        return kind == "sign" and value in signs

    def take(self, *kinds: str) -> tuple[str, str, int]:
        """Next token, which must be of one of these kinds or be one of these signs."""
        kind, value, position = self.tokens[0]
        if kind not in kinds and not (kind == "sign" and value in kinds):
            found = "end of text" if kind == "end" else repr(value)
            fail(self.text, position, f"expected {' or '.join(kinds)}, found {found}")
        if kind != "end":
            self.tokens.pop(0)
        return kind, value, position

    def take_sign(self) -> int:
        return -1 if self.take("+", "-")[1] == "-" else 1


def parse(text: str) -> list[list[Item]]:
    """Products of the sum; the sign of a product is its first item, the number 1 or -1."""
    tokens = _Tokens(text)
    products = []
    sign = tokens.take_sign() if tokens.next_is("+", "-") else 1
    while True:
        product = [Item(0, number=float(sign)), _parse_item(tokens)]
        while tokens.next_is("*"):
            tokens.take("*")
            product.append(_parse_item(tokens))
        products.append(product)
        if not tokens.next_is("+", "-"):
            tokens.take("end")
            return products
        sign = tokens.take_sign()


def _parse_item(tokens: _Tokens) -> Item:
    kind, value, position = tokens.take("number", "name", "(")
    if kind == "name":
        return Item(position, name=value)
    if kind == "sign":
        return Item(position, bracket=_parse_bracket(tokens))
    if len(value) > 15:
        fail(tokens.text, position, f"the number {value[:15]}... is too long")
    if not tokens.next_is("^"):
        return Item(position, number=float(value))
    tokens.take("^")
    sign = tokens.take_sign() if tokens.next_is("+", "-") else 1
    _, digits, at = tokens.take("number")
    if value != "2" or not digits.isdigit() or len(digits) > 2:
        fail(tokens.text, at, f"powers are 2^-99 to 2^99, found {value}^{digits[:15]}")
    return Item(position, number=1.0, exponent=sign * int(digits))


def _parse_bracket(tokens: _Tokens) -> Factor:
    """The rest of "(a +- b)", one of a, b a variable and the other a number."""
    parts: dict[str, tuple[int, str, int]] = {}
    for first in (True, False):
        sign = 1 if first and not tokens.next_is("+", "-") else tokens.take_sign()
        kind, value, position = tokens.take("number", "name")
        if kind in parts:
            fail(
                tokens.text,
                position,
                f"a bracket has one variable and one constant, found a second {kind} {value!r}",
            )
        parts[kind] = (sign, value, position)
    tokens.take(")")
    sign, variable, position = parts["name"]
    if variable not in (*VARIABLES, *TAGS):
        fail(tokens.text, position, f"{variable!r} is not one of {', '.join((*VARIABLES, *TAGS))}")
    constant_sign, constant, _ = parts["number"]
    return Factor(variable, sign, constant_sign * float(constant))
