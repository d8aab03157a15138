"""Training a Perceiver for one of SPMN's stages: steps of gradient descent, and a folder that remembers them.

    RUN/run.json                 stage, settings, and what the stage was made of
    RUN/checkpoint.safetensors   weights, optimiser state and step: to resume
    RUN/network.safetensors      weights of the best validated step
    RUN/metrics.jsonl            one line per validation, the first before any training

Every random choice follows from (seed, step), so a run that was killed goes on bit-equal.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from spmn import kernels
from spmn.errors import CheckpointError, SettingsError, Stopped
from spmn.parallel import interruptible
from spmn.runs import (
    incomplete,
    load_tensors,
    load_weights,
    of_another_kind,
    read_metrics,
    reading,
    restore,
    save_checkpoint,
    save_tensors,
    written,
)
from spmn.schedule import CHECKPOINT_SECONDS, random_seed, set_learning_rate
from spmn.settings import Network, require, require_seed, require_types, to_dict

VERSION = 1


@dataclass(frozen=True)
class Steps:
    """How a stage is trained."""

    steps: int = 1500
    learning_rate: float = 1e-3  # peak of the one-cycle schedule
    warm_up: float = 0.1  # share of all steps in which the learning rate rises
    weight_decay: float = 0.0
    gradient_norm: float = 1.0
    validate_every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("steps", "validate_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "gradient_norm"):
            require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "above 0 and finite")
        require(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "0 or more, and finite")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "from 0 to below 1")
        require_seed(self.seed)


class Stage(ABC):
    """What a network is trained for. Members hold their data and their network."""

    name: ClassVar[str]
    decides: ClassVar[str]
    """The metric by which the best step is chosen; more is better."""
    network: nn.Module

    @property
    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Plain values that say what the stage is made of; equal records train alike."""

    @abstractmethod
    def loss(self, random: np.random.Generator) -> Tensor:
        """The loss of a fresh batch."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics on data that no step trains on."""


Report = Callable[[str, Mapping[str, float]], None]
"""Called with ("step", {"step", "loss"}) and ("validation", the line of metrics.jsonl)."""


def read_record(folder: Path | str, stage: str) -> dict[str, Any]:
    """run.json of a stage's run. Raises CheckpointError where it is missing, foreign or of another stage."""
    path = Path(folder) / "run.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "vocabulary" in record:
            raise of_another_kind(folder, "babi")
        version, found = record["version"], record["stage"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise CheckpointError(
            f"{str(folder)!r} is no run of stage {stage!r} ({problem}); train one: spmn train {stage}"
        ) from None
    if found != stage:
        raise of_another_kind(folder, found)
    if version != VERSION:
        raise CheckpointError(f"{str(path)!r} is of version {version}; this program reads {VERSION}")
    if isinstance(record.get("network"), dict):  # settings that are newer than the run had their defaults
        record["network"] = {**to_dict(Network()), **record["network"]}
    return record


def best_weights(folder: Path | str) -> dict[str, Tensor]:
    """Weights of the best validated step. Raises CheckpointError where there are none, or damaged ones."""
    path = Path(folder) / "network.safetensors"
    if not path.exists():
        raise CheckpointError(f"{str(folder)!r} has no validated step yet; go on training it first")
    return load_tensors(path)[0]


def load_best(network: nn.Module, folder: Path | str) -> None:
    """Put the weights of the best validated step into a network, in evaluation mode.

    Raises CheckpointError where there are none, or the file is damaged or of another network.
    """
    load_weights(network, best_weights(folder), Path(folder) / "network.safetensors")
    network.eval()


def train_stage(
    stage: Stage,
    how: Steps,
    folder: Path,
    threads: int | None = None,
    report: Report = lambda kind, values: None,
) -> None:
    """Train to the last step, from where the folder stands.

    Raises CheckpointError where the folder holds another training, is damaged or cannot be written,
    SettingsError where the loss is not finite, Stopped after SIGINT or SIGTERM, with a checkpoint written.
    """
    kernels.use_threads(torch.get_num_threads() if threads is None else threads)
    kernels.keep_memory()
    _open(stage, how, folder)
    network = stage.network
    optimiser = torch.optim.AdamW(network.parameters(), how.learning_rate, weight_decay=how.weight_decay)
    checkpoint_there = restore(folder, network, optimiser)
    stood = checkpoint_there or {"step": 0, "seconds": 0.0}
    step, seconds = int(stood["step"]), float(stood["seconds"])
    best = math.nan
    with reading(folder / "metrics.jsonl"):
        lines = [line for line in read_metrics(folder) if line["step"] <= step]
        for line in lines:
            best = line[stage.decides] if _better(line[stage.decides], best) else best
    validated = step if step == how.steps else step - step % how.validate_every
    if checkpoint_there and (not lines or lines[-1]["step"] < validated):
        raise incomplete(folder, f"step {validated}")
    began = saved = time.monotonic()

    def clock() -> float:
        return seconds + time.monotonic() - began

    def checkpoint() -> None:
        save_checkpoint(folder, network, optimiser, {"step": step, "seconds": clock()})

    def validate() -> None:
        nonlocal best
        network.eval()
        with torch.no_grad():
            found = stage.validate()
        line = {"step": step, "seconds": round(clock(), 2), **found}
        if _better(found[stage.decides], best):
            best = found[stage.decides]
            save_tensors(folder / "network.safetensors", network.state_dict(), {"step": step})
        lines.append(line)
        with written(folder / "metrics.jsonl") as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        report("validation", line)

    with interruptible() as interrupted:
        if not lines:
            validate()
        while step < how.steps:
            network.train()
            set_learning_rate(optimiser, how.learning_rate, step / how.steps, how.warm_up)
            torch.manual_seed(random_seed(how.seed, 0, step))
            loss = stage.loss(np.random.default_rng([how.seed, step]))
            if not bool(loss.isfinite()):
                raise SettingsError(
                    f"the loss is {float(loss.detach())} at step {step}; "
                    f"lower learning_rate ({how.learning_rate})"
                )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), how.gradient_norm)
            optimiser.step()
            step += 1
            report("step", {"step": step, "loss": float(loss.detach())})
            if step % how.validate_every == 0 or step == how.steps:
                validate()
                checkpoint()
                saved = time.monotonic()
            elif interrupted() or time.monotonic() - saved > CHECKPOINT_SECONDS:
                checkpoint()
                saved = time.monotonic()
            if interrupted() and step < how.steps:
                raise Stopped(f"stopped after step {step}; the same command goes on from here")


def _better(score: float, best: float) -> bool:
    """Whether weights that reach `score` replace those kept: of equal ones the last are kept."""
    return math.isnan(best) or score >= best


def _open(stage: Stage, how: Steps, folder: Path) -> None:
    record = {"version": VERSION, "stage": stage.name, "training": asdict(how), **stage.record}
    record = json.loads(json.dumps(record))
    path = folder / "run.json"
    if path.exists():
        known = read_record(folder, stage.name)
        if known != record:
            changed = [name for name in record if known.get(name) != record[name]]
            raise CheckpointError(
                f"{str(folder)!r} holds another training (its {', '.join(changed)} differ); "
                "choose another --out, or the same options to go on"
            )
        return
    with written(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1))
