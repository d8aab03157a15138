from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from hardware import Emulator, Event, ProgramError, RunError, encode, read_answers, read_story, word_ids

TELL = Event((0, 2))
ASK = Event((1, 0), question=True)


def spiking(spikes, stream=0):
    """{step from 0: axons} of one input."""
    return {step: np.flatnonzero(row).tolist() for step, row in enumerate(spikes[:, stream]) if row.any()}


def test_words_take_axons_by_position(hosted):
    spikes = encode(hosted, [[TELL, ASK]])
    assert spikes["words"].shape == (10, 1, 6)
    assert spiking(spikes["words"]) == {0: [0, 5], 1: [0, 5], 4: [1, 3], 5: [1, 3]}


def test_positions_count_from_both_ends(hosted):
    """Axons 0 to 5 count from the first word, 6 to 11 from the last."""
    both = dataclasses.replace(
        hosted,
        inputs=(dataclasses.replace(hosted.inputs[0], size=12), *hosted.inputs[1:]),
        projections=(dataclasses.replace(hosted.projections[0], weights=20 * np.eye(6, 12, dtype=int)),),
        host=dataclasses.replace(hosted.host, tokens=dataclasses.replace(hosted.host.tokens, ends=2)),
    )
    spikes = spiking(encode(both, [[TELL, Event((1,))]])["words"])
    assert spikes[0] == [0, 5, 8, 9]
    assert spikes[4] == [1, 7]
    with pytest.raises(ProgramError, match="'words' must have size 12, found 6"):
        dataclasses.replace(hosted, host=both.host)
    with pytest.raises(ProgramError, match="ends"):
        dataclasses.replace(hosted.host.tokens, ends=3)


def test_event_numbers_saturate_at_the_last_row(hosted):
    assert spiking(encode(hosted, [[TELL, TELL, ASK]])["time"]) == {2: [0], 6: [1], 10: [1]}


def test_clock_lines_follow_their_kind_of_event_and_reach_beyond_the_window(hosted):
    spikes = encode(hosted, [[ASK, ASK, TELL]])
    # steps 0 and 5 of the events at 0 and 4
    assert spiking(spikes["ask"]) == {0: [0], 4: [0], 5: [0], 9: [0]}
    assert spiking(spikes["tick"]) == {3: [0], 7: [0], 11: [0]}
    statement = dataclasses.replace(hosted.schedule.lines[0], on="statement")
    told = dataclasses.replace(
        hosted, schedule=dataclasses.replace(hosted.schedule, lines=(statement, hosted.schedule.lines[1]))
    )
    assert spiking(encode(told, [[ASK, ASK, TELL]])["ask"]) == {8: [0], 13: [0]}


def test_short_stories_end_in_silence(hosted):
    spikes = encode(hosted, [[ASK], [TELL, ASK, TELL]])
    alone = encode(hosted, [[ASK]])
    for name, values in spikes.items():
        np.testing.assert_array_equal(values[:6, 0], alone[name][:, 0])
        assert not values[6:, 0].any()


def test_answers_are_read_from_spike_counts(hosted):
    stories = [[Event((0, 2)), Event((2, 1), True), Event((1, 0), True)], [Event((0, 2), True)]]
    emulator = Emulator(hosted)
    _, recording = emulator.run(emulator.initial_state(2), encode(hosted, stories))
    answers = read_answers(hosted, recording, stories)["last"]
    assert [array.tolist() for array in answers] == [[1, 0], [2]]


@pytest.mark.parametrize(("bias", "answer"), [(1, 2), (3, 0)])
def test_two_counted_spikes_weigh_against_the_bias(hosted, bias, answer):
    readout = dataclasses.replace(hosted.host.readouts[0], bias=np.array([bias, 0, 0]))
    program = dataclasses.replace(hosted, host=dataclasses.replace(hosted.host, readouts=(readout,)))
    emulator = Emulator(program)
    story = [Event((1, 2), question=True)]
    _, recording = emulator.run(emulator.initial_state(1), encode(program, [story]))
    assert read_answers(program, recording, [story])["last"][0].tolist() == [answer]


def test_words_have_ids(hosted):
    assert word_ids(hosted, ["kitchen", "mary"]) == (2, 0)
    with pytest.raises(RunError, match="'garden'"):
        word_ids(hosted, ["garden"])


def test_stories_are_read_as_people_write_them(hosted):
    lines = ["Mary kitchen.", "JOHN?", "  john  mary ? ", "kitchen"]
    assert read_story(hosted, lines) == [
        Event((0, 2)), Event((1,), question=True), Event((1, 0), question=True), Event((2,)),
    ]  # fmt: skip
    assert read_story(hosted, []) == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "'', has 0 words: the program reads 1 to 2"),
        (" . ? ", "has 0 words"),
        ("Mary John kitchen.", "sentence 2, 'Mary John kitchen.', has 3 words: the program reads 1 to 2"),
        (
            "Mary garden.",
            "sentence 2, 'Mary garden.': the word 'garden' is not among those",
        ),
        ("Mary, john", "'mary,'"),
        ("2 Mary kitchen.", "without the number, answer and supports that bAbI files have"),
        ("Mary?\tkitchen\t1", "without the number, answer and supports that bAbI files have"),
    ],
)
def test_lines_that_are_no_sentences_are_refused(hosted, line, complaint):
    with pytest.raises(RunError, match=re.escape(complaint)):
        read_story(hosted, ["Mary kitchen.", line])


def test_stories_need_a_program_that_reads_words(memory):
    with pytest.raises(RunError, match="'memory' has no schedule or host"):
        read_story(memory, ["Mary kitchen."])


def test_what_cannot_be_encoded_is_refused(hosted, memory):
    with pytest.raises(RunError, match="3 words"):
        encode(hosted, [[Event((0, 1, 2))]])
    with pytest.raises(RunError, match="id 3"):
        encode(hosted, [[Event((3,))]])
    with pytest.raises(RunError, match="id -1"):
        encode(hosted, [[Event((-1,))]])
    for stories in ([], [[]]):
        with pytest.raises(RunError, match="no event"):
            encode(hosted, stories)
    with pytest.raises(RunError, match="'memory' has no schedule"):
        encode(memory, [[TELL]])


def test_answers_need_the_whole_run(hosted):
    emulator = Emulator(hosted)
    inputs = encode(hosted, [[ASK]])
    state, short = emulator.run(
        emulator.initial_state(1), {name: spikes[:2] for name, spikes in inputs.items()}
    )
    with pytest.raises(RunError, match="up to step 3 of a run of 2"):
        read_answers(hosted, short, [[ASK]])
    _, rest = emulator.run(state, {name: spikes[2:] for name, spikes in inputs.items()})
    with pytest.raises(RunError, match="starts at step 3"):
        read_answers(hosted, rest, [[ASK]])
