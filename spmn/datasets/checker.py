"""Do the answers and supports of stories follow from their statements?

Every answer and every list of supporting lines is computed anew from the text of the story alone. Nothing is
shared with the generator, so each can be held against the other, and both against the published files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import NamedTuple

from spmn.datasets.babi import Line, Story
from spmn.errors import DataError

Reading = tuple[str, tuple[int, ...]]
"""An answer with its support, in the order of the published files."""


class Told(NamedTuple):
    """A statement taken apart: its line, what it says, and the words that fill it."""

    line: int
    kind: str
    words: Mapping[str, str]


Reader = Callable[[Sequence[Told], Mapping[str, str]], Iterable[Reading]]
"""(statements so far, words of the question) -> every reading that is right; an empty one if it has none."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a line: its sentence, its answer or its support."""

    line: Line
    what: str
    readings: tuple[Reading, ...] = ()

    def __str__(self) -> str:
        """The line as in the file, with what would be right."""
        right = " or ".join(f"{answer!r} from {list(lines)}" for answer, lines in self.readings)
        return f"{str(self.line)!r}: wrong {self.what}" + (f", right: {right}" if right else "")


@dataclass
class Tally:
    """What a check of many stories of one task found; `first` is the first fault with its story's text."""

    questions: int = 0
    sentences: int = 0  # that no story of the task has
    answers: int = 0  # wrong ones
    supports: int = 0  # wrong ones below a right answer
    several: int = 0  # questions for which more than one reading is right
    first: tuple[str, Fault] | None = field(default=None, repr=False)

    @property
    def faults(self) -> int:
        """How many lines are wrong."""
        return self.sentences + self.answers + self.supports


def check(stories: Iterable[Story]) -> Tally:
    """Compare every answer and support of the stories with what their statements say.

    Raises DataError for a task number without rules.
    """
    tally = Tally()
    for story in stories:
        tally.questions += len(story.questions)
        for line, readings in readings_of(story):
            fault = _fault(line, readings)
            if fault is None:
                tally.several += len(readings or ()) > 1
                continue
            tally.first = tally.first or (story.key, fault)
            setattr(tally, f"{fault.what}s", getattr(tally, f"{fault.what}s") + 1)
    return tally


def readings_of(story: Story) -> Iterator[tuple[Line, tuple[Reading, ...] | None]]:
    """Each line with the readings that are right: () for a statement, None for an unknown sentence."""
    if story.task not in _LANGUAGES:
        raise DataError(f"task {story.task!r} cannot be checked: choose from 1 to {len(_LANGUAGES)}")
    told: list[Told] = []
    for line in story.lines:
        kind, words = _parse(story.task, line.text)
        if line.is_question:
            reader = _LANGUAGES[story.task].questions.get(kind)
            yield line, None if reader is None else tuple(dict.fromkeys(_readings(reader, told, words)))
        else:
            known = kind in _LANGUAGES[story.task].statements
            if known:
                told.append(Told(line.number, kind, words))
            yield line, () if known else None


def _fault(line: Line, readings: tuple[Reading, ...] | None) -> Fault | None:
    if readings is None:
        return Fault(line, "sentence")
    if line.answer is None or (line.answer, line.support) in readings:
        return None
    return Fault(line, "support" if line.answer in dict(readings) else "answer", readings)


def _readings(reader: Reader, told: Sequence[Told], words: Mapping[str, str]) -> Iterable[Reading]:
    try:
        return list(reader(told, words))
    except (LookupError, ValueError):  # something asked about was never told
        return ()


@lru_cache(maxsize=100_000)
def _parse(task: int, text: str) -> tuple[str, Mapping[str, str]]:
    language = _LANGUAGES[task]
    for kind in (*language.statements, *language.questions):
        match = _form(kind, task).fullmatch(text)
        if match is not None:
            return kind, {name: word for name, word in match.groupdict().items() if word is not None}
    return "", {}


# ---- people in rooms


def _where(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    room, lines = _places(told)[asked["who"]]
    yield room, lines


def _places(told: Sequence[Told]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Where each person was last said to go, and the lines that say so; a pronoun is for those just named."""
    places: dict[str, tuple[str, tuple[int, ...]]] = {}
    people: tuple[str, ...] = ()
    named = 0
    for fact in told:
        lines: tuple[int, ...] = (fact.line,)
        if "pronoun" not in fact.words:
            people = tuple(fact.words[name] for name in ("who", "other") if name in fact.words)
            named = fact.line
        elif fact.line == named + 1 and fact.words["pronoun"] == _PRONOUNS.get(people, "they"):
            lines = (named, fact.line)
        else:
            raise ValueError(fact)
        places.update(dict.fromkeys(people, (fact.words["room"], lines)))
    return places


_PRONOUNS: dict[tuple[str, ...], str] = {
    ("Mary",): "she",
    ("Sandra",): "she",
    ("John",): "he",
    ("Daniel",): "he",
}


def _whether(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Tasks 6, 9 and 10: the newest statement about the person's place decides."""
    fact = _first(f for f in reversed(told) if f.words["who"] == asked["who"] and "room" in f.words)
    if fact.kind == "either":
        possible = asked["room"] in (fact.words["room"], fact.words["second"])
        yield "maybe" if possible else "no", (fact.line,)
    elif fact.kind != "not at":
        yield "yes" if asked["room"] == fact.words["room"] else "no", (fact.line,)
    elif asked["room"] == fact.words["room"]:
        yield "no", (fact.line,)


def _where_thing(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 2: with who holds it, or where it was dropped."""
    last = _handlings(told, asked["thing"])[-1]
    if last.kind == "drop":
        move = _moves(told, last.words["who"], before=last.line)[-1]
    else:
        move = _moves(told, last.words["who"], after=last.line)[-1]
    yield move.words["room"], (last.line, move.line)


def _where_before(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 3: the way that the thing was carried, back from its last stay in the room asked about."""
    handled = _handlings(told, asked["thing"])
    last = handled[-1]
    if last.kind == "drop":
        way = _moves(told, last.words["who"], handled[-2].line, last.line)
    else:
        way = _moves(told, last.words["who"], last.line)
    here = max(i for i, move in enumerate(way) if move.words["room"] == asked["room"])
    if here > 0:
        yield way[here - 1].words["room"], (last.line, way[here].line, way[here - 1].line)


def _given(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    for fact in _last_gifts(told, asked):
        yield fact.words["thing"], (fact.line,)


def _giver(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    for fact in _last_gifts(told, asked):
        yield fact.words["who"], (fact.line,)


def _receiver(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    for fact in _last_gifts(told, asked):
        yield fact.words["other"], (fact.line,)


def _last_gifts(told: Sequence[Told], asked: Mapping[str, str]) -> list[Told]:
    """Task 5: the last time that each thing was given, where that fits the question.

    Two things can have gone from one person to another last, and then both are right.
    """
    last = {fact.words["thing"]: fact for fact in told if fact.kind == "give"}
    return [fact for fact in last.values() if asked.items() <= fact.words.items()]


def _count(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 7: everything told of what the person got, lost, gave and received is support."""
    held = 0
    lines = []
    for fact in told:
        if fact.kind != "move" and asked["who"] in (fact.words["who"], fact.words.get("other")):
            gains = fact.kind == "get" or fact.words.get("other") == asked["who"]
            held += 1 if gains else -1
            lines.append(fact.line)
    yield ("none", "one", "two", "three")[held], tuple(lines)


def _list(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 8: things and their lines in the order in which the person first got them."""
    histories: dict[str, list[Told]] = {}
    for fact in told:
        if fact.kind != "move" and fact.words["who"] == asked["who"]:
            histories.setdefault(fact.words["thing"], []).append(fact)
    held = [thing for thing, history in histories.items() if history[-1].kind == "get"]
    lines = tuple(fact.line for history in histories.values() for fact in history)
    yield ",".join(held) or "nothing", lines


def _slots(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 14: back from the last visit of the day."""
    times = ("yesterday", "this morning", "this afternoon", "this evening")
    day = {
        times.index(fact.words["time"].lower()): fact for fact in told if fact.words["who"] == asked["who"]
    }
    at = max(slot for slot, fact in day.items() if fact.words["room"] == asked["room"])
    yield day[at - 1].words["room"], (day[at].line, day[at - 1].line)


def _first(facts: Iterable[Told]) -> Told:
    for fact in facts:
        return fact
    raise LookupError


def _moves(told: Sequence[Told], who: str, after: int = 0, before: int = 10**9) -> list[Told]:
    return [f for f in told if f.kind == "move" and f.words["who"] == who and after < f.line < before]


def _handlings(told: Sequence[Told], thing: str) -> list[Told]:
    return [fact for fact in told if fact.words.get("thing") == thing]


# ---- who is what


def _fear(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 15."""
    one_of = {"mice": "mouse", "sheep": "sheep", "wolves": "wolf", "cats": "cat"}
    name = _first(f for f in told if f.kind == "is a" and f.words["who"].lower() == asked["who"])
    fear = _first(
        f for f in told if f.kind == "fear" and one_of[f.words["kind"].lower()] == name.words["kind"]
    )
    yield one_of[fear.words["feared"]], (name.line, fear.line)


def _colour(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 16: like the last of the same kind to be introduced."""
    kinds = {f.words["who"]: f for f in told if f.kind == "is a"}
    colours = {f.words["who"]: f for f in told if f.kind == "is"}
    mine = kinds.pop(asked["who"])
    like = [fact for fact in kinds.values() if fact.words["kind"] == mine.words["kind"]][-1]
    seen = colours[like.words["who"]]
    if asked["who"] not in colours:
        yield seen.words["colour"], (mine.line, like.line, seen.line)


def _motive(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 20: who feels what goes where, and gets what is wanted there."""
    wants = {
        "hungry": ("kitchen", "apple"),
        "thirsty": ("kitchen", "milk"),
        "bored": ("garden", "football"),
        "tired": ("bedroom", "pajamas"),
    }
    feels = _first(f for f in told if f.kind == "feels" and f.words["who"].lower() == asked["who"])
    motive = feels.words["motive"]
    room, thing = wants[motive]
    if asked.get("room", room) == room and asked.get("thing", thing) == thing:
        yield motive if len(asked) > 1 else room, (feels.line,)


# ---- where things lie, and how large they are

_STEP = {
    "north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0),
    "above": (0, 1), "below": (0, -1), "to the right": (1, 0), "to the left": (-1, 0),
}  # fmt: skip


def _beside(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 4: the room that lies so, or that the named room lies so from."""
    x, y = _STEP[asked["side"]]
    step = (x, y) if "object" in asked else (-x, -y)
    for fact, room, (here, side) in _neighbours(told):
        if room == asked.get("object", asked.get("subject")) and side == step:
            yield here, (fact.line,)


def _position(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 17: two things, each told next to a third one."""
    steps = {room: (fact.line, hub, step) for fact, hub, (room, step) in _neighbours(told)}
    first, second = steps[asked["subject"]], steps[asked["object"]]
    if first[1] == second[1]:
        apart = [a - b for a, b in zip(first[2], second[2], strict=True)]
        true = any(side * offset > 0 for side, offset in zip(_STEP[asked["side"]], apart, strict=True))
        yield "yes" if true else "no", (first[0], second[0])


def _path(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 19: two steps, by their initials."""
    initial = {step: name[0] for name, step in _STEP.items() if name in ("north", "south", "east", "west")}
    ways = list(_neighbours(told))
    for first, start, (middle, step) in ways:
        for second, here, (end, next_step) in ways:
            if start == asked["start"] and here == middle and end == asked["end"]:
                yield f"{initial[step]},{initial[next_step]}", (first.line, second.line)


def _neighbours(told: Sequence[Told]) -> Iterator[tuple[Told, str, tuple[str, tuple[int, int]]]]:
    """(statement, place, (a place next to it, the step there)), each statement in both directions."""
    for fact in told:
        x, y = _STEP[fact.words["side"]]
        yield fact, fact.words["object"], (fact.words["subject"], (x, y))
        yield fact, fact.words["subject"], (fact.words["object"], (-x, -y))


def _size(told: Sequence[Told], asked: Mapping[str, str]) -> Iterator[Reading]:
    """Task 18: any two statements that lead over a third thing; the claim's far end comes first."""
    for answer, small, large in (
        ("yes", asked["small"], asked["large"]),
        ("no", asked["large"], asked["small"]),
    ):
        lower = [fact for fact in told if fact.words["small"] == small]
        upper = [fact for fact in told if fact.words["large"] == large]
        for low in lower:
            for high in upper:
                if low.words["large"] == high.words["small"]:
                    lines = (low.line, high.line)
                    yield answer, lines if answer == "no" else lines[::-1]


# ---- the language of each task


@dataclass(frozen=True)
class _Language:
    """The sentences of a task: kinds of statement, kinds of question with their readers, and their words."""

    statements: tuple[str, ...]
    questions: Mapping[str, Reader]
    people: str = "Mary|John|Sandra|Daniel"
    rooms: str = "bathroom|bedroom|garden|hallway|kitchen|office"
    there: str = " there"  # how a get ends


_TOWN = {"people": "Fred|Mary|Bill|Julie", "rooms": "bedroom|cinema|kitchen|office|park|school"}
_THINGS = "apple|football|milk"
_WENT = "(?:went|journeyed|travelled|moved|went back) to the"
_GOT = "(?:got|grabbed|took|picked up) the"
_SIZED = "chocolate|box of chocolates|box|chest|container|suitcase"
_SHAPES = "triangle|pink rectangle|red sphere|blue square|yellow square|red square"

_FORMS = {
    "move": rf"(?P<who>PEOPLE) {_WENT} (?P<room>ROOMS)\.",
    "get": rf"(?P<who>PEOPLE) {_GOT} (?P<thing>{_THINGS})THERE\.",
    "drop": rf"(?P<who>PEOPLE) (?:dropped|discarded|put down|left) the (?P<thing>{_THINGS})(?: there)?\.",
    "give": rf"(?P<who>PEOPLE) (?:gave|handed|passed) the (?P<thing>{_THINGS}) to (?P<other>PEOPLE)\.",
    "at": r"(?P<who>PEOPLE) is in the (?P<room>ROOMS)\.",
    "not at": r"(?P<who>PEOPLE) is (?:not|no longer) in the (?P<room>ROOMS)\.",
    "either": r"(?P<who>PEOPLE) is either in the (?P<room>ROOMS) or the (?P<second>ROOMS)\.",
    "then": r"(?:After that|Afterwards|Following that|Then) "
    rf"(?P<pronoun>he|she|they) {_WENT} (?P<room>ROOMS)\.",
    "both": rf"(?P<who>PEOPLE) and (?P<other>PEOPLE) {_WENT} (?P<room>ROOMS)\.",
    "time in front": r"(?P<time>Yesterday|This (?:morning|afternoon|evening)) "
    rf"(?P<who>PEOPLE) {_WENT} (?P<room>ROOMS)\.",
    "time at the end": rf"(?P<who>PEOPLE) {_WENT} (?P<room>ROOMS) "
    r"(?P<time>yesterday|this (?:morning|afternoon|evening))\.",
    "fear": r"(?P<kind>Mice|Sheep|Wolves|Cats) are afraid of (?P<feared>mice|sheep|wolves|cats)\.",
    "is a": r"(?P<who>PEOPLE) is a (?P<kind>mouse|sheep|wolf|cat|swan|lion|frog|rhino)\.",
    "is": r"(?P<who>PEOPLE) is (?P<colour>gray|white|yellow|green)\.",
    "feels": r"(?P<who>PEOPLE) is (?P<motive>hungry|thirsty|bored|tired)\.",
    "gets": rf"(?P<who>PEOPLE) {_GOT} (?P<thing>apple|milk|football|pajamas) there\.",
    "compass": r"The (?P<subject>ROOMS) is (?P<side>north|south|east|west) of the (?P<object>ROOMS)\.",
    "up or beside": rf"The (?P<subject>{_SHAPES}) is (?P<side>above|below|to the left|to the right)"
    rf"(?:(?<=t) of)? the (?P<object>{_SHAPES})\.",
    "fits": rf"The (?P<small>{_SIZED}) fits inside the (?P<large>{_SIZED})\.",
    "is bigger": rf"The (?P<large>{_SIZED}) is bigger than the (?P<small>{_SIZED})\.",
    "where?": r"Where is (?P<who>PEOPLE)\? ",
    "where thing?": rf"Where is the (?P<thing>{_THINGS})\? ",
    "where before?": rf"Where was the (?P<thing>{_THINGS}) before the (?P<room>ROOMS)\? ",
    "whether?": r"Is (?P<who>PEOPLE) in the (?P<room>ROOMS)\? ",
    "gave what?": r"What did (?P<who>PEOPLE) give to (?P<other>PEOPLE)\? ",
    "who gave?": rf"Who gave the (?P<thing>{_THINGS})(?: to (?P<other>PEOPLE))?\? ",
    "who received?": rf"Who received the (?P<thing>{_THINGS})\? ",
    "gave to whom?": rf"Who did (?P<who>PEOPLE) give the (?P<thing>{_THINGS}) to\? ",
    "how many?": r"How many objects is (?P<who>PEOPLE) carrying\? ",
    "what?": r"What is (?P<who>PEOPLE) carrying\? ",
    "where earlier?": r"Where was (?P<who>PEOPLE) before the (?P<room>ROOMS)\? ",
    "afraid of?": r"What is (?P<who>gertrude|winona|jessica|emily) afraid of\?",
    "colour?": r"What color is (?P<who>PEOPLE)\?",
    "what lies?": r"What is (?P<side>north|south|east|west) of the (?P<object>ROOMS)\?",
    "lies of what?": r"What is the (?P<subject>ROOMS) (?P<side>north|south|east|west) of\?",
    "lies?": rf"Is the (?P<subject>{_SHAPES}) (?P<side>above|below|to the left|to the right)"
    rf"(?:(?<=t) of)? the (?P<object>{_SHAPES})\?",
    "fits?": rf"Does the (?P<small>{_SIZED}) fit in the (?P<large>{_SIZED})\?",
    "bigger?": rf"Is the (?P<large>{_SIZED}) bigger than the (?P<small>{_SIZED})\?",
    "how go?": r"How do you go from the (?P<start>ROOMS) to the (?P<end>ROOMS)\?",
    "will go?": r"Where will (?P<who>antoine|jason|sumit|yann) go\?",
    "why go?": r"Why did (?P<who>antoine|jason|sumit|yann) go to the (?P<room>ROOMS)\?",
    "why get?": r"Why did (?P<who>antoine|jason|sumit|yann) get the (?P<thing>apple|milk|football|pajamas)\?",
}
"""Kind of sentence -> its form, with the words of the task to be put in for PEOPLE, ROOMS and THERE."""

_CARRYING = ("move", "get", "drop")
_GIVING = (*_CARRYING, "give")
_LANGUAGES: dict[int, _Language] = {
    1: _Language(("move",), {"where?": _where}),
    2: _Language(_CARRYING, {"where thing?": _where_thing}),
    3: _Language(_CARRYING, {"where before?": _where_before}, there="(?: there)?"),
    4: _Language(("compass",), {"what lies?": _beside, "lies of what?": _beside}),
    5: _Language(
        _GIVING,
        {"gave what?": _given, "who gave?": _giver, "who received?": _receiver, "gave to whom?": _receiver},
        people="Mary|Fred|Bill|Jeff",
    ),
    6: _Language(_CARRYING, {"whether?": _whether}),
    7: _Language(_GIVING, {"how many?": _count}),
    8: _Language(_CARRYING, {"what?": _list}),
    9: _Language(("move", "at", "not at"), {"whether?": _whether}),
    10: _Language(("move", "at", "either"), {"whether?": _whether}, **_TOWN),
    11: _Language(("move", "then"), {"where?": _where}),
    12: _Language(("both",), {"where?": _where}),
    13: _Language(("both", "then"), {"where?": _where}),
    14: _Language(("time in front", "time at the end"), {"where earlier?": _slots}, **_TOWN),
    15: _Language(("fear", "is a"), {"afraid of?": _fear}, people="Gertrude|Winona|Jessica|Emily"),
    16: _Language(("is a", "is"), {"colour?": _colour}, people="Lily|Bernhard|Greg|Julius|Brian"),
    17: _Language(("up or beside",), {"lies?": _position}),
    18: _Language(("fits", "is bigger"), {"fits?": _size, "bigger?": _size}),
    19: _Language(("compass",), {"how go?": _path}),
    20: _Language(
        ("feels", "move", "gets"),
        dict.fromkeys(("will go?", "why go?", "why get?"), _motive),
        people="Antoine|Jason|Sumit|Yann",
    ),
}


@cache
def _form(kind: str, task: int) -> re.Pattern[str]:
    language = _LANGUAGES[task]
    form = _FORMS[kind].replace("PEOPLE", language.people).replace("ROOMS", language.rooms)
    return re.compile(form.replace("THERE", language.there))
