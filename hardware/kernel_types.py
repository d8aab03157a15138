"""What the kernels work on: arrays of one stream, grouped by what they belong to; and how they are compiled.

Integers are 32 bits wide where the chip's are: numba computes in 64, and storing into an array wraps.
Kernels unpack these tuples outside of loops: numba counts a reference for each of their arrays.
"""

from __future__ import annotations

import hashlib
import inspect
from types import ModuleType
from typing import Any, NamedTuple

import numba
import numpy as np

Array = Any
"""numba gives the types: int32 unless said otherwise."""
Int = Any
Row = Any
"""A row of one of the plan's tables."""

njit = numba.njit(nogil=True)
"""Compiled along with what calls it, which is cached."""


def version_of(*modules: ModuleType) -> Any:
    """A value whose type changes with the source of these modules, first argument of a cached function.

    numba takes what it once compiled from its cache until the function's own file or the type of an argument
    changes. Without this argument old code of other files would go on being used; and a function that takes
    none must not be cached if it calls those of other files.
    """
    digest = hashlib.sha256("".join(inspect.getsource(module) for module in modules).encode())
    return np.zeros((), dtype=[(f"sha256_{digest.hexdigest()}", np.int8)])[()]


class Neurons(NamedTuple):
    """Membranes of all populations, and the input on its way to them."""

    u: Array  # [neurons]
    v: Array
    pending: Array  # ring buffers of input; int64 in strict mode
    arrived: Array  # bool by slot: something may be due there
    excited: Array  # bool by population: some u or v may not be 0


class Output(NamedTuple):
    """What all sources send in a step."""

    payload: Array  # of every axon and neuron
    fired: Array  # which axons or neurons of a source sent one
    sent: Array  # int64, how many of a source did


class Synapses(NamedTuple):
    """Plastic synapses of all projections."""

    weights: Array  # int16 [synapses], pre by pre
    tags: Array  # int16
    x: Array  # [2, pre neurons]
    tx: Array
    y: Array  # [3, post neurons]
    ty: Array
    spiked: Array  # bool [projections, 2]: pre, post neurons may have a spike time
    traced: Array  # bool [projections, 2]: pre, post neurons may have a trace


class Scratch(NamedTuple):
    """Room for one projection."""

    total: Array  # like pending, [largest population]
    history: Array  # [5 traces, (epoch + 1) * neurons]
    sums: Array  # [3 targets + 1 product, largest population]
