"""The STDP window of a rule, measured from the running synapse.

    pre axon ---plastic synapse---> neuron <---teacher synapse, 1 step--- teacher axon

The plastic synapse sees a pre spike in the step it is sent, and a teacher spike of step t as a post spike of
step t + 1. Its own weight never fires the neuron: only the teacher reaches the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardware.checks import IntArray
from hardware.emulator import Emulator
from hardware.errors import RunError
from hardware.program import Graded, InputAxons, PlasticProjection, Population, Probe, Program, Projection
from hardware.rules import ChipRule

TEACHER_WEIGHT, TEACHER_EXP = 254, 7
THRESHOLD = 2**14


def measure_window(
    rule: ChipRule,
    delta: Sequence[int],
    *,
    weight: int = 100,
    payload: int = 1,
    graded: Graded = "none",
    seed: int = 1,
) -> IntArray:
    """Change of one weight by one pre and one post spike, `delta` steps apart.

    Args:
        rule: the rule to measure.
        delta: t_post - t_pre in steps as the synapse sees the spikes; positive: pre before post.
        weight: initial weight.
        payload: of the pre spike, for graded projections.
        graded: how the payload sets x1.
        seed: of the trace's stochastic rounding.

    Returns:
        [len(delta)] weight at the end of the epoch of the later spike, minus `weight`: whatever else is
        measured beside it.

    Raises:
        RunError: no delta, one that is no whole number, or a payload beyond 8 bits, with which the synapse
            itself would fire the neuron.
    """
    if not len(delta):
        raise RunError("no delta to measure: give at least one")
    if wrong := [value for value in delta if not isinstance(value, (int, np.integer))]:
        raise RunError(f"delta holds {wrong}: give whole numbers of steps")
    if not (isinstance(payload, (int, np.integer)) and 1 <= payload <= 255):
        raise RunError(f"payload is {payload}: give 1..255")
    # one step for the teacher's synapse, and step numbers start at 1
    pre_step = max(0, -min(delta)) + 2
    later = pre_step + np.maximum(0, delta)
    ends = -(-later // rule.t_epoch) * rule.t_epoch
    steps = int(ends.max())
    pre = np.zeros((steps, len(delta), 1), dtype=np.int32)
    teacher = np.zeros_like(pre)
    pre[pre_step - 1] = payload
    for stream, value in enumerate(delta):
        teacher[pre_step + value - 2, stream] = 1
    emulator = Emulator(_one_synapse(rule, weight, graded, seed))
    _, found = emulator.run(emulator.initial_state(len(delta)), {"pre": pre, "teacher": teacher})
    weights = found["synapse", "weights"].astype(np.int64)  # [steps, deltas, 1, 1]
    changes: IntArray = weights[ends - 1, np.arange(len(delta)), 0, 0] - weight
    return changes


def _one_synapse(rule: ChipRule, weight: int, graded: Graded, seed: int) -> Program:
    return Program(
        name="one-synapse",
        inputs=(InputAxons("pre", 1), InputAxons("teacher", 1)),
        populations=(Population("post", 1, vth=THRESHOLD, du=4095, dv=4096),),
        projections=(
            Projection("teach", "teacher", "post", np.array([[TEACHER_WEIGHT]]), weight_exp=TEACHER_EXP),
        ),
        plastic=(
            PlasticProjection(
                "synapse",
                "pre",
                "post",
                np.array([[weight]]),
                rule=rule,
                seed=seed,
                graded=graded,
                weight_exp=-8,
            ),
        ),
        probes=(Probe("synapse", "weights"),),
    )
