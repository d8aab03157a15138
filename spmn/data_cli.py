"""Commands for data files: generate them, fetch the official ones, check either. They need no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from spmn.errors import DataError, SettingsError
from spmn.terminal import console, table

app = typer.Typer(help="Generate, fetch and check data files.", no_args_is_help=True)

Tasks = Annotated[str, typer.Option(help="bAbI tasks, such as 1,2,15 or 1-20.")]


@app.command()
def babi(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("data"),
    tasks: Tasks = "1",
    seed: Annotated[int, typer.Option(help="Same seed, same files.", min=0)] = 0,
    train: Annotated[int, typer.Option(help="Training questions per task.", min=1)] = 10_000,
    test: Annotated[
        int, typer.Option(help="Test questions per task, of stories not in training.", min=1)
    ] = 1000,
    before: Annotated[
        int, typer.Option(help="Statements before a story's first question (tasks 1-3, 5-8).", min=0)
    ] = 0,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch and unpack the official files instead.")
    ] = False,
    url: Annotated[str | None, typer.Option(help="Another address of the official archive.")] = None,
) -> None:
    """Write generated stories under the official file names, or fetch the official files.

    A download that broke off goes on with the same command.
    """
    given = [name for name in ("tasks", "seed", "train", "test", "before") if _was_given(context, name)]
    if download and given:
        raise SettingsError(f"--download takes the whole archive: leave out --{given[0]}")
    if url is not None and not download:
        raise SettingsError(f"--url {url!r} says where to fetch from: add --download")
    if download:
        _fetch(out, url)
    else:
        _generate(out, tasks, seed, train, test, before)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of bAbI files, official or not.")],
) -> None:
    """Recompute every answer and support of all bAbI files in a folder from the statements alone."""
    from spmn.datasets import babi, checker, download

    files = [
        (task, split, folder / babi.file_name(task, split))
        for task in babi.TASKS
        for split in ("train", "test")
    ]
    if not any(path.exists() for *_, path in files):
        raise DataError(
            f"no bAbI file in {str(folder)!r}: name a folder with files such as {files[0][2].name}"
        )
    tallies = table("file", "stories", "questions", "wrong text", "answer", "support", "official")
    published = set(download.published().values())
    wrong, first = 0, ""
    for task, split, path in files:
        if not path.exists():
            continue
        stories = babi.read(path, task)
        tally = checker.check(stories)
        counts = (len(stories), tally.questions, tally.sentences, tally.answers, tally.supports)
        known = "yes" if download.digest_of(path) in published else ""
        tallies.add_row(f"{task} {split}", *map(str, counts), known)
        wrong += tally.faults
        if tally.first is not None and not first:
            first = f"{path}: {tally.first[1]}"
    console.print(tallies)
    console.print("official: byte for byte a published file whose sha256 is known")
    if wrong:
        raise DataError(f"{wrong} wrong lines: correct the files or fetch them anew; the first is in {first}")


def _generate(out: Path, tasks: str, seed: int, train: int, test: int, before: int) -> None:
    from spmn.data import unseen
    from spmn.datasets.babi import file_name, parse_tasks, write
    from spmn.datasets.generator import generate

    chosen_tasks = parse_tasks(tasks)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise DataError(f"cannot create {str(out)!r}: {problem.strerror}; name a writable folder") from None
    for task in chosen_tasks:  # refused now, not when half of them are written
        generate(task, 0, seed, before)
    for task in chosen_tasks:
        training = generate(task, train, seed, before)
        seen = {story.key for story in training}
        stories = {"train": training, "test": unseen(task, test, seed, seen, before)}
        for split, chosen in stories.items():
            path = out / file_name(task, split)
            write(path, chosen)
            questions = sum(len(story.questions) for story in chosen)
            console.print(f"wrote {path}: {questions} questions")


def _fetch(out: Path, url: str | None) -> None:
    from spmn.datasets.babi import URL
    from spmn.datasets.download import download, published

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task("archive", total=None)
        unpacked = download(
            out, url or URL, lambda arrived, total: bar.update(shown, completed=arrived, total=total)
        )
    console.print(
        f"unpacked {unpacked.files} files in {unpacked.folder}, {unpacked.verified} of the "
        f"{len(published())} with a known sha256; next: spmn data check {unpacked.folder / 'en-10k'}",
    )


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
