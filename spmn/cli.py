"""The command line `spmn`: each command is a thin layer over functions that Python users call themselves."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from hardware.errors import HardwareError
from spmn import data_cli, program_cli, stage_cli
from spmn.errors import SettingsError, SpmnError, Stopped
from spmn.pretrained import located
from spmn.progress import progress
from spmn.settings import refuse
from spmn.stage_cli import MemoryBits, Threads
from spmn.terminal import console, plain, table, typed

app = typer.Typer(
    help="A spiking memory network: train it, look into it, run it as integers on a chip emulator.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
train_app = typer.Typer(help="Train a network.", no_args_is_help=True)
sweep_app = typer.Typer(help="Train one network per task and seed.", no_args_is_help=True)
app.add_typer(train_app, name="train")
app.add_typer(data_cli.app, name="data")
app.add_typer(sweep_app, name="sweep")
for command in (program_cli.info, program_cli.run, program_cli.fits, program_cli.conform):
    app.command()(command)
train_app.command("similarity")(stage_cli.train_similarity)
train_app.command("timeline")(stage_cli.train_timeline)
app.command()(stage_cli.similar)

Tasks = Annotated[str, typer.Option(help="bAbI tasks, such as 1,2,15 or 1-3.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of official bAbI files, such as en-10k.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting other than the preset's, such as depth=2."),
]
RUN: Any = typer.Argument(metavar="RUN", help="Folder of a training run, or a name like babi/16.")
RunFolder = Annotated[Path, RUN]


@train_app.command("babi")
def train_babi(
    tasks: Annotated[
        str | None,
        typer.Option(help="bAbI tasks, such as 1,2,15 or 1-3. [default: 1; all with the preset joint]"),
    ] = None,
    data: DataFolder = None,
    preset: Annotated[str, typer.Option(help="Settings to start from; a wrong name lists them.")] = "default",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training stories.")] = None,
    changes: Changes = None,
    seed: Annotated[int, typer.Option(help="Of weights, batches and generated stories.")] = 0,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where torch computes.")] = "cpu",
    threads: Threads = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; a stopped run in it goes on.")] = None,
) -> None:
    """Train on bAbI question answering; the same command goes on after an interruption.

    On several processes: torchrun --standalone --nproc-per-node 2 -m spmn train babi ...
    """
    from spmn import parallel, plots, training
    from spmn.datasets.babi import parse_tasks

    parallel.check_device(device)
    if tasks is None:
        tasks = "1-20" if preset == "joint" else "1"
    source, chosen = training.babi(parse_tasks(tasks), data, preset, epochs, seed, changes or ())
    folder = out or Path("runs") / f"babi-{tasks.replace(',', '_')}-{preset}-seed{seed}"
    with parallel.joined(device) as group:
        console.quiet = not group.leads
        run = group.lead_first(lambda: training.start(folder, source, chosen))
        processes = "" if group.size == 1 else f", {group.size} processes"
        console.print(
            f"run {folder}: tasks {tasks}, {_origin(source)}, preset {preset}, seed {seed}, "
            f"device {device}{processes}"
        )
        if not run.metrics:
            console.print("the first step compiles the CPU kernels, once per machine")
        try:
            with progress(console) as bar:
                shown = bar.add_task("", total=1.0)

                def report(kind: str, values: dict[str, Any]) -> None:
                    if kind == "batch":
                        bar.update(
                            shown,
                            completed=values["done"],
                            description=f"epoch {values['epoch'] + 1}/{run.training.epochs} "
                            f"loss {values['loss']:.3f} accuracy {values['accuracy']:.1%} "
                            f"spike rate {values['encoder_rate']:.2f}",
                        )
                    else:
                        bar.console.print(_epoch_line(values))

                training.train(run, group, threads, report)
                bar.update(shown, completed=1.0)
        finally:
            if group.leads and run.metrics:
                plots.learning_curves(run.metrics, run.folder / "curves.png", str(folder))
        if best := run.kept:
            console.print(
                f"best epoch {best['epoch']}: validation error {best['error']:.2%}; "
                f"next: spmn evaluate {folder}"
            )


@sweep_app.command("babi")
def sweep_babi(
    tasks: Tasks = "1",
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0-2 or 0,7.")] = "0-2",
    data: DataFolder = None,
    preset: Annotated[str, typer.Option(help="Settings to start from; a wrong name lists them.")] = "default",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training stories.", min=1)] = None,
    changes: Changes = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs at a time; without it, as fit the cores.", min=1)
    ] = None,
    threads_per_job: Annotated[int, typer.Option(help="CPU threads of each run.", min=1)] = 1,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where torch computes.")] = "cpu",
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/sweep"),
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster to run on, or auto.")] = None,
) -> None:
    """Tasks times seeds as independent runs; the same command goes on after an interruption."""
    from rich.live import Live

    from hardware.emulator import cores
    from spmn import sweep
    from spmn.datasets.babi import parse_tasks

    folder = out.absolute()
    planned = [
        sweep.Job(
            task,
            seed,
            folder / f"task{task}-seed{seed}",
            preset,
            epochs,
            data,
            device,
            threads_per_job,
            tuple(changes or ()),
        )
        for task in parse_tasks(tasks)
        for seed in sweep.parse_seeds(seeds)
    ]
    for job in planned:
        job.look()  # what cannot be trained is refused before a table is shown
    start = sweep.Process if ray is None else sweep.Cluster(ray).start
    room = cores() // threads_per_job if ray is None else len(planned)
    try:
        with Live(_sweep_table(planned), console=console) as live:
            sweep.run(
                planned,
                folder / "sweep.json",
                start,
                max(room, 1) if jobs is None else jobs,
                lambda jobs: live.update(_sweep_table(jobs)),
            )
    finally:
        errors_by_task = table(
            "task", "seeds", "mean error", "min", "max", "mean time", title=f"{out}: validation error"
        )
        for task, of in sweep.summary(planned).items():
            errors = (f"{of[name]:.2%}" for name in ("mean", "min", "max"))
            errors_by_task.add_row(str(task), f"{of['seeds']:.0f}", *errors, f"{of['seconds']:.0f} s")
        console.line(0 if console.is_terminal else 1)  # elsewhere Live leaves its line open
        console.print(errors_by_task)
    if failed := [job for job in planned if job.state == sweep.FAILED]:
        for job in failed:
            console.print(f"{job.folder.name} failed: {job.reason}")
        raise SpmnError(
            f"{len(failed)} of {len(planned)} runs failed, see {out}/*.log; the same command tries them again"
        )


def _sweep_table(jobs: Any) -> Table:
    order = ("running", "failed", "stopped", "waiting", "done")
    counts = [f"{n} {state}" for state in order if (n := sum(job.state == state for job in jobs))]
    states = table("run", "state", "epochs", "best epoch's error", "time", caption=", ".join(counts))
    for job in sorted(jobs, key=lambda job: order.index(job.state)):
        error = "" if job.error is None else f"{job.error:.2%}"
        epochs = f"{len(job.metrics)}/{job.length}"
        states.add_row(job.folder.name, job.state, epochs, error, f"{job.seconds:.0f} s")
    return states


@app.command()
def evaluate(
    run: Annotated[Path | None, RUN] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Score a set of networks that come with this package, such as babi.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="With --pretrained: tasks such as 1,16 or 1-20.")] = None,
    data: DataFolder = None,
    split: Annotated[
        Literal["valid", "test"] | None,
        typer.Option(help="Stories to ask about. [default: valid; test with --pretrained]"),
    ] = None,
    runner: Annotated[
        str,
        typer.Option(help="torch (float), or integers: emulator, exact, reference, lava, lava-models."),
    ] = "torch",
    limit: Annotated[int | None, typer.Option(help="Questions per task, in whole stories.", min=1)] = None,
    memory_bits: Annotated[
        int | None, typer.Option(help="Bits of the plastic memory on the chip. [default: 6]", min=2, max=8)
    ] = None,
    program: Annotated[
        Path | None, typer.Option(help="Run this program (.h5) instead of exporting the network.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Error per task, spike rates, and agreement with torch."""
    from hardware.files import load
    from spmn.report import evaluate as score

    folder = None if data is None else str(data)
    if (run is None) == (pretrained is None):
        raise SettingsError("name either a RUN folder or --pretrained SET, such as --pretrained babi")
    if run is None:
        assert pretrained is not None
        refuse(
            "goes with a RUN; --pretrained runs the programs that come with it",
            program=program,
            memory_bits=memory_bits,
        )
        _evaluate_pretrained(pretrained, tasks, folder, split or "test", runner, limit, as_json)
        return
    refuse("goes with --pretrained; a run is scored on its own tasks", tasks=tasks)
    loaded = None if program is None else load(program)
    report = score(located(run), folder, split or "valid", runner, limit, memory_bits, loaded)
    if as_json:
        print(json.dumps(report.to_dict(), indent=1))
        return
    errors = Table(title=f"{run}: {report.split} stories, runner: {report.runner}")
    for column in ("task", "questions", "error", "error of torch"):
        errors.add_column(column, justify="right")
    for task, error in report.errors.items():
        errors.add_row(
            str(task), str(report.questions[task]), f"{error:.2%}", f"{report.torch_errors[task]:.2%}"
        )
    errors.add_row(
        "mean",
        str(sum(report.questions.values())),
        f"{report.mean:.2%}",
        f"{report.torch_mean:.2%}",
        style="bold",
    )
    console.print(errors)
    console.print(f"agreement with torch: {report.agreement:.2%}")
    if report.cost:
        low, high = report.cost["low_energy"], report.cost["high_energy"]
        counted = [
            f"{value:,.0f} {name.replace('_', ' ')}"
            for name, value in report.cost.items()
            if not name.endswith("energy")
        ]
        console.print(f"per question: {', '.join(counted)}")
        console.print(f"energy per question, estimated with Loihi 1 constants: {low:,.1f} to {high:,.1f} uJ")
    console.print(
        "recall (torch, practice questions): content {content:.1%} (chance {content_chance:.1%}), "
        "median age error {age:.2f} events (chance {age_chance:.2f})".format(**report.clues)
    )
    rates = Table(title=f"spikes per neuron and step of an event, runner: {report.runner}")
    rates.add_column("population")
    rates.add_column("rate", justify="right")
    for name, rate in report.rates.items():
        rates.add_row(name, f"{rate:.4f}")
    console.print(rates)


def _evaluate_pretrained(
    name: str,
    tasks: str | None,
    data: str | None,
    split: Literal["valid", "test"],
    runner: str,
    limit: int | None,
    as_json: bool,
) -> None:
    from spmn.datasets.babi import parse_tasks
    from spmn.report import evaluate_pretrained

    with progress(plain(stderr=True), transient=True) as bar:
        shown = bar.add_task("", total=None)

        def scored(task: int, report: Any) -> None:
            bar.update(shown, description=f"task {task}: error {report.errors[task]:.2%}")

        reports = evaluate_pretrained(
            name, None if tasks is None else parse_tasks(tasks), data, split, runner, limit, scored
        )
    mean = sum(report.mean for report in reports.values()) / len(reports)
    torch_mean = sum(report.torch_mean for report in reports.values()) / len(reports)
    if as_json:
        each = {str(task): report.to_dict() for task, report in reports.items()}
        print(
            json.dumps({"pretrained": name, "mean": mean, "torch_mean": torch_mean, "tasks": each}, indent=1)
        )
        return
    first = next(iter(reports.values()))
    errors = Table(title=f"pretrained {name}: {first.split} stories, runner: {first.runner}")
    for column in (
        "task",
        "questions",
        "error",
        "error of torch",
        "equal answers",
        "operations per question",
    ):
        errors.add_column(column, justify="right")
    for task, report in reports.items():
        operations = f"{report.cost['synaptic_operations']:,.0f}" if report.cost else ""
        scores = (report.errors[task], report.torch_errors[task], report.agreement)
        errors.add_row(
            str(task), str(report.questions[task]), *(f"{score:.2%}" for score in scores), operations
        )
    errors.add_row("mean", "", f"{mean:.2%}", f"{torch_mean:.2%}", style="bold")
    console.print(errors)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Program file to write.")] = Path("program.h5"),
    memory_bits: MemoryBits = 6,
) -> None:
    """Write the trained network as an integer program for the chip (HDF5)."""
    from hardware.files import save
    from spmn.export import export as to_program
    from spmn.runs import open_run

    opened = open_run(located(run))
    program = to_program(
        opened.trained(),
        memory_bits=memory_bits,
        attributes={"tasks": str(opened.source.tasks), "run": opened.folder.name},
    )
    save(program, out)
    console.print(f"wrote {out}: {program_cli.summary(program)}; next: spmn info {out}")


@app.command()
def finetune(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Program file to write.")] = Path("tuned.h5"),
    stories: Annotated[int, typer.Option(help="Training stories to learn from, of all tasks.", min=1)] = 400,
    epochs: Annotated[int, typer.Option(help="Passes over them.", min=1)] = 3,
    learning_rate: Annotated[float, typer.Option(help="In steps of the integer weights.")] = 0.5,
    memory_bits: MemoryBits = 6,
    data: DataFolder = None,
    seed: Annotated[int, typer.Option(help="Of the order of the stories.")] = 0,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where torch computes.")] = "cpu",
) -> None:
    """Train the exported integers on the chip's own arithmetic; writes the best program."""
    from hardware.files import save
    from spmn.events import stream
    from spmn.export import export as to_program
    from spmn.finetune import BATCH, check
    from spmn.finetune import finetune as tune
    from spmn.report import splits_of
    from spmn.runs import open_run

    check(epochs, learning_rate, BATCH, seed, device)
    opened = open_run(located(run))
    training, validation = (
        [stream(story, opened.vocabulary) for story in split]
        for split in splits_of(opened, None if data is None else str(data))
    )
    count = min(stories, len(training))
    chosen = [training[i * len(training) // count] for i in range(count)]  # they are in the order of tasks
    attributes = {
        "tasks": str(opened.source.tasks),
        "run": opened.folder.name,
        "fine-tuned": f"{len(chosen)} stories",
    }
    program = to_program(opened.trained(), memory_bits=memory_bits, attributes=attributes)
    console.print(f"every story runs step by step: {len(chosen)} stories, {epochs} epochs, runner: exact")

    found: list[Any] = []  # scores on held-out stories, by epoch

    def report(epoch: int, trained: Any, held_out: Any) -> None:
        found.append(held_out)
        learnt = f"training loss {trained.loss:.3f}, {trained.errors:.2%} wrong; " if trained else ""
        console.print(
            f"epoch {epoch}: {learnt}{held_out.errors:.2%} of all validation questions wrong, "
            f"loss {held_out.loss:.3f}"
        )

    best = tune(program, chosen, validation, epochs, learning_rate, seed=seed, device=device, report=report)
    save(best, out)
    kept = found.index(min(found))
    console.print(f"kept: epoch {kept}" if kept else "no epoch is better than the export, which is kept")
    console.print(f"wrote {out}; next: spmn evaluate {run} --runner emulator --program {out}")


@app.command()
def ask(run: RunFolder) -> None:
    """Type sentences and questions; see the answer, what was recalled, and from which sentence."""
    from spmn.dialogue import Dialogue
    from spmn.runs import open_run

    opened = open_run(located(run))
    dialogue = Dialogue(opened.trained())
    words = " ".join(dialogue.network.vocabulary.words[2:])
    console.print(
        f"words: {words}\na line with ? asks, 'forget' empties the memory, an empty line ends; runner: torch"
    )
    console.print(
        f"it learnt stories like those of bAbI's {_named(opened.source.tasks)}; about others, such as much "
        "shorter ones, it may say anything"
    )
    for epoch in opened.metrics[-1:]:
        console.print(
            f"what the surest level recalls is right in {epoch['content']:.0%} of practice questions "
            "(recipes without retrieval practice do not train it)"
        )
    for line in typed():
        if not line:
            break
        if line == "forget":
            dialogue = Dialogue(dialogue.network)
            continue
        try:
            found = dialogue.say(line)
        except SpmnError as problem:
            console.print(str(problem), style="red")
            continue
        if found is None:
            continue
        console.print(f"{found.answer} ({found.probability:.0%})", style="bold")
        if not found.influence:
            console.print("  a guess: nothing is stored")
            continue
        for number, weight in sorted(found.influence.items(), key=lambda item: -abs(item[1]))[:3]:
            console.print(f"  {weight:+.1f} log-odds from: {number + 1} {dialogue.lines[number]}")
        for level, clue in enumerate(found.recalls, 1):
            about = clue.event + 1
            console.print(
                f"  level {level}: {clue.word!r} of about line {about:.1f}, {clue.confidence:.0%} sure"
            )


@app.command()
def plot(
    run: Annotated[Path | None, RUN] = None,
    story: Annotated[
        int | None, typer.Option(help="Number of a validation story, from 0. [default: 0]", min=0)
    ] = None,
    data: DataFolder = None,
    stdp: Annotated[bool, typer.Option("--stdp", help="Draw the STDP window of every rule.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures.")] = None,
) -> None:
    """Draw spikes, memory and recall of a story, the STDP windows, or both, as PNG."""
    from spmn import plots
    from spmn.report import stories_of
    from spmn.runs import open_run

    if run is None:
        refuse("goes with a RUN, whose stories are plotted", story=story, data=data)
        if not stdp:
            raise SettingsError("name a RUN to plot a story of, or use --stdp")
        console.print(f"wrote {plots.stdp((out or Path('.')) / 'stdp.png')}")
        return
    opened, number = open_run(located(run)), story or 0
    stories = stories_of(opened, None if data is None else str(data), "valid")
    if number >= len(stories):
        raise SettingsError(f"--story {story}: there are {len(stories)} validation stories, from 0")
    # nothing is drawn into the package
    beside = run if opened.folder == run else Path("runs") / "-".join(run.parts)
    if stdp:
        console.print(f"wrote {plots.stdp((out or beside) / 'stdp.png')}")
    network, folder = opened.trained(), out or beside / f"story{number}"
    for name in ("raster", "memory", "recall"):
        console.print(f"wrote {getattr(plots, name)(network, stories[number], folder / f'{name}.png')}")


@app.command()
def doctor() -> None:
    """What is installed, which runners and devices can be used, and how to get what is missing."""
    from spmn.doctor import examine

    findings = table("what", "usable", "detail")
    for finding in examine():
        findings.add_row(finding.name, "yes" if finding.usable else "no", finding.detail)
    console.print(findings)


def main() -> None:
    """Entry point: every error of ours is one line on standard error and exit code 1."""
    try:
        app()
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        _fail("this command needs torch: pip install torch; info, run, fits and conform work without it", 1)
    except (SpmnError, HardwareError) as problem:
        _fail(str(problem), 1)
    except Stopped as stopped:
        _fail(str(stopped), 130)
    except KeyboardInterrupt:
        _fail("interrupted; nothing half-written is left", 130)
    except (MemoryError, RuntimeError) as problem:
        if isinstance(problem, RuntimeError) and "allocate" not in str(problem):
            raise
        reason = str(problem).partition("\n")[0]
        _fail(f"out of memory ({reason}); use smaller sizes or batches (--set events_per_batch=...)", 1)
    except OSError as problem:
        _fail(f"{problem.strerror or problem}: {problem.filename or ''}; check the disk and the path", 1)


def _fail(message: str, code: int) -> None:
    plain(stderr=True).print(f"spmn: {message}", highlight=False)
    sys.exit(code)


def _named(tasks: Sequence[int]) -> str:
    """Tasks as they are printed: "task 1", "tasks 1 to 20", "tasks 1, 15"."""
    if len(tasks) == 1:
        return f"task {tasks[0]}"
    whole = tuple(tasks) == tuple(range(tasks[0], tasks[-1] + 1))
    return f"tasks {tasks[0]} to {tasks[-1]}" if whole else f"tasks {', '.join(map(str, tasks))}"


def _origin(source: Any) -> str:
    if not source.folder:
        return f"{source.questions} generated questions per task"
    filled = (f"and {n:,} generated questions of task {task}" for task, n in source.missing.items())
    return " ".join(
        (
            f"data {source.folder}",
            *([f"and {source.extra} more, generated"] if source.extra else []),
            *filled,
        )
    )


def _epoch_line(values: dict[str, Any]) -> str:
    errors = ", ".join(f"task {task} {error:.2%}" for task, error in values["errors"].items())
    return (
        f"epoch {values['epoch']}: loss {values['loss']:.3f}, validation error {errors}; "
        f"content {values['content']:.0%}, age error {values['age_error']:.1f} events; "
        f"{values['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
