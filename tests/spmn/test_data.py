"""Extra stories join the training stories and nothing else."""

from dataclasses import replace
from pathlib import Path

from spmn.data import Source
from spmn.datasets.babi import TASKS, split_by_story, write
from spmn.datasets.generator import generate


def keys(source: Source) -> tuple[set[str], set[str]]:
    training, validation = ({story.key for story in part} for part in source.split())
    return training, validation


def test_extra_stories_are_for_training_alone() -> None:
    # task 4 has so few stories that extra ones would meet validation stories
    alone, topped = Source((1, 4), questions=1500), Source((1, 4), questions=1500, extra=2000)
    (training, validation), (more, same) = keys(alone), keys(topped)
    assert same == validation
    assert training < more
    assert not more & validation
    tested = {story.key for story in topped.test(200)}
    assert not tested & (more | validation)


def test_generated_stories_fill_up_what_files_lack(tmp_path: Path) -> None:
    for task, questions in ((1, 300), (2, 100)):
        write(tmp_path / f"qa{task}_{TASKS[task]}_train.txt", generate(task, questions, 3))
    whole = Source((1, 2), str(tmp_path))
    filled = Source((1, 2), str(tmp_path), fill=250)
    assert filled.missing == {2: 150}
    assert not whole.missing
    assert not Source((1, 2), questions=100, fill=250).missing  # nothing to fill up where all is generated
    training, validation = whole.split()
    more, same = filled.split()
    assert same == validation
    assert more[: len(training)] == training
    added = more[len(training) :]
    assert {story.task for story in added} == {2}
    assert 140 <= sum(len(story.questions) for story in added) <= 155  # none of them told in validation


def test_a_task_can_be_cut_with_a_seed_of_its_own() -> None:
    one, other = Source((1, 2), questions=200, seed=1), Source((1, 2), questions=200, seed=2)
    cut = {
        task: {s.key for s in split_by_story(generate(task, 200, 1), 0.1, seed)[1]}
        for task, seed in ((1, 7), (2, 1))
    }
    validation = {s.key for s in replace(one, cuts=((1, 7), (9, 9))).split()[1]}
    assert validation == cut[1] | cut[2]
    assert validation != {s.key for s in one.split()[1]} != {s.key for s in other.split()[1]}
