"""Strict mode: where the arithmetic would lose something, and that nothing else is changed by it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware import (
    ChipRule,
    Emulator,
    InputAxons,
    PlasticProjection,
    Population,
    Probe,
    Program,
    Projection,
    RunError,
)
from hardware.conformance import random_case
from hardware.reference import Reference


def driven(*projections, population=None, relay=False, size=2, **fields):
    """in (3 axons) -> n, a LIF that holds everything until its threshold, or a relay; nothing else."""
    if population is None:
        kind = {"kind": "relay"} if relay else {"vth": 2**17 - 1}
        population = Population("n", size, **(kind | fields))
    return Program("driven", (InputAxons("in", 3),), (population,), projections, probes=(Probe("n"),))


def spikes_at(*events, steps=8, batch=3):
    """Input with payloads at (step, stream, axon, payload)."""
    payloads = np.zeros((steps, batch, 3), dtype=np.int32)
    for step, stream, axon, payload in events:
        payloads[step - 1, stream, axon] = payload
    return {"in": payloads}


def every_step(stream, *axons, steps=8):
    return [(step, stream, axon, 1) for step in range(1, steps + 1) for axon in axons]


STRONG = Projection("p", "in", "n", [[255, 0, 0], [255, 127, 1]], weight_exp=7, sign_mode="excitatory")
FINE = Projection("q", "in", "n", [[0, 0, 0], [0, 127, 1]], sign_mode="excitatory")
NEGATIVE = Projection("p", "in", "n", [[0, 0, 0], [-256, 0, 0]], weight_exp=7)
GRADED = Projection("p", "in", "n", [[0, 0, 0], [4, 2, 0]], num_message_bits=24, weight_exp=0)
ONWARD = Projection("r", "n", "m", [[2, 2]], num_message_bits=8)


def chain(*widths, relay=True):
    """in -> relay n -> m, once for every width of message."""
    return Program(
        "chain",
        (InputAxons("in", 3),),
        (Population("n", 2, "relay"), Population("m", 1, vth=9999)),
        (GRADED, *(dataclasses.replace(ONWARD, name=f"r{w}", num_message_bits=w) for w in widths)),
    )


FAILING = {
    # 255 << 7 = 32640 and 1 << 7 = 128: one more than 32767
    "input beyond 16 bits": (
        driven(STRONG),
        spikes_at((3, 1, 0, 1), (3, 1, 2, 1)),
        "population 'n', neuron 1, step 4, stream 1: the synaptic input 32768 of a step exceeds 16 bits",
    ),
    "input beyond 16 bits, negative": (
        driven(NEGATIVE, Projection("q", "in", "n", [[0, 0, 0], [0, -2, 0]])),
        spikes_at((3, 1, 0, 1), (3, 1, 1, 1)),
        "population 'n', neuron 1, step 4, stream 1: the synaptic input -32770 of a step exceeds 16 bits",
    ),
    "input beyond 16 bits, after a delay": (
        driven(STRONG, dataclasses.replace(STRONG, name="later", delays=2)),
        spikes_at((1, 2, 0, 1), (3, 2, 0, 1)),
        "population 'n', neuron 0, step 4, stream 2: the synaptic input 65280 of a step exceeds 16 bits",
    ),
    "input of a relay": (
        driven(dataclasses.replace(GRADED, weight_exp=7), relay=True),
        spikes_at((2, 1, 0, -100)),
        "population 'n', neuron 1, step 3, stream 1: the synaptic input -51200 of a step exceeds 16 bits",
    ),
    # 254 * (2^23 - 1) twice is beyond 2^31; what is left after the shift, and after the others, is not
    "a sum beyond 32 bits, shifted": (
        driven(
            *(
                Projection(f"p{n}", "in", "n", [[0, 0, 0], row], weight_exp=-8, num_message_bits=24)
                for n, row in enumerate(([254, 254, 0], [-254, 0, 0], [0, -254, 0]))
            )
        ),
        spikes_at((3, 1, 0, 2**23 - 1), (3, 1, 1, 2**23 - 1)),
        "population 'n', neuron 1, step 3, stream 1: a projection's weights times payloads sum to 4261412356",
    ),
    # 32640 * 64 per step: the fifth passes 2^23
    "wrap of u": (
        driven(STRONG, du=-1, dv=4096),
        spikes_at(*every_step(1, 0)),
        "population 'n', neuron 0, step 6, stream 1: the current u reaches 10444800 and wraps beyond 24 bits",
    ),
    "wrap of u, negative": (
        driven(NEGATIVE, du=-1, dv=4096),
        spikes_at(*every_step(2, 0)),
        "population 'n', neuron 1, step 5, stream 2: the current u reaches -8388608 and wraps beyond 24 bits",
    ),
    "clip of v": (
        driven(STRONG),
        spikes_at(*every_step(0, 0)),
        "population 'n', neuron 0, step 6, stream 0: the membrane potential v reaches 10444800",
    ),
    "clip of v, negative": (
        driven(NEGATIVE),
        spikes_at(*every_step(1, 0)),
        "population 'n', neuron 1, step 5, stream 1: the membrane potential v reaches -8388608",
    ),
    "wide payload of a relay": (
        chain(16, 8),
        spikes_at((2, 1, 0, 64)),
        "population 'n', neuron 1, step 3, stream 1: the payload 256 is wider than num_message_bits",
    ),
    "wide negative payload of a relay": (
        chain(8),
        spikes_at((2, 2, 1, -128)),
        "population 'n', neuron 1, step 3, stream 2: the payload -256 is wider than num_message_bits",
    ),
    "wide payload of an input": (
        driven(dataclasses.replace(GRADED, num_message_bits=5)),
        spikes_at((2, 1, 0, -32), (4, 0, 2, 99)),
        "input 'in', axon 0, step 2, stream 1: the payload -32 is wider than num_message_bits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILING)
def test_strict_runs_say_where_the_arithmetic_loses_something(outcome, assert_same, kind):
    program, inputs, message = FAILING[kind]
    problem = outcome(Emulator, program, inputs, strict=True)
    assert isinstance(problem, RunError)
    assert str(problem).startswith(message)
    assert_same(outcome(Emulator, program, inputs), outcome(Reference, program, inputs))


@pytest.mark.parametrize(
    ("program", "inputs"),
    [
        # 32640 + 127 = 32767, -256 << 7 = -32768
        (driven(STRONG, FINE), spikes_at((3, 1, 0, 1), (5, 1, 1, 1), (7, 0, 2, 1))),
        (
            driven(dataclasses.replace(STRONG, weights=[[255, 0, 0]] * 2), FINE),
            spikes_at((3, 1, 0, 1), (3, 1, 1, 1)),
        ),
        (driven(NEGATIVE), spikes_at((3, 1, 0, 1))),
        # u stays at 2^23, and a bias keeps v below it
        (
            driven(
                Projection("p", "in", "n", [[254, 4, 0]], weight_exp=7),
                population=Population("n", 1, vth=2**17 - 1, du=-1, dv=4096, bias_mant=-1),
            ),
            spikes_at(*every_step(0, 0, steps=4), (5, 0, 1, 1), (6, 0, 1, 1)),
        ),
        (chain(16, 8), spikes_at((2, 1, 0, 63), (2, 1, 1, 1), (4, 1, 0, -63))),
        (driven(dataclasses.replace(GRADED, num_message_bits=5)), spikes_at((2, 1, 0, -31), (4, 0, 2, 31))),
        # a binary projection drops the payload, and no width limits it
        (driven(dataclasses.replace(GRADED, num_message_bits=0)), spikes_at((2, 1, 0, 2**23 - 1))),
    ],
)  # fmt: skip
def test_strict_runs_go_to_the_limits(outcome, assert_same, program, inputs):
    assert_same(outcome(Emulator, program, inputs, strict=True), outcome(Reference, program, inputs))


def test_the_earliest_failure_of_all_streams_is_reported(outcome):
    inputs = spikes_at((5, 0, 0, 1), (5, 0, 2, 1), (2, 2, 0, 1), (2, 2, 2, 1), (3, 1, 0, 1), (3, 1, 2, 1))
    assert "step 3, stream 2" in str(outcome(Emulator, driven(STRONG), inputs, strict=True))
    running = Emulator(driven(STRONG), strict=True)
    state, _ = running.run(running.initial_state(3), spikes_at(steps=100))
    with pytest.raises(RunError, match="step 103, stream 2"):
        running.run(state, inputs)


@pytest.mark.parametrize("strict", [False, True])
def test_payloads_beyond_24_bits_fail_on_every_engine(outcome, assert_same, strict):
    """4 * 2^21 = 2^23; 2^23 - 1 is sent."""
    graded = dataclasses.replace(GRADED, weights=[[0, 0, 0], [4, 1, 0]], sign_mode="excitatory")
    program = driven(graded, relay=True)
    largest = spikes_at((2, 1, 1, 2**23 - 1), (3, 1, 1, 1 - 2**23))
    assert_same(outcome(Emulator, program, largest), outcome(Reference, program, largest))
    wide = spikes_at((2, 1, 0, -(2**21)))
    message = "population 'n', neuron 1, step 3, stream 1: the payload -8388608 exceeds 24 bits"
    assert str(outcome(Emulator, program, wide, strict=strict)).startswith(message)
    assert "population 'n', step 3: a payload exceeds 24 bits" in str(outcome(Reference, program, wide))


def test_sums_beyond_32_bits_wrap_and_minus_2_to_the_31_has_no_magnitude(outcome, assert_same):
    """2^21 * 128 << 3 = 2^31, which in 32 bits is -2^31: a relay does not see it as above its threshold."""
    graded = Projection("p", "in", "n", [[0, 0, 0], [128, 0, 0]], weight_exp=3, num_message_bits=24)
    inputs = spikes_at((2, 1, 0, 2**21))
    for program in (driven(graded), driven(graded, relay=True)):
        assert_same(outcome(Emulator, program, inputs), outcome(Reference, program, inputs))
        problem = str(outcome(Emulator, program, inputs, strict=True))
        assert "neuron 1, step 3, stream 1" in problem
        assert "2147483648" in problem


def test_clips_of_a_learning_rule_are_no_failures(outcome, assert_same):
    """The weight and its change, both tags and a trace saturate."""
    rule = ChipRule("7*2^8*x0*x1", dt="-7*2^8*x0*x1", dd="7*2^8*x0*x1", x1_impulse=127, x1_tau=65535)
    program = dataclasses.replace(
        driven(),
        plastic=(PlasticProjection("m", "in", "n", np.ones((2, 3), int), rule=rule, seed=0, weight_exp=-8),),
        probes=(Probe("m", "weights"), Probe("m", "tag_1"), Probe("m", "tag_2"), Probe("m", "x1")),
    )  # fmt: skip
    inputs = spikes_at(*every_step(1, 0))
    strict = outcome(Emulator, program, inputs, strict=True)
    assert_same(strict, outcome(Reference, program, inputs))
    last = {name: values[-1, 1].flat[0] for (_, name), values in strict[1].probes.items()}
    assert last["weights"] == last["tag_2"] == 255
    assert last["tag_1"] in (-256, -257)
    assert last["x1"] == 127


def test_strict_runs_without_failure_give_the_same_bits(outcome, assert_same):
    unharmed = 0
    for seed in range(60):
        case = random_case(seed)
        strict = outcome(Emulator, case.program, case.inputs, strict=True)
        if isinstance(strict, RunError):
            assert "step" in str(strict)
            continue
        unharmed += 1
        assert_same(strict, outcome(Emulator, case.program, case.inputs))
    assert unharmed >= 10
