from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware import (
    Emulator,
    InputAxons,
    Operations,
    PlasticProjection,
    Population,
    Probe,
    Program,
    Projection,
    Recording,
    RunError,
)
from hardware.cost import costs, energy, footprint
from hardware.rules import ChipRule


@pytest.fixture
def relayed() -> Program:
    """in (2) -> cells (3), which always fire -> relay (1) -> out (2), with a weight of 0 in each."""
    return Program(
        "relayed",
        (InputAxons("in", 2),),
        (
            Population("cells", 3, bias_mant=np.array([1, 1, 1])),
            Population("relay", 1, "relay"),
            Population("out", 2, vth=9000),
        ),
        (
            Projection("a", "in", "cells", np.array([[2, 0], [2, 2], [2, 2]])),
            Projection("b", "cells", "relay", np.array([[4, 4, 0]])),
            Projection("c", "relay", "out", np.array([[2], [0]]), num_message_bits=8),
        ),
        probes=(Probe("cells"),),
    )


def run(program: Program, steps: int, batch: int = 1, payload: int = 1) -> Recording:
    emulator = Emulator(program)
    inputs = {axons.name: np.full((steps, batch, axons.size), payload) for axons in program.inputs}
    return emulator.run(emulator.initial_state(batch), inputs)[1]


def test_operations_of_a_run_by_hand(relayed):
    """4 steps. Cells fire in all of them (bias), the relay from step 2 on, out never."""
    recording = run(relayed, 4, batch=2)
    assert recording["cells", "spikes"].all()
    counted = costs(relayed, recording)
    # per step 5 synapses from the inputs and 2 from the cells; 3 spikes of the relay through 1 synapse
    assert counted.effective_acs.tolist() == 2 * [4 * (5 + 2)]
    assert counted.effective_macs.tolist() == 2 * [3]
    assert counted.dense == 4 * (6 + 3 + 2)
    assert counted.membrane_updates.tolist() == 2 * [4 * 6]
    assert counted.plastic_updates.tolist() == [0, 0]
    assert counted.activation_sparsity.tolist() == 2 * [1 - (4 * 3 + 3) / 24]
    assert counted.connection_sparsity == 3 / 11
    assert counted.parameter_count == 11 + 3
    rows = dict(counted.rows())
    assert (rows["Effective_ACs"], rows["Effective_MACs"], rows["Dense"]) == (28, 3, 44)
    assert dict(counted.rows(questions=8))["Effective_ACs"] == 7
    assert dict(counted.whole_rows())["Parameter count"] == 14


def test_the_footprint_by_hand(relayed):
    # 11 synapses of 8 bits; u and v of 5 LIF neurons, 24 bits each; 3 biases of 13 bits
    assert footprint(relayed) == -(-(11 * 8 + 5 * 48 + 3 * 13) // 8)
    sparse = [dataclasses.replace(part, storage="sparse", delays=1) for part in relayed.projections]
    assert footprint(dataclasses.replace(relayed, projections=tuple(sparse))) == -(
        -(8 * (8 + 6) + 5 * 48 + 3 * 13) // 8
    )
    rule = ChipRule("x1*y0*w", x1_impulse=9, dt="2^1*x0*y1")
    plastic = PlasticProjection("m", "in", "cells", np.ones((3, 2), dtype=int), rule, 1, sign_mode="mixed")
    # 6 synapses of 9 bits and a tag of 9; x1 of 2 source and y1 of 3 target neurons, 7 bits each
    more = dataclasses.replace(relayed, plastic=(plastic,))
    assert footprint(more) == -(-(11 * 8 + 5 * 48 + 3 * 13 + 6 * 18 + 5 * 7) // 8)


def test_weights_that_quantisation_clears_count_as_missing(relayed):
    coarse = dataclasses.replace(relayed.projections[0], num_weight_bits=1)
    program = dataclasses.replace(relayed, projections=(coarse, *relayed.projections[1:]))
    assert costs(program, run(program, 1)).connection_sparsity == (6 + 1 + 1) / 11


def test_plastic_updates_are_those_that_were_counted(memory):
    recording = run(memory, 5, payload=64)
    counted = costs(memory, recording)
    assert counted.plastic_updates.tolist() == recording.operations.plastic.tolist()
    assert counted.plastic_updates[0] > 0


def test_energy_is_the_sum_of_published_costs():
    operations = Operations(
        names=("in", "cells"),
        spikes=np.array([[1, 2], [0, 0]]),
        synaptic=np.array([10, 0]),
        graded=np.array([0, 0]),
        neuron=np.array([100, 7]),
        plastic=np.array([4, 0]),
    )
    estimate = energy(operations)
    np.testing.assert_allclose(estimate.low, [10 * 23.6 + 4 * 120 + 3 * 1.7 + 100 * 52, 7 * 52])
    np.testing.assert_allclose(estimate.high, [10 * 23.6 + 4 * 120 + 3 * 1.7 + 100 * 81, 7 * 81])
    np.testing.assert_allclose(energy(operations, hops=2).spikes, [3 * (1.7 + 8), 0])


def test_what_cannot_be_estimated_is_refused(relayed, memory):
    recording = run(relayed, 1)
    with pytest.raises(RunError, match="no energy per operation of 'loihi2' is published"):
        energy(recording.operations, "loihi2")
    with pytest.raises(RunError, match="hops is -1"):
        energy(recording.operations, hops=-1)
    with pytest.raises(RunError, match="not of the program 'memory'"):
        costs(memory, recording)
    with pytest.raises(RunError, match="the runner 'lava' counts no operations"):
        costs(relayed, dataclasses.replace(recording, runner="lava", operations=None))
