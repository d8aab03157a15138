"""RESULTS.md of the baselines, from results.json."""
# ruff: noqa: E501 (sentences)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.baselines.harness import Result
from experiments.baselines.likeness import Likeness
from hardware.atomic import atomic
from spmn.datasets.babi import TASKS

HERE = Path(__file__).parent

NOTES = """\
Error on 10 % of the distinct training stories (of the official en-10k files, or generated), best epoch; seeds side by side. All networks get
the same stories, batches, epochs and learning-rate schedule (its peak is each model's own), sentences as the same sum over
word and position vectors, and no retrieval practice, renaming or warm start, so SPMN's figures are not those of its recipes.
Operations: multiply-adds per question, as if dense; a spiking network on a chip needs fewer, for it works only where there
are spikes. State: what is carried along after 1,000 events, in float32."""


LIKENESS = """\
Spearman and Pearson correlations of the similarities of dM with those of the sentences' embeddings, and Spearman's with people's
scores, on sentences never trained on; float; best step. The spiking network's synapses from the embedding are not trained."""


def write(results: Sequence[Result], alike: Sequence[Likeness], path: Path = HERE / "RESULTS.md") -> Path:
    """One row per task and model."""
    with atomic(path) as temporary:
        temporary.write_text(report(results, alike))
    return path


def report(results: Sequence[Result], alike: Sequence[Likeness]) -> str:
    """RESULTS.md."""
    rows = [
        "| task | stories | model | epochs | validation error by seed | training error, last epoch | parameters | operations per question | "
        "state, bytes | minutes |\n|---|---|---|---|---|---|---|---|---|---|"
    ]
    for row in sorted({(r.task, r.stories, r.model, r.epochs) for r in results}):
        of = [r for r in results if (r.task, r.stories, r.model, r.epochs) == row]
        task, stories, model, epochs = row
        rows.append(
            f"| {task} {TASKS[task].replace('-', ' ')} | {stories} | {model} | {epochs} | {_percents(r.error for r in of)} | "
            f"{_percents(r.training[-1] for r in of)} | {of[0].parameters:,} | {of[0].operations / 1e6:.1f} million | "
            f"{of[0].state:,} | {sum(r.seconds for r in of) / len(of) / 60:.1f} |"
        )
    parts = [
        "# Other networks on the same stories",
        "Made by `python -m experiments.baselines write` from `results.json`; do not edit.",
        "\n".join(rows),
        NOTES,
        *similarity(alike),
    ]
    return "\n\n".join(parts) + "\n"


def similarity(alike: Sequence[Likeness]) -> list[str]:
    """The part on stage 0, if there is one."""
    rows = [
        "| data | model | steps | Spearman, untrained | Spearman | Pearson | mean error | Spearman with people | "
        "parameters trained | M, bytes | minutes |\n|---|---|---|---|---|---|---|---|---|---|---|"
    ]
    for row in sorted({(r.data, r.model, r.steps) for r in alike}):
        of = [r for r in alike if (r.data, r.model, r.steps) == row]
        data, model, steps = row
        people = ", ".join(f"{r.human:.3f}" for r in of if r.human is not None)
        figures = (
            ", ".join(f"{value:.3f}" for value in values)
            for values in zip(*((r.before, r.spearman, r.pearson, r.mae) for r in of), strict=True)
        )
        rows.append(
            f"| {data} | {model} | {steps} | {' | '.join(figures)} | {people} | {of[0].parameters:,} | {of[0].state:,} | "
            f"{sum(r.seconds for r in of) / len(of) / 60:.1f} |"
        )
    return ["## Similarity (stage 0)", "\n".join(rows), LIKENESS] if alike else []


def _percents(shares: Iterable[float]) -> str:
    return ", ".join(f"{100 * share:.1f} %" for share in shares)
