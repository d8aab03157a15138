"""Training: surrogate-gradient backpropagation through time and through the plasticity.

Every random choice follows from (seed, epoch, batch, process), so a run that was killed goes on bit-equal.
Several processes split every batch: their gradient is that of one process up to rounding, but for dropout,
whose masks each process draws for its own part.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spmn import kernels
from spmn.data import Source, digest
from spmn.datasets.babi import TASKS
from spmn.errors import CheckpointError, SettingsError, Stopped
from spmn.evaluation import answer, score_clues
from spmn.events import PRACTICE, QUESTION, Events, Stream, Vocabulary, batches, collate, practise, stream
from spmn.export import realised_strengths
from spmn.levels import DIGIT
from spmn.network import SPMN, Clues
from spmn.parallel import ALONE, Group, interruptible
from spmn.renaming import Renaming, by_task, retold
from spmn.rounding import round_as_exported
from spmn.runs import Position, Run, incomplete, open_run, restore, save_checkpoint, save_tensors
from spmn.schedule import CHECKPOINT_SECONDS, random_seed, set_learning_rate
from spmn.settings import Preset, Training, changed, to_dict
from spmn.settings import preset as preset_named
from spmn.warm_start import check_set_aside, cuts, warm

Report = Callable[[str, dict[str, Any]], None]
"""Called with ("batch", progress) and ("epoch", metrics)."""


def babi(
    tasks: tuple[int, ...],
    data: Path | None,
    preset: str,
    epochs: int | None,
    seed: int,
    changes: Sequence[str] = (),
) -> tuple[Source, Preset]:
    """The stories and settings of `spmn train babi` with these options.

    Raises SettingsError where a preset, a setting or a number of epochs does not exist, or a change is of
    what has an option of its own.
    """
    named = {change.partition("=")[0] for change in changes}
    if "seed" in named or ("epochs" in named and epochs is not None):
        name = "seed" if "seed" in named else "epochs"
        raise SettingsError(f"--set {name}=... does not go with --{name}: use --{name} alone")
    chosen = changed(preset_named(preset, tasks), changes)
    training = replace(
        chosen.training, seed=seed, epochs=chosen.training.epochs if epochs is None else epochs
    )
    folder = None if data is None else str(data.absolute())
    source = Source(
        tasks, folder, training.stories, seed, training.validation, training.extra, training.fill,
        tuple(sorted(cuts(training.warm_start).items())),
    )  # fmt: skip
    return source, replace(chosen, training=training)


def start(folder: Path, source: Source, preset: Preset) -> Run:
    """Open the run in `folder`, or create it.

    Raises CheckpointError where it holds another training, and whatever `beginning` raises: nothing is
    written of a training that cannot begin.
    """
    training, _ = source.split()
    run = Run(folder, preset.network, preset.training, source, Vocabulary.of(training), digest(training))
    if (folder / "run.json").exists():
        existing = open_run(folder)
        if existing != run:
            raise CheckpointError(
                f"{str(folder)!r} holds another training ({differing(existing, run)}); choose another --out, "
                f"or the same options to go on; to begin with what it learnt: --set warm_start={folder}"
            )
        return existing
    beginning(run)
    run.write()
    return run


def differing(there: Run, here: Run) -> str:
    """Settings in which two runs differ, with both values; their stories where no setting does."""
    found = [
        f"{name} is {value!r} there and {ours!r} here"
        for part in ("training", "network", "source")
        for (name, value), ours in zip(
            to_dict(getattr(there, part)).items(), to_dict(getattr(here, part)).values(), strict=True
        )
        if value != ours
    ]
    return "; ".join(dict.fromkeys(found)) or "other stories"


def beginning(run: Run) -> tuple[SPMN, dict[int, Renaming]]:
    """The network that a training begins with, and how it renames the stories of each task.

    Raises SettingsError for sizes, a rule, names or a warm start that do not fit, and for validation stories
    that the warm start may have been told, CheckpointError where there is no run to start from, ExportError
    where weights are to be rounded for a rule that the chip has not.
    """
    settings = run.training
    check_set_aside(run.source, settings.warm_start)
    renaming = by_task(settings.rename, run.source.tasks, run.vocabulary)
    network = run.build()
    if settings.warm_start:
        warm(settings.warm_start, network)
    if settings.first_rounded < settings.epochs:
        for level in network.levels:
            realised_strengths(level)
    return network, renaming


def train(
    run: Run, group: Group = ALONE, threads: int | None = None, report: Report = lambda kind, values: None
) -> None:
    """Train a run to its last epoch, from where it stands; `report` is called in the leading process only.

    Raises Stopped after SIGINT or SIGTERM, with a checkpoint written; CheckpointError where none can be, or
    files are damaged; SettingsError where the loss is not finite.
    """
    kernels.use_threads(torch.get_num_threads() if threads is None else threads)
    kernels.keep_memory()
    settings = run.training
    training, validation = run.source.split()
    streams = [stream(story, run.vocabulary) for story in training]
    checks = [stream(story, run.vocabulary) for story in validation]
    held = {s.key for s in checks}

    network, renaming = beginning(run)
    network = network.to(group.device)
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    position = Position(**group.lead_first(lambda: restore(run.folder, network, optimiser)) or {})
    if not group.same({"epoch": position.epoch, "batch": position.batch}):
        raise CheckpointError(
            f"the processes find different checkpoints in {str(run.folder)!r}; "
            "name a folder on a disk that all of them share"
        )
    objective = group.averaging(Objective(network, settings.clue_loss, settings.practice_loss))
    metrics = run.metrics[: position.epoch]
    if len(metrics) < position.epoch:
        raise incomplete(run.folder, f"epoch {position.epoch}")
    errors = metrics[-1]["training_errors"] if metrics else {}
    began = time.monotonic() - position.seconds
    saved = time.monotonic()

    with interruptible() as interrupted:
        while position.epoch < settings.epochs:
            random = np.random.default_rng([settings.seed, position.epoch])
            chance = settings.practice_at(position.epoch / settings.epochs)
            if position.epoch >= settings.first_rounded:
                round_as_exported(network)
                if position.epoch == settings.first_rounded and position.batch == 0:
                    position.best = math.inf  # as `Training.kept` has it
            names = renaming if position.epoch >= settings.rename_from * settings.epochs else {}
            told = chosen(streams, settings, errors, position.epoch / settings.epochs, random)
            renamed = [retold(s, names[s.task], held, random) if s.task in names else s for s in told]
            practised = [practise(s, run.vocabulary, chance, random) for s in renamed]
            plan = batches([len(s.kind) for s in practised], settings.events_per_batch, random)
            network.train()
            while position.batch < len(plan):
                torch.manual_seed(random_seed(settings.seed, position.epoch, position.batch, group.rank))
                done = (position.epoch + position.batch / len(plan)) / settings.epochs
                stories = [practised[i] for i in plan[position.batch]]
                part = group.part(stories)
                share = group.size * questions(part) / questions(stories)
                # a process that gets no story works along on the first one, which then counts for nothing
                batch = collate(part or stories[:1])
                sums = step(objective, optimiser, batch, settings, done, share)

                due = group.leads and time.monotonic() - saved > CHECKPOINT_SECONDS
                all_sums = group.sum({**sums, "stop": float(interrupted()), "save": float(due)})
                if not math.isfinite(all_sums["loss"]):
                    group.fail(
                        SettingsError(
                            f"the loss is {all_sums['loss']} in epoch {position.epoch + 1}, batch "
                            f"{position.batch + 1}; lower learning_rate ({settings.learning_rate})"
                        )
                    )
                for name in sums:
                    position.sums[name] = position.sums.get(name, 0.0) + all_sums[name]
                position.batch += 1
                position.seconds = time.monotonic() - began
                if group.leads:
                    report("batch", {"epoch": position.epoch, "done": done, "batch": position.batch,
                                     "batches": len(plan), **averages(position.sums)})  # fmt: skip
                if all_sums["stop"] or all_sums["save"]:
                    group.lead(lambda: save_checkpoint(run.folder, network, optimiser, asdict(position)))
                    saved = time.monotonic()
                if all_sums["stop"]:
                    raise Stopped(
                        f"stopped in epoch {position.epoch + 1}; the same command goes on from here"
                    )

            line = group.lead(lambda: _validate(run, network, checks, metrics, position, began))
            errors = training_errors(position.sums)
            position.epoch, position.batch, position.sums = position.epoch + 1, 0, {}
            group.lead(lambda: save_checkpoint(run.folder, network, optimiser, asdict(position)))
            saved = time.monotonic()
            if line is not None:
                report("epoch", line)


class Objective(nn.Module):
    """What training minimises: the mean over a batch's questions of their cross entropy, practice included.

    L = mean over questions of -log p(answer)
        + clue_weight * (practice questions / questions) * mean over practice questions of their clue loss
        + practice_weight * mean over practice questions of -log p(withheld word)
    """

    def __init__(self, network: SPMN, clue_weight: float, practice_weight: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.clue_weight, self.practice_weight = clue_weight, practice_weight

    def forward(self, batch: Events) -> Outcome:
        asked, practised = batch.kind == QUESTION, batch.kind == PRACTICE
        device = self.network.readout.weight.device  # copies wait for kernels: these come before the first
        target, withheld, born = (
            x.to(device) for x in (batch.target[asked], batch.target[practised], batch.born[practised])
        )
        activity = self.network(batch, record=False)
        logits = self.network.answer(activity, asked)
        loss = nn.functional.cross_entropy(logits, target)
        total, ratio = loss, len(withheld) / max(len(target), 1)
        if ratio and self.clue_weight:
            clues = clue_loss(self.network.clues(activity, practised), withheld, born)
            total = total + self.clue_weight * ratio * clues
        if ratio and self.practice_weight:
            words = self.network.complete(activity, practised)
            total = total + self.practice_weight * nn.functional.cross_entropy(words, withheld)
        rates = activity.stimulus.detach().mean((0, 2))[activity.sentence]
        return Outcome(total, loss.detach(), logits.detach().argmax(-1) != target, rates)


class Outcome(NamedTuple):
    """What comes out of a batch."""

    total: Tensor  # what is minimised
    loss: Tensor  # of the questions alone
    wrong: Tensor  # [questions] bool
    rates: Tensor  # [B, N], how often the encoder's neurons fire per step

    def sums(self, batch: Events) -> dict[str, float]:
        """For the progress display. Waits for the device, once."""
        asked, real = batch.kind == QUESTION, batch.kind >= 0
        found = torch.cat((self.loss[None], self.wrong.to(self.loss), self.rates.flatten())).cpu()
        loss, wrong, rates = torch.split(found, [1, len(self.wrong), real.numel()])
        tasks = batch.task[:, None].expand_as(asked)[asked]
        counts = [tasks.bincount(weights, len(TASKS) + 1)[1:] for weights in (wrong, None)]
        whole = float(loss) * len(wrong), float(rates[real.flatten()].sum()), float(real.sum())
        return dict(zip(SUMS, (*whole, *torch.cat(counts).tolist()), strict=True))


SUMS = ("loss", "spikes", "events", *(f"wrong {t}" for t in TASKS), *(f"asked {t}" for t in TASKS))


def step(
    objective: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Events,
    settings: Training,
    done: float,
    share: float = 1.0,
) -> dict[str, float]:
    """One gradient step at a share `done` of the training; sums for the progress display.

    `share` weights the batch where it is part of a larger one, whose other parts other processes hold: with
    P processes it is P times the part's share of the questions, so that averaging over the processes gives
    the gradient of the whole batch. A batch with share 0 is not counted in the sums.
    """
    set_learning_rate(optimiser, settings.peak(done), settings.cycle(done)[1], settings.warm_up)
    with kernels.products(settings.precision):
        outcome: Outcome = objective(batch)
        optimiser.zero_grad()
        torch.autograd.backward(share * outcome.total)
    nn.utils.clip_grad_norm_(objective.parameters(), settings.gradient_norm)
    optimiser.step()
    return outcome.sums(batch) if share else dict.fromkeys(SUMS, 0.0)


def chosen(
    streams: Sequence[Stream],
    settings: Training,
    errors: Mapping[str, float],
    done: float,
    random: np.random.Generator,
) -> list[Stream]:
    """Stories that an epoch at a share `done` of the training tells, how often depending on the
    `training_errors` of the last one."""
    if not (settings.focus or settings.repeat):
        return list(streams)
    events = Counter[int]()
    for s in streams:
        events[s.task] += len(s.kind)
    often = {task: settings.told(n, errors.get(str(task), 1.0), done) for task, n in events.items()}
    drawn = random.random(len(streams))
    told = [s for s, x in zip(streams, drawn, strict=True) for _ in range(int(often[s.task] + x))]
    return told or [streams[int(random.integers(len(streams)))]]


def questions(streams: Sequence[Stream]) -> int:
    """Ordinary questions in some stories."""
    return sum(int((s.kind == QUESTION).sum()) for s in streams)


def _validate(
    run: Run,
    network: SPMN,
    checks: Sequence[Stream],
    metrics: list[dict[str, Any]],
    position: Position,
    began: float,
) -> dict[str, Any]:
    """Score the network at the end of an epoch, keep it if none was better, and add the line to `metrics`."""
    network.eval()
    given = answer(network, checks)
    errors = given.errors(checks)
    clues = score_clues(network, checks)
    error = sum(errors.values()) / len(errors)
    position.seconds = time.monotonic() - began
    line = {
        "epoch": position.epoch + 1,
        "seconds": round(position.seconds, 2),
        **averages(position.sums),
        "error": error,
        "errors": {str(task): value for task, value in errors.items()},
        "training_errors": training_errors(position.sums),
        "content": clues.content,
        "content_chance": clues.content_chance,
        "age_error": clues.age,
        "age_chance": clues.age_chance,
        "rates": {name: round(rate, 4) for name, rate in given.rates.items()},
    }
    if error <= position.best:
        position.best = error
        save_tensors(run.folder / "network.safetensors", network.state_dict(), {"epoch": position.epoch + 1})
    metrics.append(line)
    run.write_metrics(metrics)
    return line


def clue_loss(clues: Clues, word: Tensor, born: Tensor) -> Tensor:
    """Loss of the content, time and confidence clues at retrieval-practice questions, given the withheld
    words and the clock of the statements that are meant, both [rows].

        - log sum_d w_d p_d(word) - log sum_d w_d p_d(high digit) p_d(low digit) + BCE(confidence_d, right_d)

    w = softmax over levels of the confidence logits: a level that recalls well earns the trust it is given.
    """
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


def training_errors(sums: dict[str, float]) -> dict[str, float]:
    """Error per task over the questions of this epoch, with dropout and before later steps."""
    asked = {task: sums[f"asked {task}"] for task in TASKS}
    return {str(task): round(sums[f"wrong {task}"] / n, 4) for task, n in asked.items() if n}


def averages(sums: dict[str, float]) -> dict[str, float]:
    """Loss and accuracy per question so far in this epoch, and the encoder's spike rate."""
    asked, wrong = (sum(sums[f"{name} {task}"] for task in TASKS) for name in ("asked", "wrong"))
    return {
        "loss": sums["loss"] / asked,
        "accuracy": 1 - wrong / asked,
        "encoder_rate": sums["spikes"] / sums["events"],
    }
