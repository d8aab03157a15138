"""How fast is training? Every row measured interleaved with the others in one process, as ratios.

python -m experiments.bench --tasks 1,2,3 [--data DIR]        (make bench)

"GEMMs alone" replays the matrix products of the step, forward and backward, on random numbers of the same
shapes: the floor of a step whose other work is free. The plain reference, snntorch and norse train the same
network on the same batches; only neurons and memory scan are theirs, or written plainly.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hardware.atomic import atomic
from spmn import kernels, network, neurons, plasticity
from spmn.data import Source
from spmn.datasets.babi import Story, parse_tasks
from spmn.events import Events, Vocabulary, batches, collate, practise, stream
from spmn.network import SPMN
from spmn.settings import PRESETS, Training
from spmn.training import Objective, step

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
Cells = Callable[[Tensor, float, float], Tensor]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the shapes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[tuple[str, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        if name in PRODUCTS:
            # strides matter: a transposed operand takes another path through the library
            self.products.append(
                (name, [torch.empty_like(a).normal_() for a in args if isinstance(a, Tensor)])
            )
        return func(*args, **(kwargs or {}))

    def replay(self) -> None:
        for name, operands in self.products:
            getattr(torch, name)(*operands)


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
    """Networks use these neurons and the plain memory scan; None: ours."""
    if cells is None:
        yield
        return

    with patch.object(network, "lif", cells), patch.object(plasticity, "scan", plasticity.scan_plain):
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
    """A network, its optimiser and batches of real stories."""

    def __init__(
        self, stories: Sequence[Story], settings: Training, count: int, questions: bool = False
    ) -> None:
        vocabulary = Vocabulary.of(stories)
        chosen = [part for story in stories for part in per_question(story)] if questions else list(stories)
        random = np.random.default_rng(0)
        chance = 0.0 if questions else settings.practice_at(0.0)
        streams = [practise(stream(story, vocabulary), vocabulary, chance, random) for story in chosen]
        plan = batches([len(s.kind) for s in streams], settings.events_per_batch, random)[:count]
        self.batches: list[Events] = [collate([streams[i] for i in part]) for part in plan]
        self.questions = sum(int((batch.kind == 1).sum()) for batch in self.batches)
        self.events = sum(int((batch.kind >= 0).sum()) for batch in self.batches)
        torch.manual_seed(0)
        self.settings = settings
        self.objective = Objective(SPMN(PRESETS["default"].network, vocabulary), settings.clue_loss)
        self.optimiser = torch.optim.AdamW(self.objective.parameters(), settings.learning_rate)

    def step(self, cells: Cells | None = None) -> None:
        """One gradient step on every batch."""
        with built_from(cells):
            for batch in self.batches:
                step(self.objective, self.optimiser, batch, self.settings, 0.5)

    def products(self) -> Recorder:
        """The matrix products of all steps."""
        recorder = Recorder()
        with recorder:
            self.step()
        return recorder


def bench(
    tasks: Annotated[str, typer.Option(help="bAbI tasks, each measured alone.")] = "1,2",
    data: Annotated[Path | None, typer.Option(help="Folder of official bAbI files.")] = None,
    count: Annotated[int, typer.Option(help="Batches per measurement.")] = 8,
    rounds: Annotated[int, typer.Option(help="Rounds; every row is measured once in each.")] = 3,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("runs/bench.json"),
) -> None:
    """Milliseconds per training step, and how much longer than ours everything else takes."""
    threads = threads or torch.get_num_threads()
    kernels.use_threads(threads)
    torch.set_num_threads(threads)
    settings = PRESETS["default"].training
    rows: list[dict[str, Any]] = []
    for task in parse_tasks(tasks):
        stories = Source((task,), None if data is None else str(data), settings.stories, 0).split()[0]
        rows += measure(task, stories, settings, count, rounds)
    table = Table(
        *rows[0], title=f"training step on {torch.get_num_threads()} threads, median of {rounds} rounds"
    )
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=150).print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    with atomic(out) as path:
        path.write_text(json.dumps({"rows": rows, "rounds": rounds, "facts": facts}, indent=1))


def measure(
    task: int, stories: Sequence[Story], settings: Training, count: int, rounds: int
) -> list[dict[str, Any]]:
    """Rows of one task."""
    work, asked = Workload(stories, settings, count), Workload(stories, settings, count, questions=True)
    recorder = work.products()
    plain = neurons.lif_reference
    measured: dict[str, Callable[[], None]] = {
        "ours": work.step,
        "GEMMs alone": recorder.replay,
        "plain torch reference": lambda: work.step(plain),
        "ours, one pass per question": asked.step,
    }
    for name, cells in (("snntorch cells", snntorch_cells), ("norse cells", norse_cells)):
        try:
            work.step(cells)
        except ModuleNotFoundError as missing:
            Console(stderr=True).print(f"no row for {name}: pip install {missing.name}", highlight=False)
        else:
            measured[name] = lambda cells=cells: work.step(cells)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, run in measured.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    ours = median(times["ours"])
    rows = []
    for name, values in times.items():
        of = asked if name.endswith("question") else work
        rows.append(
            {
                "task": task,
                "what": name,
                "ms per step": round(1e3 * median(values) / len(of.batches), 2),
                "over ours": round(median(values) / ours, 2),
                "events per second": round(of.events / median(values)),
                "questions per second": round(of.questions / median(values)),
            }
        )
    return rows


if __name__ == "__main__":
    typer.run(bench)
