"""One epoch of joint training on all tasks whose official training files are there, and what takes its
time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import profile

from spmn.data import Source
from spmn.datasets.babi import TASKS
from spmn.events import Vocabulary, batches, collate, practise, stream
from spmn.network import SPMN
from spmn.settings import PRESETS
from spmn.training import Objective, step

PROFILED = 20
"""Steps under the profiler, after the epoch."""


def tasks_in(folder: Path) -> tuple[int, ...]:
    """Tasks whose training file is in the folder."""
    return tuple(task for task, name in TASKS.items() if (folder / f"qa{task}_{name}_train.txt").exists())


def joint_epoch(folder: Path) -> tuple[list[dict[str, Any]], Sequence[dict[str, Any]]]:
    """Rows (seconds of the epoch's parts), and the profile of its steps: operators by their own time."""
    tasks = tasks_in(folder)
    preset = PRESETS["default"]
    stories, _ = Source(tasks, str(folder)).split()
    vocabulary = Vocabulary.of(stories)
    streams = [stream(story, vocabulary) for story in stories]
    torch.manual_seed(0)
    objective = Objective(SPMN(preset.network, vocabulary), preset.training.clue_loss)
    optimiser = torch.optim.AdamW(objective.parameters(), preset.training.learning_rate, fused=True)
    random = np.random.default_rng(0)
    began = time.perf_counter()
    chance = preset.training.practice_at(0.0)
    practised = [practise(s, vocabulary, chance, random) for s in streams]
    plan = batches([len(s.kind) for s in practised], preset.training.events_per_batch, random)
    prepared = time.perf_counter() - began
    for number, part in enumerate(plan):
        step(objective, optimiser, collate([practised[i] for i in part]), preset.training, number / len(plan))
    seconds = time.perf_counter() - began
    events = sum(len(s.kind) for s in practised)
    with profile() as profiler:
        for part in plan[:PROFILED]:
            step(objective, optimiser, collate([practised[i] for i in part]), preset.training, 1.0)
    found = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in found)
    shares = [
        {"operator": event.key, "share": round(event.self_cpu_time_total / whole, 3)} for event in found[:12]
    ]
    name = f"joint epoch, {len(tasks)} tasks, {len(stories):,} stories"
    rows = [
        {"what": name, "ms": round(1e3 * seconds), "events per s": round(events / seconds)},
        {"what": f"{name}: practice and batches", "ms": round(1e3 * prepared)},
    ]
    return rows, shares
