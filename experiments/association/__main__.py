"""Twenty new pairings of a shape, a sound and a word are stored once, then recalled from each other.

python -m experiments.association --out runs/association

In every episode the pairings are drawn afresh, so that nothing but the plastic memory can know them. What is
stored and what is asked are different instances, both noisy, and unseen in training. With M switched off
(nothing is written) only guessing is left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from experiments.association.stimuli import DRAWN, KINDS, SENSES
from hardware.atomic import atomic
from spmn.errors import SettingsError
from spmn.perceiver import Perceiver, Scene
from spmn.perceiver_chip import export_perceiver, store
from spmn.progress import train_shown
from spmn.settings import Network
from spmn.stage_cli import MemoryBits, Rate, StepCount, Threads
from spmn.stages import Stage, Steps, load_best

NETWORK = Network(depth=1, heads=8, keys=32, values=32, encoder=256, decoder=1)
PAIRINGS = 20
INSTANCES = 2000
"""Of each kind, to train on."""
MODALITIES = tuple(SENSES)
JUDGED = 50
"""Of each kind, other ones, to choose the best step on, and as many again to be judged on."""
Kinds = npt.NDArray[np.int64]
Spikes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Bank:
    """Spikes of many instances of all kinds: sense -> [KINDS, instances, T, lines]."""

    spikes: Mapping[str, Spikes]

    @classmethod
    def drawn(cls, instances: int, steps: int, seed: int, unlike: Sequence[Bank] = ()) -> Bank:
        """Instances that follow from the seed; none is among those of `unlike`.

        Raises SettingsError where no other instances are found.
        """
        random = np.random.default_rng(seed)

        def several(name: str, kind: int) -> list[Spikes]:
            known = {spikes.tobytes() for bank in unlike for spikes in bank.spikes[name][kind]}
            found: list[Spikes] = []
            for _ in range(100 * instances):
                spikes = SENSES[name](DRAWN[name](kind, random), steps)
                if spikes.tobytes() not in known:
                    found.append(spikes)
                if len(found) == instances:
                    return found
            raise SettingsError(f"{instances} instances of {name} {kind} use up all there are; draw fewer")

        return cls({name: np.stack([several(name, kind) for kind in range(KINDS)]) for name in SENSES})

    def twice(self, sense: str, kinds: Kinds, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Two different instances of each of these kinds, each [..., T, lines]."""
        bank = self.spikes[sense]
        count = bank.shape[1]
        one = random.integers(count, size=kinds.shape)
        other = (one + random.integers(1, count, size=kinds.shape)) % count
        first, second = (torch.from_numpy(bank[kinds, chosen]).float() for chosen in (one, other))
        return first, second


@dataclass(frozen=True, eq=False)
class Episodes:
    """Pairings stored, then asked about in every modality: B episodes of P pairings, 3 P questions."""

    scene: Scene
    kinds: Kinds  # [B, P, 3]: which image, sound and word belong together

    @classmethod
    def drawn(cls, bank: Bank, count: int, pairings: int, random: np.random.Generator) -> Episodes:
        """Fresh pairings of fresh instances; each kind occurs at most once in an episode."""
        kinds = np.stack(
            [np.stack([random.permutation(KINDS)[:pairings] for _ in MODALITIES], -1) for _ in range(count)]
        )
        seen = {}
        for m, name in enumerate(MODALITIES):
            stored, cue = bank.twice(name, kinds[..., m], random)
            events = stored.new_zeros(count, pairings * (1 + len(MODALITIES)), *stored.shape[2:])
            events[:, :pairings] = stored
            asked = slice(pairings * (1 + m), pairings * (2 + m))
            events[:, asked] = cue
            seen[name] = events
        asks = torch.arange(events.shape[1]).expand(count, -1) >= pairings
        clock = torch.zeros(asks.shape, dtype=torch.long)
        return cls(Scene(seen, asks, torch.ones_like(asks), clock), kinds)

    def without_memory(self) -> Scene:
        """The same events, none of them written."""
        scene = self.scene
        return Scene(scene.seen, torch.ones_like(scene.asks), scene.real, scene.clock)

    def targets(self) -> Tensor:
        """Kinds that belong to every question, in order: [B * 3 P, 3]."""
        return torch.from_numpy(np.tile(self.kinds, (1, len(MODALITIES), 1)).reshape(-1, len(MODALITIES)))

    def correct(self, read: Mapping[str, Tensor]) -> dict[str, float]:
        """Share of right answers for each direction, "image > sound": the likeliest of all kinds."""
        count, pairings, _ = self.kinds.shape
        right = torch.stack([read[name][:, 0].argmax(-1) for name in MODALITIES], -1) == self.targets()
        shares = right.view(count, len(MODALITIES), pairings, -1).float().mean((0, 2))
        return {
            f"{given} > {wanted}": float(shares[g, w])
            for g, given in enumerate(MODALITIES)
            for w, wanted in enumerate(MODALITIES)
            if given != wanted
        }


class Association(Stage):
    """Trains on episodes of up to PAIRINGS pairings."""

    name = "association"
    decides = "worst"

    def __init__(self, network: Network = NETWORK, instances: int = INSTANCES, seed: int = 0) -> None:
        self.settings, self.instances = network, instances
        torch.manual_seed(seed)
        reads = dict.fromkeys(MODALITIES, KINDS)
        self.network: Perceiver = Perceiver(network, SENSES, reads)
        self.network.unclocked()
        few = min(instances, JUDGED)  # drawn first: there are only 150 misspellings of a word
        self.unseen = Bank.drawn(few, network.steps, seed + 2_000_003)
        self.held_out = Bank.drawn(few, network.steps, seed + 1_000_003, [self.unseen])
        self.bank = Bank.drawn(instances, network.steps, seed, [self.unseen, self.held_out])
        random = np.random.default_rng([seed, 0, 11])  # no step of the training draws from this
        self.network.calibrate(Episodes.drawn(self.bank, 8, PAIRINGS, random).scene)
        self.judged = Episodes.drawn(self.held_out, 25, PAIRINGS, random)

    @property
    def record(self) -> dict[str, Any]:
        return {"network": asdict(self.settings), "instances": self.instances}

    def loss(self, random: np.random.Generator) -> Tensor:
        pairings = round(PAIRINGS ** random.random())
        episodes = Episodes.drawn(self.bank, max(1, 320 // pairings), pairings, random)
        read = self.network.read(episodes.scene)
        return sum(
            (
                functional.cross_entropy(read[name][:, 0], episodes.targets()[:, m])
                for m, name in enumerate(MODALITIES)
            ),
            torch.zeros(()),
        )

    def validate(self) -> dict[str, float]:
        shares = self.judged.correct(self.network.read(self.judged.scene))
        return {**shares, "worst": min(shares.values())}


def judge(stage: Association, episodes: Episodes, memory_bits: int) -> dict[str, dict[str, float]]:
    """Share of right answers by direction: float and integers, with and without M."""
    network = stage.network
    typical = Episodes.drawn(stage.bank, 8, PAIRINGS, np.random.default_rng(0)).scene
    program = export_perceiver(network, typical, memory_bits)
    off, rows = episodes.without_memory(), episodes.scene.asks.flatten()
    with torch.no_grad():
        read = {
            "torch": network.read(episodes.scene),
            "emulator": network.slots(store(network, program, episodes.scene, memory_bits).recalled),
            "torch, M off": {n: x[rows] for n, x in network.read(off).items()},
            "emulator, M off": network.slots(store(network, program, off, memory_bits).recalled[rows]),
        }
    return {name: episodes.correct(found) for name, found in read.items()}


def main(
    out: Annotated[Path, typer.Option(help="Run folder; a stopped run in it goes on.")] = Path(
        "runs/association"
    ),
    steps: StepCount = 2500,
    learning_rate: Rate = 3e-3,
    episodes: Annotated[int, typer.Option(help="To be judged on.", min=1)] = 50,
    instances: Annotated[int, typer.Option(help="Of each kind, to train on.", min=2)] = INSTANCES,
    memory_bits: MemoryBits = 6,
    seed: Annotated[int, typer.Option(help="Of weights, stimuli and pairings.")] = 0,
    threads: Threads = None,
) -> None:
    """Train, judge in float and integers, with M and without; writes OUT/association.json."""
    console = Console()
    count = (instances + 2 * min(instances, JUDGED)) * KINDS * len(MODALITIES)
    console.print(f"drawing {count:,} stimuli")
    stage = Association(instances=instances, seed=seed)
    how = Steps(steps, learning_rate, validate_every=max(1, min(100, steps)), seed=seed)
    train_shown(console, stage, how, out, threads, lambda v: f"worst direction {v['worst']:.1%} right")
    load_best(stage.network, out)
    fresh = Episodes.drawn(stage.unseen, episodes, PAIRINGS, np.random.default_rng([seed, 0, 13]))
    found = judge(stage, fresh, memory_bits)
    with atomic(out / "association.json") as path:
        path.write_text(json.dumps(found, indent=1))
    table = Table(f"{episodes} episodes of {PAIRINGS} pairings", *found)
    for direction in found["torch"]:
        table.add_row(direction, *(f"{shares[direction]:.1%}" for shares in found.values()))
    console.print(table)
    console.print(f"chance: {1 / KINDS:.1%} of {KINDS} kinds; {memory_bits} bits of M")


if __name__ == "__main__":
    typer.run(main)
