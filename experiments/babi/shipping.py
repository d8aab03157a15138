"""Trained runs become part of the package: spmn/pretrained/babi/taskNN."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from experiments.babi.results import Result, curve, key
from hardware.files import save
from spmn import pretrained
from spmn.errors import CheckpointError
from spmn.export import export
from spmn.runs import Run, open_run, save_tensors

SHELF = pretrained.HERE / "babi"
LIMIT = 25_000_000
"""Bytes that all networks together may take."""


def ship(runs: Sequence[Run], chosen: Sequence[Result], shelf: Path = SHELF) -> int:
    """Put the chosen runs on the shelf, in half precision and as programs; returns the bytes of all there.

    Raises CheckpointError where a chosen run is not among `runs`, or where they take more than LIMIT.
    """
    by_key = {key(run): run for run in runs}
    for result in chosen:
        run = by_key.get(result.key)
        if run is None or curve(run) != result.curve:
            raise CheckpointError(
                f"the run of task {result.task} with seed {result.seed} in results.json is not among these "
                "folders; name its folder, or measure anew"
            )
        _ship(run, shelf / f"task{result.task:02}")
    size = sum(path.stat().st_size for path in shelf.rglob("*") if path.is_file())
    if size > LIMIT:
        raise CheckpointError(f"the networks take {size:,} bytes, more than {LIMIT:,}")
    return size


def _ship(run: Run, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # the folder of the training machine means nothing elsewhere: users name theirs with --data
    shipped = replace(run, folder=folder, source=replace(run.source, folder="en-10k"))
    shipped.write()
    weights = {name: tensor.to(torch.float16) for name, tensor in run.trained().state_dict().items()}
    (task,) = run.source.tasks
    save_tensors(folder / "network.safetensors", weights, {"task": task})
    save(export(open_run(folder).trained(), attributes={"tasks": str([task])}), folder / "program.h5")
    brief = ("seconds", "loss", "accuracy", "content", "age_error")
    lines = [
        {"epoch": m["epoch"], "error": m["error"], **{name: round(m[name], 4) for name in brief}}
        for m in run.metrics
    ]
    shipped.write_metrics(lines)
