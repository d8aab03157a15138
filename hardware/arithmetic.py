"""The chip's integer arithmetic as pure functions on arrays of any shape.

Membrane values are int32 and wrap as int32 does. Source of every equation: the fixed-point models of Lava
0.10.0 (PyLifModelBitAcc, PyDenseModelBitAcc, LearningConnectionModelBitApproximate,
LearningRuleApplierBitApprox).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]

DECAY_BITS = 12
INPUT_SHIFT = 6
"""Synaptic input and threshold are shifted left by this much to align with u and v."""
STATE_LIMIT = 2**23
"""u is wrapped once into (-2^23, 2^23] where it is beyond, v clipped to (-2^23, 2^23)."""
TRACE_LIMIT = 127
WEIGHT_FRACTION_BITS = 7
"""The learning engine works on weight << 7."""
ACCUMULATOR_RANGE = (-(2**15) - 1, 2**15 - 1)
WEIGHT_LIMITS = {"mixed": (-256, 255), "excitatory": (0, 255), "inhibitory": (-255, 0)}
TAG_LIMITS = {"tag_1": (-257, 255), "tag_2": (0, 255)}
THIRD_FACTOR_TAU = 65535
"""Time constant of a y trace that a third factor sets; it matters within an epoch only."""
ROUNDING_SEED = 2
"""Seed of the stream that rounds weights: Lava gives every connection the same."""


def quantise_weights(weights: npt.ArrayLike, sign_mode: str, num_weight_bits: int) -> Int32:
    """The weights a synapse keeps: sign * ((clip(|w|) >> k) << k), k = 8 - num_weight_bits + [mixed].

    Mixed weights are floored instead (-1 becomes -2) and lie in -256..254; others are truncated towards 0.
    """
    mixed = sign_mode == "mixed"
    sign = -1 if sign_mode == "inhibitory" else 1
    bits = 8 - num_weight_bits + mixed
    clipped = np.clip(sign * np.asarray(weights, dtype=np.int32), -256 if mixed else 0, 255)
    return sign * ((clipped >> bits) << bits)


def scale_sum(weighted_sum: npt.NDArray[Any], weight_exp: int) -> Int32:
    """Synaptic input of one step: the sum of weights << weight_exp, or >> -weight_exp (floor), as int32."""
    total: Int32 = weighted_sum.astype(np.int64).astype(np.int32)
    shifted: Int32 = total << weight_exp if weight_exp > 0 else total >> -weight_exp
    return shifted


def decay(state: Int32, factor: int) -> Int32:
    """state * factor / 4096, rounded towards 0."""
    if factor == 0:
        return np.zeros_like(state)
    if factor == 1 << DECAY_BITS:
        return state
    product = state.astype(np.int64) * factor
    return ((product + np.where(product < 0, (1 << DECAY_BITS) - 1, 0)) >> DECAY_BITS).astype(np.int32)


def update_current(u: Int32, synaptic_input: Int32, du: int) -> Int32:
    """u' = u * (4096 - (du + 1)) / 4096 + (a << 6), then one wrap by 2^24 into (-2^23, 2^23]."""
    current = decay(u, 4095 - du) + (synaptic_input << INPUT_SHIFT)
    wraps = (current > STATE_LIMIT).astype(np.int32) - (current <= -STATE_LIMIT)
    wrapped: Int32 = current - (wraps << 24)
    return wrapped


def update_membrane(v: Int32, u: Int32, bias: np.int32 | Int32, dv: int) -> Int32:
    """v' = clip(v * (4096 - dv) / 4096 + u + bias, +-(2^23 - 1)), before the spike resets it."""
    return _clip(decay(v, 4096 - dv) + u + bias, 1 - STATE_LIMIT, STATE_LIMIT - 1)


def fires(v: Int32, vth: int) -> Bool:
    """Spikes: v > vth << 6, strictly."""
    return v > (vth << INPUT_SHIFT)


def relay(synaptic_input: Int32, vth: int) -> Int32:
    """Output of a GradedVec: a where |a| > vth, else 0."""
    return np.where(np.abs(synaptic_input) > vth, synaptic_input, 0)


def kept(tau: int) -> float:
    """What is left of a trace after a step: exp(-1/tau), 0 for tau = 0."""
    # of an array: that of a scalar may differ in the last bit
    return float(np.exp(-1 / np.array([float(tau)]))[0]) if tau else 0.0


def decay_trace(trace: Int32, tau: int, random: float) -> Int32:
    """floor(z) + [random < z mod 1] with z = exp(-1/tau) * trace; 0 for tau = 0."""
    if tau == 0:
        return np.zeros_like(trace)
    exact = kept(tau) * trace
    whole = np.floor(exact)
    decayed: Int32 = (whole + (random < exact - whole)).astype(np.int32)
    return decayed


def add_impulse(trace: Int32, spikes: Bool, impulse: int) -> Int32:
    """min(trace + impulse, 127) where a spike came.

    Lava also adds 1 at random for the fraction of an impulse; impulses are integers here.
    """
    return np.where(spikes, _clip(trace + np.int32(impulse), 0, TRACE_LIMIT), trace)


def half_payload(payload: Int32) -> Int32:
    """round_half_even(payload / 2) mod 256: what a graded spike brings to x1."""
    half = payload >> 1
    rounded: Int32 = (half + (half & payload & 1)) & 255
    return rounded


def graded_trace(x1: Int32, payload: Int32, mode: str) -> tuple[Int32, Bool]:
    """x1 after a step's graded spikes, and which of them count as x0.

    With h = half_payload: "overwrite": x1 = h where a spike came; "add_saturate":
    x1 = min((x1 + h) mod 256, 127);
    "add_overflow": q = (x1 + h) mod 256, above 127 x1 = q - 127 and only there the spike counts.
    """
    spikes = payload != 0
    if mode == "none":
        return x1, spikes
    half = half_payload(payload)
    if mode == "overwrite":
        return np.where(spikes, half, x1), spikes
    total = (x1 + half) & 255
    if mode == "add_saturate":
        return np.minimum(total, TRACE_LIMIT), spikes
    overflow = total > TRACE_LIMIT
    return np.where(overflow, total - TRACE_LIMIT, total), spikes & overflow


def limit_factor(value: Int32, constant: int, bits: int) -> Int32:
    """A factor of a learning product: value + constant, clipped to -2^bits..2^bits - 1."""
    return _clip(value + np.int32(constant), -(2**bits), 2**bits - 1)


def scale_product(product: Int32, mantissa: int, exponent: int, shift: int) -> Int32:
    """((product * mantissa) >> shift) << (exponent + 7), clipped to the accumulator; >> floors."""
    scaled = ((product * np.int32(mantissa)) >> shift) << (exponent + WEIGHT_FRACTION_BITS)
    return _clip(scaled, *ACCUMULATOR_RANGE)


def add_change(accumulator: Int32, change: Int32) -> Int32:
    """accumulator + change, clipped to the accumulator."""
    return _clip(accumulator + change, *ACCUMULATOR_RANGE)


def round_synapses(accumulator: Int32, limits: tuple[int, int], random: float) -> Int32:
    """New weights or tags: q = accumulator / 128, floor(q) + [random < q mod 1], clipped to the limits.

    A limit of 0 also holds before the rounding.
    """
    low, high = limits
    if low == 0:
        accumulator = np.maximum(accumulator, 0)
    if high == 0:
        accumulator = np.minimum(accumulator, 0)
    fraction = (accumulator & 127) / 128
    rounded = (accumulator >> WEIGHT_FRACTION_BITS) + (random < fraction)
    return _clip(rounded.astype(np.int32), low, high)


def random_stream(seed: int, count: int) -> Float:
    """First `count` numbers in [0, 1) of the stream `seed` (PCG64), the same as `count` single draws."""
    return np.random.default_rng(seed).random(count)


class RandomStream:
    """The stream of a seed, read at any position; the block drawn last is kept."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.first = 0
        self.numbers: Float = random_stream(seed, 1024)

    def take(self, positions: npt.ArrayLike) -> Float:
        """The numbers at these positions, counted from 0."""
        wanted = np.asarray(positions)
        if wanted.size == 0:
            return np.zeros(wanted.shape)
        low, high = int(wanted.min()), int(wanted.max())
        if not self.first <= low <= high < self.first + len(self.numbers):
            self.first = low
            later = np.random.PCG64(self.seed).advance(low)
            self.numbers = np.random.Generator(later).random(max(1024, high - low + 1))
        taken: Float = self.numbers[wanted - self.first]
        return taken

    def at(self, position: int) -> float:
        return float(self.take(position))


def _clip(values: npt.NDArray[Any], low: int, high: int) -> Int32:
    # twice as fast as np.clip on the small arrays of one step
    clipped: Int32 = np.minimum(np.maximum(values, np.int32(low)), np.int32(high))
    return clipped
