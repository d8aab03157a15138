"""The file format: what is read is written back, what breaks the format is refused at its line."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spmn.datasets import babi
from spmn.datasets.babi import Line, Story
from spmn.datasets.generator import GENERATED, generate
from spmn.errors import DataError, SettingsError

SAMPLE = """\
1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
1 Mice are afraid of wolves.
2 Gertrude is a mouse.
3 What is gertrude afraid of?\twolf\t2 1
"""
ROWS = SAMPLE.encode().splitlines()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """One folder for all examples of a property: hypothesis refuses a folder per test."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.txt"
    path.write_bytes(SAMPLE.encode())
    return path


# ---- lines and stories


def test_read_keeps_every_part(sample):
    """A field that is lost, changed or put elsewhere; the trailing space of a question among them."""
    first, second = babi.read(sample, 15)
    assert first.lines[0] == Line(1, "Mary moved to the bathroom.")
    assert first.questions == (Line(3, "Where is Mary? ", "bathroom", (1,)),)
    assert second == Story(
        15,
        (
            Line(1, "Mice are afraid of wolves."),
            Line(2, "Gertrude is a mouse."),
            Line(3, "What is gertrude afraid of?", "wolf", (2, 1)),
        ),
    )


def test_words_and_questions(sample):
    """Words that keep their case or punctuation; statements taken for questions."""
    statement, _, question = babi.read(sample, 1)[0].lines
    assert statement.words == ("mary", "moved", "to", "the", "bathroom")
    assert question.words == ("where", "is", "mary")
    assert [statement.is_question, question.is_question] == [False, True]


def test_key_tells_stories_apart():
    """A key that leaves out the answer, the support or the text."""
    line = Line(2, "Where is Mary? ", "garden", (1,))
    others = [Line(2, "Where is John? ", "garden", (1,)), Line(2, "Where is Mary? ", "office", (1,))]
    others.append(Line(2, "Where is Mary? ", "garden", (1, 1)))
    keys = {Story(1, (Line(1, "Mary ran."), last)).key for last in [line, *others]}
    assert len(keys) == 4


# ---- round trip


@pytest.mark.parametrize("task", babi.TASKS)
def test_official_files_come_back_byte_for_byte(task, official_path, tmp_path):
    """Anything of a line that is not kept: trailing spaces, order of support, letter case, line ends."""
    path = official_path(task)
    babi.write(tmp_path / "copy.txt", babi.read(path, task))
    assert (tmp_path / "copy.txt").read_bytes() == path.read_bytes()


@given(task=st.sampled_from(GENERATED), seed=st.integers(0, 2**40))
def test_generated_files_come_back(scratch, task, seed):
    """A story that is written so that the reader refuses or changes it."""
    stories = generate(task, 6, seed)
    babi.write(scratch / "stories.txt", stories)
    assert babi.read(scratch / "stories.txt", task) == stories


# ---- what the reader refuses

BREAKS = {
    "no number": (rb"\d+ ", b"", "does not start with a line number"),
    "number is a word": (rb"\d+ ", b"one ", "does not start with a line number"),
    "number with a zero in front": (rb"(\d+) ", rb"0\1 ", "does not start with a line number"),
    "number of 5000 digits": (rb"\d+ ", b"1" * 5000 + b" ", "does not start with a line number"),
    "number jumps": (rb"\d+ ", b"9 ", "9 is out of turn"),
    "no words": (rb"(\d+) .*", rb"\1 .", "has no words"),
    "nothing": (rb".*", b"", "does not start with a line number"),
    "no end of sentence": (rb"[.?] ?(\t|$)", rb"\1", "neither a statement"),
    "carriage return": (rb"$", b"\r", "ends in a carriage return"),
    "no UTF-8": (rb" ", b" \xff", "no UTF-8"),
}
QUESTION_BREAKS = {
    "no question mark": (rb"\?", b".", "neither a statement"),
    "no answer": (rb"\t[^\t]+\t", b"\t\t", "without answer"),
    "spaces for tabs": (rb"\t", b" ", "neither a statement"),
    "nothing after the question": (rb"\t.*", b"", "without answer"),
    "no support": (rb"\t[\d ]+$", b"", "without answer"),
    "one field too many": (rb"$", b"\t1", "without answer"),
    "support is a word": (rb"[\d ]+$", b"first", "'first' where a line number belongs"),
    "empty support": (rb"[\d ]+$", b"", "'' where a line number belongs"),
    "support at line 0": (rb"[\d ]+$", b"0", "'0' where a line number belongs"),
    "support points at itself": (rb"[\d ]+$", b"3", "support 3 is not"),
    "support points out of the story": (rb"[\d ]+$", b"1 77", "support 77 is not"),
}


def break_row(row: bytes, pattern: bytes, new: bytes) -> bytes:
    changed = re.sub(pattern, new, row, count=1)
    assert changed != row
    return changed


def assert_refused(path, rows: list[bytes], at: int, why: str) -> None:
    path.write_bytes(b"".join(row + b"\n" for row in rows))
    with pytest.raises(DataError, match=rf"{re.escape(path.name)}, line {at + 1}: .*({why})"):
        babi.read(path, 1)


@pytest.mark.parametrize("at", range(len(ROWS)))
@pytest.mark.parametrize("name", BREAKS)
def test_broken_line_is_named(name, at, tmp_path):
    """A check that is missing, or that names another line than the broken one."""
    pattern, new, why = BREAKS[name]
    rows = [*ROWS[:at], break_row(ROWS[at], pattern, new), *ROWS[at + 1 :]]
    assert_refused(tmp_path / "broken.txt", rows, at, why)


@pytest.mark.parametrize("at", [2, 5])
@pytest.mark.parametrize("name", QUESTION_BREAKS)
def test_broken_question_is_named(name, at, tmp_path):
    """The same for the parts that only a question has."""
    pattern, new, why = QUESTION_BREAKS[name]
    rows = [*ROWS[:at], break_row(ROWS[at], pattern, new), *ROWS[at + 1 :]]
    assert_refused(tmp_path / "broken.txt", rows, at, why)


@given(data=st.data(), task=st.sampled_from(GENERATED), seed=st.integers(0, 999))
def test_broken_line_of_a_long_file_is_named(scratch, data, task, seed):
    """A line counted within its story instead of within the file."""
    rows = "".join(map(babi.format_story, generate(task, 12, seed))).encode().splitlines()
    at = data.draw(st.integers(0, len(rows) - 1))
    breaks = BREAKS | (QUESTION_BREAKS if b"\t" in rows[at] else {})
    # Line 3 may be a statement and line 9 is due somewhere in these longer stories.
    usable = sorted(breaks.keys() - {"number jumps", "support points at itself"})
    pattern, new, why = breaks[data.draw(st.sampled_from(usable))]
    assert_refused(
        scratch / "broken.txt", [*rows[:at], break_row(rows[at], pattern, new), *rows[at + 1 :]], at, why
    )


@given(at=st.integers(0, len(ROWS) - 1), row=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_line_is_read_or_refused(scratch, at, row):
    """An exception other than DataError, or one that blames an earlier line."""
    path = scratch / "any.txt"
    path.write_bytes(b"".join(line + b"\n" for line in [*ROWS[:at], row, *ROWS[at + 1 :]]))
    try:
        stories = babi.read(path, 1)
    except DataError as error:
        blamed = re.search(r"line (\d+): (?!the story)|asks nothing", str(error))
    else:
        assert "".join(map(babi.format_story, stories)).encode() == path.read_bytes()
        return
    assert blamed is not None
    assert blamed[1] is None or int(blamed[1]) > at


def test_support_must_be_a_statement(tmp_path):
    rows = [*ROWS[:3], b"4 Where is John? \thallway\t3"]
    assert_refused(tmp_path / "broken.txt", rows, 3, "support 3 is not")


def test_story_without_a_question(tmp_path):
    """An empty story: named by the line where it starts, first, in the middle or last."""
    quiet = [b"1 Mary ran.", b"2 John ran."]
    assert_refused(tmp_path / "broken.txt", [*quiet, *ROWS], 0, "asks nothing")
    assert_refused(tmp_path / "broken.txt", [*ROWS[:3], *quiet, *ROWS[3:]], 3, "asks nothing")
    assert_refused(tmp_path / "broken.txt", [*ROWS, *quiet], 6, "asks nothing")


def test_file_cut_off(tmp_path):
    """A last line without its end, which could be the half of a line."""
    path = tmp_path / "cut.txt"
    path.write_bytes(SAMPLE.encode()[:-1])
    with pytest.raises(DataError, match=r"cut\.txt, line 6: .*no line end"):
        babi.read(path, 1)


def test_empty_file(tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match=r"empty\.txt' is empty"):
        babi.read(tmp_path / "empty.txt", 1)


def test_unreadable_file(tmp_path):
    """An OSError that gets out: of a file that is not there, of a folder in its place."""
    with pytest.raises(DataError, match=r"absent\.txt': No such file"):
        babi.read(tmp_path / "absent.txt", 1)
    with pytest.raises(DataError, match=f"cannot read '{tmp_path}'"):
        babi.read(tmp_path, 1)


def test_unknown_task(sample):
    with pytest.raises(DataError, match="no bAbI task 21"):
        babi.read(sample, 21)


# ---- the official folder


def test_find_and_load(tmp_path):
    """A wrong file name, a file read under another task's number, tasks in another order than asked for."""
    for task, stem in [(1, "single-supporting-fact"), (15, "basic-deduction")]:
        babi.write(tmp_path / f"qa{task}_{stem}_test.txt", generate(task, 1, seed=0))
    assert babi.find(tmp_path, 15, "test").name == "qa15_basic-deduction_test.txt"
    assert [story.task for story in babi.load(tmp_path, (15, 1), "test")] == [15, 1]


def test_missing_file_says_what_is_there(tmp_path):
    babi.write(tmp_path / "qa1_single-supporting-fact_train.txt", generate(1, 1, seed=0))
    with pytest.raises(
        DataError, match=r"qa2_two-supporting-facts_train\.txt'.*tasks \[1\].*unpack"
    ) as error:
        babi.load(tmp_path, (1, 2))
    assert str(tmp_path) in str(error.value)


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*the folder does not exist.*unpack"):
        babi.find(tmp_path / "nowhere", 1, "train")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"that is a file, no folder.*--data"):
        babi.find(tmp_path / "file", 1, "train")


@pytest.mark.parametrize("task", [0, 21])
def test_find_unknown_task(tmp_path, task):
    with pytest.raises(DataError, match=f"no bAbI task {task}: choose from 1 to 20"):
        babi.find(tmp_path, task, "train")


@pytest.mark.parametrize(
    ("text", "tasks"),
    [("7", (7,)), ("1-3,15", (1, 2, 3, 15)), (" 4 , 2 - 3", (4, 2, 3)), ("1-2,2,1", (1, 2))],
)
def test_parse_tasks(text, tasks):
    assert babi.parse_tasks(text) == tasks


@pytest.mark.parametrize("text", ["", "1,", "one", "0", "21", "3-1", "1-21", "-1", "1--2", "²", "9" * 5000])
def test_parse_tasks_refuses(text):
    with pytest.raises(DataError, match=re.escape(repr(text))):
        babi.parse_tasks(text)


@given(st.text(max_size=12))
def test_parse_tasks_never_fails_otherwise(text):
    try:
        tasks = babi.parse_tasks(text)
    except DataError:
        return
    assert set(tasks) <= set(babi.TASKS)


# ---- writing


def test_write_leaves_the_old_file_when_it_fails(sample):
    """Writing in place, or a temporary file left behind."""

    def stories():
        yield from babi.read(sample, 1)
        raise RuntimeError("no more stories")

    with pytest.raises(RuntimeError, match="no more stories"):
        babi.write(sample, stories())
    assert sample.read_text() == SAMPLE
    assert list(sample.parent.iterdir()) == [sample]


def test_write_replaces(sample):
    babi.write(sample, babi.read(sample, 1)[:1])
    assert sample.read_text() == "".join(SAMPLE.splitlines(keepends=True)[:3])
    assert list(sample.parent.iterdir()) == [sample]


@pytest.mark.parametrize("name", ["absent/stories.txt", "."])
def test_write_where_it_cannot(tmp_path, name):
    with pytest.raises(DataError, match="cannot write"):
        babi.write(tmp_path / name, [])
    assert list(tmp_path.iterdir()) == []


# ---- validation data

LETTERS = st.sampled_from("abcdefghijklm")
SOME_STORIES = st.lists(
    st.builds(lambda task, letter: Story(task, (Line(1, f"{letter}."),)), st.integers(1, 2), LETTERS)
)


@given(SOME_STORIES, st.floats(0, 1), st.integers(0, 9))
def test_split_by_story(stories, fraction, seed):
    """A story on both sides or on none, a repeat lost from training or kept in validation, a wrong share."""
    training, validation = babi.split_by_story(stories, fraction, seed)
    assert not set(training) & set(validation)
    assert Counter(training) + Counter(s for s in stories if s in set(validation)) == Counter(stories)
    assert training == [story for story in stories if story in set(training)]
    assert len(set(validation)) == len(validation)
    for task in (1, 2):
        distinct = {story for story in stories if story.task == task}
        assert sum(story.task == task for story in validation) == round(fraction * len(distinct))


@given(SOME_STORIES, st.integers(0, 9))
def test_split_does_not_depend_on_order_or_repeats(stories, seed):
    """A split by position, which would move stories to the other side when a file is sorted or extended."""
    shuffled = stories + stories[:3]
    random.Random(seed).shuffle(shuffled)
    assert set(babi.split_by_story(stories)[1]) == set(babi.split_by_story(shuffled)[1])


def test_split_depends_on_the_seed():
    stories = [Story(1, (Line(1, f"{i}."),)) for i in range(50)]
    sides = {tuple(babi.split_by_story(stories, 0.5, seed)[1]) for seed in range(3)}
    assert len(sides) == 3
    assert babi.split_by_story(stories, 0.5, 1) == babi.split_by_story(stories, 0.5, 1)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_split_refuses(fraction):
    with pytest.raises(SettingsError, match=f"fraction {fraction}"):
        babi.split_by_story([], fraction)


def test_without():
    """Stories kept that were seen, or dropped that were not."""
    one, two = generate(1, 10, seed=0)
    assert babi.without([one, two, one], {one.key}) == [two]
    assert babi.without([one, two], set()) == [one, two]
