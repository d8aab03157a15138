"""Single layers against the same layer built otherwise: forward and backward, milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from experiments.bench.step import OURS, interleaved, norse_cells, snntorch_cells
from spmn import neurons, operators
from spmn.plasticity import TWO_FACTOR, Rates, scan, scan_plain, terms

STEPS, STORIES, EVENTS, HEADS, SIZE = 5, 20, 20, 4, 32


def layers(rounds: int) -> list[dict[str, Any]]:
    """Rows: a LIF layer, the memory scan of one level, and event-driven synapses at three spike rates."""
    torch.manual_seed(0)
    current = torch.randn(STEPS, STORIES * EVENTS, 392).requires_grad_()
    lif = {
        OURS: lambda: _both(neurons.lif(current, 0.1, 2.0), current),
        "plain torch": lambda: _both(neurons.lif_reference(current, 0.1, 2.0), current),
    }
    for name, cells in (("snntorch cells", snntorch_cells), ("norse cells", norse_cells)):
        try:
            cells(current, 0.1, 2.0)
        except ModuleNotFoundError:
            continue
        lif[name] = lambda cells=cells: _both(cells(current, 0.1, 2.0), current)  # type: ignore[misc]
    rows = _rows(f"LIF layer {list(current.shape)}", interleaved(lif, rounds))

    key, association = (_spikes(0.2, STORIES, HEADS, EVENTS, 1, SIZE) for _ in range(2))
    read = _spikes(0.2, STORIES, HEADS, EVENTS, STEPS, SIZE)
    found = terms(TWO_FACTOR, Rates(TWO_FACTOR).strengths(), key, key, association, association)
    writes = torch.ones(STORIES, HEADS, EVENTS, dtype=torch.bool)
    memory = torch.zeros(STORIES, HEADS, SIZE, SIZE, requires_grad=True)
    scans = {
        OURS: lambda: _both(scan(read, TWO_FACTOR, found, writes, memory)[0], read, key, association, memory),
        "plain torch": lambda: _both(
            scan_plain(read, TWO_FACTOR, found, writes, memory)[0], read, key, association, memory
        ),
    }
    rows += _rows(f"memory scan {[STORIES, HEADS, EVENTS, SIZE, SIZE]}", interleaved(scans, rounds))

    weight = torch.randn(392, 256, requires_grad=True)
    for rate in (0.05, 0.1, 0.2):
        spikes = _spikes(rate, STORIES * EVENTS * STEPS, 256)
        ways: dict[str, Callable[[], object]] = {
            OURS: lambda spikes=spikes: _both(operators.project(spikes, weight), spikes, weight),  # type: ignore[misc]
            "dense product": lambda spikes=spikes: _both(  # type: ignore[misc]
                torch.nn.functional.linear(spikes, weight), spikes, weight
            ),
        }
        rows += _rows(f"synapses 256 to 392, {rate:.0%} of inputs spike", interleaved(ways, rounds))
    return rows


def _spikes(rate: float, *shape: int) -> Tensor:
    return (torch.rand(shape) < rate).float().requires_grad_()


def _both(out: Tensor, *inputs: Tensor) -> None:
    torch.autograd.grad(out.sum(), inputs, retain_graph=True)


def _rows(what: str, times: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "what": f"{what}: {name}",
            "ms": round(1e3 * seconds, 3),
            "over ours": round(seconds / times[OURS], 2),
        }
        for name, seconds in times.items()
    ]
