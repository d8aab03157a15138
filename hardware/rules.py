"""Local learning rules: a sum of products of spikes, synaptic traces and the weight.

A rule is written once, as text, in normalised units (`LearningRule`); PyTorch evaluates its products, and
`lower` turns it into the integers of the chip's learning engine (`ChipRule`). `hardware.grammar` has the
syntax.

    x0, y0          pre, post spike                     x1, x2          pre-synaptic traces
    y1, y2, y3      post-synaptic traces                w               the weight
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hardware.errors import RuleError
from hardware.grammar import VARIABLES, Factor, Item, fail, parse

Resolution = Literal["event", "step"]

SPIKES = ("x0", "y0")
FACTOR_BITS = {"x0": 1, "y0": 1, "x1": 7, "x2": 7, "y1": 7, "y2": 7, "y3": 7, "w": 9}
"""Width of a factor in the chip's learning engine (Lava 0.10.0 FACTOR_TO_WIDTH_DICT); w counts its sign."""

MANTISSA_BITS = 4
ACCUMULATOR_BITS = 15
MAX_TRACE = 127
MAX_TAU = 65535
MAX_COARSE_ERROR = 0.12
"""Relative error of a rate above which `lower` takes a negative exponent, which rounds weights at random."""


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
            if getattr(self, name) < 0:
                raise RuleError(f"{name} of rule {self.name!r} is {getattr(self, name)}: use 0 or more steps")
        if not self.low < self.high:
            raise RuleError(
                f"rule {self.name!r} bounds w to [{self.low}, {self.high}]: low must be below high"
            )
        used = {product.rate for product in products if product.rate is not None}
        if used != set(self.rates):
            raise RuleError(
                f"rule {self.dw!r} uses the rates {sorted(used)} but defines {sorted(self.rates)}: "
                "give every rate that is used, and no other, a default"
            )


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


@dataclass(frozen=True)
class ChipRule:
    """A learning rule of the chip, in integers and in Lava's grammar.

    Args:
        dw: sum of products; a product is [literal *] dependency (x0, y0 or u<k>) * factors; a literal is an
            integer, 2^e or integer*2^e; a factor a variable, (variable +- integer) or (integer +- variable).
            A second x0 or y0 is a factor.
        x1_impulse ... y3_impulse: 0..127, added to a trace by a spike; in graded projections x1_impulse is 0.
        x1_tau ... y3_tau: 0..65535 steps; a trace decays by exp(-1/tau), and tau 0 clears it at every step.
        t_epoch: 1..63 steps between two applications of the rule.

    Raises:
        RuleError: text outside the grammar, a mantissa outside -8..7 (after halving), an exponent outside
            -7..8, a constant that does not fit its factor, or a number out of its range.

    Source: Lava 0.10.0 Loihi2FLearningRule and ProductSeries.
    """

    dw: str
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
    products: tuple[ChipProduct, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        products = tuple(_integer(item, self.dw) for item in parse(self.dw))
        object.__setattr__(self, "products", products)
        if len({product.decimation for product in products if product.dependency == "u"}) > 1:
            raise RuleError(f"rule {self.dw!r} mixes several u<k>: the chip has one k per rule")
        for trace in ("x1", "x2", "y1", "y2", "y3"):
            _check_range(f"{trace}_impulse", getattr(self, f"{trace}_impulse"), 0, MAX_TRACE)
            _check_range(f"{trace}_tau", getattr(self, f"{trace}_tau"), 0, MAX_TAU)
        _check_range("t_epoch", self.t_epoch, 1, 63)

    def uses(self, variable: str) -> bool:
        """True if `variable` is a dependency or a factor of some product."""
        return any(
            product.dependency == variable or any(factor.variable == variable for factor in product.factors)
            for product in self.products
        )


def lower(
    rule: LearningRule,
    rates: Mapping[str, float] | None = None,
    *,
    x1_level: int,
    x1_tau: int,
    x1_impulse: int = 0,
    y1_level: int = 0,
    y1_tau: int = 0,
    w_max: int = 254,
) -> ChipRule:
    """Express a rule in the chip's integers.

    With W = w_max * w / high, X1 = x1_level * x1 and Y1 = y1_level * y1 the rate of a product becomes

        mantissa * 2^exponent = 2^shift * coefficient * rate * (product of the factors' units) * w_max / high

    rounded to a mantissa of magnitude 1..7 (0 for a rate of 0). Exponents >= 0 never round weights
    stochastically; they are taken unless they miss the rate by more than MAX_COARSE_ERROR. `realised` tells
    what came out.

    Args:
        rule: the rule in normalised units.
        rates: replaces some of the rule's default rates.
        x1_level: 1..127, chip value that the rule sees where x1 is 1 (for a graded write: after one decay).
        x1_tau, y1_tau: time constants in steps.
        x1_impulse: added to x1 by a spike; 0 where graded spikes set x1.
        y1_level: 1..127, chip value of y1 = 1, which is also its impulse; 0 if the rule has no y1.
        w_max: largest weight, w = high.

    Raises:
        RuleError: a weight below 0, x2, y2 or y3, an event rule without a spike factor, a number out of
            range.
    """
    if rule.low != 0:
        raise RuleError(
            f"rule {rule.name!r} has weights down to {rule.low}: they are excitatory, low must be 0"
        )
    given = dict(rates or {})
    if unknown := sorted(set(given) - set(rule.rates)):
        raise RuleError(f"rates {unknown} are not in rule {rule.dw!r}: it has {sorted(rule.rates)}")
    values = {**rule.rates, **given}
    units = _units(rule, w_max, x1_level, y1_level)
    terms = [_lower_product(rule, product, values, units) for product in rule.products]
    text = " ".join(terms).removeprefix("+ ")
    return ChipRule(
        text, x1_impulse=x1_impulse, x1_tau=x1_tau, y1_impulse=y1_level if "y1" in units else 0, y1_tau=y1_tau
    )


def realised(
    rule: LearningRule, chip: ChipRule, *, x1_level: int, y1_level: int = 0, w_max: int = 254
) -> tuple[float, ...]:
    """Rate that each product of `rule` really has on the chip, in the order of `rule.products`.

    `lower` backwards: mantissa * 2^(exponent - shift) / (coefficient * product of the units * w_max / high).
    """
    units = _units(rule, w_max, x1_level, y1_level)
    rates = []
    for product, lowered in zip(rule.products, chip.products, strict=True):
        signs = math.prod(factor.sign for factor in product.factors)
        value = signs * lowered.mantissa * 2.0 ** (lowered.exponent - lowered.shift)
        rates.append(value / (product.coefficient * _scale(product, units)))
    return tuple(rates)


def _units(rule: LearningRule, w_max: int, x1_level: int, y1_level: int) -> dict[str, float]:
    """Normalised value of one chip unit of every variable of `rule`."""
    used = {factor.variable for product in rule.products for factor in product.factors}
    for variable in sorted(used & {"x2", "y2", "y3"}):
        raise RuleError(
            f"rule {rule.dw!r} uses {variable}, which is not deployed: rewrite it with x0, x1, y0, y1 and w"
        )
    _check_range("w_max", w_max, 1, 255)
    units = {"x0": 1.0, "y0": 1.0, "w": rule.high / w_max}
    for trace, level in (("x1", x1_level), ("y1", y1_level)):
        if trace in used:
            _check_range(f"{trace}_level", level, 1, MAX_TRACE)
            units[trace] = 1 / level
    return units


def _scale(product: Product, units: Mapping[str, float]) -> float:
    """Chip value of a product over its normalised value, rate and coefficient left out."""
    return math.prod(units[factor.variable] for factor in product.factors) / units["w"]


def _lower_product(
    rule: LearningRule, product: Product, values: Mapping[str, float], units: Mapping[str, float]
) -> str:
    items = []
    gated = any(factor.variable in SPIKES for factor in product.factors)
    if not gated:
        if rule.resolution == "event":
            raise RuleError(
                f"a product of event rule {rule.dw!r} has no x0 or y0: the chip would apply it at every step"
            )
        items.append("u0")
    bits = 0
    dependency_seen = not gated
    for factor in product.factors:
        unit = units[factor.variable]
        constant = round(factor.constant / unit)
        items.append(str(Factor(factor.variable, factor.sign, constant)))
        if factor.variable in SPIKES and not factor.constant and not dependency_seen:
            dependency_seen = True
        else:
            bits += FACTOR_BITS[factor.variable]
    shift = max(0, bits + MANTISSA_BITS - ACCUMULATOR_BITS)
    rate = product.coefficient * (1.0 if product.rate is None else values[product.rate])
    mantissa, exponent = _mantissa_exponent(rate * _scale(product, units) * 2.0**shift, rule)
    sign = "-" if mantissa < 0 else "+"
    return f"{sign} {abs(mantissa)}*2^{exponent}*" + "*".join(items)


def _mantissa_exponent(value: float, rule: LearningRule) -> tuple[int, int]:
    """Nearest mantissa * 2^exponent; of equal ones the smallest exponent, which loses least to the shift."""
    if value == 0:
        return 0, 0
    best = (0, 0)
    error = math.inf
    for exponents in (range(0, 9), range(-7, 0)):
        for exponent in exponents:
            mantissa = min(7, max(1, round(abs(value) / 2.0**exponent)))
            candidate = abs(mantissa * 2.0**exponent / abs(value) - 1)
            if candidate < error - 1e-9:
                best, error = (mantissa, exponent), candidate
        if error <= MAX_COARSE_ERROR:
            break
    if error > MAX_COARSE_ERROR:
        raise RuleError(
            f"rule {rule.name!r} needs the coefficient {value:g}, the chip has 2^-7 to 7*2^8: "
            "change the rate or the trace level"
        )
    return (best[0] if value > 0 else -best[0]), best[1]


def _symbolic(items: list[Item], text: str) -> Product:
    coefficient, rate = 1.0, None
    factors = []
    for item in items:
        if item.number is not None:
            coefficient *= item.number * 2.0**item.exponent
        elif item.bracket is not None:
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
        elif item.name in VARIABLES:
            factors.append(Factor(str(item.name)))
        elif dependency is None and re.fullmatch(r"u\d", str(item.name)):
            dependency, decimation = "u", int(str(item.name)[1:])
        else:
            fail(text, item.position, f"{item.name!r} is not one of {', '.join(VARIABLES)} or a first u0..u9")
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
    limit = 2 ** FACTOR_BITS[factor.variable] // (2 if factor.variable == "w" else 1)
    if abs(constant) >= limit:
        fail(text, position, f"the constant {constant} beside {factor.variable} is outside +-{limit - 1}")
    return Factor(factor.variable, 1, constant)


def _whole(number: float, text: str, position: int) -> int:
    if number != int(number):
        fail(text, position, f"{number:g} is not an integer")
    return int(number)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RuleError(f"{name} is {value!r}: give an integer")
    if not low <= value <= high:
        raise RuleError(f"{name} is {value}: give {low}..{high}")
