"""Warm starts: the runs that a training starts from, and which stories they must never have seen."""

from __future__ import annotations

import json
from pathlib import Path

from spmn.beside import side_by_side
from spmn.data import Source
from spmn.errors import SettingsError
from spmn.network import SPMN
from spmn.pretrained import located
from spmn.runs import open_run
from spmn.settings import to_dict
from spmn.stages import best_weights, read_record
from spmn.transfer import levels, transfer

LEVELS = ("depth", "heads", "keys", "values", "encoder", "steps", "dv", "rule")
"""Settings in which memory levels must be alike."""


def warm(runs: str, network: SPMN) -> None:
    """Start from a run, or from several side by side: "babi/2", "babi/16 + babi/3".

    Raises CheckpointError where one is missing, SettingsError where sizes do not fit.
    """
    folders = starts(runs)
    if len(folders) == 1:
        start_from(folders[0], network)
    else:
        side_by_side([open_run(folder).trained() for folder in folders], network)


def starts(runs: str) -> list[Path]:
    """Folders of the runs that a warm start names."""
    return [located(run.strip()) for run in runs.split(" + ")] if runs else []


def cuts(runs: str) -> dict[int, int]:
    """Tasks that runs and their own warm starts were trained on, and the seeds of their validation stories.

    Raises CheckpointError where a run is missing, SettingsError where two have set others aside.
    """
    found: dict[int, int] = {}
    for folder in starts(runs):
        if stage_of(folder):
            continue  # no bAbI story was told in a first stage
        run = open_run(folder)
        own = dict.fromkeys(run.source.tasks, run.source.seed)
        for task, seed in {**own, **dict(run.source.cuts)}.items():
            if found.setdefault(task, seed) != seed:
                raise SettingsError(
                    f"{runs!r} were trained with validation stories of task {task} that differ (seeds "
                    f"{found[task]} and {seed}), so none are left that neither has seen; start from runs of "
                    "one seed"
                )
    return found


def check_set_aside(source: Source, runs: str) -> None:
    """Raises SettingsError where validation stories of a source may have been told to runs that a training on
    it starts from: they are cut by another seed than theirs, or are a larger share."""
    own = dict(source.cuts)
    for task, seed in cuts(runs).items():
        cut = own.get(task, source.seed)
        if task in source.tasks and cut != seed:
            raise SettingsError(
                f"validation stories of task {task} are cut by seed {cut}, and {runs!r}, where this training "
                f"starts, set aside those of seed {seed}: give the Source cuts=(({task}, {seed}),)"
            )
    for folder in starts(runs):
        share = source.validation if stage_of(folder) else open_run(folder).source.validation
        if share < source.validation:
            raise SettingsError(
                f"validation is {source.validation}, and {runs!r}, where this training starts, set aside "
                f"{share} of the stories and was told the others: at most {share} can be validated on"
            )


def start_from(folder: Path, target: SPMN) -> None:
    """Put the best weights of a run into `target`: all that `transfer` can, or, of a run of another stage,
    those of the memory levels.

    Raises CheckpointError where there is no trained run, SettingsError where sizes differ.
    """
    stage = stage_of(folder)
    if stage is None:  # where it is no bAbI run, opening it says so
        transfer(open_run(folder).trained(), target)
        return
    theirs, ours = read_record(folder, stage)["network"], to_dict(target.settings)
    for name in LEVELS:
        if theirs[name] != ours[name]:
            raise SettingsError(
                f"a warm start needs memory levels of the same kind: {name} is {theirs[name]} there and "
                f"{ours[name]} here"
            )
    levels(best_weights(folder), target)


def stage_of(folder: Path) -> str | None:
    """The stage that a run folder is of, None if it is of bAbI or of nothing known."""
    try:
        stage: str = json.loads((folder / "run.json").read_text())["stage"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return stage
