"""Golden values worked out by hand from the equations of the fixed-point models of Lava 0.10.0."""

from __future__ import annotations

import numpy as np
import pytest

from hardware import arithmetic
from hardware.arithmetic import Int32


def ints(*values: int) -> Int32:
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize(
    ("mode", "bits", "given", "kept"),
    [
        ("mixed", 8, (-256, -255, -1, 0, 1, 3, 255), (-256, -256, -2, 0, 0, 2, 254)),
        ("mixed", 4, (-33, -1, 31, 32), (-64, -32, 0, 32)),
        ("mixed", 1, (-256, -1, 0, 255), (-256, -256, 0, 0)),
        ("excitatory", 8, (0, 1, 255), (0, 1, 255)),
        ("excitatory", 6, (3, 4, 255), (0, 4, 252)),
        ("excitatory", 1, (127, 128, 255), (0, 128, 128)),
        ("inhibitory", 8, (0, -1, -255), (0, -1, -255)),
        ("inhibitory", 6, (-3, -4, -255), (0, -4, -252)),
        ("inhibitory", 1, (-127, -128, -255), (0, -128, -128)),
    ],
)
def test_quantise_weights_floors_mixed_and_truncates_others(mode, bits, given, kept):
    np.testing.assert_array_equal(arithmetic.quantise_weights(given, mode, bits), kept)


def test_sums_shift_left_and_floor_to_the_right():
    np.testing.assert_array_equal(arithmetic.scale_sum(ints(5, -5), 2), (20, -20))
    np.testing.assert_array_equal(arithmetic.scale_sum(ints(5, -5), 0), (5, -5))
    np.testing.assert_array_equal(arithmetic.scale_sum(ints(5, -5), -2), (1, -2))


def test_decay_rounds_towards_zero():
    # 5 * 1000 / 4096 = 1.22
    np.testing.assert_array_equal(arithmetic.decay(ints(5, -5), 1000), (1, -1))
    np.testing.assert_array_equal(arithmetic.decay(ints(5, -5), 0), (0, 0))
    np.testing.assert_array_equal(arithmetic.decay(ints(5, -5), 4096), (5, -5))


def test_current_decays_by_du_plus_one_and_adds_input_times_64():
    # 1000 * (4096 - 1025) / 4096 = 749.7
    np.testing.assert_array_equal(
        arithmetic.update_current(ints(1000, -1000), ints(3, -3), 1024), (941, -941)
    )
    np.testing.assert_array_equal(arithmetic.update_current(ints(1000), ints(3), 4095), (192,))
    np.testing.assert_array_equal(arithmetic.update_current(ints(1000), ints(3), -1), (1192,))


def test_current_wraps_once_and_keeps_plus_2_to_the_23():
    top = 2**23
    given = ints(2**17, 2**17 + 1, -(2**17), -(2**17) + 1)
    wrapped = (top, -top + 64, top, -top + 64)
    np.testing.assert_array_equal(arithmetic.update_current(ints(0, 0, 0, 0), given, 4095), wrapped)


def test_large_input_wraps_as_32_bits_do_and_then_once_more():
    # 2^25 << 6 = 2^31, in 32 bits -2^31; one wrap adds 2^24. (2^25 + 1) << 6 is 64 more
    given, wrapped = ints(2**25, 2**25 + 1, 2**26), (2**24 - 2**31, 2**24 - 2**31 + 64, 0)
    np.testing.assert_array_equal(arithmetic.update_current(ints(0, 0, 0), given, 4095), wrapped)


def test_sums_beyond_32_bits_wrap_before_they_are_shifted():
    sums = np.array([2.0**31, 2.0**32 + 5, -(2.0**31) - 1])
    np.testing.assert_array_equal(arithmetic.scale_sum(sums, 0), (-(2**31), 5, 2**31 - 1))
    np.testing.assert_array_equal(arithmetic.scale_sum(sums, -4), (-(2**27), 0, 2**27 - 1))
    np.testing.assert_array_equal(arithmetic.scale_sum(sums, 1), (0, 10, -2))


def test_membrane_decays_adds_and_clips():
    # 1000 * (4096 - 2048) / 4096 = 500
    np.testing.assert_array_equal(arithmetic.update_membrane(ints(1000), ints(7), ints(-20), 2048), (487,))
    limit = 2**23 - 1
    extremes = arithmetic.update_membrane(ints(limit, -limit), ints(9, -9), ints(0, 0), 0)
    np.testing.assert_array_equal(extremes, (limit, -limit))


def test_threshold_is_strict():
    np.testing.assert_array_equal(arithmetic.fires(ints(640, 641), 10), (False, True))


def test_relay_passes_what_exceeds_its_threshold_in_magnitude():
    np.testing.assert_array_equal(arithmetic.relay(ints(-6, -5, 0, 5, 6), 5), (-6, 0, 0, 0, 6))


def test_trace_decay_rounds_up_where_the_random_number_is_below_the_fraction():
    # 100 * exp(-1/4) = 77.88
    assert arithmetic.decay_trace(ints(100), 4, 0.87) == 78
    assert arithmetic.decay_trace(ints(100), 4, 0.89) == 77
    assert arithmetic.decay_trace(ints(100), 0, 0.0) == 0
    # -100 * exp(-1/4) = -77.88 = -78 + 0.12: what a third factor may send
    assert arithmetic.decay_trace(ints(-100), 4, 0.11) == -77
    assert arithmetic.decay_trace(ints(-100), 4, 0.13) == -78
    # 127 * exp(-1/65535) = 126.99806
    assert arithmetic.decay_trace(ints(127), 65535, 0.998) == 127
    assert arithmetic.decay_trace(ints(127), 65535, 0.9981) == 126
    assert arithmetic.decay_trace(ints(0), 4, 0.0) == 0


def test_impulse_saturates_at_127_and_needs_a_spike():
    spikes = np.array([True, True, False])
    np.testing.assert_array_equal(arithmetic.add_impulse(ints(10, 100, 10), spikes, 60), (70, 127, 10))


def test_half_payload_rounds_half_to_even():
    np.testing.assert_array_equal(
        arithmetic.half_payload(ints(0, 1, 2, 3, 5, 64, 255, 512)), (0, 0, 1, 2, 2, 32, 128, 0)
    )


@pytest.mark.parametrize(
    ("mode", "after", "counted"),
    [
        ("none", (9, 9, 9, 100), (0, 1, 1, 1)),
        ("overwrite", (9, 0, 30, 40), (0, 1, 1, 1)),
        ("add_saturate", (9, 9, 39, 127), (0, 1, 1, 1)),
        ("add_overflow", (9, 9, 39, 13), (0, 0, 0, 1)),
    ],
)
def test_graded_spikes_set_x1(mode, after, counted):
    trace, spikes = arithmetic.graded_trace(ints(9, 9, 9, 100), ints(0, 1, 60, 80), mode)
    np.testing.assert_array_equal(trace, after)
    np.testing.assert_array_equal(spikes, np.array(counted, dtype=bool))


@pytest.mark.parametrize(
    ("mode", "after"),
    [("overwrite", (150, 255, 44)), ("add_saturate", (21, 126, 127)), ("add_overflow", (21, 126, 44))],
)
def test_large_and_negative_payloads_count_modulo_256(mode, after):
    # halves are 150, -1 = 255 and 300 = 44; 127 + 150 = 277 = 21, 127 + 255 = 382 = 126, 127 + 44 = 171
    trace, _ = arithmetic.graded_trace(ints(127, 127, 127), ints(300, -2, 600), mode)
    np.testing.assert_array_equal(trace, after)


def test_a_trace_of_128_overflows_without_a_spike_that_counts():
    trace, counted = arithmetic.graded_trace(ints(128, 127), ints(0, 0), "add_overflow")
    np.testing.assert_array_equal(trace, (1, 127))
    assert not counted.any()


def test_factors_are_clipped_to_their_bits():
    np.testing.assert_array_equal(arithmetic.limit_factor(ints(0, 200, -400), -254, 9), (-254, -54, -512))
    np.testing.assert_array_equal(arithmetic.limit_factor(ints(200, -200), 0, 7), (127, -128))


def test_products_floor_before_they_are_scaled():
    # 19 * 252 = 4788; 4788 >> 6 = 74, -4788 >> 6 = -75; << (1 + 7)
    np.testing.assert_array_equal(arithmetic.scale_product(ints(4788, -4788), 1, 1, 6), (74 << 8, -75 << 8))
    np.testing.assert_array_equal(arithmetic.scale_product(ints(4788, 4788), -7, 8, 0), (-32769, -32769))


def test_change_saturates_the_accumulator():
    np.testing.assert_array_equal(
        arithmetic.add_change(ints(32000, -32000, 5), ints(999, -999, 5)), (32767, -32769, 10)
    )


def test_weights_round_at_random_and_keep_their_sign_mode():
    # 10.5, -0.5 and 255.99 in 128ths
    accumulator = ints(1344, -64, 32767)
    np.testing.assert_array_equal(
        arithmetic.round_synapses(accumulator, arithmetic.WEIGHT_LIMITS["mixed"], 0.4), (11, 0, 255)
    )
    np.testing.assert_array_equal(
        arithmetic.round_synapses(accumulator, arithmetic.WEIGHT_LIMITS["mixed"], 0.6), (10, -1, 255)
    )
    np.testing.assert_array_equal(
        arithmetic.round_synapses(accumulator, arithmetic.WEIGHT_LIMITS["excitatory"], 0.6), (10, 0, 255)
    )
    np.testing.assert_array_equal(
        arithmetic.round_synapses(accumulator, arithmetic.WEIGHT_LIMITS["inhibitory"], 0.6), (0, -1, 0)
    )


def test_random_stream_is_numpys_pcg64_whatever_the_block():
    single = np.random.default_rng(7)
    expected = [single.random(1)[0] for _ in range(5)]
    np.testing.assert_array_equal(arithmetic.random_stream(7, 9)[:5], expected)
    assert arithmetic.random_stream(2, 1)[0] == pytest.approx(0.2616121342493164, abs=1e-15)


def test_tags_round_to_their_own_limits():
    # -256.01, -0.5 and 255.99 in 128ths
    accumulator = ints(-32769, -64, 32767)
    tag_1, tag_2 = arithmetic.TAG_LIMITS["tag_1"], arithmetic.TAG_LIMITS["tag_2"]
    np.testing.assert_array_equal(arithmetic.round_synapses(accumulator, tag_1, 0.9921), (-256, -1, 255))
    np.testing.assert_array_equal(arithmetic.round_synapses(accumulator, tag_1, 0.9922), (-257, -1, 255))
    np.testing.assert_array_equal(arithmetic.round_synapses(accumulator, tag_2, 0.1), (0, 0, 255))


def test_a_stream_is_read_at_any_position():
    expected = np.random.default_rng(9).random(5001)
    stream = arithmetic.RandomStream(9)
    for position in (3, 1023, 1024, 5000, 0):
        assert stream.at(position) == expected[position]
    np.testing.assert_array_equal(stream.take([7, 4000, 7]), expected[[7, 4000, 7]])
    np.testing.assert_array_equal(stream.take(np.zeros(0, dtype=int)), [])
    far = np.random.Generator(np.random.PCG64(9).advance(2**50)).random(3)
    np.testing.assert_array_equal(stream.take(2**50 + np.array([0, 2])), far[[0, 2]])
    assert len(stream.numbers) <= 1024
