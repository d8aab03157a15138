"""Float weights as integers of a chip: 8 bits and an exponent for each of a population's inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spmn.errors import ExportError

W_MAX = 254
"""Largest even weight of a fixed synapse."""
QUIET = 255 << 6
"""What the quiet line takes from a neuron: more than all its inputs can bring, and half of 16 bits."""
ROUNDING = 0.95
"""Share of QUIET that inputs may bring before they are rounded."""
NOT_FINITE = "the network has weights that are not finite; retrain with a lower learning rate"

Array = npt.NDArray[np.int64]
Sources = Mapping[str, Tensor]
"""Weights [neurons, inputs] of all synapses of a population by where they come from."""


class Scales(NamedTuple):
    """How float weights become integers: even ones of -256..254, times 2^exponent, stand for vth w."""

    vth: int
    exponents: dict[str, int]  # by input

    def integers(self, name: str, weights: Tensor) -> Tensor:
        """The integers of weights of this input, without their exponent."""
        return 2 * torch.round(weights * (self.vth / 2 ** (self.exponents[name] + 1))).clamp(-128, W_MAX // 2)

    def weights(self, name: str, integers: Tensor) -> Tensor:
        """The weights that these integers stand for."""
        scale: float = 2 ** self.exponents[name] / self.vth
        return integers * scale


@torch.no_grad()
def scales(
    parts: Sources,
    one_of: Mapping[str, int] | None = None,
    vth: int | None = None,
    most: Mapping[str, Tensor] | None = None,
) -> Scales:
    """One threshold for a population, and an exponent for each of its inputs.

    The threshold, if not given, is the largest at which no input in 16 bits can overflow, but not larger than
    makes the projection with the smallest weights use all its bits without an exponent. Exponents are never
    negative, for the chip would then round sums.

    one_of: inputs of which at most one axon of each of so many equal groups spikes in a step.
    most: [2, neurons], what an input can at most bring to and take from a neuron, where that is known.

    Raises ExportError for weights that are not finite.
    """
    largest = {name: float(weights.abs().max()) for name, weights in parts.items()}
    if not all(math.isfinite(value) for value in largest.values()):
        raise ExportError(NOT_FINITE)
    if vth is None:
        smallest = min((value for value in largest.values() if value > 0), default=1.0)
        vth = max(1, int(min(W_MAX / smallest, ROUNDING * QUIET / reach(parts, one_of or {}, most or {}))))
    exponents = {
        name: max(0, math.ceil(math.log2(max(value * vth, 1) / W_MAX))) for name, value in largest.items()
    }
    return Scales(vth, exponents)


def quantise(
    parts: Sources,
    one_of: Mapping[str, int] | None = None,
    vth: int | None = None,
    most: Mapping[str, Tensor] | None = None,
) -> tuple[int, dict[str, tuple[Array, int]]]:
    """Threshold of a population, and the 8-bit weights and exponents of each of its inputs, by `scales`."""
    found = scales(parts, one_of, vth, most)
    return found.vth, {
        name: (rounded(found.integers(name, weights)), found.exponents[name])
        for name, weights in parts.items()
    }


def reach(parts: Sources, one_of: Mapping[str, int], most: Mapping[str, Tensor]) -> float:
    """Most that all inputs together bring to, or take from, a neuron in a step, in units of its threshold."""
    both = []
    for side, sign in enumerate((1, -1)):
        total = torch.zeros(())
        for name, weights in parts.items():
            each = (sign * weights).clamp(min=0).reshape(len(weights), one_of.get(name, weights.shape[1]), -1)
            total = total + (most[name][side] if name in most else each.amax(2).sum(1))
        both.append(float(total.max()))
    return max(*both, 1e-9)


def rounded(values: Tensor) -> Array:
    """Nearest integers."""
    return values.detach().cpu().double().round().numpy().astype(np.int64)
