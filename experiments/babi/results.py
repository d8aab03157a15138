"""results.json: what every run of the twenty tasks reached, in float and as integers on the emulator.

One record per run. Everything that is written about these runs is made from this file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from spmn.data import limited
from spmn.datasets.babi import TASKS, Story
from spmn.export import export
from spmn.network import SPMN
from spmn.report import score, stories_of
from spmn.runs import Run, open_run
from spmn.settings import preset, to_dict
from spmn.warm_start import cuts

RESULTS = Path(__file__).with_name("results.json")
FLOOR = 0.05
"""bAbI's convention: a task is solved below this error."""
PINNED = {16: 1}
"""Task -> seed of networks with which others began, so that no later, better one may take their place: what
they have set aside must stay so."""
QUESTIONS = 1000
"""Generated validation questions that a run is scored on; of official ones all."""


@dataclass(frozen=True)
class Result:
    """One task of one run: errors are shares of wrong answers on its validation stories.

    A run that learnt several tasks together has a record for each; epochs, agreement, seconds, parameters
    and operations are then those of all of them.
    """

    task: int
    seed: int
    protocol: str  # "official", "official and generated" (extra stories for training) or "generated"
    epochs: int
    questions: int  # validation questions
    error: float  # torch, the weights that were kept (best epoch)
    last: float  # torch, last epoch
    chip: float  # emulator, integers of the weights kept
    agreement: float  # share of equal answers of torch and emulator
    seconds: float  # of training, one thread of a shared machine
    parameters: int
    spikes: float  # per question, emulator
    synaptic_operations: float
    plastic_updates: float
    curve: tuple[float, ...]  # validation error by epoch, torch
    training: tuple[float, ...]  # training error by epoch, dropout and practice included
    changed: str = ""  # settings that are not those of the task's recipe: "practice 0.0, epochs 40"
    together: int = 1  # tasks that the run learnt together

    @property
    def key(self) -> tuple[int, int, bool, str, int, int]:
        """What tells records apart: task, how many were learnt together, if official files were read,
        settings not of the recipe, seed, epochs."""
        official = self.protocol != "generated"
        return self.task, self.together, official, self.changed, self.seed, self.epochs

    @property
    def official(self) -> bool:
        """By the recipe, on the official training stories (topped up where they could not all be had)."""
        return not self.changed and self.protocol != "generated"


def changed(run: Run) -> str:
    """Settings of a run that are not those of its task's recipe, and tasks whose validation stories are not
    those that its warm start's networks set aside, as their records have it now.

    Stories, and for how long they are read, are free where all are generated.
    """
    tasks = run.source.tasks
    recipe = preset("single" if len(tasks) == 1 else "joint", tasks)
    known = {**to_dict(recipe.network), **to_dict(recipe.training)}
    own = {**to_dict(run.network), **to_dict(run.training)}
    free = {"seed"} if run.source.folder else {"seed", "epochs", "cycles", "stories"}
    told = [f"{name} {value}" for name, value in own.items() if known[name] != value and name not in free]
    cut = {task: seed for task, seed in run.source.cuts if task in tasks}
    held = cuts(run.training.warm_start) if cut else {}
    told += [f"task {task} cut by seed {seed}" for task, seed in cut.items() if held.get(task) != seed]
    return ", ".join(told)


def measure(run: Run) -> list[Result]:
    """Score a finished run on the validation stories of its tasks. Raises CheckpointError where there is
    none."""
    source = run.source
    topped = set(source.tasks if source.extra and source.folder else source.missing)
    network = halved(run.trained())
    protocol = "generated" if source.folder is None else "official"
    validation = limited(set_aside(run), QUESTIONS if protocol == "generated" else None)
    report = score(network, validation, "valid", "emulator", export(network))
    return [
        Result(
            task=task,
            seed=run.training.seed,
            protocol="official and generated" if task in topped else protocol,
            epochs=run.training.epochs,
            questions=report.questions[task],
            error=report.torch_errors[task],
            last=curve(run, task)[-1],
            chip=report.errors[task],
            agreement=report.agreement,
            seconds=run.metrics[-1]["seconds"],
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            spikes=report.cost["spikes"],
            synaptic_operations=report.cost["synaptic_operations"],
            plastic_updates=report.cost["plastic_updates"],
            curve=curve(run, task),
            training=tuple(
                line["training_errors"][str(task)]
                if "training_errors" in line
                else round(1 - line["accuracy"], 5)
                for line in run.metrics
            ),
            changed=changed(run),
            together=len(source.tasks),
        )
        for task in source.tasks
    ]


def set_aside(run: Run, data: str | None = None) -> list[Story]:
    """Validation stories of a run that were also set aside from all networks that its warm start comes from.

    As their records have it now: that of task 8's network once named another cut of task 2, and runs that
    began with it were trained while it did. `data`: the folder of official files, if not the run's own.
    """
    source = replace(run.source, cuts=tuple(sorted(cuts(run.training.warm_start).items())))
    others = source if data is None else replace(source, folder=data)
    held = {story.key for story in others.split()[1]}
    return [story for story in stories_of(run, data, "valid") if story.key in held]


def halved(network: SPMN) -> SPMN:
    """The network with its weights rounded to half precision, in which it is shipped."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())
    return network


def finished(folders: Iterable[Path]) -> list[Run]:
    """The finished runs of one task or of all among these folders and the folders in them."""
    runs = []
    for folder in folders:
        for path in [folder, *sorted(folder.iterdir())]:
            if (path / "run.json").exists():
                run = open_run(path)
                known = len(run.source.tasks) in (1, len(TASKS))
                if known and len(run.metrics) >= run.training.epochs:
                    runs.append(run)
    return runs


def keys(run: Run) -> list[tuple[int, int, bool, str, int, int]]:
    """What tells records apart, as `Result.key` has it."""
    official, how = run.source.folder is not None, run.training
    of_all = len(run.source.tasks), official, changed(run), how.seed, how.epochs
    return [(task, *of_all) for task in run.source.tasks]


def curve(run: Run, task: int) -> tuple[float, ...]:
    """Validation error by epoch: two trainings do not have the same."""
    if run.source.tasks == (task,):
        return tuple(line["error"] for line in run.metrics)
    return tuple(line["errors"][str(task)] for line in run.metrics)


def alone(results: Iterable[Result]) -> list[Result]:
    """Those of networks for one task."""
    return [result for result in results if result.together == 1]


def kept(results: Sequence[Result]) -> list[Result]:
    """Of each task the network that is shipped for it alone: of the official ones that whose larger error
    (float or integers) is smallest, the lowest seed among equals; but that of PINNED where it is named."""
    official = [result for result in alone(results) if result.official]
    return [
        min(
            (r for r in official if r.task == task),
            key=lambda r: (r.seed != PINNED.get(task, r.seed), max(r.error, r.chip), r.seed),
        )
        for task in sorted({r.task for r in official})
    ]


def joint(results: Sequence[Result]) -> dict[int, list[Result]]:
    """The official runs for all twenty tasks together, by seed, the one that is shipped first: it leaves the
    fewest tasks unsolved and, among equals, has the smallest mean error; of each task the larger error counts
    (float or integers)."""
    runs: dict[int, list[Result]] = {}
    for result in results:
        if result.official and result.together == len(TASKS):
            runs.setdefault(result.seed, []).append(result)

    def worth(seed: int) -> tuple[int, float, int]:
        larger = [max(r.error, r.chip) for r in runs[seed]]
        return sum(error >= FLOOR for error in larger), sum(larger) / len(larger), seed

    return {seed: runs[seed] for seed in sorted(runs, key=worth)}


def interval(error: float, questions: int) -> tuple[float, float]:
    """95 % interval of a share from so many questions (Wilson 1927), as if they were independent."""
    z, n = 1.959964, questions
    centre = (error + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(error * (1 - error) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
