"""What `generate` and `unseen` promise whatever the task: same seed, same stories; unlike any of training."""

from __future__ import annotations

import pytest

from spmn import data
from spmn.data import Source, unseen
from spmn.datasets import babi
from spmn.datasets.checker import check
from spmn.datasets.generator import GENERATED, generate
from spmn.datasets.rooms import ROOM_TASKS
from spmn.errors import DataError, SettingsError


@pytest.mark.parametrize("task", GENERATED)
def test_same_seed_same_bytes(task):
    """Hidden state between calls, or a story cut to reach the number of questions exactly."""
    few, many = generate(task, 7, seed=5), generate(task, 40, seed=5)
    assert many[: len(few)] == few
    assert sum(len(story.questions) for story in few[:-1]) < 7 <= sum(len(story.questions) for story in few)
    whole = {4: {1}, 15: {4}, 16: {1}, 17: {8}, 18: range(5, 25), 19: {1}, 20: range(9, 13)}.get(task, {5})
    assert all(len(story.questions) in whole for story in many)


@pytest.mark.parametrize("task", GENERATED)
def test_seeds_and_tasks_differ(task):
    """A seed that is not used, or only one of [task, seed] used."""
    stories = {seed: generate(task, 40, seed)[-1].key for seed in range(5)}
    assert len(set(stories.values())) == 5


@pytest.mark.parametrize("task", GENERATED)
def test_generated_files_read_back(task, tmp_path):
    """A line that the strict reader refuses; a task number that is lost."""
    stories = generate(task, 50, seed=2)
    path = tmp_path / "stories.txt"
    babi.write(path, stories)
    assert babi.read(path, task) == stories


def test_no_questions_no_stories():
    assert generate(1, 0, seed=0) == []


@pytest.mark.parametrize("task", [0, 21])
def test_unknown_task(task):
    with pytest.raises(DataError, match=rf"no bAbI task {task}.*from 1 to 20"):
        generate(task, 1, seed=0)


@pytest.mark.parametrize(("questions", "seed"), [(-1, 0), (1, -3)])
def test_negative_numbers(questions: int, seed: int):
    with pytest.raises(SettingsError, match=f"{questions} questions with seed {seed}"):
        generate(1, questions, seed)


def test_tasks_do_not_share_their_random_numbers():
    """Seeding with the seed alone: tasks 2 and 6 would then tell the same first statements."""
    first = {generate(task, 1, seed=0)[0].lines[0].text for task in (2, 6)}
    assert len(first) == 2


def test_all_tasks_are_generated():
    assert tuple(babi.TASKS) == GENERATED


# ---- unseen test stories


@pytest.mark.parametrize("task", [1, 4, 18])
def test_test_stories_are_unseen(task):
    """A test story that is in training, too few of them, or others on the next call."""
    seen = {story.key for story in generate(task, 2000, seed=0)}
    stories = unseen(task, 300, 0, seen)
    assert sum(len(story.questions) for story in stories) >= 300 > sum(len(s.questions) for s in stories[:-1])
    assert not {story.key for story in stories} & seen
    assert stories == unseen(task, 300, 0, seen)
    assert stories == Source((task,), questions=2000).test(300)


def test_test_stories_of_other_seeds_differ():
    assert unseen(4, 50, 0, set()) != unseen(4, 50, 1, set())


def test_a_task_that_is_used_up_is_said(monkeypatch):
    """A search without an end."""
    stories = generate(4, 5, seed=0)
    monkeypatch.setattr(data, "generate", lambda task, questions, seed, before: stories)
    with pytest.raises(
        DataError, match=r"task 4 has too few stories for 10 test questions unlike the 5 train"
    ):
        unseen(4, 10, 0, {story.key for story in stories})


@pytest.mark.slow
def test_number_of_stories_of_task_4():
    """The rule that decides how long unseen stories can be found: six rooms, 7,680 stories."""
    assert len({story.key for story in generate(4, 150_000, seed=3)}) == 7680


@pytest.mark.parametrize("task", ROOM_TASKS)
@pytest.mark.parametrize("before", [1, 100, 301])
def test_long_stories_are_asked_about_at_their_end(task: int, before: int) -> None:
    stories = generate(task, 10, seed=3, before=before)
    assert len(stories) == 2
    for story in stories:
        first = next(n for n, line in enumerate(story.lines) if line.is_question)
        assert first >= before
        if task == 1:  # somebody moved in the latest statements, so the first question comes at once
            assert first == before + before % 2
        assert len(story.lines) < before + 150
    assert check(stories).faults == 0


def test_stories_without_before_are_the_published_ones() -> None:
    assert generate(2, 20, seed=4, before=0) == generate(2, 20, seed=4)


@pytest.mark.parametrize(("task", "before"), [(4, 10), (2, -1)])
def test_stories_that_end_by_themselves_cannot_be_long(task: int, before: int) -> None:
    with pytest.raises(SettingsError, match=f"{before} statements .* task {task}.* 1, 2, 3, 5, 6, 7, 8"):
        generate(task, 10, seed=0, before=before)
