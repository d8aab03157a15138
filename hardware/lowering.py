"""From a rule in normalised units to the integers of the chip's learning engine, and what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hardware.errors import RuleError
from hardware.grammar import Factor
from hardware.rules import (
    ACCUMULATOR_BITS,
    FACTOR_BITS,
    MANTISSA_BITS,
    MAX_TRACE,
    SPIKES,
    ChipRule,
    LearningRule,
    Product,
    check_range,
)

MAX_COARSE_ERROR = 0.12
"""Relative error of a rate above which `lower` takes a negative exponent, which rounds weights at random."""

LEAST, MOST = 2.0**-7, 7 * 2.0**8
"""Smallest coefficient of a product but 0, and the largest."""


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

    rounded to a mantissa of magnitude 1..7, or, below LEAST, to LEAST or 0, whichever is nearer. Exponents
    of 0 and more never round weights stochastically; they are taken unless they miss the rate by more than
    MAX_COARSE_ERROR. `realised` tells what came out.

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
    check_range("w_max", w_max, 1, 255)
    units = {"x0": 1.0, "y0": 1.0, "w": rule.high / w_max}
    for trace, level in (("x1", x1_level), ("y1", y1_level)):
        if trace in used:
            check_range(f"{trace}_level", level, 1, MAX_TRACE)
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
    if abs(value) > MOST * (1 + MAX_COARSE_ERROR):
        raise RuleError(
            f"rule {rule.name!r} needs the coefficient {value:g}, the chip has up to 7*2^8: "
            "change the rate or the trace level"
        )
    if abs(value) < LEAST:
        number = round(value / LEAST)
        return number, -7 if number else 0
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
    return (best[0] if value > 0 else -best[0]), best[1]
