"""The checker against stories solved by hand, against changed ones, and all stories against the checker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spmn.datasets import babi
from spmn.datasets.babi import Line, Story
from spmn.datasets.checker import Fault, check, readings_of
from spmn.datasets.generator import generate
from spmn.errors import DataError

BY_HAND = {
    1: """\
1 Mary moved to the garden.
2 John went back to the office.
3 Where is John? \toffice\t2
4 Mary travelled to the hallway.
5 Daniel journeyed to the garden.
6 Where is Mary? \thallway\t4
""",
    2: """\
1 Mary went to the garden.
2 Mary took the milk there.
3 Mary moved to the kitchen.
4 John went to the office.
5 Where is the milk? \tkitchen\t2 3
6 Mary put down the milk.
7 Mary went to the hallway.
8 Where is the milk? \tkitchen\t6 3
""",
    3: """\
1 John got the apple.
2 John moved to the garden.
3 John moved to the office.
4 John moved to the kitchen.
5 Where was the apple before the office? \tgarden\t1 3 2
6 John dropped the apple there.
7 John moved to the garden.
8 Where was the apple before the kitchen? \toffice\t6 4 3
""",
    4: """\
1 The garden is east of the office.
2 The office is east of the hallway.
3 What is the office west of?\tgarden\t1
4 What is east of the hallway?\toffice\t2
""",
    5: """\
1 Fred went to the garden.
2 Fred got the milk there.
3 Mary went to the garden.
4 Fred gave the milk to Mary.
5 What did Fred give to Mary? \tmilk\t4
6 Mary handed the milk to Fred.
7 Bill moved to the garden.
8 Who gave the milk to Fred? \tMary\t6
9 Fred passed the milk to Bill.
10 Bill dropped the milk there.
11 Who received the milk? \tBill\t9
12 Who did Fred give the milk to? \tBill\t9
13 Who gave the milk? \tFred\t9
""",
    6: """\
1 Sandra journeyed to the bedroom.
2 Sandra got the football there.
3 Is Sandra in the bedroom? \tyes\t1
4 Sandra left the football.
5 Sandra went to the garden.
6 Is Sandra in the bedroom? \tno\t5
""",
    7: """\
1 John got the apple there.
2 John got the milk there.
3 How many objects is John carrying? \ttwo\t1 2
4 John gave the apple to Mary.
5 Mary dropped the apple.
6 How many objects is John carrying? \tone\t1 2 4
7 How many objects is Mary carrying? \tnone\t4 5
""",
    8: """\
1 John got the milk there.
2 John got the apple there.
3 What is John carrying? \tmilk,apple\t1 2
4 John put down the milk.
5 Mary got the milk there.
6 What is John carrying? \tapple\t1 4 2
7 John dropped the apple there.
8 What is John carrying? \tnothing\t1 4 2 7
""",
    9: """\
1 Mary is no longer in the garden.
2 John is in the office.
3 Is Mary in the garden? \tno\t1
4 John is not in the office.
5 Mary moved to the kitchen.
6 Is Mary in the kitchen? \tyes\t5
7 Is Mary in the garden? \tno\t5
""",
    10: """\
1 Fred is either in the school or the park.
2 Julie went to the cinema.
3 Is Fred in the park? \tmaybe\t1
4 Fred is in the office.
5 Julie is either in the school or the school.
6 Is Fred in the park? \tno\t4
7 Is Julie in the cinema? \tno\t5
""",
    11: """\
1 Mary moved to the garden.
2 Afterwards she went to the office.
3 Where is Mary? \toffice\t1 2
4 John moved to the office.
5 Then he went back to the garden.
6 Where is John? \tgarden\t4 5
7 Where is Mary? \toffice\t1 2
""",
    12: """\
1 Mary and John went to the garden.
2 John and Daniel moved to the office.
3 Where is John? \toffice\t2
4 Daniel and Sandra moved to the kitchen.
5 Sandra and Daniel moved to the garden.
6 Where is Mary? \tgarden\t1
""",
    13: """\
1 Mary and John went to the garden.
2 After that they moved to the office.
3 Where is John? \toffice\t1 2
4 Daniel and John moved to the kitchen.
5 Following that they went to the garden.
6 Where is John? \tgarden\t4 5
7 Where is Mary? \toffice\t1 2
""",
    14: """\
1 Bill went to the park this morning.
2 Yesterday Bill went to the school.
3 Where was Bill before the park? \tschool\t1 2
4 This evening Bill moved to the park.
5 Bill moved to the office this afternoon.
6 Where was Bill before the park? \toffice\t4 5
""",
    15: """\
1 Wolves are afraid of mice.
2 Sheep are afraid of wolves.
3 Emily is a sheep.
4 Winona is a wolf.
5 What is emily afraid of?\twolf\t3 2
6 What is winona afraid of?\tmouse\t4 1
""",
    16: """\
1 Lily is a frog.
2 Lily is gray.
3 Greg is a frog.
4 Brian is a frog.
5 Greg is green.
6 What color is Brian?\tgreen\t4 3 5
""",
    17: """\
1 The triangle is above the red square.
2 The red square is to the left of the blue square.
3 Is the triangle above the blue square?\tyes\t1 2
4 Is the blue square to the right of the triangle?\tyes\t2 1
5 Is the blue square above the triangle?\tno\t2 1
""",
    18: """\
1 The box fits inside the chest.
2 The chest is bigger than the chocolate.
3 The suitcase is bigger than the chest.
4 Does the box fit in the suitcase?\tyes\t3 1
5 Is the chocolate bigger than the suitcase?\tno\t2 3
""",
    19: """\
1 The garden is north of the office.
2 The office is west of the kitchen.
3 The hallway is south of the kitchen.
4 How do you go from the kitchen to the garden?\tw,n\t2 1
""",
    20: """\
1 Yann is bored.
2 Where will yann go?\tgarden\t1
3 Yann went back to the garden.
4 Why did yann go to the garden?\tbored\t1
5 Yann picked up the football there.
6 Why did yann get the football?\tbored\t1
""",
}


@pytest.fixture(params=BY_HAND, ids=lambda task: f"task{task}")
def by_hand(request, tmp_path) -> Story:
    path = tmp_path / "story.txt"
    path.write_text(BY_HAND[request.param])
    (story,) = babi.read(path, request.param)
    return story


def changed(story: Story, number: int, **changes) -> Story:
    lines = [replace(line, **changes) if line.number == number else line for line in story.lines]
    return Story(story.task, tuple(lines))


def counts(stories: list[Story]) -> tuple[int, int, int]:
    tally = check(stories)
    return tally.sentences, tally.answers, tally.supports


def test_by_hand(by_hand):
    """A rule of a task that is wrong or too narrow."""
    assert counts([by_hand]) == (0, 0, 0)
    for line, readings in readings_of(by_hand):
        assert readings == (((line.answer, line.support),) if line.is_question else ())


def test_changed_by_hand(by_hand):
    """An answer or a support that is not compared, in whole or in its order; a question counted twice."""
    for line in by_hand.questions:
        assert counts([changed(by_hand, line.number, answer="moon")]) == (0, 1, 0)
        for support in [line.support[:-1], (*line.support, 1), line.support[::-1]]:
            wrong = support != line.support
            assert counts([changed(by_hand, line.number, support=support)]) == (0, 0, wrong), support


def test_changed_words(by_hand):
    """A sentence that is read though its words or its end are not those of the task."""
    for line in by_hand.lines:
        for text in [line.text.replace("the", "a"), f"{line.text} ", line.text.rstrip(" .?")]:
            if text != line.text:
                assert check([changed(by_hand, line.number, text=text)]).sentences == 1, text


def test_the_text_alone_decides(by_hand):
    """Readings that depend on the answers or supports given."""
    blank = [replace(line, answer=line.answer and "moon", support=()) for line in by_hand.lines]
    given = [readings for _, readings in readings_of(by_hand)]
    assert [readings for _, readings in readings_of(Story(by_hand.task, tuple(blank)))] == given


@pytest.mark.parametrize("task", babi.TASKS)
def test_wrong_answers_are_found(task):
    """A task whose answers are waved through: every answer is replaced by another that the task has."""
    stories = generate(task, 200, seed=4)
    answers = sorted({line.answer for story in stories for line in story.questions})
    other = dict(zip(answers, [*answers[1:], answers[0]], strict=True))
    wrong = [
        Story(task, tuple(replace(line, answer=line.answer and other[line.answer]) for line in story.lines))
        for story in stories
    ]
    tally = check(wrong)
    assert tally.answers + tally.supports + tally.several >= tally.questions
    assert tally.answers >= 0.97 * tally.questions


@pytest.mark.parametrize("task", babi.TASKS)
def test_answers_and_support_follow_from_the_statements(task, stories_of):
    """A wrong answer, a missing or misordered support line, a sentence that no published file has."""
    tally = check(stories_of(task))
    assert tally.faults == 0, tally.first
    assert (tally.several > 0) == (task in (5, 18))


def test_two_gifts_are_two_answers():
    """Only the newest gift, or only one thing, taken for right."""
    told = [
        Line(1, "Fred gave the milk to Mary."),
        Line(2, "Fred gave the apple to Mary."),
        Line(3, "What did Fred give to Mary? ", "milk", (1,)),
        Line(4, "What did Fred give to Mary? ", "apple", (2,)),
        Line(5, "What did Fred give to Mary? ", "apple", (1,)),
    ]
    tally = check([Story(5, tuple(told))])
    assert (tally.answers, tally.supports, tally.several) == (0, 1, 2)


@pytest.mark.parametrize(
    ("task", "question"),
    [
        (1, "Where is Mary? "),
        (2, "Where is the milk? "),
        (16, "What color is Lily?"),
        (8, "What is Mary carrying? "),
    ],
)
def test_what_was_never_told_has_no_answer(task, question):
    """An exception, or an answer out of thin air; task 8 alone knows that who got nothing has nothing."""
    ((_, readings),) = readings_of(Story(task, (Line(1, question, "garden", (1,)),)))
    assert readings == ((("nothing", ()),) if task == 8 else ())


def test_a_fault_shows_what_is_right():
    fault = Fault(Line(3, "Where is Mary? ", "office", (1,)), "answer", (("garden", (1, 2)),))
    assert str(fault) == "'3 Where is Mary? \\toffice\\t1': wrong answer, right: 'garden' from [1, 2]"


def test_the_first_fault_comes_with_its_story():
    good, bad = generate(1, 10, seed=0)
    bad = changed(bad, 3, answer="moon")
    text, fault = check([good, bad]).first
    assert text == bad.key
    assert (fault.line.number, fault.what) == (3, "answer")


@pytest.mark.parametrize("task", [0, 21])
def test_unknown_task(task):
    with pytest.raises(DataError, match=rf"task {task} cannot be checked"):
        check([Story(task, (Line(1, "x."),))])
