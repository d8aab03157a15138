"""Local learning rules: a sum of products of spikes, synaptic traces and the weight.

A rule is written once, as text, in normalised units (`LearningRule`); PyTorch evaluates its products, and
`hardware.lowering` turns it into the integers of the chip's learning engine (`ChipRule`). `hardware.grammar`
has the syntax.

    x0, y0          pre, post spike                     x1, x2          pre-synaptic traces
    y1, y2, y3      post-synaptic traces                w               the weight
    t, d            tags of a synapse (chip only): t is signed, such as an eligibility trace; d is not
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hardware.errors import RuleError
from hardware.grammar import TAGS, VARIABLES, Factor, Item, fail, parse

Resolution = Literal["event", "step"]

SPIKES = ("x0", "y0")
FACTOR_BITS = {"x0": 1, "y0": 1, "x1": 7, "x2": 7, "y1": 7, "y2": 7, "y3": 7, "w": 9, "t": 9, "d": 9}
"""Width of a factor in the learning engine (Lava 0.10.0 FACTOR_TO_WIDTH_DICT); w, t, d count their sign."""
TARGETS = {"dw": "weights", "dd": "tag_2", "dt": "tag_1"}
SYNAPTIC = {"w": "weights", "d": "tag_2", "t": "tag_1"}
"""What the variables of a synapse are called in a state."""
"""What a rule changes, in the order in which the chip does it."""

MANTISSA_BITS = 4
ACCUMULATOR_BITS = 15
MAX_TRACE = 127
MAX_TAU = 65535


@dataclass(frozen=True)
class Product:
    """coefficient * rate * factor * factor * ...; without a rate the rate counts as 1."""

    coefficient: float
    rate: str | None
    factors: tuple[Factor, ...]


@dataclass(frozen=True)
class LearningRule:
    """A learning rule in normalised units: dw = sum of `products`, then w is clipped to [low, high].

    Args:
        name: what the rule is called in configurations and reports.
        dw: the rule, such as "lp*x0*x1*y0*(1-w) - ld*x0*x1*w"; names that are no variable are rates.
        resolution: "event": the rule acts once per event, with x0, y0 = 1 where the neuron fired in the
            window; "step": it acts at every time step.
        rates: default value of every rate.
        x1_tau, x2_tau, y1_tau: time constant of a trace in steps; it decays by exp(-1/tau) per step and
            grows by 1 at a spike (on the chip, traces saturate at 127). 0: the trace equals the spike.
        low, high: bounds of w.

    Raises:
        RuleError: the text is not a sum of products, or a rate has no default.
    """

    name: str
    dw: str
    resolution: Resolution = "event"
    rates: Mapping[str, float] = field(default_factory=dict)
    x1_tau: float = 0.0
    x2_tau: float = 0.0
    y1_tau: float = 0.0
    low: float = 0.0
    high: float = 1.0
    products: tuple[Product, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        products = tuple(_symbolic(item, self.dw) for item in parse(self.dw))
        object.__setattr__(self, "products", products)
        if self.resolution not in ("event", "step"):
            raise RuleError(f"resolution is {self.resolution!r}: use 'event' or 'step'")
        for name in ("x1_tau", "x2_tau", "y1_tau"):
            tau = getattr(self, name)
            if not (_finite(tau) and tau >= 0):
                raise RuleError(f"{name} of rule {self.name!r} is {tau}: use 0 or more steps")
        for name, value in self.rates.items():
            if not _finite(value):
                raise RuleError(f"the rate {name} of rule {self.name!r} is {value!r}: give a finite number")
        if not (_finite(self.low) and _finite(self.high) and self.low < self.high):
            raise RuleError(
                f"rule {self.name!r} bounds w to [{self.low}, {self.high}]: finite, and low below high"
            )
        used = {product.rate for product in products if product.rate is not None}
        if used != set(self.rates):
            raise RuleError(
                f"rule {self.dw!r} uses the rates {sorted(used)} but defines {sorted(self.rates)}: "
                "give every rate that is used, and no other, a default"
            )


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


@dataclass(frozen=True)
class ChipProduct:
    """mantissa * 2^exponent * dependency * factors; a factor is variable + constant, its sign is in mantissa.

    dependency: "x0", "y0" or "u", which is 1 in every 2^decimation-th epoch.
    """

    mantissa: int
    exponent: int
    dependency: str
    factors: tuple[Factor, ...]
    decimation: int = 0

    @property
    def shift(self) -> int:
        """Right shift that brings the product back into the accumulator: max(0, factor bits + 4 - 15)."""
        bits = sum(FACTOR_BITS[factor.variable] for factor in self.factors)
        return max(0, bits + MANTISSA_BITS - ACCUMULATOR_BITS)

    @property
    def gates(self) -> set[str]:
        """Spikes and traces without which the product is 0."""
        names = {self.dependency} | {factor.variable for factor in self.factors if factor.constant == 0}
        return names.difference(("u", *SYNAPTIC))

    def acts_at(self, step: int, t_epoch: int) -> bool:
        """Whether u<k> is 1 in the epoch that ends with a step: in every 2^k-th."""
        return (step // t_epoch) % (1 << self.decimation) == 0


@dataclass(frozen=True)
class ChipRule:
    """A learning rule of the chip, in integers and in Lava's grammar.

    Args:
        dw, dd, dt: change of the weight and of the tags d and t, "" for none; each a sum of products; a
            product is [literal *] dependency (x0, y0 or u<k>) * factors; a literal is an integer, 2^e or
            integer*2^e; a factor a variable, (variable +- integer) or (integer +- variable). A second x0 or
            y0 is a factor. All of them read the values from before the change.
        x1_impulse ... y3_impulse: 0..127, added to a trace by a spike; in graded projections x1_impulse is 0.
        x1_tau ... y3_tau: 0..65535 steps; a trace decays by exp(-1/tau), and tau 0 clears it at every step.
        t_epoch: 1..63 steps between two applications of the rule.

    Raises:
        RuleError: text outside the grammar, a mantissa outside -8..7 (after halving), an exponent outside
            -7..8, a constant that does not fit its factor, or a number out of its range.

    Source: Lava 0.10.0 Loihi2FLearningRule and ProductSeries.
    """

    dw: str = ""
    x1_impulse: int = 0
    x1_tau: int = 0
    x2_impulse: int = 0
    x2_tau: int = 0
    y1_impulse: int = 0
    y1_tau: int = 0
    y2_impulse: int = 0
    y2_tau: int = 0
    y3_impulse: int = 0
    y3_tau: int = 0
    t_epoch: int = 1
    dd: str = ""
    dt: str = ""
    series: Mapping[str, tuple[ChipProduct, ...]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        texts = {variable: getattr(self, target) for target, variable in TARGETS.items()}
        series = {
            variable: tuple(_integer(item, text) for item in parse(text))
            for variable, text in texts.items()
            if text
        }
        object.__setattr__(self, "series", series)
        for text in texts.values():
            if found := re.search(r"\.|\b0\d|[^\S ]", text):
                reason = f"{found[0]!r}, but Lava reads whole numbers without leading zeros, on one line,"
                fail(text, found.start(), reason)
        if not series:
            raise RuleError("the learning rule is empty: give dw, dd or dt")
        if len({product.decimation for product in self._all if product.dependency == "u"}) > 1:
            written = ", ".join(repr(text) for text in texts.values() if text)
            raise RuleError(f"rule {written} mixes several u<k>: the chip has one k per rule")
        for trace in ("x1", "x2", "y1", "y2", "y3"):
            check_range(f"{trace}_impulse", getattr(self, f"{trace}_impulse"), 0, MAX_TRACE)
            check_range(f"{trace}_tau", getattr(self, f"{trace}_tau"), 0, MAX_TAU)
        check_range("t_epoch", self.t_epoch, 1, 63)

    @property
    def products(self) -> tuple[ChipProduct, ...]:
        """The products of dw."""
        return self.series.get("weights", ())

    @property
    def _all(self) -> list[ChipProduct]:
        return [product for products in self.series.values() for product in products]

    @property
    def gates(self) -> set[str]:
        """Spikes and traces without which nothing changes.

        None where tag_1 learns: a tag of -257 lies beyond the accumulator, so that a change of 0 moves it.
        """
        if "tag_1" in self.series:
            return set()
        return set.intersection(*(product.gates for product in self._all))

    def uses(self, variable: str) -> bool:
        """True if `variable` is a dependency or a factor of some product."""
        return any(
            product.dependency == variable or any(factor.variable == variable for factor in product.factors)
            for product in self._all
        )


def _symbolic(items: list[Item], text: str) -> Product:
    coefficient, rate = 1.0, None
    factors = []
    for item in items:
        if item.number is not None:
            coefficient *= item.number * 2.0**item.exponent
        elif item.bracket is not None:
            if item.bracket.variable in TAGS:
                fail(text, item.position, f"{item.bracket.variable!r} is a tag, which only chip rules have")
            factors.append(item.bracket)
        elif item.name in VARIABLES:
            factors.append(Factor(str(item.name)))
        elif re.fullmatch(r"u\d*|d|t|sgn", str(item.name)):
            fail(text, item.position, f"{item.name!r} belongs to the chip's grammar and cannot name a rate")
        elif rate is not None:
            fail(text, item.position, f"a second rate {item.name!r} beside {rate!r}: a product has one")
        else:
            rate = item.name
    if not factors:
        fail(text, items[1].position, "a product without a variable")
    return Product(coefficient, rate, tuple(factors))


def _integer(items: list[Item], text: str) -> ChipProduct:
    mantissa, exponent = 1, 0
    dependency, decimation = None, 0
    factors = []
    for item in items:
        if item.number is not None:
            mantissa *= _whole(item.number, text, item.position)
            exponent += item.exponent
        elif item.bracket is not None:
            mantissa *= item.bracket.sign
            factors.append(_chip_factor(item.bracket, text, item.position))
        elif dependency is None and item.name in SPIKES:
            dependency = str(item.name)
        elif item.name in (*VARIABLES, *TAGS):
            factors.append(Factor(str(item.name)))
        elif dependency is None and re.fullmatch(r"u\d", str(item.name)):
            dependency, decimation = "u", int(str(item.name)[1:])
        else:
            known = ", ".join((*VARIABLES, *TAGS))
            fail(text, item.position, f"{item.name!r} is not one of {known} or a first u0..u9")
    if dependency is None:
        fail(text, items[1].position, "a product without x0, y0 or u<k>")
    while abs(mantissa) > 7 and mantissa % 2 == 0 and exponent < 8:
        mantissa, exponent = mantissa // 2, exponent + 1
    if not -8 <= mantissa <= 7:
        fail(text, items[1].position, f"the mantissa {mantissa} is outside -8..7: scale it by a power of 2")
    if not -7 <= exponent <= 8:
        fail(text, items[1].position, f"the exponent {exponent} is outside -7..8")
    return ChipProduct(mantissa, exponent, dependency, tuple(factors), decimation)


def _chip_factor(factor: Factor, text: str, position: int) -> Factor:
    """The factor with its sign taken out: constant - v = -(v - constant), as in Lava 0.10.0 ProductSeries."""
    constant = factor.sign * _whole(factor.constant, text, position)
    limit = 2 ** FACTOR_BITS[factor.variable] // (2 if factor.variable in ("w", *TAGS) else 1)
    if abs(constant) >= limit:
        fail(text, position, f"the constant {constant} beside {factor.variable} is outside +-{limit - 1}")
    return Factor(factor.variable, 1, constant)


def _whole(number: float, text: str, position: int) -> int:
    if number != int(number):
        fail(text, position, f"{number:g} is not an integer")
    return int(number)


def check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RuleError(f"{name} is {value!r}: give an integer")
    if not low <= value <= high:
        raise RuleError(f"{name} is {value}: give {low}..{high}")
