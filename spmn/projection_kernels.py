"""CPU kernels (numba) of projections: weight standardisation, and event-driven products with binary spikes.

Each has a plain torch twin that it is tested against: `neurons.standardise_reference`,
`torch.nn.functional.linear`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from torch import Tensor

from hardware.kernel_types import version_of
from spmn import lanes as lanes_module
from spmn.lanes import WIDTH, bits, lanes, load, lowest, store

_W = np.uint64(WIDTH)
_U0, _U1 = np.uint64(0), np.uint64(1)
_ZERO, _TINY = np.float32(0), np.float32(1e-6)
_njit: Any = numba.njit
_VERSION = version_of(lanes_module)
_SUMS = {"reassoc", "nsz", "contract"}  # a sum may be taken in any order


# ------------------------------------------------------------------------- weight standardisation


@_njit(fastmath=_SUMS)
def _centred(weight, first, count):  # type: ignore[no-untyped-def]
    """Mean of a row of weights, and the norm of the row without it."""
    mean = squares = _ZERO
    for j in range(first, first + count):
        mean += weight[j]
    mean /= np.float32(count)
    for j in range(first, first + count):
        squares += (weight[j] - mean) * (weight[j] - mean)
    return mean, np.sqrt(squares)


@_njit(fastmath=_SUMS)
def _through_row(grad, weight, first, count, mean):  # type: ignore[no-untyped-def]
    """Sum of a row's gradient, and its product with the centred row."""
    whole = along = _ZERO
    for j in range(first, first + count):
        whole += grad[j]
        along += grad[j] * (weight[j] - mean)
    return whole, along


@_njit(parallel=True, cache=True, error_model="numpy")
def _standardise_forward(version, weight, gain, rows, columns, out):  # type: ignore[no-untyped-def]
    for i in numba.prange(rows):
        first = np.uint64(i) * columns
        mean, norm = _centred(weight, first, columns)
        factor = gain[i] / max(norm, _TINY)
        for j in range(first, first + columns):
            out[j] = (weight[j] - mean) * factor


@_njit(parallel=True, cache=True, error_model="numpy")
def _standardise_backward(version, grad, weight, gain, rows, columns, d_weight, d_gain):  # type: ignore[no-untyped-def]
    for i in numba.prange(rows):
        first = np.uint64(i) * columns
        mean, norm = _centred(weight, first, columns)
        whole, along = _through_row(grad, weight, first, columns, mean)
        norm = max(norm, _TINY)
        d_gain[i] = along / norm
        factor, shift = gain[i] / norm, whole / np.float32(columns)
        back = along / (norm * norm) if norm > _TINY else _ZERO
        for j in range(first, first + columns):
            d_weight[j] = factor * (grad[j] - shift - back * (weight[j] - mean))


def standardise_forward(weight: Tensor, gain: Tensor) -> Tensor:
    """`neurons.standardise_reference` on CPU tensors of float32."""
    out, (rows, columns) = weight.new_empty(weight.shape), weight.shape
    flat = (x.contiguous().view(-1).numpy() for x in (weight, gain))
    _standardise_forward(_VERSION, *flat, rows, np.uint64(columns), out.view(-1).numpy())
    return out


def standardise_backward(grad: Tensor, weight: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of weight and gain, given that of what `standardise_forward` returned."""
    d_weight, d_gain, (rows, columns) = (
        weight.new_empty(weight.shape),
        gain.new_empty(gain.shape),
        weight.shape,
    )
    flat = (x.contiguous().view(-1).numpy() for x in (grad, weight, gain))
    _standardise_backward(
        _VERSION, *flat, rows, np.uint64(columns), d_weight.view(-1).numpy(), d_gain.numpy()
    )
    return d_weight, d_gain


# ------------------------------------------------------------------------- event-driven projection

# The weights lie as [inputs, outputs] and a spike adds one row, block by block of outputs: a block of all
# inputs' rows stays in the fastest cache. For the gradient of the weights the rows are those of the gradient.

_BLOCK = np.uint64(2 * WIDTH)


@_njit(error_model="numpy")
def _events(spikes, first, last, inputs, found, starts):  # type: ignore[no-untyped-def]
    """The numbers of the spiking inputs, row after row; row r's are found[starts[r - first] : starts[r -
    first + 1]]."""
    number, whole, half = _U0, inputs // _W * _W, lanes(np.float32(0.5))
    for r in range(first, last):
        starts[r - first] = number
        i = r * inputs
        for c in range(_U0, whole, _W):
            rest = bits(load(spikes, i + c), half)
            while rest != _U0:
                found[number] = c + lowest(rest)
                number += _U1
                rest &= rest - _U1
        for c in range(whole, inputs):
            if spikes[i + c] > np.float32(0.5):
                found[number] = c
                number += _U1
    starts[last - first] = number


@_njit(error_model="numpy")
def _by_input(found, starts, rows, inputs, when, begins):  # type: ignore[no-untyped-def]
    """The rows in which each input spiked: input j's are when[begins[j] : begins[j + 1]]."""
    begins[:] = _U0
    for a in range(starts[rows]):
        begins[np.uint64(found[a]) + _U1] += _U1
    for j in range(inputs):
        begins[j + _U1] += begins[j]
    for r in range(rows):
        for a in range(starts[r], starts[r + _U1]):
            i = np.uint64(found[a])
            when[begins[i]] = r
            begins[i] += _U1
    for back in range(inputs):  # each entry has moved on to where the next one began
        i = inputs - back
        begins[i] = begins[i - _U1]
    begins[_U0] = _U0


@_njit(error_model="numpy")
def _add_up(table, chosen, starts, first, last, width, out):  # type: ignore[no-untyped-def]
    """out[r] = the sum of those rows of `table` [n, width] that r has chosen; block by block."""
    whole = width // _BLOCK * _BLOCK
    for c in range(_U0, whole, _BLOCK):
        for r in range(first, last):
            low = high = lanes(_ZERO)
            for a in range(starts[r - first], starts[r - first + _U1]):
                i = np.uint64(chosen[a]) * width + c
                low = low + load(table, i)
                high = high + load(table, i + _W)
            store(out, r * width + c, low)
            store(out, r * width + c + _W, high)
    if whole < width:
        for r in range(first, last):
            goal, rest = r * width + whole, width - whole
            out[goal : goal + rest] = _ZERO
            for a in range(starts[r - first], starts[r - first + _U1]):
                i = np.uint64(chosen[a]) * width + whole
                for c in range(rest):
                    out[goal + c] += table[i + c]


@_njit(parallel=True, cache=True, error_model="numpy")
def _project(version, spikes, weight, rows, inputs, outputs, workers, out):  # type: ignore[no-untyped-def]
    for worker in numba.prange(workers):
        w, all_ = np.uint64(worker), np.uint64(workers)
        first, last = w * rows // all_, (w + _U1) * rows // all_
        found, starts = np.empty((last - first) * inputs, np.uint32), np.empty(last - first + _U1, np.uint64)
        _events(spikes, first, last, inputs, found, starts)
        _add_up(weight, found, starts, first, last, outputs, out)


@_njit(parallel=True, cache=True, error_model="numpy")
def _project_backward(version, grad, spikes, rows, inputs, outputs, workers, d_weight):  # type: ignore[no-untyped-def]
    """d_weight[j] = sum of grad[r] over the rows r in which input j spiked."""
    found, starts = np.empty(rows * inputs, np.uint32), np.empty(rows + _U1, np.uint64)
    _events(spikes, _U0, rows, inputs, found, starts)
    when, begins = np.empty(starts[rows], np.uint32), np.empty(inputs + _U1, np.uint64)
    _by_input(found, starts, rows, inputs, when, begins)
    for worker in numba.prange(workers):
        w, all_ = np.uint64(worker), np.uint64(workers)
        first, last = w * inputs // all_, (w + _U1) * inputs // all_
        _add_up(grad, when, begins[first:], first, last, outputs, d_weight)


def _flat(x: Tensor) -> Any:
    return x.contiguous().view(-1).numpy()


def project(spikes: Tensor, weight: Tensor) -> Tensor:
    """spikes [..., inputs] of 0 and 1 times weight [outputs, inputs], transposed: [..., outputs]; float32,
    CPU."""
    outputs, inputs = weight.shape
    out = weight.new_empty(*spikes.shape[:-1], outputs)
    if out.numel():
        lengths = (np.uint64(n) for n in (out.numel() // outputs, inputs, outputs))
        workers = numba.get_num_threads()
        _project(_VERSION, _flat(spikes), _flat(weight.T), *lengths, workers, out.view(-1).numpy())
    return out


def project_backward(grad: Tensor, spikes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of spikes, by a dense product, and of weight."""
    outputs, inputs = weight.shape
    found = weight.new_zeros(inputs, outputs)
    if spikes.numel() and found.numel():
        lengths = (np.uint64(n) for n in (spikes.numel() // inputs, inputs, outputs))
        workers = numba.get_num_threads()
        _project_backward(_VERSION, _flat(grad), _flat(spikes), *lengths, workers, found.view(-1).numpy())
    return grad @ weight, found.T.contiguous()
