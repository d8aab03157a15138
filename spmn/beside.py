"""Networks side by side in a wider one: how one network for many tasks begins with what others know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spmn.errors import SettingsError
from spmn.network import SPMN
from spmn.settings import Network, to_dict
from spmn.transfer import OF_HEADS, Common, Places

ALIKE = ("keys", "values", "steps", "dv", "rule")
"""Settings that all of them must share."""
SUMMED = ("embedding", "encoder", "heads", "decoder")
"""Settings that must hold all of them together."""
FIRM = 4.0
"""Length of the rows of weights that are brought along, in that of rows drawn at random."""


def side_by_side(sources: Sequence[SPMN], target: SPMN) -> None:
    """Put the weights of all sources into `target`, in place, each with neurons of its own.

    Every source gets its own dimensions of the word vectors, encoder and decoder neurons, and its own heads
    of each level it has; synapses from one source's neurons to another's start at 0. A word that only some
    know keeps `target`'s own random vector in the others' dimensions. Answers and clues are the sum of what
    all sources say, but for the bias, which is that of the last source that knows the answer. What no source
    fills keeps the weights that `target` was drawn with.

    Each source alone then computes what it did, but for what a level has once for all its heads: the clock is
    the last source's, and recall gain and learning rates, where heads do not have their own (`per_head`),
    start at the mean of the sources, by heads.

    Raises SettingsError where sizes do not fit.
    """
    _check([source.settings for source in sources], target.settings)
    with torch.no_grad():
        parts = [
            _Part(source, target, at) for source, at in zip(sources, _places(sources, target), strict=True)
        ]
        new = target.state_dict()
        for part in parts:
            part.into(new)
        for d in range(max(source.settings.depth for source in sources)):
            deep = [part for part in parts if part.source.settings.depth > d]
            for name in (f"level.{d}.{part}" for part in OF_HEADS):
                values = torch.cat([part.by_head(name) for part in deep])
                if target.settings.per_head:
                    new[name][torch.cat([part.heads for part in deep])] = values
                else:
                    new[name] = values.mean(0)
            if deep[-1] is parts[-1]:
                new[f"level.{d}.clock"] = parts[-1].weights[f"level.{d}.clock"]
        target.load_state_dict(new)


def _check(sources: Sequence[Network], target: Network) -> None:
    ours = to_dict(target)
    for theirs in map(to_dict, sources):
        for name in ALIKE:
            if theirs[name] != ours[name]:
                raise SettingsError(
                    f"networks side by side need the same {name}: "
                    f"it is {theirs[name]} there and {ours[name]} here"
                )
        if theirs["depth"] > ours["depth"]:
            raise SettingsError(
                f"depth is {ours['depth']}; one of the networks in it has {theirs['depth']} levels"
            )
    for name in SUMMED:
        needed = sum(to_dict(source)[name] for source in sources)
        if needed > ours[name]:
            raise SettingsError(f"{name} is {ours[name]}; the networks side by side in it need {needed}")


def _places(sources: Sequence[SPMN], target: SPMN) -> list[dict[str, int]]:
    """Where each source begins; the heads of the last one are the last ones, for the clock's sake."""
    at = dict.fromkeys(SUMMED, 0)
    at["heads"] = target.settings.heads - sum(source.settings.heads for source in sources)
    found = []
    for source in sources:
        found.append(dict(at))
        for name in SUMMED:
            at[name] += to_dict(source.settings)[name]
    return found


class _Part:
    """One source, and which of the target's neurons are its own."""

    def __init__(self, source: SPMN, target: SPMN, at: dict[str, int]) -> None:
        self.source, self.target = source, target
        self.weights = source.state_dict()
        ours, theirs = target.settings, source.settings
        self.embedding, self.encoder, self.decoder = (
            torch.arange(getattr(theirs, name)) + at[name] for name in ("embedding", "encoder", "decoder")
        )
        self.heads = torch.arange(theirs.heads) + at["heads"]
        self.recall = (self.heads[:, None] * ours.values + torch.arange(ours.values)).flatten()
        keys = (self.heads[:, None] * ours.keys + torch.arange(ours.keys)).flatten()
        sizes = (ours.width, ours.width, ours.recall, ours.heads, ours.heads)  # of k, q, a, u, r
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        groups = (keys, keys, self.recall, self.heads, self.heads)
        self.neurons = torch.cat([start + group for start, group in zip(starts, groups, strict=True)])
        self.both = Common.of(source, target)

    def seen(self, depth: int) -> Tensor:
        """Columns of what is seen above `depth` levels: the encoder, and the recall of each."""
        s = self.target.settings
        return torch.cat((self.encoder, *(s.encoder + d * s.recall + self.recall for d in range(depth))))

    def by_head(self, name: str) -> Tensor:
        """A level's gain or rates for each of this source's heads."""
        value: Tensor = self.weights[name]
        heads = self.source.settings.heads
        return value if self.source.settings.per_head else value.expand(heads, *value.shape)

    def into(self, new: dict[str, Tensor]) -> None:
        """Write into the target's state."""
        old, depth = self.weights, self.source.settings.depth
        there, here = self.both.words
        new["encoder.word.weight"][here[:, None], self.embedding] = old["encoder.word.weight"][there]
        there, here = self.both.positions
        positions = self.both.scale * old["encoder.position"][:, there]
        new["encoder.position"][:, here[:, None], self.embedding] = positions
        new["encoder.kind"][:, self.embedding] = old["encoder.kind"]
        self._projection(new, "encoder.projection", self.encoder, self.embedding)
        for d in range(depth):
            self._projection(new, f"level.{d}.drive", self.neurons, self.seen(d))
            new[f"level.{d}.memory.bias"][self.heads] = old[f"level.{d}.memory.bias"]
        self._projection(new, "decoder", self.decoder, self.seen(depth))
        for name, known in (("readout", self.both.answers), ("completion", self.both.words)):
            self._readout(new, name, known)
        self._clues(new, depth)

    def _projection(self, new: dict[str, Tensor], name: str, rows: Tensor, columns: Tensor) -> None:
        """Rows without their mean: padded with 0 they are standardised to what they were.

        Their length is free: they are FIRM times as long as the rows they replace, so that what is known
        turns slower than what is new.
        """
        weight, goal = self.weights[f"{name}.weight"], new[f"{name}.weight"]
        centred = nn.functional.normalize(weight - weight.mean(1, keepdim=True))
        length = FIRM * goal[rows].norm(dim=1, keepdim=True)
        goal[rows] = 0
        goal[rows[:, None], columns] = length * centred
        for part in ("gain", "bias"):
            new[f"{name}.{part}"][rows] = self.weights[f"{name}.{part}"]

    def _readout(self, new: dict[str, Tensor], name: str, known: Places) -> None:
        there, here = known
        new[f"{name}.weight"][:, self.decoder] = 0
        new[f"{name}.weight"][here[:, None], self.decoder] = self.weights[f"{name}.weight"][there]
        new[f"{name}.bias"][here] = self.weights[f"{name}.bias"][there]

    def _clues(self, new: dict[str, Tensor], depth: int) -> None:
        there, here = self.both.clues
        for d in range(depth):
            new["clue.weight"][d, self.recall] = 0
            new["clue.weight"][d][self.recall[:, None], here] = self.weights["clue.weight"][d][:, there]
            new["clue.bias"][d, 0, here] = self.weights["clue.bias"][d, 0, there]
