"""Answers and support recomputed from the statements alone; shares no code with the generator."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest

from spmn.datasets.babi import Line, Story

DEED = re.compile(
    r"(?P<who>Mary|John|Sandra|Daniel) "
    r"(?:(?:went|journeyed|travelled|moved|went back) to the (?P<room>\w+)"
    r"|(?:got|grabbed|took|picked up) the (?P<got>apple|football|milk)(?: there)?"
    r"|(?:dropped|discarded|put down|left) the (?P<left>apple|football|milk)(?: there)?)\."
)
KIND = re.compile(r"(\w+) is a (\w+)\.")
FEAR = re.compile(r"(\w+) are afraid of (\w+)\.")
COLOUR = re.compile(r"(\w+) is (\w+)\.")
ONE_OF = {"mice": "mouse", "sheep": "sheep", "wolves": "wolf", "cats": "cat"}

Answer = tuple[str, tuple[int, ...]]


def matches(pattern: re.Pattern[str], told: Sequence[Line]) -> list[tuple[int, re.Match[str]]]:
    return [(line.number, match) for line in told if (match := pattern.fullmatch(line.text))]


def walks(told: Sequence[Line], who: str, after: int = 0, before: int = 10**9) -> list[tuple[int, str]]:
    """The told moves of a person between two lines: (line, room)."""
    deeds = matches(DEED, told)
    return [(n, m["room"]) for n, m in deeds if m["room"] and m["who"] == who and after < n < before]


def handlings(told: Sequence[Line], thing: str) -> list[tuple[int, str, bool]]:
    """Every get and drop of a thing: (line, person, whether it was a drop)."""
    deeds = matches(DEED, told)
    return [(n, m["who"], bool(m["left"])) for n, m in deeds if thing in (m["got"], m["left"])]


def place_of_person(told: Sequence[Line], question: str) -> Answer:
    (who,) = re.fullmatch(r"Where is (\w+)\? ", question).groups()
    line, room = walks(told, who)[-1]
    return room, (line,)


def place_of_thing(told: Sequence[Line], question: str) -> Answer:
    (thing,) = re.fullmatch(r"Where is the (\w+)\? ", question).groups()
    line, who, dropped = handlings(told, thing)[-1]
    seen = walks(told, who, before=line) if dropped else walks(told, who, after=line)
    return seen[-1][1], (line, seen[-1][0])


def place_before(told: Sequence[Line], question: str) -> Answer:
    thing, room = re.fullmatch(r"Where was the (\w+) before the (\w+)\? ", question).groups()
    handled = handlings(told, thing)
    line, who, dropped = handled[-1]
    path = walks(told, who, handled[-2][0], line) if dropped else walks(told, who, line)
    here = max(i for i, (_, seen) in enumerate(path) if seen == room)
    assert here > 0
    return path[here - 1][1], (line, path[here][0], path[here - 1][0])


def whether_there(told: Sequence[Line], question: str) -> Answer:
    who, asked = re.fullmatch(r"Is (\w+) in the (\w+)\? ", question).groups()
    line, room = walks(told, who)[-1]
    return ("yes" if room == asked else "no"), (line,)


def feared(told: Sequence[Line], question: str) -> Answer:
    (who,) = re.fullmatch(r"What is ([a-z]+) afraid of\?", question).groups()
    name_line, kind = next((n, m[2]) for n, m in matches(KIND, told) if m[1] == who.capitalize())
    fear_line, enemy = next((n, m[2]) for n, m in matches(FEAR, told) if ONE_OF[m[1].lower()] == kind)
    return ONE_OF[enemy], (name_line, fear_line)


def colour(told: Sequence[Line], question: str) -> Answer:
    (who,) = re.fullmatch(r"What color is (\w+)\?", question).groups()
    kinds = {m[1]: (n, m[2]) for n, m in matches(KIND, told)}
    colours = {m[1]: (n, m[2]) for n, m in matches(COLOUR, told)}
    assert who not in colours
    same = [name for name in kinds if name != who and kinds[name][1] == kinds[who][1]]
    assert len(same) in (1, 3, 4)
    line, answer = colours[same[-1]]
    return answer, (kinds[who][0], kinds[same[-1]][0], line)


SOLVERS: dict[int, Callable[[Sequence[Line], str], Answer]] = {
    1: place_of_person,
    2: place_of_thing,
    3: place_before,
    6: whether_there,
    15: feared,
    16: colour,
}
ASKED_ABOUT = {1: ["room"], 2: ["got", "left"], 3: ["got", "left"], 6: ["room"]}


def told_before(story: Story, question: Line) -> list[Line]:
    return [line for line in story.lines[: question.number - 1] if not line.is_question]


@pytest.mark.parametrize("task", SOLVERS)
def test_answers_and_support_follow_from_the_statements(task, stories_of):
    """A wrong answer, a missing or misordered support line, or a question that has no answer."""
    wrong = [
        (story.key, line)
        for story in stories_of(task)
        for line in story.questions
        if SOLVERS[task](told_before(story, line), line.text) != (line.answer, line.support)
    ]
    assert wrong == []


@pytest.mark.parametrize("task", ASKED_ABOUT)
def test_questions_are_about_the_last_five_statements(task, stories_of):
    """A window of another length than five, or one that counts questions or other kinds of statement."""
    for story in stories_of(task):
        for line in story.questions:
            recent = [m for _, m in matches(DEED, told_before(story, line)[-5:])]
            subjects = {
                m["who"].lower() if m["room"] else m["got"] or m["left"]
                for m in recent
                if any(m[kind] for kind in ASKED_ABOUT[task])
            }
            assert subjects & set(line.words), (story.key, line)


@pytest.mark.parametrize("task", ASKED_ABOUT)
def test_people_do_only_what_they_can(task, stories_of):
    """Moving to the room one is in, getting what somebody holds, dropping what one does not hold."""
    for story in stories_of(task):
        room: dict[str, str] = {}
        holder: dict[str, str] = {}
        for _, deed in matches(DEED, [line for line in story.lines if not line.is_question]):
            who = deed["who"]
            if deed["room"]:
                assert room.get(who) != deed["room"], story.key
                room[who] = deed["room"]
            elif deed["got"]:
                assert deed["got"] not in holder, story.key
                holder[deed["got"]] = who
            else:
                assert holder.pop(deed["left"], None) == who, story.key


@pytest.mark.parametrize("task", SOLVERS)
def test_every_statement_has_a_known_form(task, stories_of):
    """A template that the published files do not have, or one that lacks its " there" or its full stop."""
    forms = [DEED] if task in ASKED_ABOUT else [KIND, FEAR, COLOUR]
    always_there = re.compile(r".*(got|grabbed|took|picked up) the \w+\.")
    for story in stories_of(task):
        for line in story.lines:
            if not line.is_question:
                assert any(form.fullmatch(line.text) for form in forms), line
                assert task == 3 or not always_there.fullmatch(line.text), line
