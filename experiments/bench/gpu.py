"""The training step and the memory scan on a CUDA device. Written for one, not yet run on one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest import mock

import torch

from experiments.bench.step import OURS, Workload, built_from, interleaved
from spmn import neurons, operators
from spmn.datasets.babi import Story
from spmn.plasticity import TWO_FACTOR, Rates, scan, scan_plain, terms

STEPS, STORIES, EVENTS, HEADS, SIZE = 5, 256, 20, 4, 32


def gpu(stories: Sequence[Story], count: int, rounds: int) -> list[dict[str, Any]]:
    """Rows: our step, the same with levels step by step, plain torch eager and compiled; the scan, also
    against flash-linear-attention's fused recurrent delta rule, and the time that its memory traffic takes at
    least."""
    work = Workload(stories, count)
    work.objective.cuda()
    compiled = torch.compile(work.objective)

    def step_compiled() -> None:
        with built_from(neurons.lif_reference):
            for batch in work.batches:
                compiled(batch).total.backward()

    def step_by_step() -> None:
        with mock.patch.object(operators, "fused", return_value=False):
            work.step()

    steps: dict[str, Callable[[], object]] = {
        OURS: work.step,
        "levels step by step": step_by_step,
        "plain torch, eager": lambda: work.step(neurons.lif_reference),
        "plain torch, torch.compile": step_compiled,
    }
    rows = _rows("training step on the GPU", interleaved(_waited(steps), rounds))

    def spikes(*shape: int) -> torch.Tensor:
        return (torch.rand(shape, device="cuda") < 0.2).float().requires_grad_()

    key, association = (spikes(STORIES, HEADS, EVENTS, 1, SIZE) for _ in range(2))
    read = spikes(STORIES, HEADS, EVENTS, STEPS, SIZE)
    found = terms(TWO_FACTOR, Rates(TWO_FACTOR).cuda().strengths(), key, key, association, association)
    writes = torch.ones(STORIES, HEADS, EVENTS, dtype=torch.bool, device="cuda")
    memory = torch.zeros(STORIES, HEADS, SIZE, SIZE, device="cuda", requires_grad=True)
    inputs = read, key, association, memory

    def both(out: torch.Tensor, of: Sequence[torch.Tensor]) -> None:
        torch.autograd.grad(out.sum(), of, retain_graph=True)

    scans: dict[str, Callable[[], object]] = {
        OURS: lambda: both(scan(read, TWO_FACTOR, found, writes, memory)[0], inputs),
        "plain torch": lambda: both(scan_plain(read, TWO_FACTOR, found, writes, memory)[0], inputs),
    }
    delta_rule = _delta_rule()
    if delta_rule is not None:
        q, k, v = (spikes(STORIES, EVENTS * n, HEADS, SIZE) for n in (1, 1, 1))
        beta = torch.rand(STORIES, EVENTS, HEADS, device="cuda", requires_grad=True)
        scans["flash-linear-attention, delta rule, one read per event"] = lambda: both(
            delta_rule(q, k, v, beta)[0], (q, k, v, beta)
        )
    times = interleaved(_waited(scans), rounds)
    # forward: read, key, association in, currents out; backward: the same again, their gradients, and d
    # currents
    moved = sum(x.numel() for x in (read, key, association)) * 3 + 2 * read.numel() + 4 * memory.numel()
    copied = torch.empty(2**28, device="cuda")
    bandwidth = 2 * 4 * copied.numel() / interleaved(_waited({"copy": copied.clone}), rounds)["copy"]
    times["its memory traffic at the speed of a copy"] = 4 * moved / bandwidth
    return rows + _rows(f"memory scan {[STORIES, HEADS, EVENTS, SIZE, SIZE]} on the GPU", times)


def _delta_rule() -> Callable[..., Any] | None:
    try:
        from fla.ops.delta_rule import fused_recurrent_delta_rule
    except ModuleNotFoundError:
        return None
    found: Callable[..., Any] = fused_recurrent_delta_rule
    return found


def _waited(ways: Mapping[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """The same, each waiting for the device."""

    def waited(run: Callable[[], object]) -> Callable[[], None]:
        def call() -> None:
            run()
            torch.cuda.synchronize()

        return call

    return {name: waited(run) for name, run in ways.items()}


def _rows(what: str, times: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "what": f"{what}: {name}",
            "ms": round(1e3 * seconds, 3),
            "over ours": round(seconds / times[OURS], 2),
        }
        for name, seconds in times.items()
    ]
