"""Weights as the chip will have them, in torch: rounded forwards, straight through backwards.

    forwards   W = s round(w / s),   s = 2^(exponent + 1) / vth by `spmn.quantise.scales`
    backwards  dL/dw = dL/dW

for what encoder, levels and decoder hear and see, and so the strengths of each head's learning rule, whose
mantissas have 3 bits on the chip (`hardware.lowering`). Biases and the clock's synapses are few and stay as
they are. Where products are short (bfloat16), W is rounded once more inside them, by up to 2^-9 of itself.

Jacob et al. 2018 (arXiv 1712.05877), with the gradient of Bengio et al. 2013 (arXiv 1308.3432).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from spmn.errors import ExportError
from spmn.export import CLOCK_AT_ONCE, realised_strengths, words_at_once
from spmn.levels import DIGIT, Level
from spmn.network import SPMN
from spmn.quantise import NOT_FINITE, QUIET, ROUNDING, W_MAX, Scales, Sources, scales
from spmn.straight import straight


def round_as_exported(network: SPMN) -> None:
    """From now on the network computes with weights and learning rates rounded as an export of it, with the
    default bits of M, would round them.

    What is trained and saved, and what is exported, are those behind them. Computing raises ExportError
    for weights that are not finite or a learning rule that the chip has not.
    """
    network.encoder.rounding = partial(_parts, one_of=words_at_once(network))
    for level in network.levels:
        level.drive.rounding = partial(_level, network, level)
        level.memory.rates.rounding = partial(_strengths, level)
    network.decoder.rounding = partial(_decoder, network)


def _parts(parts: Sources, one_of: Mapping[str, int]) -> dict[str, Tensor]:
    found = scales(parts, one_of)
    return {name: straight(weights, partial(_snap, found, name)) for name, weights in parts.items()}


def _level(network: SPMN, level: Level, folded: Tensor) -> Tensor:
    return straight(folded, lambda w: _seen(network, w, level.drive.bias, level.sizes, level.clock))


def _strengths(level: Level, strengths: Tensor) -> Tensor:
    heads = strengths[..., 0].numel()  # 1 where all share their rates
    return straight(strengths, lambda s: s.new_tensor(realised_strengths(level)[:heads]).view(s.shape))


def _decoder(network: SPMN, folded: Tensor) -> Tensor:
    return straight(folded, lambda w: _seen(network, w, network.decoder.bias, [len(w)]))


@torch.no_grad()
def _seen(
    network: SPMN, folded: Tensor, bias: Tensor, sizes: Sequence[int], clock: Tensor | None = None
) -> Tensor:
    """The chip's weights, in thresholds, of what some populations see: `scales` of all of them at once.

    folded: weights [neurons, seen] of the populations, one after the other; sizes: their neurons; clock:
    [V, 32], into the last V neurons of the third. Raises ExportError for weights that are not finite.
    """
    s = network.settings
    heads = folded[:, s.encoder :].reshape(len(folded), -1, s.values)
    timed = folded.new_zeros(len(folded), 2 * DIGIT)
    if clock is not None:
        last = sum(sizes[:3])
        timed[last - len(clock) : last] = clock
    seen = torch.cat((folded[:, : s.encoder].abs().amax(1, True), heads.abs().amax(2)), 1)
    others = torch.stack((timed.abs().amax(1), bias.abs()), 1)
    sums = []
    for sign in (1, -1):
        digits = (sign * timed).clamp(min=0).view(-1, CLOCK_AT_ONCE["clock"], DIGIT).amax(2).sum(1)
        sums.append((sign * folded).clamp(min=0).sum(1) + digits + (sign * bias).clamp(min=0))

    def most(of_neurons: Tensor) -> Tensor:
        """In each population."""
        return torch.stack([some.amax(0) for some in torch.split(of_neurons, list(sizes))]).double()

    by_source, reach = most(torch.cat((seen, others), 1)), most(torch.maximum(*sums))
    if not bool(by_source.isfinite().all()):
        raise ExportError(NOT_FINITE)
    smallest = by_source.where(by_source > 0, math.inf).amin(1)
    smallest = smallest.where(smallest < math.inf, 1.0)
    room = torch.minimum(W_MAX / smallest, ROUNDING * QUIET / reach.clamp(min=1e-9))
    vth = room.floor().clamp(min=1)[:, None]
    exponents = ((by_source * vth).clamp(min=1) / W_MAX).log2().ceil().clamp(min=0)[:, : seen.shape[1]]
    steps = (vth / 2 ** (exponents + 1)).to(folded.dtype)
    each = torch.cat(
        (steps[:, :1].expand(-1, s.encoder), steps[:, 1:, None].expand(-1, -1, s.values).flatten(1)), 1
    )
    each = torch.cat([row.expand(size, -1) for row, size in zip(torch.split(each, 1), sizes, strict=True)])
    return (folded * each).round().clamp(-128, W_MAX // 2) / each


def _snap(found: Scales, name: str, weights: Tensor) -> Tensor:
    return found.weights(name, found.integers(name, weights))
