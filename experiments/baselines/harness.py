"""One training for all: batches of whole stories, AdamW, one cycle of the learning rate, best epoch kept."""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

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
    tasks: tuple[int, ...]  # one, or several that one network learns together
    seed: int
    stories: str  # official, official and generated (where files hold too few), or generated
    epochs: int
    questions: int  # validation questions
    error: float  # share of wrong answers on validation stories, mean over the tasks, best epoch
    errors: tuple[float, ...]  # of each task, in that epoch
    last: float  # mean of the last epoch
    parameters: int  # that were trained
    operations: float  # multiply-adds per question, stories read as a whole, all counted as if dense
    state: int  # bytes carried along after LONG events
    seconds: float  # of training and validation
    curve: tuple[float, ...]  # mean validation error by epoch
    training: tuple[float, ...]  # training error by epoch

    @property
    def key(self) -> tuple[str, tuple[int, ...], str, int, int]:
        """What tells trainings apart."""
        return self.model, self.tasks, self.stories, self.epochs, self.seed


Report = Callable[[int, float, float], None]
"""Called after every epoch with its number, its training and its mean validation error."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A network at its best epoch, and how it got there."""

    network: Baseline
    source: Source
    seed: int
    vocabulary: Vocabulary
    checks: list[Stream]  # validation stories
    validation: list[tuple[float, ...]]  # error by epoch and task
    training: list[float]  # error by epoch
    seconds: float

    @property
    def curve(self) -> tuple[float, ...]:
        """Mean validation error by epoch."""
        return tuple(mean(errors) for errors in self.validation)


def fit(
    name: str,
    source: Source,
    seed: int,
    epochs: int | None = None,
    threads: int = 1,
    report: Report = lambda *of: None,
) -> Fit:
    """Train the model of this name. Raises SettingsError where there is none."""
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
    found = Fit(network, source, seed, vocabulary, checks, [], [], 0.0)
    best = network.state_dict()
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
        errors = errors_by_task(network, checks)
        found.validation.append(tuple(errors.values()))
        found.training.append(wrong / asked)
        if found.curve[-1] == min(found.curve):
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        report(epoch + 1, found.training[-1], found.curve[-1])
    network.load_state_dict(best)
    return replace(found, seconds=round(time.monotonic() - began, 1))


def measured(found: Fit) -> Result:
    """A fit, in numbers."""
    source = found.source
    filled = " and generated" if source.missing else ""
    return Result(
        model=found.network.name,
        tasks=source.tasks,
        seed=found.seed,
        stories="generated" if source.folder is None else f"official{filled}",
        epochs=len(found.curve),
        questions=sum(int((s.kind == QUESTION).sum()) for s in found.checks),
        error=min(found.curve),
        errors=min(reversed(found.validation), key=mean),
        last=found.curve[-1],
        parameters=sum(p.numel() for p in found.network.parameters() if p.grad is not None),
        operations=operations(found.network, found.checks),
        state=found.network.state(LONG),
        seconds=found.seconds,
        curve=found.curve,
        training=tuple(found.training),
    )


@torch.no_grad()
def errors_by_task(network: Baseline, streams: Sequence[Stream]) -> dict[int, float]:
    """Share of wrong answers of every task."""
    network.eval()
    wrong, asked = Counter[int](), Counter[int]()
    for _, batch in in_order(streams, EVENTS):
        at = batch.kind == QUESTION
        task = batch.task[:, None].expand(at.shape)[at]
        right = network(batch).argmax(-1) == batch.target[at]
        asked.update(task.tolist())
        wrong.update(task[~right].tolist())
    return {task: wrong[task] / asked[task] for task in sorted(asked)}


def operations(network: Baseline, streams: Sequence[Stream]) -> float:
    """Multiply-adds per question: matrix products and convolutions as counted by torch, story by story, and
    what the network says of itself besides. Of about twenty stories from all that there are, not as in
    training."""
    network.eval()
    some = streams[:: max(1, len(streams) // 20)]
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.spmn.project: _dense})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hardware that nobody asked for
        # inside a fused recurrent layer nothing would be counted
        with torch.backends.mkldnn.flags(enabled=False), counter:
            for one in some:
                network(collate([one]))
    events = sum(len(one.kind) for one in some)
    asked = sum(int((one.kind == QUESTION).sum()) for one in some)
    return (counter.get_total_flops() / 2 + network.uncounted() * events) / asked


def _dense(spikes: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    """Operations of our event-driven product, had it been a dense one; a multiply-add counts as two."""
    return 2 * math.prod(spikes) * weight[0]
