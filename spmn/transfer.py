"""What one trained network knows, put into another with another vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spmn.errors import SettingsError
from spmn.network import SPMN

Places = tuple[Tensor, Tensor]
"""Where the same things stand in one network, and in another."""
OF_HEADS = ("memory.gain", "memory.rates.logits")
"""What each head of a level has, or all of them share."""


@dataclass(frozen=True)
class Common:
    """What the vocabularies of two networks have in common."""

    words: Places
    answers: Places
    positions: Places  # of words in a sentence
    clues: Places  # columns of the clues: words, then time and confidence
    scale: float  # of position vectors: a sentence is divided by the root of the longest one's length

    @classmethod
    def of(cls, source: SPMN, target: SPMN) -> Common:
        theirs, ours = source.vocabulary, target.vocabulary
        words = _same(theirs.words, ours.words)
        others = torch.arange(target.clue.bias.shape[-1] - len(ours.words))
        clues = (
            torch.cat((words[0], len(theirs.words) + others)),
            torch.cat((words[1], len(ours.words) + others)),
        )
        return cls(
            words,
            _same(theirs.answers, ours.answers),
            _same(range(theirs.length), range(ours.length)),
            clues,
            (ours.length / theirs.length) ** 0.5,
        )


def _same(theirs: Sequence[object], ours: Sequence[object]) -> Places:
    index = {item: i for i, item in enumerate(theirs)}
    both = [(index[item], i) for i, item in enumerate(ours) if item in index]
    there, here = torch.tensor(both, dtype=torch.long).reshape(-1, 2).unbind(1)
    return there, here


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
    both = Common.of(source, target)
    along: dict[str, tuple[int, Places]] = {
        "encoder.word.weight": (0, both.words),
        "encoder.position": (1, both.positions),
        "readout.weight": (0, both.answers),
        "readout.bias": (0, both.answers),
        "completion.weight": (0, both.words),
        "completion.bias": (0, both.words),
        "clue.weight": (2, both.clues),
        "clue.bias": (2, both.clues),
    }
    old, new = source.state_dict(), target.state_dict()
    old["encoder.position"] = both.scale * old["encoder.position"]
    for name, weights in new.items():
        known = old.get(name)
        if known is not None and name in along:
            dimension, (there, here) = along[name]
            known = weights.index_copy(dimension, here, known.index_select(dimension, there))
        new[name] = _fitting(name, known, weights)
    target.load_state_dict(new)


def _fitting(name: str, known: Tensor | None, weights: Tensor) -> Tensor:
    if known is not None and name.endswith(OF_HEADS):
        if known.shape == weights.shape[1:]:  # each head starts with what all shared
            known = known.expand_as(weights)
        elif known.shape[1:] == weights.shape:
            known = known.mean(0)
    if known is None or known.shape != weights.shape:
        raise SettingsError(
            f"a warm start needs networks of the same size: {name} is "
            f"{'missing' if known is None else list(known.shape)} there and {list(weights.shape)} here"
        )
    return known
