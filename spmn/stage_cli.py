"""Commands for SPMN's first stages: `spmn train similarity`, `spmn similar`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from spmn.progress import progress

if TYPE_CHECKING:
    from spmn.datasets.corpus import Corpus

console = Console(soft_wrap=True)
HELD_OUT = 0.1


def train_similarity(
    data: Annotated[
        str,
        typer.Option(
            help="A text file with a sentence per line, an STS file of scored pairs, or en or zh: our own."
        ),
    ] = "en",
    valid: Annotated[
        Path | None, typer.Option(help="A file to validate on; without one, a tenth of the sentences.")
    ] = None,
    loss: Annotated[str, typer.Option(help="rank, mae or ratio.")] = "rank",
    steps: Annotated[int, typer.Option(help="Steps of gradient descent.", min=1)] = 600,
    learning_rate: Annotated[float, typer.Option(help="Its peak.")] = 5e-4,
    heads: Annotated[
        int | None,
        typer.Option(help="Of the plastic memory; more of them tell finer. 96 if not given.", min=1),
    ] = None,
    segmenter: Annotated[str, typer.Option(help="characters, or jieba for Chinese words.")] = "characters",
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    memory_bits: Annotated[
        int, typer.Option(help="Bits of the plastic memory on the chip.", min=2, max=8)
    ] = 6,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; a stopped run in it goes on.")] = None,
) -> None:
    """Stage 0: train a memory in which like sentences leave like changes.

    Prints how its similarities go with those of the embedding and, for scored pairs, with people's, before
    and after training, in float and in the chip's integers. Only sentences never trained on are judged.
    """
    from dataclasses import replace

    from spmn import similarity as stage0
    from spmn.embedding import Grams
    from spmn.stage_plots import similarity_map, similarity_scatter
    from spmn.stages import Steps, metrics, train_stage

    grams = Grams(segmenter=segmenter)
    network = replace(stage0.NETWORK, heads=heads or stage0.NETWORK.heads)
    corpus = _corpus(data, grams)
    if valid is None:
        corpus, held_out = stage0.parts(corpus, HELD_OUT, seed)
    else:
        held_out = _corpus(str(valid), grams).without(corpus)
    folder = out or Path("runs") / f"similarity-{Path(data).stem}-seed{seed}"
    stage = stage0.Similarity(corpus, held_out, network, stage0.Objective(loss), grams, seed)
    how = Steps(steps, learning_rate, validate_every=max(1, min(100, steps)), seed=seed)
    console.print(
        f"run {folder}: {len(corpus.sentences)} sentences of {data}"
        + (f" ({corpus.left_out} lines without a word left out)" if corpus.left_out else "")
        + f", judged on {len(stage.pairs.first)} pairs of {len(held_out.sentences)} others, device cpu"
    )
    with progress(console) as bar:
        shown = bar.add_task("", total=steps)

        def report(kind: str, values: Mapping[str, float]) -> None:
            if kind == "step":
                bar.update(shown, completed=values["step"], description=f"loss {values['loss']:.3f}")
            else:
                bar.console.print(
                    f"step {values['step']}: Spearman {values['target_spearman']:.3f} with the embedding, "
                    f"mean error {values['mae']:.3f}"
                )

        train_stage(stage, how, folder, threads, report)
    trained = stage0.open_similarity(folder)
    pairs, program = stage.pairs, trained.program(stage.vectors[:500], memory_bits)
    first, second = (
        stage0.stored(trained.network, program, side, memory_bits) for side in (pairs.first, pairs.second)
    )
    best = max(metrics(folder), key=lambda line: line[stage.decides])
    rows = {
        "before (torch)": metrics(folder)[0],
        "trained (torch)": best,
        "integers (emulator)": pairs.scores(first, second),
    }
    console.print(_scores(rows))
    console.print(
        f"rho: Spearman, r: Pearson; best of the steps: {best['step']:.0f}; {memory_bits} bits of M"
    )
    if pairs.human is not None:
        human = best["embedding_human_spearman"]
        console.print(f"the embedding itself goes with people's scores by {human:.3f} (Spearman)")
    ours, theirs = (stage0.recalled(trained.network, side) for side in (pairs.first, pairs.second))
    others = stage0.recalled(trained.network, trained.embedding(held_out.sentences))
    for picture in (
        similarity_scatter(pairs, ours, theirs, folder / "scatter.png"),
        similarity_map(held_out.sentences, others, folder / "map.png"),
    ):
        console.print(f"wrote {picture}")
    console.print(f"next: spmn similar {folder} --data {data}")


def similar(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of `spmn train similarity`.")],
    data: Annotated[str, typer.Option(help="Sentences to store: a file, or en or zh.")] = "en",
    count: Annotated[int, typer.Option(help="Memories to show.", min=1)] = 5,
) -> None:
    """Type sentences; see which stored ones left the most similar change in memory (torch)."""
    from spmn import similarity as stage0
    from spmn.errors import DataError

    trained = stage0.open_similarity(run)
    corpus = _corpus(data, trained.embedding.grams)
    held = stage0.recalled(trained.network, trained.embedding(corpus.sentences))
    console.print(f"{len(corpus.sentences)} sentences stored, each in its own memory; runner: torch")
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            asked = stage0.recalled(trained.network, trained.embedding([line.strip()]))
        except DataError as problem:
            console.print(str(problem), style="red")
            continue
        for number, alike in stage0.neighbours(held, asked, count)[0]:
            console.print(f"{alike:6.3f}  {corpus.sentences[number]}", markup=False, highlight=False)


def _corpus(name: str, grams: Any) -> Corpus:
    from spmn.datasets.corpus import read_corpus
    from spmn.datasets.sentences import LANGUAGES, generate

    return generate(name) if name in LANGUAGES and not Path(name).exists() else read_corpus(name, grams)


def _scores(rows: Mapping[str, Mapping[str, float]]) -> Table:
    names = {
        "target_spearman": "rho, embedding",
        "target_pearson": "r",
        "mae": "mean error",
        "human_spearman": "rho, people",
        "human_pearson": "r",
    }
    shown = [name for name in names if name in next(iter(rows.values()))]
    table = Table("cosines of dM", *(names[name] for name in shown))
    for title, scores in rows.items():
        table.add_row(title, *(f"{scores[name]:.3f}" for name in shown))
    return table
