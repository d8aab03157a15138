"""The Perceiver: a spiking memory network whose events come through senses.

    text, image, sound, touch --synapses--> z --level 1--> y_1 --level 2--> y_2 ...
                                                M_1            M_2

It stores and recalls as SPMN does; what is read from it depends on what it is trained for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spmn.errors import DataError, SettingsError
from spmn.export import CLOCKED
from spmn.levels import Activity, Levels, RecallReadout, Told
from spmn.neurons import Projection, lif
from spmn.senses import Sense
from spmn.settings import Network, require


@dataclass(frozen=True)
class Scene:
    """Streams of events, padded to the longest: B streams of N events of T steps.

    seen: sense -> [B, N, T, lines], or [B, N, 1, lines] where all steps are alike; payloads as shares of the
    largest; zeros where a sense has nothing to say at an event.
    """

    seen: Mapping[str, Tensor]
    asks: Tensor  # [B, N] bool, events that recall and do not write
    real: Tensor  # [B, N] bool, False for padding
    clock: Tensor  # [B, N] event numbers

    def at(self, chosen: Tensor) -> Scene:
        """Some of the streams."""
        seen = {name: x[chosen] for name, x in self.seen.items()}
        return Scene(seen, self.asks[chosen], self.real[chosen], self.clock[chosen])


Event = Mapping[str, Any]
"""Sense -> stimulus; senses that are left out have nothing to say."""


def scene(senses: Mapping[str, Sense], streams: Sequence[Sequence[Event]], steps: int) -> Scene:
    """What the senses make of some streams of events; none of them asks.

    Raises DataError for an event without a stimulus, for a sense that does not exist, and as the senses do.
    """
    longest = max((len(events) for events in streams), default=0)
    if not longest:
        raise DataError("there is no event; give at least one stream with an event")
    shape = len(streams), longest
    seen: dict[str, Tensor] = {}
    for b, events in enumerate(streams):
        for n, event in enumerate(events):
            if not event or (strange := [name for name in event if name not in senses]):
                what = f"a sense {strange[0]!r}" if event else "no stimulus"
                raise DataError(f"event {n} has {what}; this network has {', '.join(senses)}")
            for name, stimulus in event.items():
                sense = senses[name]
                spikes = sense(stimulus, steps)
                constant = sense.bits > 0 or (spikes == spikes[:1]).all()
                known = seen.get(name)
                if known is None:
                    seen[name] = torch.zeros(*shape, 1 if constant else steps, sense.lines)
                elif known.shape[2] == 1 and not constant:
                    seen[name] = known.repeat(1, 1, steps, 1)
                rows = spikes[: seen[name].shape[2]].astype(np.float32) / sense.full
                seen[name][b, n] = torch.from_numpy(rows)
    real = torch.zeros(shape, dtype=torch.bool)
    for b, events in enumerate(streams):
        real[b, : len(events)] = True
    return Scene(seen, torch.zeros_like(real), real, torch.arange(longest).expand(shape))


class Perceiver(Levels):
    """Events of several senses drive one encoder.

        I[t] = sum_s W_s x_s[t] + b + kind;   z = LIF(I)          (s: senses with something to say)

    A sense that is missing at an event brings nothing. W_s are weight-standardised; their gains and b start
    so that the first stimuli drive the neurons well (`calibrate`). `reads` names what is read from the recall
    of each level, and how many numbers each is.
    """

    def __init__(
        self, settings: Network, senses: Mapping[str, Sense], reads: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        for name in senses:
            free = (
                name.isidentifier() and name not in (*CLOCKED, "encoder") and not hasattr(nn.ModuleDict, name)
            )
            require(free, "the name of a sense", repr(name), "a word that names no other part of the network")
        self.settings, self.senses = settings, dict(senses)
        ones, zeros = torch.ones(settings.encoder), torch.zeros(settings.encoder)
        self.sense = nn.ModuleDict(
            {
                name: Projection(sense.lines, ones, zeros, settings.weight_scale)
                for name, sense in senses.items()
            }
        )
        self.kind = nn.Parameter(torch.zeros(2, settings.encoder))  # statement, question
        self.level = self.stacked(settings)
        self.readout = RecallReadout(settings.depth, settings.recall, reads) if reads else None

    def unclocked(self) -> None:
        """Give up the clock of the levels, for events that bring their position, or need none."""
        for level in self.levels:
            level.clock.requires_grad_(False).zero_()

    @torch.no_grad()
    def alike(self, keys: float, associations: float) -> None:
        """Let read keys start equal to write keys, so that what is seen again recalls what was stored with it
        from the first step of training on; and both, and associations, with these biases: lower ones make
        sparser codes, which interfere less in M."""
        for level in self.levels:
            key, both, last = level.sizes[0], 2 * level.sizes[0], sum(level.sizes[:3])
            for part in (level.drive.weight, level.drive.gain):
                part[key:both] = part[:key]
            level.drive.bias[:both] = keys
            level.drive.bias[both:last] = associations

    def brought(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """What a sense brings to the encoder [B N, T or 1, encoder], and at which events it has something to
        say [B N]. x: [B, N, T or 1, lines]."""
        rows = x.flatten(0, 1)
        current: Tensor = self.sense[name](rows)
        return current, rows.flatten(1).any(1)

    @torch.no_grad()
    def calibrate(self, some: Scene) -> None:
        """Set gains and biases so that the currents of every sense have mean 0.3 and deviation 0.7 thresholds
        over these events (after layer-sequential unit variance, Mishkin and Matas 2016, arXiv 1511.06422).
        Neurons for which all of them are alike keep their gain."""
        for name, x in some.seen.items():
            part = self.sense[name]
            assert isinstance(part, Projection)
            for _ in range(2):  # the gain first, then what it makes of the mean
                current, present = self.brought(name, x)
                current = current[present].flatten(0, 1)
                if len(current):
                    spread = current.std(0, correction=0)
                    part.gain.mul_(torch.where(spread > 1e-4, 0.7 / spread, 1.0))
                    part.bias.sub_(current.mean(0) - 0.3)

    def forward(self, events: Scene, memory: Tensor | None = None, record: bool = True) -> Activity:
        """Run B streams of N events; those that ask are not written into `memory` (empty if None)."""
        s = self.settings
        current: Tensor = self.kind[events.asks.flatten().long()][:, None]
        for name, x in events.seen.items():
            brought, present = self.brought(name, x)
            current = current + brought * present[:, None, None]
        z = lif(current.expand(-1, s.steps, -1).transpose(0, 1), s.dv, s.slope)
        shape = events.real.shape
        each = torch.arange(events.real.numel(), device=z.device).view(shape)
        writes, asked = events.real & ~events.asks, events.real & events.asks
        return self.remember(z, Told.of(each, events.clock, writes, asked, z), memory, record)

    def slots(self, recalled: Tensor) -> dict[str, Tensor]:
        """What is read from mean recall spikes [R, depth, H V]: each part [R, depth, n].

        Raises SettingsError for a network that nothing is read from.
        """
        if self.readout is None:
            raise SettingsError("nothing is read from this network; build it with `reads`")
        found: dict[str, Tensor] = self.readout(recalled)
        return found

    def read(self, events: Scene) -> dict[str, Tensor]:
        """What is read at all events that ask, in row-major order: each part [R, depth, n]."""
        return self.slots(self.recalled(self(events, record=False), events.real & events.asks))
