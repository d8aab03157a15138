"""Trained runs become part of the package: spmn/pretrained/babi/taskNN."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copy2
from tempfile import TemporaryDirectory

import torch

from experiments.babi.results import Result, curve, keys
from hardware.atomic import atomic
from hardware.files import save
from hardware.program import Program
from spmn import pretrained
from spmn.data import fingerprint, unseen
from spmn.errors import CheckpointError
from spmn.export import export
from spmn.runs import Run, open_run, save_tensors

SHELF = pretrained.HERE / "babi"
JOINT = pretrained.HERE / "babi-joint"
LIMIT = 25_000_000
"""Bytes that all networks of a shelf together may take."""


def ship(runs: Sequence[Run], chosen: Sequence[Result], shelf: Path = SHELF) -> int:
    """Put the chosen runs on the shelf, in half precision and as programs, each in a folder of its own;
    returns the bytes of all there.

    Raises CheckpointError where a chosen run is not among `runs`, or where they then take more than LIMIT.
    """
    named = {shelf / f"task{result.task:02}": _run_of(runs, result) for result in chosen}
    for folder, run in named.items():
        _ship(run, folder)
    return _weighed(shelf)


def ship_joint(runs: Sequence[Run], chosen: Sequence[Result], shelf: Path = JOINT) -> int:
    """Put the one run that these records are of on a shelf of its own. As `ship`."""
    if not chosen:
        raise CheckpointError("results.json has no run of all tasks by its recipe; measure it first")
    _ship(_run_of(runs, chosen[0]), shelf)
    return _weighed(shelf)


def export_again(network: str) -> None:
    """Export the networks of a set anew, after a change of the exporter."""
    for folder in pretrained.networks(network):
        save(program(folder), folder / "program.h5")


def program(folder: Path) -> Program:
    """What the network of a run exports to, with its tasks."""
    run = open_run(folder)
    return export(run.trained(), attributes={"tasks": str(list(run.source.tasks))})


def _run_of(runs: Sequence[Run], result: Result) -> Run:
    for run in runs:
        if result.key in keys(run) and curve(run, result.task) == result.curve:
            return run
    raise CheckpointError(
        f"the run of task {result.task} with seed {result.seed} in results.json is not among these "
        "folders; name its folder, or measure anew"
    )


def _weighed(shelf: Path) -> int:
    size = sum(path.stat().st_size for path in shelf.rglob("*") if path.is_file())
    if size > LIMIT:
        raise CheckpointError(f"the networks take {size:,} bytes, more than {LIMIT:,}")
    return size


def _ship(run: Run, shelf: Path) -> None:
    """Replace the network in a folder by this one, whole or not at all; its card stays."""
    shelf.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=shelf.parent) as folder:
        made, card = Path(folder) / "new", shelf / "README.md"
        _make(run, made)
        if card.exists():
            copy2(card, made)
        if shelf.exists():
            shelf.replace(Path(folder) / "old")
        made.replace(shelf)


def _make(run: Run, folder: Path) -> None:
    # the folder of the training machine means nothing elsewhere: users name theirs with --data
    shipped = replace(run, folder=folder, source=replace(run.source, folder="en-10k"))
    shipped.write()
    weights = {name: tensor.to(torch.float16) for name, tensor in run.trained().state_dict().items()}
    tasks = list(run.source.tasks)
    save_tensors(folder / "network.safetensors", weights, {"tasks": tasks})
    brief = ("seconds", "loss", "accuracy", "content", "age_error")
    whole = ("epoch", "error", "errors") if len(tasks) > 1 else ("epoch", "error")
    lines = [
        {
            **{name: m[name] for name in whole},
            **{name: round(m[name], 4) for name in brief},
        }
        for m in run.metrics
    ]
    shipped.write_metrics(lines)
    save(program(folder), folder / "program.h5")
    if held := few(run):
        with atomic(folder / "set_aside.json") as path:
            path.write_text(json.dumps(held, indent=1))


def few(run: Run) -> dict[int, list[str]]:
    """Fingerprints of the validation stories of tasks with so few stories that the generator tells again what
    was told in training: all others may have been told, too, with other names."""
    training, validation = run.source.split()
    told = {story.key for story in training}
    return {
        task: sorted(fingerprint(story) for story in validation if story.task == task)
        for task in run.source.tasks
        if any(story.key in told for story in unseen(task, 1000, 0, set()))
    }
