"""One training for all: batches of whole stories, AdamW, one cycle of the learning rate, best epoch kept."""

from __future__ import annotations

import fcntl
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.baselines.entnet import EntNet
from experiments.baselines.hmem import HMem
from experiments.baselines.interface import Baseline
from experiments.baselines.lstm import LSTM
from experiments.baselines.majority import Majority
from experiments.baselines.memn2n import MemN2N
from experiments.baselines.ours import Ours
from experiments.baselines.second_generation import SecondGeneration
from experiments.baselines.transformer import Transformer
from hardware.atomic import atomic
from spmn import kernels
from spmn.data import Source
from spmn.errors import SettingsError
from spmn.events import QUESTION, Stream, Vocabulary, batches, collate, in_order, stream
from spmn.schedule import random_seed, set_learning_rate
from spmn.settings import Training

RESULTS = Path(__file__).with_name("results.json")
MODELS: dict[str, type[Baseline]] = {
    model.name: model for model in (Ours, SecondGeneration, HMem, EntNet, MemN2N, Transformer, LSTM, Majority)
}
EVENTS = 2000
"""Per batch, where nothing is trained."""
LONG = 1000
"""Events after which the size of what is carried along is stated."""


@dataclass(frozen=True)
class Result:
    """One training."""

    model: str
    task: int
    seed: int
    stories: str  # official or generated
    epochs: int
    questions: int  # validation questions
    error: float  # share of wrong answers on validation stories, best epoch
    last: float  # of the last epoch
    parameters: int  # that were trained
    operations: float  # multiply-adds per question, stories read as a whole, all counted as if dense
    state: int  # bytes carried along after LONG events
    seconds: float  # of training and validation
    curve: tuple[float, ...]  # validation error by epoch
    training: tuple[float, ...]  # training error by epoch


Report = Callable[[int, float, float], None]
"""Called after every epoch with its number, its training and its validation error."""


def train(
    name: str,
    source: Source,
    seed: int,
    epochs: int | None = None,
    threads: int = 1,
    report: Report = lambda *of: None,
) -> Result:
    """Train the model of this name on one task. Raises SettingsError where there is none."""
    if name not in MODELS:
        raise SettingsError(f"there is no model {name!r}; choose one of {', '.join(MODELS)}")
    kernels.use_threads(threads)
    model = MODELS[name]
    settings = Training(learning_rate=model.learning_rate, epochs=epochs or Training().epochs)
    training, validation = source.split()
    vocabulary = Vocabulary.of(training)
    streams, checks = ([stream(s, vocabulary) for s in side] for side in (training, validation))
    torch.manual_seed(seed)
    network = model(vocabulary)
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    curve, errors = [], []
    began = time.monotonic()
    for epoch in range(settings.epochs):
        plan = batches(
            [len(s.kind) for s in streams], settings.events_per_batch, np.random.default_rng([seed, epoch])
        )
        wrong = asked = 0
        network.train()
        for number, chosen in enumerate(plan):
            torch.manual_seed(random_seed(seed, epoch, number))
            done = (epoch + number / len(plan)) / settings.epochs
            set_learning_rate(optimiser, settings.learning_rate, done, settings.warm_up)
            batch = collate([streams[i] for i in chosen])
            target = batch.target[batch.kind == QUESTION]
            logits = network(batch)
            optimiser.zero_grad()
            nn.functional.cross_entropy(logits, target).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)
            optimiser.step()
            wrong += int((logits.argmax(-1) != target).sum())
            asked += len(target)
        curve.append(error(network, checks))
        errors.append(wrong / asked)
        report(epoch + 1, errors[-1], curve[-1])
    seconds = time.monotonic() - began
    (task,) = source.tasks
    return Result(
        model=name,
        task=task,
        seed=seed,
        stories="generated" if source.folder is None else "official",
        epochs=settings.epochs,
        questions=sum(int((s.kind == QUESTION).sum()) for s in checks),
        error=min(curve),
        last=curve[-1],
        parameters=sum(p.numel() for p in network.parameters() if p.grad is not None),
        operations=operations(network, checks),
        state=network.state(LONG),
        seconds=round(seconds, 1),
        curve=tuple(curve),
        training=tuple(errors),
    )


@torch.no_grad()
def error(network: Baseline, streams: Sequence[Stream]) -> float:
    """Share of wrong answers."""
    network.eval()
    wrong = asked = 0
    for _, batch in in_order(streams, EVENTS):
        target = batch.target[batch.kind == QUESTION]
        wrong += int((network(batch).argmax(-1) != target).sum())
        asked += len(target)
    return wrong / asked


@torch.no_grad()
def operations(network: Baseline, streams: Sequence[Stream]) -> float:
    """Multiply-adds per question: matrix products and convolutions as counted by torch, story by story, and
    what the network says of itself besides."""
    some = streams[:20]
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.spmn.project: _dense})
    with counter:
        for one in some:
            network(collate([one]))
    events = sum(len(one.kind) for one in some)
    asked = sum(int((one.kind == QUESTION).sum()) for one in some)
    return (counter.get_total_flops() / 2 + network.uncounted() * events) / asked


def _dense(spikes: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    """Operations of our event-driven product, had it been a dense one; a multiply-add counts as two."""
    return 2 * math.prod(spikes) * weight[0]


def read(path: Path = RESULTS) -> list[Result]:
    """The records of results.json, none where there is no such file."""
    if not path.exists():
        return []
    return [
        Result(**{**record, **{name: tuple(record[name]) for name in ("curve", "training")}})
        for record in json.loads(path.read_text())["runs"]
    ]


def enter(result: Result, path: Path = RESULTS) -> None:
    """Add a record, in place of one of the same training."""
    with locked(path):
        known = {key(r): r for r in (*read(path), result)}
        lines = ",\n".join(f"  {json.dumps(asdict(known[k]))}" for k in sorted(known))
        with atomic(path) as temporary:
            temporary.write_text(f'{{\n "runs": [\n{lines}\n ]\n}}\n')


def key(result: Result) -> tuple[str, int, str, int, int]:
    """What tells trainings apart."""
    return result.model, result.task, result.stories, result.epochs, result.seed


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time reads and writes this file."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
