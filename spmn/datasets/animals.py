"""Stories of named animals, what they fear (task 15) and which colour they have (task 16)."""

from __future__ import annotations

from numpy.random import Generator

from spmn.datasets.babi import Line
from spmn.datasets.drafting import Draft, pick

FEARFUL_NAMES = ("Gertrude", "Winona", "Jessica", "Emily")
PLURALS = {"mouse": "mice", "sheep": "sheep", "wolf": "wolves", "cat": "cats"}
FEAR_QUESTIONS = 4

COLOURED_NAMES = ("Lily", "Bernhard", "Greg", "Julius", "Brian")
COLOURED_ANIMALS = ("swan", "lion", "frog", "rhino")
COLOURS = ("gray", "white", "yellow", "green")
EXAMPLES_ALLOWED = (1, 3, 4)  # the published data have no story with two examples of the animal asked about


def tell_fears(rng: Generator) -> list[Line]:
    """A story of task 15: four fears, four names, four questions.

    A name's animal has its fear told before the name.
    """
    animals = tuple(PLURALS)
    fears = {animal: pick(rng, [other for other in animals if other != animal]) for animal in animals}
    draft = Draft()
    fear_lines: dict[str, int] = {}
    named: dict[str, tuple[str, int]] = {}
    while len(fear_lines) < len(animals) or len(named) < len(FEARFUL_NAMES):
        name, animal = pick(rng, FEARFUL_NAMES), pick(rng, animals)
        if animal not in fear_lines:
            feared = PLURALS[fears[animal]]
            fear_lines[animal] = draft.tell(f"{PLURALS[animal].capitalize()} are afraid of {feared}.")
        elif name not in named:
            named[name] = animal, draft.tell(f"{name} is a {animal}.")
    for _ in range(FEAR_QUESTIONS):
        name = pick(rng, FEARFUL_NAMES)
        animal, line = named[name]
        draft.ask(f"What is {name.lower()} afraid of?", fears[animal], (line, fear_lines[animal]))
    return draft.lines


def tell_colours(rng: Generator) -> list[Line]:
    """A story of task 16: five names, the colours of four, and a question for the colour of the fifth.

    An animal's colour is drawn anew whenever one more name has that animal, as in the published data; so two
    of a kind can differ, and the answer is the colour of the last one introduced.
    """
    while True:
        draft = Draft()
        animals: dict[str, tuple[str, int]] = {}  # in the order of introduction
        coloured: dict[str, tuple[str, int]] = {}
        colour_now: dict[str, str] = {}
        while len(animals) < len(COLOURED_NAMES) or len(coloured) < len(COLOURED_NAMES) - 1:
            name = pick(rng, COLOURED_NAMES)
            if name not in animals:
                animal = pick(rng, COLOURED_ANIMALS)
                animals[name] = animal, draft.tell(f"{name} is a {animal}.")
                colour_now[animal] = pick(rng, COLOURS)
            elif name not in coloured:
                colour = colour_now[animals[name][0]]
                coloured[name] = colour, draft.tell(f"{name} is {colour}.")

        (asked,) = animals.keys() - coloured.keys()
        animal, line = animals[asked]
        examples = [name for name in animals if name != asked and animals[name][0] == animal]
        if len(examples) in EXAMPLES_ALLOWED:
            colour, colour_line = coloured[examples[-1]]
            draft.ask(f"What color is {asked}?", colour, (line, animals[examples[-1]][1], colour_line))
            return draft.lines
