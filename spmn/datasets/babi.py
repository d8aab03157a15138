"""The bAbI question answering tasks (Weston et al. 2015, arXiv:1502.05698): stories, files, validation data.

A file is a run of stories. A line is `NUMBER SENTENCE`, numbered from 1 within its story; a question adds its
answer and the numbers of the lines that support it: `NUMBER SENTENCE<TAB>ANSWER<TAB>NUMBER NUMBER ...`.
What is read is written back byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from hardware.atomic import atomic
from spmn.errors import DataError, SettingsError

TASKS: dict[int, str] = {
    1: "single-supporting-fact",
    2: "two-supporting-facts",
    3: "three-supporting-facts",
    4: "two-arg-relations",
    5: "three-arg-relations",
    6: "yes-no-questions",
    7: "counting",
    8: "lists-sets",
    9: "simple-negation",
    10: "indefinite-knowledge",
    11: "basic-coreference",
    12: "conjunction",
    13: "compound-coreference",
    14: "time-reasoning",
    15: "basic-deduction",
    16: "basic-induction",
    17: "positional-reasoning",
    18: "size-reasoning",
    19: "path-finding",
    20: "agents-motivations",
}
"""Task number -> name, as the official files are named."""

URL = "https://s3.amazonaws.com/text-datasets/babi_tasks_1-20_v1-2.tar.gz"
"""The archive of the official files, v1.2."""

_SOURCE = f"bAbI tasks v1.2 (`spmn data babi --download`, or {URL})"
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_TASK_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?")


@dataclass(frozen=True, slots=True)
class Line:
    """One numbered line of a story: a statement, or a question with its answer.

    `text` is the sentence exactly as in the file (a question may end in "? "), `number` counts from 1 within
    the story, `support` names the lines that the answer rests on, in the order of the file.
    """

    number: int
    text: str
    answer: str | None = None
    support: tuple[int, ...] = ()

    @property
    def is_question(self) -> bool:
        """Whether the line asks for an answer."""
        return self.answer is not None

    @property
    def words(self) -> tuple[str, ...]:
        """The words in lower case, without `.` and `?`."""
        return tuple(self.text.lower().replace(".", " ").replace("?", " ").split())

    def __str__(self) -> str:
        """The line as it stands in a file, without the line end."""
        if self.answer is None:
            return f"{self.number} {self.text}"
        return f"{self.number} {self.text}\t{self.answer}\t{' '.join(map(str, self.support))}"


@dataclass(frozen=True, slots=True)
class Story:
    """Statements and the questions between them; independent of every other story."""

    task: int
    lines: tuple[Line, ...]

    @property
    def questions(self) -> tuple[Line, ...]:
        """The lines that ask, in order."""
        return tuple(line for line in self.lines if line.is_question)

    @property
    def key(self) -> str:
        """What two stories share exactly when they are the same: all their lines as text."""
        return format_story(self)


def parse_tasks(text: str) -> tuple[int, ...]:
    """Task numbers named by a list such as `1-3,15`, each once, in the order of the list.

    Raises DataError for anything else and for tasks that do not exist.
    """
    tasks: list[int] = []
    for part in text.split(","):
        match = _TASK_RANGE.fullmatch(part)
        if match is None:
            raise DataError(f"{part!r} in {text!r} is no task number: write tasks as in '1-3,15'")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= len(TASKS):
            raise DataError(
                f"{part!r} in {text!r} names no tasks: they run from 1 to {len(TASKS)}, ranges upwards"
            )
        tasks.extend(range(first, last + 1))
    return tuple(dict.fromkeys(tasks))


def read(path: Path | str, task: int) -> list[Story]:
    """All stories of one file, which holds `task`.

    Raises DataError, with the file and the line, where the file is missing, unreadable or breaks the format.
    """
    _check_task(task)
    path = Path(path)
    stories: list[list[Line]] = []
    for at, row in enumerate(_rows(path), start=1):
        try:
            line = _parse(row)
            if line.number == 1:
                stories.append([])
            _check_place(line, stories[-1] if stories else [])
        except DataError as problem:
            raise DataError(f"{path}, line {at}: {problem}; correct it or fetch the file anew") from None
        stories[-1].append(line)

    start = 1
    for lines in stories:
        if not any(line.is_question for line in lines):
            raise DataError(f"{path}, line {start}: the story that starts here asks nothing; remove it")
        start += len(lines)
    return [Story(task, tuple(lines)) for lines in stories]


def file_name(task: int, split: str) -> str:
    """The official name of a task's file; `split` is "train" or "test"."""
    return f"qa{task}_{TASKS[task]}_{split}.txt"


def find(folder: Path | str, task: int, split: str) -> Path:
    """The official file of a task in a folder such as `en-10k`; `split` is "train" or "test".

    Raises DataError, naming the file looked for and the tasks found, where there is no such file or task.
    """
    _check_task(task)
    folder = Path(folder)
    path = folder / file_name(task, split)
    if path.is_file():
        return path
    found = "that is a file, no folder" if folder.exists() else "the folder does not exist"
    if folder.is_dir():
        there = [n for n in TASKS if (folder / file_name(n, split)).is_file()]
        found = f"the folder has {split} files of tasks {there}" if there else f"it has no {split} file"
    raise DataError(f"no file '{path}': {found}; unpack {_SOURCE} and name a folder in it: --data .../en-10k")


def load(folder: Path | str, tasks: Iterable[int], split: str = "train") -> list[Story]:
    """The stories of several tasks, in the order of `tasks`, from the official files in one folder.

    Raises DataError as `find` and `read` do; every file is looked for before the first one is read.
    """
    paths = [(find(folder, task, split), task) for task in tasks]
    return [story for path, task in paths for story in read(path, task)]


def format_story(story: Story) -> str:
    """The story as it stands in a file, with line ends."""
    return "".join(f"{line}\n" for line in story.lines)


def write(path: Path | str, stories: Iterable[Story]) -> None:
    """Write stories to a file, which appears whole or not at all.

    Raises DataError where the file cannot be written.
    """
    try:
        with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(format_story(story) for story in stories)
    except OSError as error:
        raise DataError(
            f"cannot write '{path}': {error.strerror}; name a file in a writable folder"
        ) from None


def split_by_story(
    stories: Iterable[Story], fraction: float = 0.1, seed: int = 0, seeds: Mapping[int, int] | None = None
) -> tuple[list[Story], list[Story]]:
    """Cut (training, validation) data, task by task and by distinct story, both in the given order.

    Of each task, `fraction` of the distinct stories (rounded) are validation data, once each; training data
    keep their repeats. A story's side depends on `seed` (of its task in `seeds`, if there) and the set of
    stories, not on their order.
    Raises SettingsError for a fraction outside 0..1.
    """
    if not 0 <= fraction <= 1:
        raise SettingsError(f"validation fraction {fraction!r}: choose a number from 0 to 1")
    stories = list(stories)
    distinct: dict[int, set[str]] = {}
    for story in stories:
        distinct.setdefault(story.task, set()).add(story.key)
    held_back = {
        task: set(_in_random_order(keys, (seeds or {}).get(task, seed))[: round(fraction * len(keys))])
        for task, keys in distinct.items()
    }

    training: list[Story] = []
    validation: dict[Story, None] = {}
    for story in stories:
        if story.key in held_back[story.task]:
            validation[story] = None
        else:
            training.append(story)
    return training, list(validation)


def without(stories: Iterable[Story], seen: Set[str]) -> list[Story]:
    """The stories whose key is not among those seen."""
    return [story for story in stories if story.key not in seen]


def _check_task(task: int) -> None:
    if task not in TASKS:
        raise DataError(f"there is no bAbI task {task!r}: choose from 1 to {len(TASKS)}")


def _rows(path: Path) -> list[str]:
    """The lines of a file without their ends; splits at line feeds only, as the format does."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}; name a bAbI file, see {_SOURCE}") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        wrong = data[error.start : error.start + 1]
        raise DataError(f"{path}, line {at}: byte {wrong!r} is no UTF-8 text; fetch the file anew") from error
    *rows, rest = text.split("\n")
    if rest:
        at = len(rows) + 1
        raise DataError(f"{path}, line {at}: {rest!r} has no line end, the file looks cut off; fetch it anew")
    if not rows:
        raise DataError(f"'{path}' is empty; fetch the file anew, see {_SOURCE}")
    return rows


def _parse(row: str) -> Line:
    """One line by itself; the DataError lacks the place."""
    sentence, *extra = row.split("\t")
    number, _, text = sentence.partition(" ")
    if _NUMBER.fullmatch(number) is None:
        raise DataError(f"{row!r} does not start with a line number")
    if row.endswith("\r"):
        raise DataError(f"{row!r} ends in a carriage return, as on Windows: convert the file (dos2unix)")
    line = Line(int(number), text)
    if not line.words:
        raise DataError(f"{row!r} has no words")
    if text.endswith(".") and not extra:
        return line
    if not text.rstrip(" ").endswith("?"):
        raise DataError(f"{row!r} is neither a statement (it would end in '.') nor a question ('?')")
    if len(extra) != 2 or not extra[0].strip():
        raise DataError(f"{row!r} is a question without answer<TAB>support")
    answer, support = extra
    for item in support.split(" "):
        if _NUMBER.fullmatch(item) is None:
            raise DataError(f"support {support!r} has {item!r} where a line number belongs")
    return Line(line.number, text, answer, tuple(map(int, support.split(" "))))


def _check_place(line: Line, before: list[Line]) -> None:
    """Whether a line may follow the earlier lines of its story; the DataError lacks the place."""
    due = len(before) + 1
    if line.number != due:
        raise DataError(f"number {line.number} is out of turn: {due} is due, or 1 for a new story")
    for number in line.support:
        if number >= due or before[number - 1].is_question:
            raise DataError(f"support {number} is not the number of an earlier statement of the story")


def _in_random_order(keys: Iterable[str], seed: int) -> list[str]:
    """Keys in an order that is random, but the same on every machine."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"{seed}\n{key}".encode()).digest())
