"""Pictures of SPMN's first stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from torch import Tensor

from hardware.atomic import atomic
from spmn.similarity import Judged, units

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
        axis.annotate(shown, at[i], fontsize=6, family=[font.get_name() for font in fonts], parse_math=False)
    with atomic(path.with_suffix(".txt")) as temporary:
        lines = (
            f"{i} {x:.4f} {y:.4f} {s}\n" for i, (s, (x, y)) in enumerate(zip(sentences, at, strict=True), 1)
        )
        temporary.write_text("".join(lines), encoding="utf-8")
    axis.set(xticks=[], yticks=[], title="sentences by what they change in memory (dM, torch)")
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
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    return path
