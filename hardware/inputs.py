"""Input spikes of a run: checked, and as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hardware import store
from hardware.errors import FileError, RunError
from hardware.program import Program

IntData = npt.NDArray[np.integer[Any]]
Inputs = Mapping[str, IntData]
"""Input axons -> [steps, batch, size] payloads, 0 for no spike; all of a program's input axons."""

PAYLOAD_RANGE = (1 - 2**23, 2**23 - 1)


def check_inputs(program: Program, inputs: Inputs, batch: int | None = None) -> tuple[int, int]:
    """Steps and batch size of inputs.

    Raises RunError if an input is missing, unknown, no integer array, beyond 24 bits or of the wrong shape.
    """
    sizes = {axons.name: axons.size for axons in program.inputs}
    if set(inputs) != set(sizes):
        raise RunError(f"the inputs are {sorted(inputs)}: give exactly {sorted(sizes)}, silent ones as zeros")
    for name, array in inputs.items():
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            raise RunError(f"input {name!r} is a {type(array).__name__}: give an array [steps, batch, size]")
    lengths = {len(array) for array in inputs.values()}
    if len(lengths) != 1:
        raise RunError(f"the inputs have {sorted(lengths)} steps: give all of them the same number")
    for name, array in inputs.items():
        streams = array.shape[1] if batch is None and array.ndim == 3 else batch
        if array.dtype.kind not in "iub" or array.shape[1:] != (streams, sizes[name]):
            raise RunError(
                f"input {name!r} is {array.dtype} {array.shape}: "
                f"give integers [steps, {streams}, {sizes[name]}]"
            )
        batch = streams
        low, high = PAYLOAD_RANGE
        if array.dtype.itemsize >= 4 and array.size and not (low <= array.min() and array.max() <= high):
            raise RunError(f"input {name!r} spans {array.min()}..{array.max()}: payloads have 24 bits")
    if not batch:
        raise RunError(f"batch is {batch}: give at least 1 stream")
    return lengths.pop(), batch


def save_inputs(inputs: Inputs, path: str | Path) -> None:
    """Write input spikes as HDF5; the file appears complete or not at all. Raises FileError."""
    store.write(path, "inputs", {f"inputs/{name}": np.asarray(array) for name, array in inputs.items()})


def load_inputs(path: str | Path) -> dict[str, IntData]:
    """Read input spikes. Raises FileError if the file is missing, truncated, foreign or changed."""
    leaves = store.read(path, "inputs")
    arrays = {name.removeprefix("inputs/"): np.asarray(leaf) for name, leaf in leaves.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "iub" or array.ndim != 3:
            raise FileError(
                f"{path}: dataset 'inputs/{name}' is {array.dtype} {array.shape}: give [steps, batch, size]"
            )
    return arrays
