"""Programs that several test files run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from hardware import (
    ChipRule,
    ClockLine,
    Emulator,
    Host,
    InputAxons,
    PlasticProjection,
    Population,
    Probe,
    Program,
    Projection,
    Readout,
    Recording,
    RunError,
    Schedule,
    State,
    TimeAxons,
    TokenAxons,
)
from hardware.conformance import first_difference
from hardware.inputs import Inputs
from hardware.reference import Reference

STORE = "2^1*x1*x0*y0*(254-w) - 2^0*x0*x1*w"
PAIR = "2^-1*x1*y0 - 2^-1*y1*x0"


@pytest.fixture(scope="session", params=[Emulator, Reference])
def engine(request: pytest.FixtureRequest) -> type[Emulator] | type[Reference]:
    """What runs a program in this process: the same test for both."""
    chosen: type[Emulator] | type[Reference] = request.param
    return chosen


Outcome = tuple[State, Recording] | RunError


@pytest.fixture(scope="session")
def outcome() -> Callable[..., Outcome]:
    """What a run on an engine gives, from a state or from step 1, or why it gives nothing."""

    def run(
        engine: type[Emulator] | type[Reference],
        program: Program,
        inputs: Inputs,
        state: State | None = None,
        **options: bool,
    ) -> Outcome:
        running = engine(program, **options)
        batch = next(iter(inputs.values())).shape[1]
        try:
            return running.run(state or running.initial_state(batch), inputs)
        except RunError as problem:
            return problem

    return run


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Outcome, Outcome], None]:
    """Asserts the same bits and types in states and recordings, whatever ran."""

    def check(left: tuple[State, Recording], right: tuple[State, Recording]) -> None:
        recordings = [dataclasses.replace(recording, runner="") for _, recording in (left, right)]
        assert first_difference(*recordings) is None
        assert recordings[0] == recordings[1]
        types = [{key: probe.dtype for key, probe in part.probes.items()} for part in recordings]
        assert types[0] == types[1]
        assert left[0] == right[0]
        for state, _ in (left, right):
            arrays = [*state.u.values(), *state.v.values(), *state.pending.values()]
            arrays += [array for part in state.plastic.values() for array in vars(part).values()]
            assert {array.dtype for array in arrays} <= {np.dtype(np.int32)}

    return check


@pytest.fixture(scope="session")
def memory() -> Program:
    """One head driven from outside: 4 keys, 3 values, the network of the golden write and read."""
    return Program(
        name="memory",
        inputs=(InputAxons("keys", 4), InputAxons("teacher", 3)),
        populations=(Population("values", 3, vth=200, reset_interval=8),),
        projections=(
            Projection(
                "teach", "teacher", "values", 250 * np.eye(3, dtype=int), weight_exp=2, sign_mode="excitatory"
            ),
        ),
        plastic=(
            PlasticProjection(
                "memory",
                "keys",
                "values",
                np.full((3, 4), 2),
                rule=ChipRule(STORE, x1_tau=2),
                seed=1,
                graded="overwrite",
            ),
        ),
        probes=(Probe("values"), Probe("memory", "weights"), Probe("memory", "x1")),
    )


@pytest.fixture(scope="session")
def hosted() -> Program:
    """Two word positions, event numbers, a question line and a readout that knows the last word."""
    vocabulary = ("mary", "john", "kitchen")
    return Program(
        name="hosted",
        inputs=(InputAxons("words", 6), InputAxons("time", 2), InputAxons("ask", 1), InputAxons("tick", 1)),
        populations=(Population("echo", 6, vth=10, dv=4096),),
        projections=(Projection("in", "words", "echo", 20 * np.eye(6, dtype=int)),),
        probes=(Probe("echo"),),
        schedule=Schedule(
            4, drain=2, lines=(ClockLine("ask", (0, 5), on="question"), ClockLine("tick", (3,)))
        ),
        host=Host(
            vocabulary,
            TokenAxons("words", 2, steps=(0, 1)),
            TimeAxons("time", np.array([[1, 0], [0, 1]]), steps=(2,)),
            (
                Readout(
                    "last", ("echo",), 1, 2, np.eye(3, 6, k=3, dtype=int), np.zeros(3, dtype=int), vocabulary
                ),
            ),
        ),
        attributes={"trained on": "nothing/at all"},
    )


@pytest.fixture(scope="session")
def make_program() -> Callable[[int], Program]:
    """Seed -> a small recurrent program with every kind of part."""

    def make(seed: int) -> Program:
        random = np.random.default_rng(seed)
        size = {name: int(random.integers(1, 6)) for name in ("in", "clock", "cells", "reset", "relay")}

        def weights(source: str, target: str, low: int, high: int) -> np.ndarray:
            return random.integers(low, high, (size[target], size[source]))

        def plastic(name: str, source: str, dw: str, graded: str) -> PlasticProjection:
            rule = ChipRule(
                dw,
                x1_impulse=0 if graded != "none" else 60,
                x1_tau=int(random.integers(1, 9)),
                y1_impulse=50,
                y1_tau=int(random.integers(0, 9)),
                t_epoch=int(random.integers(1, 4)),
            )
            start = weights(source, "cells", 0, 200)
            return PlasticProjection(
                name, source, "cells", start, rule=rule, seed=int(random.integers(99)), graded=graded
            )

        return Program(
            name=f"random-{seed}",
            inputs=(InputAxons("in", size["in"]), InputAxons("clock", size["clock"])),
            populations=(
                Population("cells", size["cells"], vth=300, du=int(random.integers(-1, 4096)), dv=409),
                Population("relay", size["relay"], kind="relay", vth=int(random.integers(0, 40))),
                Population(
                    "reset",
                    size["reset"],
                    vth=100,
                    dv=0,
                    bias_mant=random.integers(-99, 99, size["reset"]),
                    bias_exp=3,
                    reset_interval=5,
                    reset_offset=2,
                ),
            ),
            projections=(
                Projection("a", "in", "cells", weights("in", "cells", -256, 256), weight_exp=1),
                Projection("b", "clock", "reset", weights("clock", "reset", 0, 256), sign_mode="excitatory"),
                Projection(
                    "c",
                    "cells",
                    "reset",
                    weights("cells", "reset", -255, 1),
                    -1,
                    6,
                    "inhibitory",
                    delays=weights("cells", "reset", 0, 4),
                ),
                Projection("d", "reset", "relay", weights("reset", "relay", 0, 64), sign_mode="excitatory"),
                Projection("e", "cells", "cells", weights("cells", "cells", -99, 99), delays=2),
                Projection("f", "relay", "reset", weights("relay", "reset", -9, 9), num_message_bits=8),
            ),
            plastic=(plastic("store", "relay", STORE, "overwrite"), plastic("pair", "in", PAIR, "none")),
            probes=(
                *(Probe(name) for name in ("cells", "reset", "relay")),
                *(Probe("cells", variable) for variable in ("u", "v")),
                *(Probe("pair", variable) for variable in ("x1", "y1")),
                Probe("store", "weights", every=3, offset=1),
                Probe("pair", "weights"),
            ),
        )

    return make


@pytest.fixture(scope="session")
def make_inputs() -> Callable[..., dict[str, np.ndarray]]:
    """Random spikes, one in three, for every input of a program."""

    def make(program: Program, steps: int, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
        random = np.random.default_rng(seed)
        return {
            axons.name: (random.random((steps, batch, axons.size)) < 0.3).astype(np.uint8)
            for axons in program.inputs
        }

    return make
