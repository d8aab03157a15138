"""Weights as the chip will have them, in torch: rounded forwards, straight through backwards.

    forwards   W = s round(w / s),   s = 2^(exponent + 1) / vth by `spmn.quantise.scales`
    backwards  dL/dw = dL/dW

for what encoder, levels and decoder hear and see; biases and the clock's synapses are few and stay as they
are. Where products are short (bfloat16), W is rounded once more inside them, by up to 2^-9 of itself.

Jacob et al. 2018 (arXiv 1712.05877), with the gradient of Bengio et al. 2013 (arXiv 1308.3432).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from spmn.export import CLOCK_AT_ONCE, driven, roles, words_at_once
from spmn.levels import Level
from spmn.network import SPMN
from spmn.quantise import Scales, Sources, scales
from spmn.straight import straight


def round_as_exported(network: SPMN) -> None:
    """From now on the network computes with weights rounded as an export of it would round them.

    What is trained and saved, and what is exported, are the weights behind them.
    """
    network.encoder.rounding = partial(_parts, one_of=words_at_once(network))
    for level in network.levels:
        level.drive.rounding = partial(_level, network, level)
    network.decoder.rounding = partial(_decoder, network)


def _parts(parts: Sources, one_of: Mapping[str, int]) -> dict[str, Tensor]:
    found = scales(parts, one_of)
    return {name: straight(weights, partial(_snap, found, name)) for name, weights in parts.items()}


def _level(network: SPMN, level: Level, folded: Tensor) -> Tensor:
    return straight(folded, lambda w: torch.cat([_seen(s) for s in roles(network, level, w).values()]))


def _decoder(network: SPMN, folded: Tensor) -> Tensor:
    return straight(folded, lambda w: _seen(driven(network, w, network.decoder.bias)))


@torch.no_grad()
def _seen(sources: Sources) -> Tensor:
    """The chip's weights, in thresholds, of all that is seen, in the order of `Projection.folded`."""
    found = scales(sources, CLOCK_AT_ONCE)
    seen = [name for name in sources if name not in ("clock", "bias")]
    return torch.cat([_snap(found, name, sources[name]) for name in seen], 1)


def _snap(found: Scales, name: str, weights: Tensor) -> Tensor:
    return found.weights(name, found.integers(name, weights))
