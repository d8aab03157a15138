"""RESULTS.md of the baselines, from results.json."""
# ruff: noqa: E501 (sentences)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.baselines.harness import Result
from hardware.atomic import atomic
from spmn.datasets.babi import TASKS

HERE = Path(__file__).parent

NOTES = """\
Error on 10 % of the distinct stories of the official en-10k training files, best epoch; seeds side by side. All networks get
the same stories, batches, epochs and learning-rate schedule (its peak is each model's own), sentences as the same sum over
word and position vectors, and no retrieval practice, renaming or warm start, so SPMN's figures are not those of its recipes.
Operations: multiply-adds per question, as if dense; a spiking network on a chip needs fewer, for it works only where there
are spikes. State: what is carried along after 1,000 events, in float32."""


def write(results: Sequence[Result], path: Path = HERE / "RESULTS.md") -> Path:
    """One row per task and model."""
    with atomic(path) as temporary:
        temporary.write_text(report(results))
    return path


def report(results: Sequence[Result]) -> str:
    """RESULTS.md."""
    rows = [
        "| task | model | validation error by seed | training error, last epoch | parameters | operations per question | "
        "state, bytes | minutes on one core |\n|---|---|---|---|---|---|---|---|"
    ]
    for task, model in sorted({(r.task, r.model) for r in results}):
        of = [r for r in results if (r.task, r.model) == (task, model)]
        rows.append(
            f"| {task} {TASKS[task].replace('-', ' ')} | {model} | {_percents(r.error for r in of)} | "
            f"{_percents(r.training[-1] for r in of)} | {of[0].parameters:,} | {of[0].operations / 1e6:.1f} million | "
            f"{of[0].state:,} | {sum(r.seconds for r in of) / len(of) / 60:.1f} |"
        )
    parts = [
        "# Other networks on the same stories",
        "Made by `python -m experiments.baselines write` from `results.json`; do not edit.",
        "\n".join(rows),
        NOTES,
    ]
    return "\n\n".join(parts) + "\n"


def _percents(shares: Iterable[float]) -> str:
    return ", ".join(f"{100 * share:.1f} %" for share in shares)
