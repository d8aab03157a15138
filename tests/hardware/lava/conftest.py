"""Tests that need the Lava environment skip where there is none."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hardware import (
    ChipRule,
    InputAxons,
    PlasticProjection,
    Population,
    Probe,
    Program,
    Projection,
    Recording,
    RunError,
)
from hardware.lava import runner
from hardware.reference import Reference


@pytest.fixture(scope="session")
def lava_python() -> Path:
    try:
        return runner.find_python().absolute()
    except RunError as error:
        pytest.skip(str(error))


@pytest.fixture
def inside(lava_python: Path, tmp_path: Path) -> Callable[[str], str]:
    """Run code in the Lava environment, which sees the package hardware and nothing beside it."""

    def run(code: str) -> str:
        (tmp_path / "hardware").symlink_to(runner.PACKAGE)
        done = subprocess.run(
            [str(lava_python), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def reference() -> Callable[..., Recording]:
    def run(program: Program, inputs: dict[str, np.ndarray]) -> Recording:
        emulator = Reference(program)
        _, recording = emulator.run(emulator.initial_state(next(iter(inputs.values())).shape[1]), inputs)
        return recording

    return run


@pytest.fixture(scope="session")
def same_recording() -> Callable[[Recording, Recording], None]:
    """Assert that two recordings differ in the runner and the counted operations only."""

    def check(left: Recording, right: Recording) -> None:
        assert (left.first_step, left.steps) == (right.first_step, right.steps)
        assert left.probes.keys() == right.probes.keys() == right.times.keys()
        for key, values in left.probes.items():
            assert values.dtype == right.probes[key].dtype, key
            np.testing.assert_array_equal(values, right.probes[key], err_msg=str(key))
            np.testing.assert_array_equal(left.times[key], right.times[key], err_msg=str(key))

    return check


@pytest.fixture(scope="session")
def small() -> Callable[[str], Program]:
    """Name -> a LIF driven by one input: the smallest program that runs."""

    def make(name: str) -> Program:
        return Program(
            name=name,
            inputs=(InputAxons("in", 1),),
            populations=(Population("cell", 2, vth=10, dv=4096),),
            projections=(Projection("drive", "in", "cell", np.array([[20], [2]])),),
            probes=(Probe("cell"), Probe("cell", "v")),
        )

    return make


@pytest.fixture(scope="session")
def varied() -> Program:
    """What the programs of `make_program` do not have: sparse storage, a third factor, tags, silent parts."""
    sparse = np.array([[9, 0, -200], [0, 31, 0], [7, 100, 0], [0, 0, 55]])
    delays = np.array([[3, 0, 1], [0, 0, 0], [2, 5, 0], [0, 0, 4]])
    reward = ChipRule(dw="2^-2*y1*t*u0", dt="2^0*x1*y0 - 2^-1*t*u0", x1_impulse=100, x1_tau=6)
    pair = ChipRule(
        dw="2^-1*x1*y0 - 1*x2*y2*u1", dd="2^1*x0*y3", x1_impulse=9, x1_tau=3, x2_impulse=50, x2_tau=65535,
        y2_impulse=20, y2_tau=2, y3_impulse=127, y3_tau=1, t_epoch=3,
    )  # fmt: skip
    return Program(
        name="varied",
        inputs=(InputAxons("in", 3), InputAxons("reward", 1), InputAxons("unused", 2)),
        populations=(
            Population("cells", 4, vth=120, du=2000, dv=300),
            Population("relay", 4, kind="relay", vth=3),
            Population("alone", 2, vth=50, bias_mant=np.array([900, -7]), bias_exp=1),
            Population("rewarded", 4, kind="relay"),
        ),
        projections=(
            Projection("sparse", "in", "cells", sparse, weight_exp=2, storage="sparse"),
            Projection("late", "in", "relay", sparse, delays=delays, storage="sparse"),
            Projection("dense", "in", "cells", np.abs(sparse), sign_mode="excitatory", delays=7),
            Projection("give", "reward", "rewarded", np.full((4, 1), -60), sign_mode="inhibitory"),
        ),
        plastic=(
            PlasticProjection(
                "learns", "in", "cells", np.full((4, 3), 40), rule=reward, seed=3, num_message_bits=0,
                third_factors=("rewarded", "", "relay"),
            ),
            PlasticProjection("pairs", "relay", "cells", np.eye(4, dtype=int) * 3, rule=pair, seed=9,
                              sign_mode="mixed", graded="none"),
        ),
        probes=(
            *(Probe(name) for name in ("cells", "relay", "alone", "rewarded")),
            Probe("alone", "v", every=4, offset=7),
            Probe("cells", "u"),
            *(Probe("learns", variable) for variable in ("weights", "tag_1", "x1", "y1", "y2", "y3")),
            *(Probe("pairs", variable) for variable in ("weights", "tag_2", "x1", "x2", "y2", "y3")),
            Probe("pairs", "y1", every=1000),
        ),
    )  # fmt: skip
