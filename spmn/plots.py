"""Pictures: learning curves, spikes and memory of a story, the recall behind an answer, STDP windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spmn.datasets.babi import Story
from spmn.events import collate, stream
from spmn.network import SPMN
from spmn.plasticity import RULES
from spmn.provenance import explain, questions
from spmn.runs import written
from spmn.stdp import emulator_window, stdp_window

ACROSS = 12
"""Snapshots of the memory side by side."""
PERCENT = (0, 0.1, 0.3, 1, 3, 10, 30, 100)
"""Ticks of the logarithmic axis of errors."""
THINNEST = 16
"""Rows of the raster that a population gets, even if it has fewer neurons."""
COLOURS = {
    "encoder": "#555555", "write_key": "#d62728", "read_key": "#1f77b4", "association": "#ff7f0e",
    "update": "#9467bd", "reset": "#8c564b", "recall": "#2ca02c",
}  # fmt: skip


def learning_curves(metrics: Sequence[dict[str, Any]], path: Path, title: str = "") -> Path:
    """Loss, validation error by task, clue scores and spike rates over the epochs."""
    figure = _figure(11, 7.5)
    axes = figure.subplots(2, 2)
    epochs = [line["epoch"] for line in metrics]

    def draw(axis: Any, values: dict[str, list[float]], name: str, log: bool = False) -> None:
        for label, series in values.items():
            axis.plot(epochs, series, label=label, marker="." if len(epochs) < 40 else None)
        axis.set(xlabel="epoch", title=name)
        if log:
            axis.set_yscale("symlog", linthresh=0.1)
            axis.set_yticks(PERCENT, [f"{tick:g}" for tick in PERCENT])
            least = min(map(min, values.values()))
            axis.set_ylim(max(tick for tick in PERCENT if tick <= least), 110)
        axis.legend(fontsize=7, ncols=2)
        axis.grid(alpha=0.3)

    def column(name: str, factor: float = 1.0) -> list[float]:
        return [line[name] * factor for line in metrics]

    draw(axes[0, 0], {"training loss": column("loss")}, "cross-entropy of answers")
    errors = {
        f"task {task}": [100 * line["errors"][task] for line in metrics] for task in metrics[0]["errors"]
    }
    errors["training"] = [100 * (1 - accuracy) for accuracy in column("accuracy")]
    draw(axes[0, 1], errors, "wrong answers, % (tasks: validation)", log=True)
    clues = {"content": column("content", 100), "content, chance": column("content_chance", 100)}
    draw(axes[1, 0], clues, "withheld words recalled, %")
    for name in metrics[0]["rates"]:
        population, level = name.rstrip("0123456789"), name[-1]
        series = [line["rates"][name] for line in metrics]
        style = {"1": "-", "2": "--", "3": ":"}.get(level, "-.")
        axes[1, 1].plot(epochs, series, style, color=COLOURS[population], label=name, linewidth=1)
    axes[1, 1].set(xlabel="epoch", title="spikes per neuron and step", ylim=(0, 1))
    axes[1, 1].legend(fontsize=5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[1, 1].grid(alpha=0.3)
    figure.suptitle(title)
    return _save(figure, path)


@torch.no_grad()
def raster(network: SPMN, story: Story, path: Path) -> Path:
    """Spikes of all populations over the events of a story; questions are shaded."""
    events = collate([stream(story, network.vocabulary)])
    activity = network(events)
    bands = [("encoder", activity.encoder)] + [
        (f"{name} {d}", getattr(level, name))
        for d, level in enumerate(activity.levels, 1)
        for name in level._fields
    ]
    steps, count = network.settings.steps, len(story.lines)
    height = sum(max(THINNEST, spikes.shape[-1]) for _, spikes in bands)
    figure = _figure(max(8.0, 0.55 * count + 2.5), max(6.0, height / 110))
    axis = figure.subplots()
    bottom = 0
    ticks = []
    for name, spikes in bands:
        times = spikes[:, 0].movedim(0, 1).flatten(0, 1)  # [N T, n]
        when, neuron = times.nonzero().T.numpy()
        band = max(THINNEST, times.shape[1])
        axis.scatter(
            when,
            bottom + (neuron + 0.5) * band / times.shape[1],
            s=1.2,
            marker="|",
            color=COLOURS[name.split()[0]],
            linewidths=0.7,
        )
        ticks.append((bottom + band / 2, f"{name} ({times.shape[1]})"))
        bottom += band
        axis.axhline(bottom - 0.5, color="#cccccc", linewidth=0.5)
    for n, line in enumerate(story.lines):
        axis.axvline(n * steps - 0.5, color="#bbbbbb", linewidth=0.5)
        if line.is_question:
            axis.axvspan(n * steps - 0.5, (n + 1) * steps - 0.5, color="#ffe9a8", zorder=0)
    axis.set_xticks([n * steps + steps / 2 for n in range(count)], [_caption(line) for line in story.lines],
                    rotation=60, ha="right", fontsize=6)  # fmt: skip
    axis.set_yticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=6)
    axis.set(xlim=(-0.5, count * steps - 0.5), ylim=(-0.5, bottom - 0.5))
    axis.set_title(f"spikes, {steps} steps an event, runner: torch", fontsize=9)
    return _save(figure, path)


@torch.no_grad()
def memory(network: SPMN, story: Story, path: Path) -> Path:
    """M of each level before the first and after every event; heads are the blocks on M's diagonal."""
    events = collate([stream(story, network.vocabulary)])
    state = network.start(1)
    states = [state]
    for n in range(len(story.lines)):
        state = network(events.at(slice(n, n + 1)), state).memory
        states.append(state)
    s = network.settings
    low = min(0.0, float(torch.stack(states).min()))
    rows = -(-len(states) // ACROSS)
    across = -(-len(states) // rows)
    figure = _figure(1.0 * across + 1.2, 1.0 + (1.3 * s.depth + 0.9) * rows)
    figure.suptitle("plastic memory M after each event, runner: torch", fontsize=9)
    parts = figure.subfigures(rows, 1, squeeze=False)[:, 0]
    for row, part in enumerate(parts):
        shown = states[row * across : (row + 1) * across]
        axes = part.subplots(s.depth, across, squeeze=False)
        for axis in axes[:, len(shown) :].flat:
            axis.set_axis_off()
        for column, snapshot in enumerate(shown):
            n = row * across + column - 1  # the event before this snapshot
            asks = n >= 0 and story.lines[n].is_question
            title = "start" if n < 0 else fill(_caption(story.lines[n]), 20)
            axes[0, column].set_title(title, fontsize=5, color="#b8860b" if asks else "black")
            for d in range(s.depth):
                axis = axes[d, column]
                blocks = snapshot[d, 0].flatten(0, 1).numpy()  # [H K, V]
                image = axis.imshow(
                    blocks, vmin=low, vmax=1.0, aspect="auto", cmap="magma", interpolation="none"
                )
                axis.set_xticks([])
                axis.set_yticks([])
                for h in range(1, s.heads):
                    axis.axhline(h * s.keys - 0.5, color="#4477aa", linewidth=0.5)
                if column == 0:
                    axis.set_ylabel(f"level {d + 1}\n{s.heads} heads of keys", fontsize=6)
        for axis in axes[-1, : len(shown)]:
            axis.set_xlabel("values", fontsize=5)
        bar = part.colorbar(image, ax=axes, fraction=0.01, pad=0.01)
        bar.set_label("weight, 1 = full", fontsize=6)
        bar.ax.tick_params(labelsize=6)
    return _save(figure, path)


def recall(network: SPMN, story: Story, path: Path) -> Path:
    """For every question: which stored statements the answer rests on, and what the levels recalled."""
    events = collate([stream(story, network.vocabulary)])
    asked = questions(events)
    figure = _figure(10, 1.2 + 2.1 * len(asked))
    axes = figure.subplots(len(asked), 1, squeeze=False)[:, 0]
    for axis, n in zip(axes, asked, strict=True):
        found = explain(network, events, n)
        line = story.lines[n]
        numbers = [story.lines[i].number for i in found.influence]
        colours = ["#2ca02c" if number in line.support else "#999999" for number in numbers]
        axis.bar(numbers, list(found.influence.values()), color=colours)
        axis.axhline(0, color="black", linewidth=0.5)
        axis.set_ylabel("log-odds", fontsize=7)
        axis.set_xlim(0.2, n + 0.8)
        axis.set_xticks(numbers, [f"{i}" for i in numbers], fontsize=6)
        clues = "; ".join(f"level {d}: {r.word!r} of line {r.event + 1:.0f} ({r.confidence:.0%})"
                          for d, r in enumerate(found.recalls, 1))  # fmt: skip
        right = "right" if found.answer == line.answer else f"wrong, it is {line.answer}"
        title = f"{line.number} {line.text.strip()}  {found.answer} ({found.probability:.0%}, {right})"
        axis.set_title(f"{title}\nrecalled: {clues}", fontsize=7)
    axes[-1].set_xlabel("line of the story; green: the line is support for the answer", fontsize=7)
    figure.suptitle("what an answer loses if a statement is heard but not stored, runner: torch", fontsize=9)
    return _save(figure, path)


def stdp(path: Path, reach: int = 10) -> Path:
    """The window of every rule, measured from the running synapse: in torch and, where it can, emulator."""
    rules = list(RULES.values())
    figure = _figure(4.2 * len(rules), 3.4)
    for axis, rule in zip(figure.subplots(1, len(rules)), rules, strict=True):
        delta, dw = stdp_window(rule, reach)
        axis.axhline(0, color="black", linewidth=0.5)
        axis.axvline(0, color="black", linewidth=0.5)
        axis.plot(delta.numpy(), dw.numpy(), "o-", markersize=3, label="torch")
        on_chip = emulator_window(rule, reach)
        if on_chip is not None:
            axis.plot(*(part.numpy() for part in on_chip), "x", markersize=5, label="emulator")
        axis.set_title(f"{rule.name}\n{rule.dw}", fontsize=8)
        axis.set_xlabel("t_post - t_pre, steps", fontsize=8)
        axis.legend(fontsize=7)
    figure.axes[0].set_ylabel("change of the weight (1 = full)", fontsize=8)
    return _save(figure, path)


def _caption(line: Any) -> str:
    text = f"{line.number} {line.text.strip()}"
    return f"{text} {line.answer}" if line.is_question else text


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(min(width, 120), min(height, 60)), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    with written(path) as temporary:
        figure.savefig(temporary, format="png")
    return path
