"""How time and memory of a training step grow with events per story, width, depth and batch.

python -m experiments.growth

Every point is a process of its own, so that its peak memory is its own. Stories are random words.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from hardware.atomic import atomic
from spmn import kernels
from spmn.events import PRACTICE, QUESTION, STATEMENT, Events, Vocabulary
from spmn.network import SPMN
from spmn.settings import Network

STEPS = 3


@dataclass(frozen=True)
class Case:
    """One point: `batch` stories of `events` events, heads of `keys` keys and values, `depth` levels."""

    events: int = 20
    batch: int = 20
    keys: int = 32
    depth: int = 3


AXES: dict[str, list[Case]] = {
    "events": [Case(events=n, batch=1) for n in (10, 30, 100, 300, 1000, 3000, 10000)],
    "batch": [Case(batch=n) for n in (1, 4, 16, 64, 256)],
    "keys": [Case(keys=n) for n in (8, 16, 32, 64, 128)],
    "depth": [Case(depth=n) for n in (1, 2, 3, 4, 6, 8)],
}


def grow(
    out: Annotated[Path, typer.Option(help="Folder of growth.json and growth.png.")] = Path("runs"),
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    case: Annotated[str, typer.Option(help="One point as JSON; used by this program itself.")] = "",
) -> None:
    """Seconds and peak memory of a training step, with the exponents of their growth."""
    if case:
        kernels.use_threads(threads)
        kernels.keep_memory()
        print(json.dumps(measure(Case(**json.loads(case)))))
        return
    rows = [row for axis, cases in AXES.items() for row in along(axis, cases, threads)]
    table = Table("axis", "value", "seconds", "MiB", title=f"one training step, {threads} thread(s)")
    for row in rows:
        table.add_row(row["axis"], str(row["value"]), f"{row['seconds']:.3f}", f"{row['mebibytes']:.0f}")
    console = Console()
    console.print(table)
    out.mkdir(parents=True, exist_ok=True)
    exponents = {axis: exponent([row for row in rows if row["axis"] == axis]) for axis in AXES}
    with atomic(out / "growth.json") as path:
        path.write_text(json.dumps({"rows": rows, "exponents": exponents, "threads": threads}, indent=1))
    draw(rows, exponents, out / "growth.png")
    for axis, power in exponents.items():
        console.print(f"time grows with {axis} to the power {power:.2f} (last three points)")
    console.print(f"wrote {out / 'growth.json'} and {out / 'growth.png'}")


def along(axis: str, cases: list[Case], threads: int) -> list[dict[str, Any]]:
    """The points of one axis, each measured in a process of its own."""
    rows = []
    for case in cases:
        command = [sys.executable, "-m", "experiments.growth", "--threads", str(threads)]
        done = subprocess.run(
            [*command, "--case", json.dumps(asdict(case))], capture_output=True, check=False
        )
        if done.returncode != 0:
            last = done.stderr.decode().strip().splitlines()[-1:] or ["killed, probably for memory"]
            raise SystemExit(f"{axis} {getattr(case, axis)}: {last[0]}")
        rows.append({"axis": axis, "value": getattr(case, axis), **json.loads(done.stdout)})
    return rows


def measure(case: Case) -> dict[str, float]:
    """Median seconds of a training step after the first, and memory above that of an idle process."""
    words = ("", "___", *(f"word{n}" for n in range(40)))
    vocabulary = Vocabulary(words, ("yes", "no"), 6, (1,) * len(words))
    settings = replace(Network(), keys=case.keys, values=case.keys, depth=case.depth)
    network = SPMN(settings, vocabulary)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    torch.manual_seed(0)
    shape = (case.batch, case.events)
    kind = torch.full(shape, STATEMENT)
    kind[:, 4::5] = QUESTION
    kind[:, 2::10] = PRACTICE
    events = Events(
        words=torch.randint(2, len(words), (*shape, 6)),
        kind=kind,
        clock=torch.arange(case.events).expand(shape).clamp(max=255),
        target=torch.zeros(shape, dtype=torch.long),
        born=torch.zeros(shape, dtype=torch.long),
        task=torch.zeros(case.batch, dtype=torch.long),
    )
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        logits = network.answer(network(events, record=False), kind == QUESTION)
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": float(np.median(seconds[1:])), "mebibytes": (peak - idle) / 1024}


def exponent(rows: list[dict[str, Any]]) -> float:
    """Slope of log time over log value through the last three points."""
    last = rows[-3:]
    return float(np.polyfit(np.log([r["value"] for r in last]), np.log([r["seconds"] for r in last]), 1)[0])


def draw(rows: list[dict[str, Any]], exponents: dict[str, float], path: Path) -> None:
    """Time and memory over each axis, both logarithmic."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, len(exponents), sharex="col")
    for column, (axis, power) in enumerate(exponents.items()):
        chosen = [row for row in rows if row["axis"] == axis]
        for line, (name, unit) in enumerate((("seconds", "s per step"), ("mebibytes", "MiB above idle"))):
            plot = axes[line, column]
            plot.loglog([r["value"] for r in chosen], [max(r[name], 1e-3) for r in chosen], "o-")
            plot.set_ylabel(unit)
            plot.grid(True, which="both", alpha=0.3)
        axes[0, column].set_title(f"time ~ {axis}^{power:.2f}")
        axes[1, column].set_xlabel(axis)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


if __name__ == "__main__":
    typer.run(grow)
