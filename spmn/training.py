"""Training: surrogate-gradient backpropagation through time and through the plasticity.

Every random choice follows from (seed, epoch, batch), so a run that was killed goes on bit-equal.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spmn import kernels
from spmn.data import Source, digest
from spmn.errors import CheckpointError, Stopped
from spmn.evaluation import CLUE_STORIES, answer, score_clues
from spmn.events import PRACTICE, QUESTION, Events, Vocabulary, batches, collate, practise, stream
from spmn.network import DIGIT, SPMN, Clues
from spmn.runs import Run, open_run, resume, save_checkpoint, save_tensors
from spmn.settings import Preset, Training

CHECKPOINT_SECONDS = 30.0

Report = Callable[[str, dict[str, Any]], None]
"""Called with ("batch", progress) and ("epoch", metrics)."""


def start(folder: Path, source: Source, preset: Preset) -> Run:
    """Open the run in `folder`, or create it. Raises CheckpointError where it holds another training."""
    training, _ = source.split()
    run = Run(folder, preset.network, preset.training, source, Vocabulary.of(training), digest(training))
    if (folder / "run.json").exists():
        existing = open_run(folder)
        if existing != run:
            changed = [
                f
                for f in ("network", "training", "source", "vocabulary", "digest")
                if getattr(existing, f) != getattr(run, f)
            ]
            raise CheckpointError(
                f"{str(folder)!r} holds another training (its {', '.join(changed)} differ); "
                "choose another --out, or the same options to go on"
            )
        return existing
    run.write()
    return run


def train(
    run: Run, device: str = "cpu", threads: int | None = None, report: Report = lambda kind, values: None
) -> None:
    """Train a run to its last epoch, from where it stands.

    Raises Stopped after SIGINT or SIGTERM, with a checkpoint written; CheckpointError where none can be.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    kernels.use_threads(torch.get_num_threads())
    settings = run.training
    training, validation = run.source.split()
    streams = [stream(story, run.vocabulary) for story in training]
    checks = [stream(story, run.vocabulary) for story in validation]

    network = run.build().to(device)
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    position = resume(run, network, optimiser)
    metrics = run.metrics[: position.epoch]
    began = time.monotonic() - position.seconds
    saved = time.monotonic()

    with _interruptible() as interrupted:
        while position.epoch < settings.epochs:
            random = np.random.default_rng([settings.seed, position.epoch])
            chance = settings.practice_at(position.epoch / settings.epochs)
            practised = [practise(s, run.vocabulary, chance, random) for s in streams]
            plan = batches([len(s.kind) for s in practised], settings.events_per_batch, random)
            network.train()
            while position.batch < len(plan):
                torch.manual_seed(int(random_seed(settings.seed, position.epoch, position.batch)))
                done = (position.epoch + position.batch / len(plan)) / settings.epochs
                batch = collate([practised[i] for i in plan[position.batch]]).to(device)
                for name, value in _step(network, optimiser, batch, settings, done).items():
                    position.sums[name] = position.sums.get(name, 0.0) + value
                position.batch += 1
                position.seconds = time.monotonic() - began
                report("batch", {"epoch": position.epoch, "done": done, "batch": position.batch,
                                 "batches": len(plan), **averages(position.sums)})  # fmt: skip
                if interrupted():
                    save_checkpoint(run, network, optimiser, position)
                    raise Stopped(
                        f"stopped in epoch {position.epoch + 1}; the same command goes on from here"
                    )
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save_checkpoint(run, network, optimiser, position)
                    saved = time.monotonic()

            network.eval()
            given = answer(network, checks)
            errors = given.errors(checks)
            clues = score_clues(network, checks[:CLUE_STORIES])
            error = sum(errors.values()) / len(errors)
            position.seconds = time.monotonic() - began
            line = {
                "epoch": position.epoch + 1,
                "seconds": round(position.seconds, 2),
                **averages(position.sums),
                "error": error,
                "errors": {str(task): value for task, value in errors.items()},
                "content": clues.content,
                "content_chance": clues.content_chance,
                "age_error": clues.age,
                "age_chance": clues.age_chance,
                "rates": {name: round(rate, 4) for name, rate in given.rates.items()},
            }
            if error <= position.best:
                position.best = error
                save_tensors(
                    run.folder / "network.safetensors", network.state_dict(), {"epoch": position.epoch + 1}
                )
            metrics.append(line)
            run.write_metrics(metrics)
            position.epoch, position.batch, position.sums = position.epoch + 1, 0, {}
            save_checkpoint(run, network, optimiser, position)
            saved = time.monotonic()
            report("epoch", line)


def _step(
    network: SPMN, optimiser: torch.optim.Optimizer, batch: Events, settings: Training, done: float
) -> dict[str, float]:
    """One gradient step; sums for the progress display."""
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * one_cycle(settings.cycle(done)[1], settings.warm_up)
    activity = network(batch)
    asked, practised = batch.kind == QUESTION, batch.kind == PRACTICE
    logits = network.answer(activity, asked)
    target = batch.target[asked]
    loss = nn.functional.cross_entropy(logits, target)
    total = loss
    if practised.any() and settings.clue_loss:
        weight = settings.clue_loss * float(practised.sum() / asked.sum())
        total = total + weight * clue_loss(network.clues(activity, practised), batch, practised)
    optimiser.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)
    optimiser.step()
    right = (logits.argmax(-1) == target).sum()
    return {"loss": loss.item() * len(target), "right": float(right), "questions": float(len(target)),
            "spikes": float(activity.encoder.detach().mean()), "batches": 1.0}  # fmt: skip


def clue_loss(clues: Clues, batch: Events, rows: Tensor) -> Tensor:
    """Loss of the content, time and confidence clues at retrieval-practice questions.

        - log sum_d w_d p_d(word) - log sum_d w_d p_d(high digit) p_d(low digit) + BCE(confidence_d, right_d)

    w = softmax over levels of the confidence logits: a level that recalls well earns the trust it is given.
    """
    word, born = batch.target[rows], batch.born[rows]
    trust = clues.confidence.log_softmax(-1)
    digits = torch.stack((born // DIGIT, born % DIGIT), -1)
    log_word = clues.content.log_softmax(-1).gather(-1, word[:, None, None].expand(-1, trust.shape[1], 1))[
        ..., 0
    ]
    each = digits[:, None, :, None].expand(-1, trust.shape[1], 2, 1)
    log_time = clues.digits.log_softmax(-1).gather(-1, each)[..., 0].sum(-1)
    right = (clues.content.argmax(-1) == word[:, None]).to(trust.dtype)
    content = -(trust + log_word).logsumexp(-1).mean()
    when = -(trust + log_time).logsumexp(-1).mean()
    sure = nn.functional.binary_cross_entropy_with_logits(clues.confidence, right)
    return content + when + sure


def one_cycle(done: float, warm_up: float) -> float:
    """Learning rate factor at a share `done` of the training: up linearly, then down a half cosine to 0."""
    if done < warm_up:
        return max(done / warm_up, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def random_seed(seed: int, epoch: int, batch: int) -> int:
    """A seed for torch's generator at one batch."""
    return int(np.random.SeedSequence([seed, epoch, batch]).generate_state(1)[0])


def averages(sums: dict[str, float]) -> dict[str, float]:
    """Loss and accuracy per question so far in this epoch, and the encoder's spike rate."""
    return {
        "loss": sums["loss"] / sums["questions"],
        "accuracy": sums["right"] / sums["questions"],
        "encoder_rate": sums["spikes"] / sums["batches"],
    }


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM are noted and acted on between batches; a second one ends the program at once."""
    seen: list[int] = []
    try:
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, _: object) -> None:
            seen.append(number)
            signal.signal(number, before[signal.Signals(number)])

        for s in before:
            signal.signal(s, note)
    except ValueError:  # not in the main thread: no signals arrive here
        before = {}
    try:
        yield lambda: bool(seen)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
