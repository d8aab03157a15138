"""What changes while a program runs: from a state, a run gives the same bits wherever it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from hardware import store
from hardware.arithmetic import STATE_LIMIT, TAG_LIMITS, TRACE_LIMIT, WEIGHT_LIMITS, Int32, quantise_weights
from hardware.checks import Value
from hardware.errors import FileError, RunError
from hardware.program import PlasticProjection, Program


@dataclass(eq=False)
class PlasticState(Value):
    """State of a plastic projection, all int32.

    weights, tag_1, tag_2: [batch, post, pre]; a tag that no rule changes is [batch, 0, 0].
    x1, x2: [batch, pre] traces; tx: [batch, pre] step of the last spike within the epoch, from 1; 0 for none.
    y1, y2, y3, ty: the same of the post side, [batch, post].
    """

    weights: Int32
    tag_1: Int32
    tag_2: Int32
    x1: Int32
    x2: Int32
    tx: Int32
    y1: Int32
    y2: Int32
    y3: Int32
    ty: Int32

    def copy(self) -> PlasticState:
        return PlasticState(*(getattr(self, field.name).copy() for field in fields(self)))


@dataclass(eq=False)
class State(Value):
    """State of a program run as `batch` independent streams.

    Args:
        step: steps done so far.
        u, v: population -> [batch, size] int32 current and membrane potential of its LIF neurons.
        pending: population -> [slots, batch, size] int32 input on its way; slot t % slots is due at step t.
        plastic: plastic projection -> weights, tags and traces.
    """

    step: int
    batch: int
    u: dict[str, Int32]
    v: dict[str, Int32]
    pending: dict[str, Int32]
    plastic: dict[str, PlasticState]

    def copy(self) -> State:
        return State(
            self.step,
            self.batch,
            {name: array.copy() for name, array in self.u.items()},
            {name: array.copy() for name, array in self.v.items()},
            {name: array.copy() for name, array in self.pending.items()},
            {name: plastic.copy() for name, plastic in self.plastic.items()},
        )


def slots(program: Program) -> dict[str, int]:
    """Slots of input on its way that each population needs: its longest delay + 1."""
    longest = {population.name: 1 for population in program.populations}
    for projection in program.projections:
        delay = int(np.max(projection.delays))
        longest[projection.target] = max(longest[projection.target], delay + 1)
    return longest


def initial_state(program: Program, batch: int) -> State:
    """The state before step 1: no current, no potential, nothing on its way, initial weights, no tags.

    Raises RunError unless batch >= 1.
    """
    if batch < 1:
        raise RunError(f"batch is {batch}: give at least 1 stream")
    neurons = [population for population in program.populations if population.kind == "lif"]
    depth = slots(program)
    return State(
        step=0,
        batch=batch,
        u={population.name: _zeros(batch, population.size) for population in neurons},
        v={population.name: _zeros(batch, population.size) for population in neurons},
        pending={
            population.name: _zeros(depth[population.name], batch, population.size)
            for population in program.populations
        },
        plastic={projection.name: _initial_synapses(projection, batch) for projection in program.plastic},
    )


def check_state(program: Program, state: State) -> None:
    """Raises RunError for parts or shapes of another program, and where arrays hold numbers that no run of
    this program leaves after so many steps."""
    _check_shapes(program, state)
    for name, array in state.v.items():  # u is wrapped once only, and may lie beyond
        if array.size and not (array.min() > -STATE_LIMIT and array.max() < STATE_LIMIT):
            raise RunError(f"{name}: v spans {array.min()}..{array.max()}: it is clipped to 24 bits")
    for part in program.plastic:
        past = (0, state.step % part.rule.t_epoch)
        limits = {
            "weights": WEIGHT_LIMITS[part.sign_mode],
            **TAG_LIMITS,
            "x1": (0, 255),
            "x2": (0, TRACE_LIMIT),
        }
        limits |= {"tx": past, "ty": past}
        if not part.three_factor:  # which otherwise send what they like
            limits |= dict.fromkeys(("y1", "y2", "y3"), (0, TRACE_LIMIT))
        for name, (low, high) in limits.items():
            array = getattr(state.plastic[part.name], name)
            if array.size and not (low <= array.min() and array.max() <= high):
                raise RunError(
                    f"{part.name}: {name} spans {array.min()}..{array.max()} after {state.step} steps, "
                    f"outside {low}..{high}: give a state that a run of this program has left"
                )


def _check_shapes(program: Program, state: State) -> None:
    """Raises RunError unless all arrays are integers of the shapes that `initial_state` gives them."""
    if not isinstance(state.step, (int, np.integer)) or state.step < 0:
        raise RunError(f"the state is of step {state.step!r}: give a whole number of steps")
    batch, depth = state.batch, slots(program)
    neurons = {p.name: (batch, p.size) for p in program.populations if p.kind == "lif"}
    due = {p.name: (depth[p.name], batch, p.size) for p in program.populations}
    expected: list[tuple[str, dict[str, Int32], Mapping[str, tuple[int, ...]]]] = [
        ("u", state.u, neurons), ("v", state.v, neurons), ("pending", state.pending, due)
    ]  # fmt: skip
    if state.plastic.keys() != {part.name for part in program.plastic}:
        raise RunError(f"the state is of a program with the plastic projections {sorted(state.plastic)}")
    for part in program.plastic:
        post, pre = part.weights.shape
        shapes: dict[str, tuple[int, ...]]
        shapes = {tag: (batch, post, pre) if tag in part.rule.series else (batch, 0, 0) for tag in TAG_LIMITS}
        shapes |= {"weights": (batch, post, pre)}
        shapes |= dict.fromkeys(("x1", "x2", "tx"), (batch, pre))
        shapes |= dict.fromkeys(("y1", "y2", "y3", "ty"), (batch, post))
        expected.append((part.name, vars(state.plastic[part.name]), shapes))
    for owner, arrays, needed in expected:
        if arrays.keys() != needed.keys():
            raise RunError(f"{owner} of the state has {sorted(arrays)}: the program has {sorted(needed)}")
        for name, shape in needed.items():
            array = np.asarray(arrays[name])
            if array.shape != shape or array.dtype.kind not in "iu":
                raise RunError(
                    f"{owner}: {name} of the state is {array.dtype} {array.shape}: give the state of a run "
                    f"of this program, integers {shape}"
                )


def save_state(state: State, path: str | Path) -> None:
    """Write a state as HDF5; the file appears complete or not at all. Raises FileError."""
    leaves: dict[str, store.Leaf] = {"step": np.asarray(state.step), "batch": np.asarray(state.batch)}
    for part in ("u", "v", "pending"):
        for name, array in getattr(state, part).items():
            leaves[f"{part}/{name}"] = array
    for name, plastic in state.plastic.items():
        for field in fields(PlasticState):
            leaves[f"plastic/{name}/{field.name}"] = getattr(plastic, field.name)
    store.write(path, "state", leaves)


def load_state(path: str | Path, program: Program) -> State:
    """Read a state of `program`.

    Raises FileError if the file is missing, truncated, foreign or changed, if it belongs to a program of
    other parts or sizes, or if a number in it is out of its range.
    """
    leaves = store.read(path, "state")
    try:
        step, batch = (_count(path, name, leaves.pop(name)) for name in ("step", "batch"))
        state = initial_state(program, batch)
        state.step = step
        for part in ("u", "v", "pending"):
            arrays: dict[str, Int32] = getattr(state, part)
            for name, expected in arrays.items():
                arrays[name] = _same_shape(path, f"{part}/{name}", leaves, expected)
        for name, plastic in state.plastic.items():
            for field in fields(PlasticState):
                dataset = f"plastic/{name}/{field.name}"
                setattr(plastic, field.name, _same_shape(path, dataset, leaves, getattr(plastic, field.name)))
    except KeyError as error:
        raise FileError(f"{path}: dataset {error} is missing: it is no state of {program.name!r}") from error
    if leaves:
        raise FileError(f"{path}: {sorted(leaves)} belong to no part of {program.name!r}: give its own state")
    try:
        check_state(program, state)
    except RunError as error:
        raise FileError(f"{path}: {error}") from error
    return state


def _count(path: str | Path, dataset: str, leaf: store.Leaf) -> int:
    array = np.asarray(leaf)
    low, high = (0, 2**62) if dataset == "step" else (1, 2**31 - 1)
    if array.ndim or array.dtype.kind not in "iu" or not low <= int(array) <= high:
        raise FileError(f"{path}: dataset {dataset!r} is {array}: give an integer from {low} to {high}")
    return int(array)


def _same_shape(path: str | Path, dataset: str, leaves: dict[str, store.Leaf], expected: Int32) -> Int32:
    array = np.asarray(leaves.pop(dataset))
    if array.shape != expected.shape or array.dtype != expected.dtype:
        raise FileError(
            f"{path}: dataset {dataset!r} is {array.dtype} {array.shape}, the program needs "
            f"{expected.dtype} {expected.shape}: give a state of this program"
        )
    return array


def _initial_synapses(projection: PlasticProjection, batch: int) -> PlasticState:
    post, pre = projection.weights.shape
    weights = quantise_weights(projection.weights, projection.sign_mode, projection.num_weight_bits)
    tags = [
        _zeros(batch, post, pre) if tag in projection.rule.series else _zeros(batch, 0, 0)
        for tag in ("tag_1", "tag_2")
    ]
    x = [_zeros(batch, pre) for _ in range(3)]
    y = [_zeros(batch, post) for _ in range(4)]
    return PlasticState(np.repeat(weights[None], batch, axis=0), *tags, *x, *y)


def _zeros(*shape: int) -> Int32:
    return np.zeros(shape, dtype=np.int32)
