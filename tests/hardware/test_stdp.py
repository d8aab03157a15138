from __future__ import annotations

import numpy as np
import pytest

from hardware import ChipRule, RunError, measure_window

DELTA = list(range(-20, 21))


def pair_rule(**taus):
    return ChipRule("2^0*x1*y0 - 2^0*y1*x0", x1_impulse=100, y1_impulse=80, **taus)


def test_pair_rule_potentiates_pre_before_post_and_depresses_post_before_pre():
    window = dict(zip(DELTA, measure_window(pair_rule(x1_tau=8, y1_tau=12), DELTA, weight=128), strict=True))
    assert all(window[delta] > 0 for delta in range(1, 21))
    assert all(window[delta] < 0 for delta in range(-20, 0))
    # both at once: 100 - 80
    assert window[0] == 20


@pytest.mark.parametrize(("x1_tau", "y1_tau"), [(8, 12), (3, 20)])
def test_pair_rule_decays_with_its_time_constants(x1_tau, y1_tau):
    window = dict(
        zip(DELTA, measure_window(pair_rule(x1_tau=x1_tau, y1_tau=y1_tau), DELTA, weight=128), strict=True)
    )
    for delta in range(1, 9):
        # each decay rounds at random to a neighbouring integer
        assert window[delta] == pytest.approx(100 * np.exp(-delta / x1_tau), abs=delta)
        assert window[-delta] == pytest.approx(-80 * np.exp(-delta / y1_tau), abs=delta)


def test_swapped_rule_gives_the_mirrored_sign():
    rule = ChipRule("2^0*y1*x0 - 2^0*x1*y0", x1_impulse=100, y1_impulse=80, x1_tau=8, y1_tau=12)
    before, after = measure_window(rule, [-1, 1], weight=128)
    assert before > 0 > after


def test_coincidence_rule_stores_only_at_delta_0():
    rule = ChipRule("2^1*x1*x0*y0*(254-w) - 2^0*x0*x1*w", x1_tau=2)
    window = measure_window(rule, [-2, -1, 0, 1, 2], weight=2, payload=64, graded="overwrite")
    assert window.tolist() == [-2, -2, 146, -2, -2]


def test_rounding_depends_on_the_seed_only():
    rule = pair_rule(x1_tau=8, y1_tau=12)
    first = measure_window(rule, DELTA, seed=1)
    np.testing.assert_array_equal(first, measure_window(rule, DELTA, seed=1))
    assert (first != measure_window(rule, DELTA, seed=2)).any()


def test_no_delta_is_refused():
    with pytest.raises(RunError, match="no delta"):
        measure_window(pair_rule(), [])


@pytest.mark.parametrize("payload", [0, 256])
def test_payloads_that_would_fire_the_neuron_are_refused(payload):
    with pytest.raises(RunError, match=f"payload is {payload}"):
        measure_window(ChipRule("y0"), [5], payload=payload)


def test_what_is_measured_beside_it_does_not_count():
    """A rule without spikes goes on learning while traces last."""
    rule = ChipRule("u0*x1*y1", x1_impulse=10, y1_impulse=10, x1_tau=20, y1_tau=20)
    alone, beside = measure_window(rule, [1], weight=10), measure_window(rule, [1, 10], weight=10)
    assert alone[0] == beside[0] > 0


def test_a_change_counts_at_the_end_of_its_epoch():
    rule = ChipRule("2^0*x1*y0", x1_impulse=100, x1_tau=20, t_epoch=4)
    assert (measure_window(rule, [1, 2, 9], weight=10) > 0).all()
