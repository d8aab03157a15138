"""Parts of the results page on other networks, from results.json, similarity.json and lengths.json."""
# ruff: noqa: E501 (sentences)

from __future__ import annotations

from collections.abc import Iterable, Sequence

from experiments.baselines import lengths
from experiments.baselines.harness import Result
from experiments.baselines.lengths import Length
from experiments.baselines.likeness import Likeness
from experiments.published import ALONE, JOINT
from spmn.datasets.babi import TASKS

NOTES = """\
Error on 10 % of the distinct training stories (of the official en-10k files, or generated), best epoch; seeds side by side. One
network for all tasks is validated on the stories that our joint one set aside. All networks of as many epochs get the same stories,
batches, epochs and learning-rate schedule (its peak is each model's own), sentences as the same sum over word and position vectors,
and no retrieval practice, renaming or warm start, so SPMN's figures are not those of its recipes. Published figures are on the test
files and quoted from memory where they are not EntNet's; that one is the best of ten runs, ours are single runs with one schedule
for all. On task 1 ours reach the published figures; on task 2, which takes more than 12 epochs, MemN2N comes to 2.2 % and EntNet to
5.7 % in 60, two and six points above them; the LSTM reads sentences, not words, which spares it the failure published for task 2.
EntNet's vectors are 100 wide as published, the others' 64; SPMN alone has dropout (0.1). The majority answer of one network for
several tasks is the same for all of them. Operations: multiply-adds per question, as if dense; a spiking network on a chip needs
fewer, for it works only where there are spikes. State: what is carried along after 1,000 events, in float32."""


LIKENESS = """\
Spearman and Pearson correlations of the similarities of dM with those of the sentences' embeddings, and Spearman's with people's
scores, on sentences never trained on; float; best step. The spiking network's synapses from the embedding are not trained."""


LONGER = """\
Wrong answers in %, by seed, on new generated stories with at least so many statements before their first question; all models were
trained on stories of the usual length: generated ones, but for the shipped networks, which learnt official ones by the recipes of
their tasks. Time: one story, read as a whole, in float; state: what is carried along."""


def comparison(results: Sequence[Result]) -> list[str]:
    """The part on other networks that answer bAbI questions."""
    rows = [
        "| task | stories | model | epochs | validation error by seed | published | training error, last epoch | parameters | "
        "operations per question | state, bytes | minutes |\n|---|---|---|---|---|---|---|---|---|---|---|"
    ]
    for row in sorted({(r.tasks, r.stories, r.model, r.epochs) for r in results}):
        of = [r for r in results if (r.tasks, r.stories, r.model, r.epochs) == row]
        tasks, stories, model, epochs = row
        one = tasks[0] if len(tasks) == 1 else JOINT if len(tasks) == len(TASKS) else None
        known = ALONE.get(model, {}).get(one) if one is not None else None
        rows.append(
            f"| {_named(tasks)} | {stories} | {model} | {epochs} | {_percents(r.error for r in of)} | "
            f"{'' if known is None else f'{known:.1f} %'} | "
            f"{_percents(r.training[-1] for r in of)} | {of[0].parameters:,} | {of[0].operations / 1e3:,.0f} thousand | "
            f"{of[0].state:,} | {sum(r.seconds for r in of) / len(of) / 60:.1f} |"
        )
    return ["## Other networks on the same stories", "\n".join(rows), NOTES] if results else []


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


def longer(long: Sequence[Length]) -> list[str]:
    """The part on long stories, if there is one."""
    if not long:
        return []
    return [
        "## Longer stories",
        lengths.table(long),
        LONGER,
        "![error and time over length](baselines/lengths.png)",
    ]


def _named(tasks: Sequence[int]) -> str:
    if len(tasks) > 1:
        which = "all" if len(tasks) == len(TASKS) else ", ".join(map(str, tasks))
        return f"{which} tasks, one network"
    return f"{tasks[0]} {TASKS[tasks[0]].replace('-', ' ')}"


def _percents(shares: Iterable[float]) -> str:
    return ", ".join(f"{100 * share:.1f} %" for share in shares)
