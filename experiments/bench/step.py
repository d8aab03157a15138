"""The training step against other ways to do the same, on batches of real stories."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spmn import kernels, level_kernels, levels, network, neurons, operators, plasticity
from spmn.datasets.babi import Story
from spmn.events import QUESTION, Events, Vocabulary, batches, collate, practise, stream
from spmn.network import SPMN
from spmn.settings import PRESETS
from spmn.training import Objective, step

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
OURS = "ours"
PACKAGES = {"snntorch cells": ("snntorch",), "norse cells": ("norse", "nir", "nirtorch")}
"""What a row needs; without dependencies, because norse asks for torchvision and does not need it here."""
Cells = Callable[[Tensor, float, float], Tensor]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operands of all dense matrix products, to replay them alone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[tuple[str, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        if name in PRODUCTS:
            # strides matter: a transposed operand takes another path through the library
            self.products.append((name, [_like(a) for a in args if isinstance(a, Tensor)]))
        elif func is torch.ops.spmn.project_backward.default:  # its gradient of the spikes
            grad, _, weight = args
            self.products.append(("mm", [_like(grad.flatten(0, -2)), _like(weight)]))
        return func(*args, **(kwargs or {}))

    def replay(self) -> None:
        for name, operands in self.products:
            getattr(torch, name)(*operands)


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x).normal_()


class Stopwatch:
    """Seconds spent in the kernels of neurons and plasticity."""

    KERNELS = ((kernels, "lif"), (kernels, "scan"), (level_kernels, ""))

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the calls made meanwhile."""
        with ExitStack() as patches:
            for module, kind in self.KERNELS:
                for way in ("forward", "backward"):
                    name = f"{kind}_{way}".lstrip("_")
                    patches.enter_context(patch.object(module, name, self._timed(getattr(module, name))))
            yield

    def _timed(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            result = kernel(*args)
            self.seconds += time.perf_counter() - start
            return result

        return call


def snntorch_cells(current: Tensor, dv: float, slope: float) -> Tensor:
    """`neurons.lif` built from snntorch's Leaky."""
    import snntorch
    from snntorch import surrogate

    cell = snntorch.Leaky(
        beta=1 - dv, threshold=1.0, spike_grad=surrogate.fast_sigmoid(slope), reset_mechanism="zero"
    )
    membrane, spikes = torch.zeros_like(current[0]), []
    for injected in current:
        spike, membrane = cell(injected, membrane)
        spikes.append(spike)
    return torch.stack(spikes)


def norse_cells(current: Tensor, dv: float, slope: float) -> Tensor:
    """`neurons.lif` built from norse's LIF step without synaptic current."""
    from norse.torch.functional.lif_box import (
        LIFBoxFeedForwardState,
        LIFBoxParameters,
        lif_box_feed_forward_step,
    )

    parameters = LIFBoxParameters(
        tau_mem_inv=torch.tensor(1000.0 * dv), v_leak=torch.tensor(0.0), v_th=torch.tensor(1.0),
        v_reset=torch.tensor(0.0), method="super", alpha=torch.tensor(slope),
    )  # fmt: skip
    state, spikes = LIFBoxFeedForwardState(torch.zeros_like(current[0])), []
    for injected in current:
        spike, state = lif_box_feed_forward_step(injected / dv, state, parameters, dt=0.001)
        spikes.append(spike)
    return torch.stack(spikes)


@contextmanager
def built_from(cells: Cells | None) -> Iterator[None]:
    """Networks use these neurons, and plain torch for all else; None: our kernels."""
    if cells is None:
        yield
        return
    with (
        patch.object(network, "lif", cells),
        patch.object(levels, "lif", cells),
        patch.object(plasticity, "scan", plasticity.scan_plain),
        patch.object(operators, "on_cpu", lambda x: False),
        patch.object(operators, "fused", lambda x: False),
    ):
        yield


def per_question(story: Story) -> list[Story]:
    """One story per question: the statements before it, and the question."""
    told, cut = [], []
    for line in story.lines:
        if line.answer is None:
            told.append(line)
        else:
            cut.append(replace(story, lines=(*told, line)))
    return cut


class Workload:
    """A network, its optimiser and batches of stories."""

    def __init__(
        self,
        stories: Sequence[Story],
        count: int | None,
        questions: bool = False,
        practice: bool = True,
        precision: str = "float32",
    ) -> None:
        """The first `count` batches of an epoch (None: all); `questions`: one story per question;
        `practice`: with retrieval practice."""
        preset = PRESETS["default"]
        self.settings = replace(preset.training, precision=precision)
        vocabulary = Vocabulary.of(stories)
        chosen = [part for story in stories for part in per_question(story)] if questions else list(stories)
        random = np.random.default_rng(0)
        chance = self.settings.practice_at(0.0) if practice else 0.0
        streams = [practise(stream(story, vocabulary), vocabulary, chance, random) for story in chosen]
        plan = batches([len(s.kind) for s in streams], self.settings.events_per_batch, random)[:count]
        self.batches: list[Events] = [collate([streams[i] for i in part]) for part in plan]
        self.questions = sum(int((batch.kind == QUESTION).sum()) for batch in self.batches)
        self.events = sum(int((batch.kind >= 0).sum()) for batch in self.batches)
        torch.manual_seed(0)
        self.objective = Objective(SPMN(preset.network, vocabulary), self.settings.clue_loss)
        self.optimiser = torch.optim.AdamW(
            self.objective.parameters(), self.settings.learning_rate, fused=True
        )

    def step(self, cells: Cells | None = None) -> None:
        """One gradient step on every batch."""
        with built_from(cells):
            for batch in self.batches:
                step(self.objective, self.optimiser, batch, self.settings, 0.5)

    def products(self, dense: bool) -> Recorder:
        """The matrix products of all steps; `dense`: also those that our step does by events."""
        recorder = Recorder()
        with (
            recorder,
            patch.object(levels, "event_driven", nn.functional.linear) if dense else nullcontext(),
        ):
            self.step()
        return recorder


def interleaved(measured: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, measured once in every round after a first run of all."""
    times: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(rounds + 1):
        for name, run in measured.items():
            start = time.perf_counter()
            run()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def training_step(task: int, stories: Sequence[Story], count: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of one task: milliseconds per step, and how much longer than ours."""
    work = Workload(stories, count)
    half = Workload(stories, count, precision="bfloat16")
    read, asked = (
        Workload(stories, count, practice=False),
        Workload(stories, count, questions=True, practice=False),
    )
    dense, left = work.products(dense=True), work.products(dense=False)
    watch = Stopwatch()

    def watched() -> None:
        with watch.running():
            work.step()

    measured: dict[str, Callable[[], object]] = {
        OURS: work.step,
        "its matrix products, all dense": dense.replay,
        "its matrix products that are left": left.replay,
        "ours, bfloat16 products": half.step,
        "plain torch": lambda: work.step(neurons.lif_reference),
        "ours without practice": read.step,
        "ours without practice, one pass per question": asked.step,
    }
    for name, cells in (("snntorch cells", snntorch_cells), ("norse cells", norse_cells)):
        try:
            work.step(cells)
        except ModuleNotFoundError as missing:
            Console(stderr=True).print(
                f"no row for {name}: {missing}; pip install --no-deps {' '.join(PACKAGES[name])}",
                highlight=False,
            )
        else:
            measured[name] = lambda cells=cells: work.step(cells)  # type: ignore[misc]
    times = interleaved({**measured, "watched": watched}, rounds)
    times["neurons and plasticity in ours"] = (
        times[OURS] * watch.seconds / (rounds + 1) / times.pop("watched")
    )
    rows = []
    for name, seconds in times.items():
        of = {"ours without practice": read, "ours without practice, one pass per question": asked}.get(
            name, work
        )
        trains = "products" not in name or "bfloat16" in name
        rows.append(
            {
                "what": f"task {task}: {name}",
                "ms": round(1e3 * seconds / len(of.batches), 2),
                "over ours": round(seconds / len(of.batches) / (times[OURS] / len(work.batches)), 2),
                "events per s": round(of.events / seconds) if trains and "neurons" not in name else None,
            }
        )
    per_question = times["ours without practice, one pass per question"] / asked.questions
    gain = per_question / (times["ours without practice"] / read.questions)
    fewer = asked.events / asked.questions / (read.events / read.questions)
    rows.append(
        {
            "what": f"task {task}: time per question saved by reading once, over events saved ({fewer:.2f}x)",
            "ms": None,
            "over ours": round(gain / fewer, 2),
            "events per s": None,
        }
    )
    return rows
