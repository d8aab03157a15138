"""STDP windows measured from the running synapse, in torch and on the chip emulator."""

from __future__ import annotations

import torch
from torch import Tensor

from hardware.errors import RuleError
from hardware.lowering import lower
from hardware.rules import LearningRule
from hardware.stdp import measure_window
from spmn.export import LONGEST_TAU
from spmn.plasticity import PlasticLayer
from spmn.quantise import W_MAX

LEVEL = 32
"""Chip value of a trace of 1: leaves room for traces of several spikes below 127."""


def stdp_window(rule: LearningRule, reach: int = 10, weight: float = 0.25) -> tuple[Tensor, Tensor]:
    """Weight change of one synapse by one pre and one post spike, for each delay between them.

    The synapse of a `PlasticLayer` is run from `weight`; nothing is computed from the rule's text. Each delay
    has a synapse of its own in the batch.

    Returns (delta, dw), both [2 reach + 1]: delta = t_post - t_pre in steps, -reach..reach, and dw in units
    of the weight, with the rule's default rates. Rules with y2 see the prediction that this weight makes.
    """
    delta = torch.arange(-reach, reach + 1)
    batch, steps = torch.arange(len(delta)), 3 * reach + 1
    pre, post = torch.zeros(2, steps, len(delta), 1)
    pre[reach + torch.zeros_like(delta), batch] = 1
    post[reach + delta, batch] = 1
    layer = PlasticLayer(1, 1, rule)
    with torch.no_grad():
        _, state = layer(pre, post, layer.start(len(delta), weight))
    return delta, state.weights[:, 0, 0] - weight


def emulator_window(
    rule: LearningRule, reach: int = 10, weight: float = 0.25
) -> tuple[Tensor, Tensor] | None:
    """The same, measured from the plastic synapse of the chip emulator; None if the chip cannot express it.

    A rule of resolution "event" is driven as in a deployed network, by a graded spike that sets the trace.
    """
    graded = rule.resolution == "event"
    try:
        on_chip = lower(
            rule,
            x1_level=LEVEL,
            x1_tau=round(rule.x1_tau) or LONGEST_TAU,
            x1_impulse=0 if graded else LEVEL,
            y1_level=LEVEL,
            y1_tau=round(rule.y1_tau),
            w_max=W_MAX,
        )
    except RuleError:
        return None
    delta = torch.arange(-reach, reach + 1)
    dw = measure_window(
        on_chip,
        delta.tolist(),
        weight=round(weight * W_MAX),
        payload=2 * LEVEL if graded else 1,
        graded="overwrite" if graded else "none",
    )
    return delta, torch.from_numpy(dw) / W_MAX
