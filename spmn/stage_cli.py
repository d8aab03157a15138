"""Commands for SPMN's first stages: `spmn train similarity`, `spmn similar`, `spmn train timeline`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hardware.atomic import atomic
from spmn.progress import train_shown
from spmn.terminal import console, table, typed

if TYPE_CHECKING:
    from spmn.datasets.corpus import Corpus
    from spmn.detection import Scores
    from spmn.embedding import Grams

HELD_OUT = 0.1
RUNNERS = ("torch", "emulator")
StepCount = Annotated[int, typer.Option(help="Steps of gradient descent.", min=1)]
Rate = Annotated[float, typer.Option(help="Its peak.")]
MemoryBits = Annotated[int, typer.Option(help="Bits of the plastic memory on the chip.", min=2, max=8)]
Threads = Annotated[int | None, typer.Option(help="CPU threads.", min=1, max=4096)]
Out = Annotated[Path | None, typer.Option(help="Run folder; a stopped run in it goes on.")]


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
    steps: StepCount = 600,
    learning_rate: Rate = 5e-4,
    heads: Annotated[
        int | None,
        typer.Option(help="Of the plastic memory; more of them tell finer. 96 if not given.", min=1),
    ] = None,
    segmenter: Annotated[str, typer.Option(help="characters, or jieba for Chinese words.")] = "characters",
    model: Annotated[
        str | None, typer.Option(help="Embeddings of sentence-transformers instead of n-grams: its name.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    memory_bits: MemoryBits = 6,
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Stage 0: train a memory in which like sentences leave like changes.

    Prints how its similarities go with those of the embedding and, for scored pairs, with people's, before
    and after training, in float and in the chip's integers. Only sentences never trained on are judged.
    """
    from dataclasses import replace

    from spmn import similarity as stage0
    from spmn.embedding import Grams, TfIdf, Transformer
    from spmn.runs import read_metrics
    from spmn.stage_plots import similarity_map, similarity_scatter
    from spmn.stages import Steps

    how = Steps(steps, learning_rate, validate_every=max(1, min(100, steps)), seed=seed)
    grams = Grams(segmenter=segmenter)
    network = replace(stage0.NETWORK, heads=heads or stage0.NETWORK.heads)
    corpus = corpus_named(data, grams)
    if valid is None:
        corpus, held_out = stage0.parts(corpus, HELD_OUT, seed)
    else:
        held_out = corpus_named(str(valid), grams).without(corpus)
    folder = out or Path("runs") / f"similarity-{Path(data).stem}-seed{seed}"
    embedding = Transformer(model) if model else TfIdf.fit(corpus.sentences, grams)
    stage = stage0.Similarity(corpus, held_out, network, stage0.Objective(loss), embedding, seed)
    console.print(
        f"run {folder}: {len(corpus.sentences)} sentences of {data}"
        + (f" ({corpus.left_out} lines without a word left out)" if corpus.left_out else "")
        + f", judged on {len(stage.pairs.first)} pairs of {len(held_out.sentences)} others, device cpu"
    )

    def said(found: Mapping[str, float]) -> str:
        return f"Spearman {found['target_spearman']:.3f} with the embedding, mean error {found['mae']:.3f}"

    train_shown(console, stage, how, folder, threads, said)
    trained = stage0.open_similarity(folder)
    pairs, program = stage.pairs, trained.program(stage.vectors[:500], memory_bits)
    first, second = (
        stage0.stored(trained.network, program, side, memory_bits) for side in (pairs.first, pairs.second)
    )
    best = max(read_metrics(folder), key=lambda line: line[stage.decides])
    rows = {
        "before (torch)": read_metrics(folder)[0],
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


def train_timeline(
    difficulty: Annotated[
        str,
        typer.Option(
            help="once: a cue stands for one event; perhaps: for one or none; again: for up to two."
        ),
    ] = "once",
    length: Annotated[int, typer.Option(help="Events of the longest streams in training.", min=2)] = 100,
    steps: StepCount = 1200,
    learning_rate: Rate = 3e-3,
    heads: Annotated[int | None, typer.Option(help="Of each level. 16 if not given.", min=1)] = None,
    streams: Annotated[int, typer.Option(help="Unseen streams that it is judged on.", min=1)] = 500,
    upto: Annotated[int, typer.Option(help="Events of the longest streams of the curve.", min=2)] = 500,
    seed: Annotated[int, typer.Option(help="Of weights and streams.")] = 0,
    memory_bits: MemoryBits = 6,
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Stage 1: train a memory to tell when something happened, and where.

    Streams of events ("anna key kitchen") are stored, then asked about by cues ("anna key"). Recall is scored
    like a detector, in float and in the chip's integers, beside chance and a plain list of the events, and
    again on streams of other lengths. Everything is judged on streams never trained on.
    """
    from dataclasses import asdict, replace

    from spmn import timeline as stage1
    from spmn.datasets.timeline import DIFFICULTIES
    from spmn.stage_plots import timeline_curve, timeline_picture
    from spmn.stages import Steps

    how = Steps(steps, learning_rate, validate_every=max(1, min(100, steps)), seed=seed)
    course = stage1.Course(difficulty, length)
    times = DIFFICULTIES[difficulty].times  # a level for each event that a cue may stand for
    network = replace(stage1.NETWORK, depth=times, heads=heads or stage1.NETWORK.heads)
    replace(course, length=upto)  # refused now, not when all is trained
    folder = out or Path("runs") / f"timeline-{difficulty}-seed{seed}"
    stage = stage1.Timeline(network, course, seed)
    console.print(f"run {folder}: streams of up to {length} events, cues: {difficulty}, device cpu")

    def said(found: Mapping[str, float]) -> str:
        return (
            f"average precision {found['average_precision']:.3f}, content right {found['content']:.0%}, "
            f"off by {found['localisation']:.1%} of the time line"
        )

    train_shown(console, stage, how, folder, threads, said)
    best, course = stage1.open_timeline(folder)
    deployed, curve = stage1.program(best, memory_bits), {}
    for n in sorted({*(n for n in stage1.LENGTHS if n < upto), length, upto}):
        count = streams if n == length else -(-streams // 5)
        curve[n] = stage1.judged(best, deployed, course, n, count, memory_bits, seed)
    with atomic(folder / "curve.json") as path:
        path.write_text(
            json.dumps({n: {name: asdict(of) for name, of in at.items()} for n, at in curve.items()})
        )
    console.print(_detected(f"{streams} streams of {length} events", curve[length].items()))
    console.print(
        _detected(
            "events in a stream",
            ((f"{n:,}, {name}", at[name]) for n, at in curve.items() for name in RUNNERS),
        )
    )
    console.print(
        f"{memory_bits} bits of M; off by, content right: of the surest slot of every cue that stands for "
        "something; off by: median, as a share of the stream"
    )
    for picture in (
        timeline_picture(best, stage.held_out, folder / "timeline.png"),
        timeline_curve(curve, folder / "curve.png"),
    ):
        console.print(f"wrote {picture}")


def similar(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of `spmn train similarity`.")],
    data: Annotated[str, typer.Option(help="Sentences to store: a file, or en or zh.")] = "en",
    count: Annotated[int, typer.Option(help="Memories to show.", min=1)] = 5,
) -> None:
    """Type sentences; see which stored ones left the most similar change in memory (torch)."""
    from spmn import similarity as stage0
    from spmn.embedding import TfIdf
    from spmn.errors import DataError

    trained = stage0.open_similarity(run)
    embedding = trained.embedding
    corpus = corpus_named(data, embedding.grams if isinstance(embedding, TfIdf) else None)
    held = stage0.recalled(trained.network, trained.embedding(corpus.sentences))
    console.print(f"{len(corpus.sentences)} sentences stored, each in its own memory; runner: torch")
    for line in typed():
        if not line:
            continue
        try:
            asked = stage0.recalled(trained.network, trained.embedding([line]))
        except DataError as problem:
            console.print(str(problem), style="red")
            continue
        for number, alike in stage0.neighbours(held, asked, count)[0]:
            console.print(f"{alike:6.3f}  {corpus.sentences[number]}", highlight=False)


def corpus_named(name: str, grams: Grams | None = None) -> Corpus:
    """Our own corpus of this name, or a file's. Raises DataError as `read_corpus` does."""
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
    cosines = table("cosines of dM", *(names[name] for name in shown))
    for title, scores in rows.items():
        cosines.add_row(title, *(f"{scores[name]:.3f}" for name in shown))
    return cosines


def _detected(title: str, rows: Iterable[tuple[str, Scores]]) -> Table:
    found = table(title, "average precision", "precision", "recall", "off by", "content right")
    for name, of in rows:
        shares = f"{of.precision:.1%}", f"{of.recall:.1%}", f"{of.localisation:.1%}", f"{of.content:.1%}"
        found.add_row(name, f"{of.average_precision:.3f}", *shares)
    return found
