"""Pictures of SPMN's first stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from torch import Tensor

from spmn.datasets.timeline import Streams
from spmn.detection import TOLERANCE, Scores
from spmn.perceiver import Perceiver
from spmn.runs import written
from spmn.similarity import Judged, units
from spmn.timeline import read_slots, recall

NAMED = 40
"""Sentences of a map that are written out."""


def similarity_scatter(pairs: Judged, first: Tensor, second: Tensor, path: Path) -> Path:
    """Similarity in memory over that of the embeddings, a point per pair; coloured by people's scores."""
    figure = Figure(figsize=(5.5, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    found = (units(first) * units(second)).sum(1).numpy()
    if pairs.human is None:
        axis.scatter(pairs.target, found, s=9, alpha=0.7)
    else:
        points = axis.scatter(pairs.target, found, s=9, c=pairs.human, cmap="viridis", alpha=0.7)
        figure.colorbar(points, label="score that people gave")
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.6)
    axis.set(
        xlabel="cosine of embeddings", ylabel="cosine of dM (torch)", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
    )
    return _saved(figure, path)


def similarity_map(sentences: Sequence[str], changes: Tensor, path: Path) -> Path:
    """Stored sentences by their dM: the two directions in which its units vary most (principal axes).

    Some are written out, by number where no font of this machine has their characters; a text file of the
    same name holds all of them with their numbers.
    """
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    rows = units(changes)
    centred = rows - rows.mean(0)
    # through the Gram matrix: there are fewer sentences than synapses
    values, vectors = torch.linalg.eigh((centred @ centred.T).double())
    at = (vectors[:, -2:] * values[-2:].clamp(min=0).sqrt()).flip(1).numpy()
    axis.scatter(at[:, 0], at[:, 1], s=6, color="#1f77b4", alpha=0.5)
    fonts = _fonts()
    drawable = set[int]().union(*(get_font(findfont(font)).get_charmap() for font in fonts))
    for i in range(0, len(sentences), max(1, len(sentences) // NAMED)):
        text = sentences[i] if len(sentences[i]) <= 42 else sentences[i][:40] + "..."
        shown = text if drawable.issuperset(map(ord, text)) else str(i + 1)
        inwards = "right" if at[i, 0] > at[:, 0].mean() else "left"
        names = [font.get_name() for font in fonts]
        axis.annotate(shown, at[i], fontsize=6, family=names, parse_math=False, ha=inwards)
    with written(path.with_suffix(".txt")) as temporary:
        lines = (
            f"{i} {x:.4f} {y:.4f} {s}\n" for i, (s, (x, y)) in enumerate(zip(sentences, at, strict=True), 1)
        )
        temporary.write_text("".join(lines), encoding="utf-8")
    axis.set(xlabel="first principal axis", ylabel="second", xticks=[], yticks=[])
    axis.set_title("sentences by what they change in memory (dM, torch)")
    return _saved(figure, path)


SHOWN = 8
"""Cues of a picture of the time line."""


def timeline_picture(network: Perceiver, streams: Streams, path: Path) -> Path:
    """What happened (rings) and what is recalled (dots, the surer the darker), a line per cue, cues from as
    many streams. Green: with the right content, red: with another."""
    count = min(SHOWN, len(streams.cues))
    some = Streams(streams.events[:count], streams.cues[:count, :1], streams.start)
    length = some.events.shape[1]
    reach = max(1.0, TOLERANCE * length)
    with torch.no_grad():
        slots = read_slots(recall(network, some), some.start + length)
    figure = Figure(figsize=(9.0, 0.8 + 0.4 * count), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for row, (events, recalled) in enumerate(zip(some.all_happened, slots, strict=True)):
        axis.axhline(row, color="#dddddd", linewidth=0.6, zorder=0)
        for event in events:
            axis.plot(event.position, row, "o", markersize=11, fillstyle="none", color="#555555")
        for slot in recalled:
            near = [event for event in events if abs(event.position - slot.position) <= reach]
            right = any(event.content == slot.content for event in near)
            axis.plot(
                slot.position, row, "o", markersize=6, alpha=max(0.08, slot.confidence),
                color="#2ca02c" if right else "#d62728",
            )  # fmt: skip
    axis.set_yticks(range(count), [some.asked(b, 0) + "?" for b in range(count)], fontsize=8)
    axis.set(xlim=(some.start - 1, some.start + length), ylim=(count - 0.5, -0.5), xlabel="event")
    title = "rings: happened; dots: recalled (torch), the surer the darker, green with the right place"
    axis.set_title(title, fontsize=8)
    return _saved(figure, path)


def timeline_curve(curve: Mapping[int, Mapping[str, Scores]], path: Path) -> Path:
    """How recall falls off with the length of the stream."""
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    drawn = {
        "average precision": "average_precision",
        "content right": "content",
        "off by, share of the stream": "localisation",
    }
    for axis, (title, field) in zip(axes, drawn.items(), strict=True):
        for name in ("torch", "emulator", "chance"):
            values = [getattr(at[name], field) for at in curve.values()]
            axis.plot(list(curve), values, marker=".", label=name)
        axis.set(xlabel="events in the stream", title=title, xscale="log")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    return _saved(figure, path)


CHINESE = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
)


def _fonts() -> list[FontProperties]:
    """matplotlib's own font, and those for Chinese that this machine has."""
    there = {font.name for font in fontManager.ttflist}
    return [FontProperties("DejaVu Sans"), *(FontProperties(name) for name in CHINESE if name in there)]


def _saved(figure: Figure, path: Path) -> Path:
    with written(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    return path
