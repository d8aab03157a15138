"""Evaluation of a run by one runner, beside torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hardware.files import load as load_program
from hardware.program import Program
from hardware.runners import runner as named_runner
from spmn import pretrained
from spmn.data import digest, fingerprint, limited, unseen
from spmn.datasets.babi import Story
from spmn.errors import DataError, SettingsError
from spmn.evaluation import answer, score_clues
from spmn.events import stream
from spmn.export import MEMORY_BITS, export
from spmn.network import SPMN
from spmn.runners import answer_on
from spmn.runs import Run, open_run
from spmn.settings import refuse


@dataclass(frozen=True)
class Report:
    """What `spmn evaluate` prints."""

    runner: str
    split: str
    questions: dict[int, int]  # by task
    errors: dict[int, float]  # share of wrong answers, by task
    torch_errors: dict[int, float]  # of the float network on the same questions
    agreement: float  # share of answers equal to those of the float network
    rates: dict[str, float]  # mean spikes per neuron and step of an event, by population
    cost: dict[str, float]  # operations per question; empty where the runner does not count
    clues: dict[str, float]  # recall of the float network: content accuracy, median age error, chance levels

    @property
    def mean(self) -> float:
        return sum(self.errors.values()) / len(self.errors)

    @property
    def torch_mean(self) -> float:
        return sum(self.torch_errors.values()) / len(self.torch_errors)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "mean": self.mean, "torch_mean": self.torch_mean}


def stories_of(run: Run, data: str | None, split: Literal["valid", "test"]) -> list[Story]:
    """The stories of a split; `data` names the folder of official files, if not the run's own. Of a network
    of the package without `data`, generated ones that it was never told.

    Raises DataError where files are missing, or are not what a validation split was cut from.
    """
    if data is None and of_the_package(run):
        return [story for task in run.source.tasks for story in never_told(run.folder, task)]
    return run.source.test(folder=data or run.source.folder) if split == "test" else splits_of(run, data)[1]


def of_the_package(run: Run) -> bool:
    """Whether a run is a network of `spmn.pretrained`, whose training stories do not come with it."""
    return pretrained.HERE in run.folder.parents


def splits_of(run: Run, data: str | None) -> tuple[list[Story], list[Story]]:
    """Training and validation stories. Raises DataError where they are not what the run was trained on."""
    if data is None and of_the_package(run):
        raise DataError(
            "the stories of this network do not come with it: name the official files' folder, --data"
        )
    source = run.source if data is None else replace(run.source, folder=data)
    training, validation = source.split()
    if digest(training) != run.digest:
        raise DataError(
            f"the stories in {data or run.source.folder!r} are not those this run was trained on, so its "
            "validation stories cannot be told from its training stories; name the same folder"
        )
    return training, validation


def evaluate(
    folder: Any,
    data: str | None = None,
    split: Literal["valid", "test"] = "valid",
    runner: str = "torch",
    limit: int | None = None,
    memory_bits: int | None = None,
    program: Program | None = None,
) -> Report:
    """Answer the questions of a split (whole stories, up to `limit` questions per task) and score them; of a
    network of the package without `data` those of generated stories, and the split is called "generated".

    runner: "torch" for the float network; else one of `hardware.runners`, which runs `program`, or the
    network exported with `memory_bits` (6 if None).

    Raises CheckpointError and DataError where the run or its stories cannot be read, RunError for an unknown
    runner, SettingsError for options that do not go together and for the program of another network.
    """
    _check_runner(runner)
    named = None if program is None else repr(program.name)
    if runner == "torch":
        why = "goes with a runner of integers, such as --runner emulator"
        refuse(why, program=named, memory_bits=memory_bits)
    elif program is not None:
        refuse("goes without --program, which has its own", memory_bits=memory_bits)
    run = open_run(folder)
    network = run.trained()
    if program is not None:
        _check_program(program, network)
    stories = limited(stories_of(run, data, split), limit)
    if runner != "torch" and program is None:
        program = export(network, memory_bits=MEMORY_BITS if memory_bits is None else memory_bits)
    told = "generated" if data is None and of_the_package(run) else split
    return score(network, stories, told, runner, program)


def evaluate_pretrained(
    name: str,
    tasks: Sequence[int] | None = None,
    data: str | None = None,
    split: Literal["valid", "test"] = "test",
    runner: str = "torch",
    limit: int | None = None,
    report: Callable[[int, Report], None] = lambda task, scores: None,
) -> dict[int, Report]:
    """Score a set of `spmn.pretrained`, each network on its own task; `report` hears of each as it is done.

    data: the folder of official files. Without it the questions come from the built-in generator, and the
    split is called "generated": 1,000 per task; of task 4, which has only 7,680 stories, those that were set
    aside from training.

    Raises SettingsError for a set or task that does not exist, RunError for an unknown runner, DataError
    where files are missing, or where validation stories are asked for without their files.
    """
    _check_runner(runner)
    if data is None and split == "valid":
        raise DataError("validation stories are cut from the official training files: name them with --data")
    found: dict[int, Report] = {}
    for folder, own in pretrained.networks(name, tasks).items():
        run = open_run(folder)
        network = run.trained()
        program = None if runner == "torch" else load_program(folder / "program.h5")
        set_aside = stories_of(run, data, split) if split == "valid" else []
        for task in own:
            if data is None:
                stories = never_told(folder, task)
            elif split == "test":
                stories = replace(run.source, tasks=(task,)).test(folder=data)
            else:
                stories = [story for story in set_aside if story.task == task]
            told = "generated" if data is None else split
            found[task] = score(network, limited(stories, limit), told, runner, program)
            report(task, found[task])
    return found


def never_told(folder: Path, task: int) -> list[Story]:
    """Generated stories that a network of the package was never told."""
    held = pretrained.set_aside(folder, task)
    if held is None:
        return unseen(task, 1000, 0, set())
    distinct = {story.key: story for story in unseen(task, 10_000, 0, set())}
    return [story for story in distinct.values() if fingerprint(story) in held]


def _check_runner(name: str) -> None:
    if name != "torch":
        named_runner(name)


def _check_program(program: Program, network: SPMN) -> None:
    known, host = network.vocabulary, program.host
    readouts = {readout.name: readout.answers for readout in host.readouts} if host else {}
    if (
        host is None
        or (host.vocabulary, readouts.get("answer")) != (known.words, known.answers)
        or host.tokens.positions != known.length
    ):
        raise SettingsError(
            f"the program {program.name!r} reads other words, or gives other answers, than this run: "
            "give one that was exported from it (spmn export)"
        )


def score(
    network: SPMN, stories: Sequence[Story], split: str, runner: str, program: Program | None
) -> Report:
    """The report on some stories; `program` is what integer runners run."""
    streams = [stream(story, network.vocabulary) for story in stories]
    in_torch = answer(network, streams)
    given, cost = in_torch, dict[str, float]()
    if runner != "torch":
        assert program is not None
        given, counted = answer_on(runner, program, streams)
        cost = {} if counted is None else asdict(counted)
    questions: dict[int, int] = {}
    for story in stories:
        questions[story.task] = questions.get(story.task, 0) + len(story.questions)
    return Report(
        runner=given.runner,
        split=split,
        questions=dict(sorted(questions.items())),
        errors=given.errors(streams),
        torch_errors=in_torch.errors(streams),
        agreement=given.agreement(in_torch),
        rates=given.rates,
        cost=cost,
        clues=asdict(score_clues(network, streams)),
    )
