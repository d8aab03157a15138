"""Stage 0, similarity: the spiking network and SPMN 0.0.1 under one training, in float."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.baselines.second_generation import DEPTH, WIDTH, Hearing
from spmn.datasets.corpus import Corpus
from spmn.errors import SettingsError
from spmn.runs import read_metrics
from spmn.settings import Network
from spmn.similarity import NETWORK, Objective, Similarity
from spmn.stages import Steps, train_stage

RESULTS = Path(__file__).with_name("similarity.json")
SPIKING, SECOND = "SPMN", "SPMN 0.0.1"


@dataclass(frozen=True)
class Likeness:
    """One training; correlations of the similarities of dM on sentences never trained on."""

    model: str
    data: str
    seed: int
    steps: int
    before: float  # Spearman with the embedding's similarities, untrained
    spearman: float  # the same, best step
    pearson: float
    mae: float
    human: float | None  # Spearman with people's scores, where there are any
    parameters: int  # that were trained
    state: int  # bytes of M in float32
    seconds: float

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What tells trainings apart."""
        return self.data, self.model, self.steps, self.seed


class Second(Similarity):
    """The stage with SPMN 0.0.1 in place of the spiking network."""

    def __init__(self, corpus: Corpus, held_out: Corpus, objective: Objective, seed: int) -> None:
        super().__init__(corpus, held_out, Network(depth=1, heads=1), objective, seed=seed)
        torch.manual_seed(seed)
        self.network = Hearing(self.sense)  # type: ignore[assignment]

    @property
    def record(self) -> dict[str, Any]:
        return {**super().record, "network": SECOND}


def train(
    model: str, data: str, corpus: Corpus, held_out: Corpus, seed: int, steps: int, folder: Path, threads: int
) -> Likeness:
    """Train the network of this name. Raises SettingsError where there is none."""
    if model == SPIKING:
        stage: Similarity = Similarity(corpus, held_out, NETWORK, Objective(), seed=seed)
        state = 4 * NETWORK.depth * NETWORK.heads * NETWORK.keys * NETWORK.values
    elif model == SECOND:
        stage = Second(corpus, held_out, Objective(), seed)
        state = 4 * DEPTH * WIDTH**2
    else:
        raise SettingsError(f"there is no model {model!r}; choose {SPIKING} or {SECOND}")
    how = Steps(steps, 5e-4 if model == SPIKING else 1e-3, validate_every=max(1, min(100, steps)), seed=seed)
    train_stage(stage, how, folder, threads)
    lines = read_metrics(folder)
    best = max(lines, key=lambda line: line[stage.decides])
    return Likeness(
        model=model,
        data=data,
        seed=seed,
        steps=steps,
        before=lines[0]["target_spearman"],
        spearman=best["target_spearman"],
        pearson=best["target_pearson"],
        mae=best["mae"],
        human=best.get("human_spearman"),
        parameters=sum(p.numel() for p in stage.network.parameters() if p.requires_grad),
        state=state,
        seconds=lines[-1]["seconds"],
    )
