"""Fine-tuning on the chip's arithmetic: the loss falls, damage is repaired, what comes out is a program."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware.errors import RunError
from hardware.host import ClockLine, Host, Readout, Schedule, TokenAxons
from hardware.program import InputAxons, Population, Probe, Program, Projection
from hardware.reference import Reference
from hardware.schedule import encode, read_answers
from spmn.errors import SettingsError
from spmn.events import QUESTION, STATEMENT, UNSAYABLE, Stream
from spmn.exact import Exact
from spmn.finetune import Score, finetune, score
from spmn.runners import chip_events

WORDS = ("", *(f"word{n}" for n in range(8)))
ANSWERS = ("odd", "even")


def parrot() -> Program:
    """A hidden neuron per word, two output neurons, one for words of odd and one for words of even number."""
    words = len(WORDS)
    parity = np.array([[40 if n % 2 == odd else -40 for n in range(words)] for odd in (0, 1)])
    readout = Readout("answer", ("output",), 2, 4, 2**16 * np.eye(2, dtype=int), np.zeros(2, int), ANSWERS)
    return Program(
        "parrot",
        (InputAxons("words", words), InputAxons("tick", 1)),
        (
            Population("hidden", words, vth=100, dv=4096),
            Population("output", 2, vth=30, dv=2048, reset_interval=8, reset_offset=1),
        ),
        (
            Projection("in", "words", "hidden", 120 * np.eye(words, dtype=int)),
            Projection("out", "hidden", "output", parity),
            Projection("clear", "tick", "output", np.full((2, 1), -60), sign_mode="inhibitory"),
        ),
        probes=(Probe("output"),),
        schedule=Schedule(8, lines=(ClockLine("tick", (6,)),)),
        host=Host(
            WORDS,
            TokenAxons("words", 1, (0, 1, 2)),
            readouts=(readout,),
        ),
    )  # fmt: skip


def ask(seed: int, count: int) -> list[Stream]:
    """Stories of a statement and two questions, each answered by the parity of its word."""
    random = np.random.default_rng(seed)
    kind = np.array([STATEMENT, QUESTION, QUESTION])
    streams = []
    for _ in range(count):
        word = random.integers(1, len(WORDS), 3)
        target = np.where(kind == QUESTION, word % 2, -1)
        streams.append(Stream(1, word[:, None], kind, np.arange(3), target, np.full(3, -1)))
    return streams


@pytest.fixture(scope="module")
def damaged() -> Program:
    program = parrot()
    random = np.random.default_rng(1)
    noisy = [
        dataclasses.replace(
            p, weights=(p.weights + random.integers(-50, 50, p.weights.shape)).clip(-256, 255)
        )
        for p in program.projections[:2]
    ]
    return dataclasses.replace(program, projections=(*noisy, program.projections[2]))


def answered(program: Program, streams: list[Stream]) -> float:
    """Share of wrong answers on the reference."""
    stories = [chip_events(stream) for stream in streams]
    reference = Reference(program)
    _, recording = reference.run(reference.initial_state(len(streams)), encode(program, stories))
    given = np.concatenate(read_answers(program, recording, stories)["answer"])
    return float((given != np.concatenate([s.target[s.kind == QUESTION] for s in streams])).mean())


def test_damage_is_repaired(damaged: Program) -> None:
    told: list[tuple[int, Score | None, Score]] = []
    held_out = ask(2, 20)
    repaired = finetune(
        damaged, ask(1, 60), held_out, epochs=6, learning_rate=4.0, batch=10, seed=3,
        trained=["in", "out"], report=lambda *line: told.append(line),
    )  # fmt: skip
    test = ask(3, 40)
    assert answered(parrot(), test) == 0
    assert answered(damaged, test) > 0.25
    assert answered(repaired, test) < 0.05
    assert [epoch for epoch, _, _ in told] == [0, 1, 2, 3, 4, 5, 6]
    (_, nothing, before), (_, first, _), *_, (_, last, _) = told
    assert nothing is None
    assert before.errors == score(Exact(damaged), held_out).errors
    assert first is not None
    assert last is not None
    assert last.loss < 0.5 * first.loss
    assert score(Exact(repaired), held_out) == min(found for _, _, found in told)
    assert repaired.projections[2] == damaged.projections[2]
    assert repaired.projections[:2] != damaged.projections[:2]


def test_score_counts_as_the_host_does(damaged: Program) -> None:
    streams = ask(4, 15)
    found = score(Exact(damaged), streams, batch=4)
    assert found.errors == answered(damaged, streams)
    unsayable = dataclasses.replace(streams[0], target=np.array([-1, UNSAYABLE, streams[0].target[2]]))
    assert score(Exact(parrot()), [unsayable]).errors == 0.5
    assert np.isfinite(score(Exact(parrot()), [unsayable]).loss)


def test_never_worse_than_it_started() -> None:
    """Trained to say the opposite, and held to the truth, the program stays as it is."""
    wrong = [dataclasses.replace(s, target=np.where(s.target < 0, -1, 1 - s.target)) for s in ask(1, 20)]
    program = parrot()
    assert finetune(program, wrong, ask(2, 10), 2, 8.0, batch=5, trained=["out"]) == program


def test_same_seed_same_program(damaged: Program) -> None:
    runs = [finetune(damaged, ask(1, 12), ask(2, 6), 2, 2.0, 4, seed, ["out"]) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_steps_of_the_weights_cool_down(damaged: Program) -> None:
    """Two updates with a learning rate of 8 and of 4; a step of Adam is at most its learning rate."""
    streams = ask(1, 40)
    tuned = finetune(damaged, streams, streams, epochs=2, learning_rate=8.0, batch=40, trained=["out"])
    moved = np.abs(tuned.projections[1].weights - damaged.projections[1].weights).max()
    assert 8 < moved <= 12.5


def test_what_cannot_be_trained_is_refused(damaged: Program) -> None:
    with pytest.raises(SettingsError, match="epochs is 0"):
        finetune(damaged, ask(1, 2), ask(2, 2), epochs=0)
    with pytest.raises(SettingsError, match="learning_rate is 0"):
        finetune(damaged, ask(1, 2), ask(2, 2), learning_rate=0)
    with pytest.raises(SettingsError, match="learning_rate is nan"):
        finetune(damaged, ask(1, 2), ask(2, 2), learning_rate=float("nan"))
    with pytest.raises(SettingsError, match="seed is -1"):
        finetune(damaged, ask(1, 2), ask(2, 2), seed=-1)
    silent = [dataclasses.replace(s, kind=np.zeros(3, int)) for s in ask(1, 2)]
    with pytest.raises(RunError, match="ask no question"):
        finetune(damaged, ask(1, 2), silent)
    with pytest.raises(RunError, match="no readout"):
        score(
            Exact(dataclasses.replace(damaged, host=dataclasses.replace(damaged.host, readouts=()))), silent
        )
