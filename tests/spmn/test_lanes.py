"""Sixteen lanes as one value: each function against numpy, anywhere in an array."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spmn.lanes import (
    WIDTH,
    above,
    bits,
    lanes,
    load,
    lowest,
    mad,
    ratio,
    size,
    store,
    total,
    totals,
)

_U1 = np.uint64(1)


@numba.njit(error_model="numpy")
def _by_lane(a, i, b, j, x, out, step):
    """All functions that return lanes, one result after the other at out[i], out[i + step], ..."""
    p, q = load(a, i), load(b, j)
    results = (
        p, p + q, p - q, p * q, mad(p, q, lanes(x)), ratio(p, q), size(p), above(p, q, p, lanes(x)),
        totals(a, i), lanes(x),
    )  # fmt: skip
    for n in range(len(results)):
        store(out, i + np.uint64(n) * step, results[n])


@numba.njit(error_model="numpy")
def _by_number(a, i, b, j):
    p, q = load(a, i), load(b, j)
    return total(p), bits(p, q)


@numba.njit
def _numbers_of_bits(found, out):
    number = 0
    while found != np.uint64(0):
        out[number] = lowest(found)
        number += 1
        found &= found - _U1
    return number


places = st.integers(0, 40).map(np.uint64)
seeds = st.integers(0, 999)


def random_array(seed: int) -> np.ndarray:
    """Small whole numbers and their fractions, so that many are equal, with zeros of both signs."""
    random = np.random.default_rng(seed)
    drawn = random.integers(-6, 7, 300) * random.choice([1, 0.5, 0.1], 300)
    return (drawn * random.choice([1.0, -1.0], 300)).astype(np.float32)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(i=places, j=places, seed=seeds, special=st.sampled_from([None, np.nan, np.inf, -np.inf]))
def test_lane_by_lane(i: int, j: int, seed: int, special: float | None) -> None:
    a, b, step = random_array(seed), random_array(seed + 1), 20
    if special is not None:
        a[int(i) + seed % WIDTH] = special
    x = np.float32(seed / 8 - 50)
    out = np.full(300, 7.0, np.float32)
    _by_lane(a, i, b, j, x, out, np.uint64(step))
    p, q = a[i : i + np.uint64(WIDTH)], b[j : j + np.uint64(WIDTH)]
    rows = a[int(i) : int(i) + WIDTH * WIDTH].reshape(WIDTH, WIDTH)
    with np.errstate(all="ignore"):
        expected = [
            p, p + q, p - q, p * q, p * q + x, p / q, np.abs(p), np.where(p > q, p, x),
            rows.sum(1), np.full(WIDTH, x),
        ]  # fmt: skip
    untouched = np.ones(300, bool)
    for n, result in enumerate(expected):
        at = int(i) + n * step
        untouched[at : at + WIDTH] = False
        if n in (4, 8):  # mad and totals may round otherwise
            np.testing.assert_allclose(out[at : at + WIDTH], result, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(out[at : at + WIDTH], result)
    assert (out[untouched] == 7).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(i=places, j=places, seed=seeds, unknown=st.booleans())
def test_lanes_as_one_number(i: int, j: int, seed: int, unknown: bool) -> None:
    a, b = random_array(seed), random_array(seed + 1)
    p, q = a[i : i + np.uint64(WIDTH)], b[j : j + np.uint64(WIDTH)]
    assert _by_number(a, i, b, j)[0] == pytest.approx(p.sum(dtype=np.float64), abs=1e-5)
    if unknown:
        p[seed % WIDTH] = np.nan  # above nothing
    assert _by_number(a, i, b, j)[1] == sum(1 << lane for lane in range(WIDTH) if p[lane] > q[lane])


def test_the_order_of_a_sum_is_fixed() -> None:
    """Halves are added, then their halves: large opposite numbers eight lanes apart cancel first."""
    a = np.full(WIDTH, 2.0**-10, np.float32)
    a[3], a[11] = 2.0**20, -(2.0**20)
    zeros = np.zeros(WIDTH, np.float32)
    assert _by_number(a, np.uint64(0), zeros, np.uint64(0))[0] == 14 * 2.0**-10


@given(found=st.integers(1, 2**64 - 1))
@settings(deadline=None, derandomize=True)
def test_lowest_walks_over_all_set_bits(found: int) -> None:
    out = np.zeros(64, np.uint64)
    number = _numbers_of_bits(np.uint64(found), out)
    assert out[:number].tolist() == [bit for bit in range(64) if found >> bit & 1]
