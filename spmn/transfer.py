"""Warm starts: what one trained network knows, put into another with another vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from spmn.errors import CheckpointError, SettingsError
from spmn.network import SPMN
from spmn.runs import load_tensors, open_run
from spmn.settings import to_dict
from spmn.stages import read_record


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
    path = folder / "network.safetensors"
    if not path.exists():
        raise CheckpointError(f"{str(folder)!r} has no validated step yet; go on training it first")
    levels(load_tensors(path)[0], target)


def stage_of(folder: Path) -> str | None:
    """The stage that a run folder is of, None if it is of bAbI or of nothing known."""
    try:
        stage: str = json.loads((folder / "run.json").read_text())["stage"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stage


LEVELS = ("depth", "heads", "keys", "values", "encoder", "steps", "dv", "rule")
"""Settings in which memory levels must be alike."""


def levels(source: Mapping[str, Tensor], target: SPMN) -> None:
    """Copy the weights of memory levels into `target`, in place.

    The synapses of the clock stay its own, for other stages have no use for that clock.
    Raises SettingsError where the levels differ in size.
    """
    new = target.state_dict()
    for name, weights in new.items():
        if name.startswith("level.") and not name.endswith(".clock"):
            new[name] = _fitting(name, source.get(name), weights)
    target.load_state_dict(new)


def transfer(source: SPMN, target: SPMN) -> None:
    """Copy the weights of `source` into `target`, in place.

    What belongs to a word or an answer goes to the same word or answer; those that `source` never met, and
    positions beyond its longest sentence, keep the weights that `target` was drawn with.

    Raises SettingsError where the networks differ in size.
    """
    theirs, ours = source.vocabulary, target.vocabulary
    words = common(theirs.words, ours.words)
    answers = common(theirs.answers, ours.answers)
    positions = common(range(theirs.length), range(ours.length))
    others = target.clue.bias.shape[-1] - len(ours.words)  # time and confidence, behind the words
    clues = tuple(
        torch.cat((at, torch.arange(others) + len(vocabulary.words)))
        for at, vocabulary in zip(words, (theirs, ours), strict=True)
    )
    along: dict[str, tuple[int, Sequence[Tensor]]] = {
        "encoder.word.weight": (0, words),
        "encoder.position": (1, positions),
        "readout.weight": (0, answers),
        "readout.bias": (0, answers),
        "completion.weight": (0, words),
        "completion.bias": (0, words),
        "clue.weight": (2, clues),
        "clue.bias": (2, clues),
    }
    old, new = source.state_dict(), target.state_dict()
    # a sentence is divided by the root of the longest one's length
    old["encoder.position"] = old["encoder.position"] * (ours.length / theirs.length) ** 0.5
    for name, weights in new.items():
        known = old.get(name)
        if known is not None and name in along:
            dimension, (there, here) = along[name]
            known = weights.index_copy(dimension, here, known.index_select(dimension, there))
        new[name] = _fitting(name, known, weights)
    target.load_state_dict(new)


def _fitting(name: str, known: Tensor | None, weights: Tensor) -> Tensor:
    if known is None or known.shape != weights.shape:
        raise SettingsError(
            f"a warm start needs networks of the same size: {name} is "
            f"{'missing' if known is None else list(known.shape)} there and {list(weights.shape)} here"
        )
    return known


def common(theirs: Sequence[object], ours: Sequence[object]) -> tuple[Tensor, Tensor]:
    """Where what both have stands in each of them: places in theirs, and in ours."""
    index = {item: i for i, item in enumerate(theirs)}
    both = [(index[item], i) for i, item in enumerate(ours) if item in index]
    there, here = torch.tensor(both, dtype=torch.long).reshape(-1, 2).unbind(1)
    return there, here
