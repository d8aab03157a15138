"""Rules that no published story breaks, and no generated one; shares no code with the generator."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

import pytest

from spmn.datasets.babi import Line, Story

DEED = re.compile(
    r"(?P<who>\w+) "
    r"(?:(?:went|journeyed|travelled|moved|went back) to the (?P<room>\w+)"
    r"|(?:got|grabbed|took|picked up) the (?P<got>apple|football|milk)(?: there)?"
    r"|(?:dropped|discarded|put down|left) the (?P<left>apple|football|milk)(?: there)?"
    r"|(?:gave|handed|passed) the (?P<gave>apple|football|milk) to (?P<to>\w+))\."
)
THINGS = ("apple", "football", "milk")
RECEIVERS = {5: ("Mary", "Fred", "Bill", "Jeff"), 7: ("John", "Mary", "Sandra", "Daniel")}
ASKED_ABOUT = {
    1: ["room"],
    2: ["got", "left"],
    3: ["got", "left"],
    5: ["gave"],
    6: ["room"],
    7: ["got", "left", "gave"],
    8: ["got", "left"],
}
"""Task -> the deeds that lead to questions: about the person, or in tasks 2, 3 and 5 about the thing."""


def deeds(lines: Sequence[Line]) -> list[re.Match[str]]:
    return [DEED.fullmatch(line.text) for line in lines if not line.is_question]


def told_before(story: Story, question: Line) -> list[Line]:
    return [line for line in story.lines[: question.number - 1] if not line.is_question]


def people_in(text: str) -> list[str]:
    return re.findall(r"Mary|John|Sandra|Daniel|Fred|Bill|Julie|Jeff", text)


@pytest.mark.parametrize("task", ASKED_ABOUT)
def test_questions_are_about_the_last_five_deeds(task, stories_of):
    """A window of another length than five, or one that counts questions or other kinds of statement."""
    for story in stories_of(task):
        for line in story.questions:
            recent = [
                m for m in deeds(told_before(story, line)[-5:]) if any(m[kind] for kind in ASKED_ABOUT[task])
            ]
            if task in (2, 3):
                asked = {m["got"] or m["left"] for m in recent} & set(line.words)
            elif task == 5:
                support = DEED.fullmatch(story.lines[line.support[0] - 1].text)
                asked = {m["gave"] for m in recent} & {support["gave"]}
            else:
                asked = {m["who"] for m in recent} & set(people_in(line.text))
            assert asked, (story.key, line)


@pytest.mark.parametrize("task", [9, 10, 11, 12, 13])
def test_questions_are_about_the_last_five_mentions(task, stories_of):
    """A window of sentences where it counts people: "Mary and John" are two, and so are "they"."""
    for story in stories_of(task):
        mentions: list[str] = []
        latest: list[str] = []
        for line in story.lines:
            if line.is_question:
                assert people_in(line.text)[0] in mentions[-5:], (story.key, line)
            else:
                latest = people_in(line.text) or latest
                mentions += latest


@pytest.mark.parametrize("task", ASKED_ABOUT)
def test_people_do_only_what_they_can(task, stories_of):
    """Moving to the room one is in, getting what somebody holds, dropping or giving what one has not."""
    for story in stories_of(task):
        room: dict[str, str] = {}
        holder: dict[str, str] = {}
        for deed in deeds(story.lines):
            who = deed["who"]
            if deed["room"]:
                assert room.get(who) != deed["room"], story.key
                room[who] = deed["room"]
            elif deed["got"]:
                assert deed["got"] not in holder, story.key
                holder[deed["got"]] = who
            elif deed["left"]:
                assert holder.pop(deed["left"], None) == who, story.key
            else:
                assert holder[deed["gave"]] == who != deed["to"], story.key
                assert len({room[person] for person in (who, deed["to"]) if person in room}) < 2, story.key
                holder[deed["gave"]] = deed["to"]


@pytest.mark.parametrize("task", RECEIVERS)
def test_gifts_are_the_first_possible(task, stories_of):
    """A gift that is drawn: it is the first thing, and goes to the first person, for which it can be."""
    choices = 0
    for story in stories_of(task):
        room: dict[str, str] = {}
        holder: dict[str, str] = {}
        for deed in deeds(story.lines):
            if deed["room"]:
                room[deed["who"]] = deed["room"]
            elif deed["got"]:
                holder[deed["got"]] = deed["who"]
            elif deed["left"]:
                del holder[deed["left"]]
            else:
                if len(room) == 4:
                    possible = [
                        (thing, other)
                        for thing in THINGS
                        for other in RECEIVERS[task]
                        if thing in holder and other != holder[thing] and room[other] == room[holder[thing]]
                    ]
                    choices += len(possible) > 1
                    assert possible[0] == (deed["gave"], deed["to"]), story.key
                holder[deed["gave"]] = deed["to"]
    assert choices > 10


@pytest.mark.parametrize("task", ASKED_ABOUT)
def test_who_gets_something_gets_it_there(task, stories_of):
    """A get without " there" in another task than 3."""
    for story in stories_of(task):
        for line in story.lines:
            assert task == 3 or not re.fullmatch(r".*(got|grabbed|took|picked up) the \w+\.", line.text), line


@pytest.mark.parametrize("task", [9, 11, 12, 13])
def test_every_move_goes_to_another_room(task, stories_of):
    """A pair that goes where one of the two is, a pronoun that leads nowhere, a denial of some other room."""
    for story in stories_of(task):
        room: dict[str, str] = {}
        latest: list[str] = []
        for line in story.lines:
            if line.is_question:
                continue
            latest = people_in(line.text) or latest
            for who in latest:
                before, named = room.pop(who, None), line.words[-1]
                if {"no", "not"} & set(line.words):
                    assert before in (None, named), (story.key, line)
                else:
                    assert before != named, (story.key, line)
                    room[who] = named


def test_days_go_by(stories_of):
    """Task 14: two statements in their true order, a time left out, a stay without a move, a wrong window.

    The order of what happened is known after the first block, if that has more than two statements.
    """
    times = ("yesterday", "this morning", "this afternoon", "this evening")
    for story in stories_of(14):
        days: dict[str, list[str]] = {}
        order: list[int] = []
        for asked, block in groupby(story.lines, key=lambda line: line.is_question):
            lines = list(block)
            if asked:
                first = story.questions[0].number - 1
                if first == 2 or len(order) - first >= 5:
                    assert lines[0].support[0] in order[-5:], story.key
                continue
            time_of = {
                line: re.search("|".join(times), line.text, re.IGNORECASE)[0].lower() for line in lines
            }
            for line in (
                lines[::-1] if len(lines) == 2 else sorted(lines, key=lambda at: times.index(time_of[at]))
            ):
                day = days.setdefault(people_in(line.text)[0], [])
                assert time_of[line] == times[len(day)], story.key
                room = re.search(r"to the (\w+)", line.text)[1]
                assert room not in day[-1:], story.key
                day.append(room)
                order.append(line.number)


def test_fears_come_before_their_names(stories_of):
    """An animal given to a name before its fear is told (task 15)."""
    for story in stories_of(15):
        for line in story.questions:
            name, fear = line.support
            assert fear < name, story.key


def test_only_outer_things_are_asked_about(stories_of):
    """Task 17: a question about the thing that both statements share."""
    for story in stories_of(17):
        things = [
            set(re.findall(r"triangle|\w+ (?:rectangle|sphere|square)", line.text)) for line in story.lines
        ]
        assert all(asked == things[0] ^ things[1] for asked in things[2:]), story.key


def test_support_starts_from_the_first_word_about_the_middle(stories_of):
    """Task 18: other statements taken for the chain, which has the first, or first two; impossible sizes."""
    for story in stories_of(18):
        pairs: dict[int, tuple[str, str]] = {}
        for line in story.lines:
            if line.is_question:
                first, second = sorted(line.support)
                (middle,) = set(pairs[first]) & set(pairs[second])
                about = [number for number, pair in pairs.items() if middle in pair]
                assert first == about[0], story.key
                assert line.support[0] == second or second == about[1], story.key
            else:
                small, large = re.findall(
                    r"box of chocolates|chocolate|box|chest|container|suitcase", line.text
                )
                pairs[line.number] = (small, large) if "fits" in line.text else (large, small)
        assert not {(large, small) for small, large in pairs.values()} & set(pairs.values())
        assert all(large != "chocolate" for _, large in pairs.values())
        assert all(large != "box of chocolates" or small == "chocolate" for small, large in pairs.values())


def test_ways_are_trees(stories_of):
    """Task 19: a room told twice, a dead end of a dead end, a side of a room used twice."""
    for story in stories_of(19):
        edges = [
            re.findall(r"bathroom|bedroom|garden|hallway|kitchen|office", line.text) for line in story.lines
        ]
        sides = [re.search(r"north|south|east|west", line.text)[0] for line in story.lines[:-1]]
        turned = {"north": "south", "south": "north", "east": "west", "west": "east"}
        *told, (start, end) = edges
        assert len({room for edge in told for room in edge}) == 6
        (middle,) = {b for a, b in told + [e[::-1] for e in told] if a == start} & {
            b for a, b in told + [e[::-1] for e in told] if a == end
        }
        assert all({start, middle, end} & set(edge) for edge in told), story.key
        used = [(b, side) for (a, b), side in zip(told, sides, strict=True)]
        used += [(a, turned[side]) for (a, b), side in zip(told, sides, strict=True)]
        assert len(set(used)) == len(used), story.key


def test_motives_in_order(stories_of):
    """Task 20: a thing got twice, or by somebody who has not moved; a statement without its question."""
    for story in stories_of(20):
        steps: dict[str, int] = {}
        taken: list[str] = []
        for statement, question in zip(story.lines[::2], story.lines[1::2], strict=True):
            who = statement.words[0]
            step = 2 if "there" in statement.words else 1 if "to" in statement.words else 0
            assert not statement.is_question
            assert question.is_question
            assert who in question.words
            assert step == steps.get(who, -1) + 1, story.key
            steps[who] = step
            taken += [statement.words[-2]] if step == 2 else []
        assert len(set(taken)) == len(taken), story.key
