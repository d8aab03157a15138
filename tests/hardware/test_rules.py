from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware import ChipRule, Factor, LearningRule, Product, RuleError, lower, realised
from hardware.lowering import LEAST, MAX_COARSE_ERROR

STORE = LearningRule("store", "lp*x0*x1*y0*(1-w) - ld*x0*x1*w", rates={"lp": 0.5, "ld": 0.5})


def test_a_rule_is_a_sum_of_products():
    rule = LearningRule("r", "-2*a*x0*(0.5 - w) + 2^-1*y1 * (x2+1)", resolution="step", rates={"a": 1.0})
    assert rule.products == (
        Product(-2.0, "a", (Factor("x0"), Factor("w", -1, 0.5))),
        Product(0.5, None, (Factor("y1"), Factor("x2", 1, 1.0))),
    )


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0), ("a*x0 +", 6), ("a*x0*(1-q)", 8),
        ("a*b*x0", 2), ("x0**w", 3), ("(1-2)*x0", 3), ("3^2*x0", 2),
        ("x0 $ w", 3), ("a*x0)", 4), ("a", 0), ("x0*(1-w", 7), ("u0*w", 0), ("x0*(w-1-1)", 7),
    ],
)  # fmt: skip
def test_text_outside_the_grammar_is_refused_with_its_position(text, position):
    with pytest.raises(RuleError) as error:
        LearningRule("r", text, rates={"a": 1.0})
    assert repr(text) in str(error.value)
    if text not in ("x0 $ w", "u0*w"):
        assert f"position {position} " in str(error.value)


@pytest.mark.parametrize("rates", [{}, {"lp": 1.0}, {"lp": 1.0, "ld": 1.0, "lr": 1.0}])
def test_rates_and_their_defaults_must_match(rates):
    with pytest.raises(RuleError, match="default"):
        LearningRule("store", STORE.dw, rates=rates)


def test_chip_rule_has_signs_in_its_mantissas():
    store, decay = ChipRule("2^1*x1*x0*y0*(254-w) - 12*u3*w").products
    assert (store.mantissa, store.exponent, store.dependency, store.shift) == (-1, 1, "x0", 6)
    assert store.factors == (Factor("x1"), Factor("y0"), Factor("w", 1, -254))
    assert (decay.mantissa, decay.exponent, decay.dependency, decay.decimation) == (-6, 1, "u", 3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x1*w", "without x0, y0 or u"),
        ("9*x0", "mantissa"),
        ("2^9*x0", "exponent 9"),
        ("2^-8*x0", "exponent -8"),
        ("0.5*x0", "not an integer"),
        ("2.0*x0*x1", "Lava reads whole numbers"),
        ("x0*(w-3.0)", "Lava reads whole numbers"),
        ("007*x0", "Lava reads whole numbers"),
        ("2^-03*x0", "Lava reads whole numbers"),
        ("x0\t*x1", "Lava reads whole numbers"),
        ("x0*w*\nx1", "Lava reads whole numbers"),
        ("9" * 400 + "*x0", "too long"),
        ("2^" + "9" * 5000 + "*x0", r"powers are 2\^-99 to 2\^99"),
        ("x0*(300-w)", "constant"),
        ("x0*(x1+128)", "constant"),
        ("u0*w + u1*w", "several u<k>"),
        ("x0*s", "'s' is not one of"),
        ("u10*w", "'u10' is not one of"),
    ],
)
def test_what_the_chip_cannot_compute_is_refused(text, complaint):
    with pytest.raises(RuleError, match=complaint):
        ChipRule(text)


@pytest.mark.parametrize("field", [{"x1_tau": -1}, {"y1_impulse": 128}, {"t_epoch": 0}, {"x1_tau": 2.5}])
def test_chip_rule_numbers_have_ranges(field):
    with pytest.raises(RuleError, match=str(next(iter(field.values())))):
        ChipRule("x0*x1", **field)


def test_lower_converts_units():
    chip = lower(STORE, {"lp": 0.95, "ld": 0.47}, x1_level=16, x1_tau=20)
    assert chip == ChipRule("4*2^0*x0*x1*y0*(254-w) - 1*2^0*x0*x1*w", x1_tau=20)
    # shift 6: 4 / 64 * 16 * 1; shift 5: 1 / 32 * 16
    assert realised(STORE, chip, x1_level=16) == pytest.approx((1.0, 0.5))


def test_lower_takes_a_negative_exponent_only_where_it_must():
    chip = lower(LearningRule("r", "a*x0*w", rates={"a": 0.3}), x1_level=1, x1_tau=1)
    # 0.3 needs a quarter: 0.3125 = 5/16
    assert chip.products[0].exponent < 0
    assert realised(LearningRule("r", "a*x0*w", rates={"a": 0.3}), chip, x1_level=1)[0] == pytest.approx(
        0.3, rel=0.05
    )


@pytest.mark.parametrize(
    ("rate", "comes_out"), [(0.0, 0.0), (0.45, 0.0), (0.55, 1.0), (0.95, 1.0), (-0.7, -1.0)]
)
def test_rates_below_the_least_become_it_or_nothing(rate: float, comes_out: float) -> None:
    rule = LearningRule("r", "a*x0*w", rates={"a": rate * LEAST})
    chip = lower(rule, x1_level=1, x1_tau=1)
    assert realised(rule, chip, x1_level=1) == (comes_out * LEAST,)


@given(st.floats(LEAST / 2, 8 * LEAST))
def test_small_rates_are_multiples_of_the_least(rate: float) -> None:
    rule = LearningRule("r", "a*x0*w", rates={"a": rate})
    (comes_out,) = realised(rule, lower(rule, x1_level=1, x1_tau=1), x1_level=1)
    assert abs(comes_out - rate) <= LEAST / 2


def test_lower_gives_a_pair_rule_its_post_trace():
    rule = LearningRule("pair", "a*x1*y0 - b*y1*x0", "step", {"a": 0.1, "b": 0.1}, x1_tau=5, y1_tau=9)
    chip = lower(rule, x1_level=100, x1_tau=5, x1_impulse=100, y1_level=80, y1_tau=9)
    assert (chip.x1_impulse, chip.y1_impulse, chip.x1_tau, chip.y1_tau) == (100, 80, 5, 9)
    assert realised(rule, chip, x1_level=100, y1_level=80) == pytest.approx((0.1, 0.1), rel=MAX_COARSE_ERROR)


@given(
    st.floats(0.25, 1.0), st.floats(0.25, 1.0), st.integers(1, 127), st.sampled_from([127, 200, 254]),
)  # fmt: skip
def test_realised_rates_are_close_and_are_what_the_chip_computes(lp, ld, level, w_max):
    chip = lower(STORE, {"lp": lp, "ld": ld}, x1_level=level, x1_tau=9, w_max=w_max)
    rates = realised(STORE, chip, x1_level=level, w_max=w_max)
    assert rates == pytest.approx((lp, ld), rel=MAX_COARSE_ERROR)
    for rate, product, weight in zip(rates, chip.products, (0, w_max), strict=True):
        factors = {"x1": level, "y0": 1, "w": weight}
        value = math.prod(factors[factor.variable] + factor.constant for factor in product.factors)
        change = product.mantissa * value * 2.0 ** (product.exponent - product.shift)
        np.testing.assert_allclose(abs(change), rate * w_max)


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (LearningRule("r", "x0*x1*(y1-1)*y2"), "y2"),
        (LearningRule("r", "x0*x2"), "x2"),
        (LearningRule("r", "x0*x1", low=-1.0), "low must be 0"),
        (LearningRule("r", "-1*w"), "no x0 or y0"),
        (LearningRule("r", "a*x0", rates={"a": 99.0}), "coefficient"),
    ],
)
def test_what_cannot_be_lowered_is_refused(rule, complaint):
    with pytest.raises(RuleError, match=complaint):
        lower(rule, x1_level=20, x1_tau=9, y1_level=20)


def test_unknown_rates_are_refused():
    with pytest.raises(RuleError, match=r"\['lr'\]"):
        lower(STORE, {"lr": 1.0}, x1_level=20, x1_tau=9)
