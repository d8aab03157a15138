"""Stories to input spikes, and spikes to answers: what the host computer does around a program.

event n of a story occupies the steps n * window + 1 .. (n + 1) * window; after the last event `drain` steps
follow
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hardware.checks import IntArray
from hardware.errors import RunError
from hardware.host import Host, Readout, Schedule
from hardware.program import Program
from hardware.recording import Recording

Spikes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Event:
    """One sentence: ids of its words, by position, and whether it asks."""

    words: tuple[int, ...]
    question: bool = False


def word_ids(program: Program, words: Sequence[str]) -> tuple[int, ...]:
    """Ids of words in the program's vocabulary. Raises RunError for a word that it does not know."""
    _, host = _hosted(program)
    ids = {word: index for index, word in enumerate(host.vocabulary)}
    for word in words:
        if word not in ids:
            known = ", ".join(filter(str.isalnum, host.vocabulary))
            raise RunError(f"the word {word!r} is not among those that the program knows: {known}")
    return tuple(ids[word] for word in words)


def read_story(program: Program, lines: Sequence[str]) -> list[Event]:
    """Events of sentences as people write them: "Mary went to the hall." A question ends with "?".

    Words are in lower case, full stops and question marks are dropped. Raises RunError, naming the line, for
    an empty one, a word that the program does not know, a sentence with more words than it reads, and a line
    with a number or an answer.
    """
    _, host = _hosted(program)
    events = []
    for number, line in enumerate(lines, 1):
        words = line.lower().replace(".", " ").replace("?", " ").split()
        if "\t" in line or line[:1].isdigit():
            raise RunError(
                f"sentence {number}, {line!r}: give the sentence alone, without the number, answer and "
                "supports that bAbI files have"
            )
        if not 1 <= len(words) <= host.tokens.positions:
            raise RunError(
                f"sentence {number}, {line!r}, has {len(words)} words: the program reads 1 to "
                f"{host.tokens.positions}"
            )
        try:
            ids = word_ids(program, words)
        except RunError as problem:
            raise RunError(f"sentence {number}, {line!r}: {problem}") from None
        events.append(Event(ids, line.rstrip().endswith("?")))
    return events


def encode(program: Program, stories: Sequence[Sequence[Event]]) -> dict[str, Spikes]:
    """Input spikes of stories that run side by side, one stream each.

    Returns:
        Input axons -> [steps, batch, size] of 0 and 1, with steps = window * longest story + drain. Input
        axons that neither the host nor a clock line drives stay silent; so does a story after its end.

    Raises:
        RunError: no stories, an event with more words than the program has positions, an unknown word id,
            or a program without schedule and host.
    """
    schedule, host = _hosted(program)
    if not stories or not max(len(story) for story in stories):
        raise RunError("there is no event to encode: give at least one story with an event")
    steps = schedule.window * max(len(story) for story in stories) + schedule.drain
    spikes = {
        axons.name: np.zeros((steps, len(stories), axons.size), dtype=np.uint8) for axons in program.inputs
    }

    def drive(name: str, stream: int, start: int, offsets: Sequence[int], axons: Sequence[int]) -> None:
        for offset in offsets:
            # what reaches beyond the last step of the run would change nothing that is recorded
            if start + offset < steps:
                spikes[name][start + offset, stream, list(axons)] = 1

    for stream, story in enumerate(stories):
        for number, event in enumerate(story):
            start = number * schedule.window
            drive(host.tokens.name, stream, start, host.tokens.steps, _word_axons(host, event))
            if host.time is not None:
                code = host.time.code[min(number, len(host.time.code) - 1)]
                drive(host.time.name, stream, start, host.time.steps, np.flatnonzero(code).tolist())
            for line in schedule.lines:
                if line.on == "event" or (line.on == "question") == event.question:
                    drive(line.name, stream, start, line.steps, (0,))
    return spikes


def read_answers(
    program: Program, recording: Recording, stories: Sequence[Sequence[Event]]
) -> dict[str, list[IntArray]]:
    """Answers to the questions of stories, from a recording that starts at their first step.

    argmax over answers of weights @ counts + bias; the first of equal answers wins.

    Returns:
        Readout -> one array per story, the index into `Readout.answers` of each of its questions.

    Raises:
        RunError: the recording does not start at step 1 or ends before a question's spikes are counted.
    """
    schedule, host = _hosted(program)
    if recording.first_step != 1:
        raise RunError(f"the recording starts at step {recording.first_step}: give one that starts at step 1")
    return {
        readout.name: [
            np.array(
                [
                    _answer(readout, recording, stream, number * schedule.window)
                    for number, event in enumerate(story)
                    if event.question
                ],
                dtype=np.int64,
            )
            for stream, story in enumerate(stories)
        ]
        for readout in host.readouts
    }


def _answer(readout: Readout, recording: Recording, stream: int, start: int) -> int:
    first = start + readout.first_step
    if first + readout.steps > recording.steps:
        raise RunError(
            f"{readout.name} counts up to step {first + readout.steps} of a run of {recording.steps}: "
            "lengthen the schedule's drain"
        )
    counts = np.concatenate(
        [
            (recording[population, "spikes"][first : first + readout.steps, stream] != 0).sum(axis=0)
            for population in readout.populations
        ]
    )
    return int(np.argmax(readout.weights @ counts + readout.bias))


def _hosted(program: Program) -> tuple[Schedule, Host]:
    if program.schedule is None or program.host is None:
        raise RunError(f"program {program.name!r} has no schedule or host: drive its input axons yourself")
    return program.schedule, program.host


def _word_axons(host: Host, event: Event) -> list[int]:
    if len(event.words) > host.tokens.positions:
        raise RunError(
            f"an event has {len(event.words)} words: the program has {host.tokens.positions} positions"
        )
    for word in event.words:
        if not 0 <= word < len(host.vocabulary):
            raise RunError(f"the word id {word} is unknown: ids are 0..{len(host.vocabulary) - 1}")
    places = list(enumerate(event.words))
    if host.tokens.ends == 2:
        places += enumerate(reversed(event.words), host.tokens.positions)
    return [place * len(host.vocabulary) + word for place, word in places]
