"""Stories told again with other names mean the same."""

import re
from collections import Counter

import numpy as np
import pytest

from spmn.datasets.babi import Line, Story
from spmn.datasets.checker import check
from spmn.datasets.generator import generate
from spmn.errors import SettingsError
from spmn.events import Stream, Vocabulary, stream
from spmn.renaming import Renaming, by_task, retold

PEOPLE, OTHERS = "daniel john mary sandra", "bill fred julie mary"
PLACES = "bathroom bedroom garden hallway kitchen office"
ANIMALS = "bernhard brian greg julius lily"
OBJECTS = "blue_square pink_rectangle red_sphere red_square triangle yellow_square"


@pytest.fixture(scope="module")
def told() -> dict[int, tuple[list[Story], Vocabulary]]:
    stories = {task: generate(task, 400, 0) for task in (2, 3, 5, 7, 8, 14, 16, 17, 18, 19)}
    return {task: (some, Vocabulary.of(some)) for task, some in stories.items()}


def text_of(told: Stream, vocabulary: Vocabulary, like: Story) -> Story:
    """Back to sentences, with capitals."""
    names = {word.lower() for line in like.lines for word in line.text.split()[1:] if word[0].isupper()}
    names |= set(f"{PEOPLE} {OTHERS} {ANIMALS} jeff".split())
    lines = []
    for line, ids, target in zip(like.lines, told.words, told.target, strict=True):
        words = [vocabulary.words[w] for w in ids if w]
        text = " ".join(word.capitalize() if word in names else word for word in words)
        text = text[0].upper() + text[1:]
        if line.is_question:
            end = line.text[len(line.text.rstrip("? ")) :]
            lines.append(Line(line.number, text + end, vocabulary.answers[target], line.support))
        else:
            lines.append(Line(line.number, text + "."))
    return Story(like.task, tuple(lines))


@pytest.mark.parametrize(
    ("task", "groups"),
    [
        (2, f"{PEOPLE}, {PLACES}, apple football milk"),
        (3, f"{PEOPLE}, {PLACES}, apple football milk"),
        (5, f"bill fred jeff mary, {PLACES}, apple football milk"),
        (7, f"{PEOPLE}, {PLACES}, apple football milk"),
        (8, f"{PEOPLE}, {PLACES}, apple football milk"),
        (14, f"{OTHERS}, bedroom cinema kitchen office park school"),
        (16, f"{ANIMALS}, gray green white yellow, frog lion rhino swan"),
        (17, f"{OBJECTS}, left right, above below"),
        (17, "to_the_left_of to_the_right_of | above below"),
        (18, "box chest container suitcase, box_of_chocolates"),
        (19, PLACES),
        (19, f"{PLACES}, north/n south/s, east/e west/w"),
        (19, f"{PLACES}, north/n south/s | east/e west/w"),
    ],
)
def test_renamed_stories_are_true(
    told: dict[int, tuple[list[Story], Vocabulary]], task: int, groups: str
) -> None:
    """The checker computes every answer and support anew."""
    stories, vocabulary = told[task]
    renaming = Renaming.of(groups, vocabulary)
    random = np.random.default_rng(0)
    changed = [text_of(renaming(stream(s, vocabulary), random), vocabulary, s) for s in stories[:60]]
    assert sum(a.key != b.key for a, b in zip(stories, changed, strict=False)) > 40
    assert check(changed).first is None


def test_names_are_drawn_evenly(told: dict[int, tuple[list[Story], Vocabulary]]) -> None:
    (story, *_), vocabulary = told[2]
    renaming = Renaming.of(PLACES, vocabulary)
    random = np.random.default_rng(0)
    as_told = stream(story, vocabulary)
    places = {vocabulary.words.index(place) for place in PLACES.split()}
    (at,) = (i for i, word in enumerate(as_told.words[0]) if int(word) in places)
    drawn = Counter(int(renaming(as_told, random).words[0, at]) for _ in range(1200))
    assert set(drawn) == places
    assert min(drawn.values()) > 140  # 200 expected, standard deviation 13


def test_an_answer_that_nobody_could_say_keeps_the_names() -> None:
    lines = (Line(1, "Mary took the milk."), Line(2, "Mary took the apple."))
    story = Story(8, (*lines, Line(3, "What is Mary carrying? ", "milk,apple", (1, 2))))
    vocabulary = Vocabulary.of([story])
    renaming = Renaming.of("milk apple", vocabulary)
    as_told = stream(story, vocabulary)
    for seed in range(10):
        renamed = renaming(as_told, np.random.default_rng(seed))
        assert (renamed.words == as_told.words).all()
        assert (renamed.target == as_told.target).all()


def test_names_of_several_words() -> None:
    lines = (
        Line(1, "Is the red sphere red?"),
        Line(2, "A sphere is red sphere and box"),
        Line(3, "What? ", "red sphere,box", (1,)),
        Line(4, "What? ", "box,red sphere", (1,)),
    )
    vocabulary = Vocabulary.of([Story(17, lines)])
    renaming = Renaming.of("red_sphere box", vocabulary)
    as_told = stream(Story(17, lines), vocabulary)
    telling = {
        (*(" ".join(vocabulary.words[w] for w in ids if w) for ids in told.words[:2]), told.target[2])
        for told in (renaming(as_told, np.random.default_rng(seed)) for seed in range(10))
    }
    assert telling == {
        ("is the red sphere red", "a sphere is red sphere and box", vocabulary.answer_id("red sphere,box")),
        ("is the box red", "a sphere is box and red sphere", vocabulary.answer_id("box,red sphere")),
    }


def test_the_longest_name_is_meant() -> None:
    """ "red sphere" is a box renamed or itself, never a blue sphere."""
    story = Story(17, (Line(1, "red sphere is red"), Line(2, "box is blue"), Line(3, "what? ", "no", (1,))))
    vocabulary = Vocabulary.of([story])
    renaming = Renaming.of("red_sphere box, red blue", vocabulary)
    as_told = stream(story, vocabulary)
    told = {
        " ".join(vocabulary.words[w] for w in renaming(as_told, np.random.default_rng(seed)).words[0] if w)
        for seed in range(20)
    }
    assert told == {"red sphere is red", "red sphere is blue", "box is red", "box is blue"}


def test_a_sentence_that_grows_too_long_keeps_the_names() -> None:
    story = Story(17, (Line(1, "A box"), Line(2, "red sphere"), Line(3, "box what? ", "no", (1,))))
    vocabulary = Vocabulary.of([story])
    renaming = Renaming.of("red_sphere box", vocabulary)
    as_told = stream(story, vocabulary)
    for seed in range(10):
        assert (renaming(as_told, np.random.default_rng(seed)).words == as_told.words).all()


def test_sets_of_names_are_exchanged_as_a_whole() -> None:
    """The eight symmetries of a square, each as often as the others."""
    story = Story(19, (Line(1, "north south east west"), Line(2, "where? ", "n,s,e,w", (1,))))
    answers = ("n,s,e,w", "s,n,e,w", "n,s,w,e", "s,n,w,e", "e,w,n,s", "e,w,s,n", "w,e,n,s", "w,e,s,n")
    stories = [Story(19, (Line(1, "north south east west"), Line(2, "where? ", a, (1,)))) for a in answers]
    vocabulary = Vocabulary.of(stories)
    renaming = Renaming.of("north/n south/s | east/e west/w", vocabulary)
    random = np.random.default_rng(0)
    as_told = stream(story, vocabulary)
    drawn = Counter[str]()
    for _ in range(1600):
        renamed = renaming(as_told, random)
        answer = vocabulary.answers[renamed.target[1]]
        drawn[answer] += 1
        said = [vocabulary.words[w][0] for w in renamed.words[0] if w]
        assert said == answer.split(",")
    assert set(drawn) == set(answers)
    assert min(drawn.values()) > 150  # 200 expected, standard deviation 13


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("mary | garden the", "sets of 'mary | garden the' differ in their number of names"),
        ("mary john", "'john', which no training story says"),
        ("mary_lou", "'mary lou', which no training story says"),
        ("mary, mary", "'mary' twice"),
        ("mary/garden, garden", "'garden' twice"),
        ("mary/went garden", "'mary/went garden' differ in their number of forms"),
        ("mary N", "'mary N' differ in their number of forms, or some are words"),
    ],
)
def test_words_that_cannot_be_renamed_are_refused(groups: str, said: str) -> None:
    lines = (Line(1, "Mary went to the garden."), Line(2, "Where is Mary? ", "garden", (1,)))
    story = Story(1, (*lines, Line(3, "Where is Mary? ", "N", (1,))))
    with pytest.raises(SettingsError, match=said):
        Renaming.of(groups, Vocabulary.of([story]))


def test_no_groups_change_nothing() -> None:
    story = Story(1, (Line(1, "Mary went to the garden."), Line(2, "Where is Mary? ", "garden", (1,))))
    assert Renaming.of("", Vocabulary.of([story])).groups == ()


def test_each_task_has_its_names(told: dict[int, tuple[list[Story], Vocabulary]]) -> None:
    stories = [*told[2][0], *told[16][0], *told[18][0]]
    vocabulary = Vocabulary.of(stories)
    found = by_task(f"2: {PEOPLE}; 16: {ANIMALS}", (2, 16, 18), vocabulary)
    assert found == {2: Renaming.of(PEOPLE, vocabulary), 16: Renaming.of(ANIMALS, vocabulary)}
    assert by_task(PEOPLE, (2, 16), vocabulary) == dict.fromkeys((2, 16), Renaming.of(PEOPLE, vocabulary))
    assert by_task("", (2, 16), vocabulary) == {}


@pytest.mark.parametrize("groups", [f"3: {PEOPLE}", f"2: {PEOPLE}; {ANIMALS}", "2: mary; 2: john", "x: mary"])
def test_groups_of_no_task_are_refused(groups: str, told: dict[int, tuple[list[Story], Vocabulary]]) -> None:
    with pytest.raises(SettingsError, match=re.escape(groups.split(";")[-1].strip())):
        by_task(groups, (2, 16), told[2][1])


def test_no_story_is_told_as_one_that_is_set_aside() -> None:
    stories = generate(4, 300, 0)
    vocabulary = Vocabulary.of(stories)
    streams = [stream(story, vocabulary) for story in stories]
    renaming, random = Renaming.of(PLACES, vocabulary), np.random.default_rng(0)
    drawn = [renaming(story, random) for story in streams]
    held = {story.key for story in drawn[::2]}
    assert held - {story.key for story in streams}
    random = np.random.default_rng(0)
    for told, renamed in zip(streams, drawn, strict=True):
        again = retold(told, renaming, held, random)
        assert again.key == (told if renamed.key in held else renamed).key
