"""The commands for program files as a user meets them: info, run, fits, conform; and without torch."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hardware import (
    ChipRule,
    ClockLine,
    Host,
    InputAxons,
    PlasticProjection,
    Population,
    Probe,
    Program,
    Projection,
    Readout,
    Recording,
    RunError,
    Schedule,
    TokenAxons,
    encode,
    load_recording,
    read_story,
    runners,
    save,
    save_inputs,
)
from hardware.lava import Job
from spmn import cli

WORDS = ("mary", "john", "went", "where", "is", "hall", "garden")
PLACES = ("hall", "garden")
STORY = "Mary went hall.\nJohn went garden.\nWhere is Mary?\n\nMary went garden.\nwhere is mary?\n"
WINDOW = 4
"""Steps of an event; the readout looks at its first two."""


def parrot() -> Program:
    """The answer is the last place: word axons -> LIFs that echo the third word of the event before.

    Delays bring the third word of event n into event n + 1; a plastic projection only listens.
    """
    axons = 3 * len(WORDS)
    third = np.zeros((2, axons), dtype=int)
    third[0, 2 * len(WORDS) + WORDS.index("hall")] = 20
    third[1, 2 * len(WORDS) + WORDS.index("garden")] = 20
    return Program(
        "parrot",
        (InputAxons("words", axons), InputAxons("ask", 1)),
        (Population("place", 2, vth=10, dv=4096),),
        (Projection("delayed", "words", "place", third, delays=WINDOW - 1),),
        (
            PlasticProjection(
                "heard", "words", "place", np.zeros((2, axons), dtype=int),
                rule=ChipRule("7*x0*y0 + x1*y0", x1_impulse=20, x1_tau=5), seed=1, weight_exp=-8,
            ),
        ),
        (Probe("place"), Probe("heard", "weights", every=WINDOW)),
        Schedule(WINDOW, drain=2, lines=(ClockLine("ask", (0,), on="question"),)),
        Host(
            WORDS,
            TokenAxons("words", 3, steps=(0,)),
            readouts=(Readout("answer", ("place",), 0, 2, np.eye(2, dtype=int), np.array([0, 0]), PLACES),),
        ),
        {"trained on": "[/red] nothing [bold]"},
    )  # fmt: skip


@pytest.fixture
def program(tmp_path: Path) -> Path:
    save(parrot(), tmp_path / "parrot.h5")
    return tmp_path / "parrot.h5"


Spmn = Callable[..., tuple[int, str, str]]


@pytest.fixture
def spmn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Spmn:
    """The command `spmn` in this process: exit code, standard output and standard error."""

    def call(*arguments: str | Path, say: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["spmn", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(say), encoding="utf-8"))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def failing(ended: tuple[int, str, str], *says: str) -> None:
    code, out, err = ended
    assert (code, out) == (1, "")
    (line,) = err.strip().splitlines()
    assert line.startswith("spmn: ")
    for text in says:
        assert text in line


def test_info_shows_all_parts(spmn: Spmn, program: Path) -> None:
    code, out, _ = spmn("info", program)
    assert code == 0
    for text in (
        "parrot.h5", "2 neurons in 1 populations", "2 fixed synapses", "42 plastic synapses",
        "trained on: [/red] nothing [bold]", "words", "ask", "place", "delayed", "heard",
    ):  # fmt: skip
        assert text in out


def test_answers_from_standard_input_and_from_a_file(spmn: Spmn, program: Path, tmp_path: Path) -> None:
    """Two questions, with the place of the sentence before; the second question follows on the first."""
    code, out, _ = spmn("run", program, say=STORY.encode())
    assert code == 0
    assert out.splitlines()[:2] == ["Where is Mary? garden", "where is mary? garden"]
    assert "runner: emulator, 22 steps" in out
    per_question, whole = out.split("operations per question:")[1].split("program and run:")
    assert "Effective_ACs" in per_question
    assert "Energy" in per_question
    assert "Parameter count: 84" in whole
    assert "asks no question" not in out
    (tmp_path / "story.txt").write_text(STORY)
    assert spmn("run", program, "--story", tmp_path / "story.txt") == (code, out, "")
    other = STORY.replace("went garden", "went hall")
    assert "where is mary? hall" in spmn("run", program, say=other.encode())[1]


@pytest.mark.parametrize("on", ["emulator", "reference"])
def test_json_has_answers_and_costs(spmn: Spmn, program: Path, on: str) -> None:
    code, out, _ = spmn("run", program, "--on", on, "--json", say=STORY.encode())
    assert code == 0
    told = json.loads(out)
    assert told["answers"] == [
        {"question": "Where is Mary?", "answer": "garden"},
        {"question": "where is mary?", "answer": "garden"},
    ]
    assert (told["runner"], told["steps"]) == (on, 22)
    cost = told["cost"]
    assert cost["Parameter count"] == 84
    assert cost["Footprint, bytes"] > 0
    assert 0 < cost["Activation sparsity"] < 1
    low, high = cost["Energy in uJ, estimated with Loihi 1 constants"]
    assert low <= high


def test_recordings_of_a_run(spmn: Spmn, program: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.h5"
    code, shown, _ = spmn(
        "run", program, "--out", out, "--probe", "place:v", "--probe", "heard:x1:5", say=STORY.encode()
    )
    assert code == 0
    assert "wrote" in shown
    recording = load_recording(out)
    added = {("place", "v"), ("heard", "x1")}
    assert set(recording.probes) == {("place", "spikes"), ("heard", "weights")} | added
    assert recording.times["heard", "x1"].tolist() == [5, 10, 15, 20]
    probed = dataclasses.replace(
        parrot(), probes=(*parrot().probes, Probe("place", "v"), Probe("heard", "x1", 5))
    )
    events = read_story(probed, [line for line in STORY.splitlines() if line])
    assert recording == runners.run("emulator", probed, encode(probed, [events]))
    assert recording["heard", "weights"].any()


def test_a_probe_given_again_replaces_that_of_the_program(spmn: Spmn, program: Path, tmp_path: Path) -> None:
    spmn("run", program, "--out", tmp_path / "run.h5", "--probe", "heard:weights:1", say=b"mary went hall")
    assert load_recording(tmp_path / "run.h5").times["heard", "weights"].tolist() == [1, 2, 3, 4, 5, 6]


def inputs_of(payload: int = 1, batch: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    spikes = payload * (random.random((20, batch, 21)) < 0.3).astype(np.int32)
    return {"words": spikes, "ask": np.zeros((20, batch, 1), dtype=np.uint8)}


def test_input_spikes_instead_of_sentences(spmn: Spmn, program: Path, tmp_path: Path) -> None:
    """They need no host, and standard input is not read."""
    inputs, out = tmp_path / "inputs.h5", tmp_path / "run.h5"
    save_inputs(inputs_of(batch=3), inputs)
    bare = dataclasses.replace(parrot(), host=None, schedule=None)
    save(bare, tmp_path / "bare.h5")
    for file in (program, tmp_path / "bare.h5"):
        code, shown, _ = spmn("run", file, "--inputs", inputs, "--out", out, say=b"\xff")
        assert code == 0, shown
        assert "operations per stream:" in shown
        assert load_recording(out) == runners.run("emulator", bare, inputs_of(batch=3))


def test_two_halves_equal_one_run(spmn: Spmn, program: Path, tmp_path: Path) -> None:
    whole = inputs_of()
    for name, part in {"a": slice(0, 7), "b": slice(7, 20)}.items():
        save_inputs({axons: spikes[part] for axons, spikes in whole.items()}, tmp_path / f"{name}.h5")
    state, one, two = tmp_path / "state.h5", tmp_path / "one.h5", tmp_path / "two.h5"
    assert spmn("run", program, "--inputs", tmp_path / "a.h5", "--save-state", state, "--out", one)[0] == 0
    assert spmn("run", program, "--inputs", tmp_path / "b.h5", "--state", state, "--out", two)[0] == 0
    first, second = load_recording(one), load_recording(two)
    expected = runners.run("emulator", parrot(), whole)
    assert (second.first_step, second.steps) == (8, 13)
    for key, values in expected.probes.items():
        np.testing.assert_array_equal(np.concatenate([first[key], second[key]]), values)
    failing(spmn("run", program, "--inputs", tmp_path / "b.h5", "--state", one), "one.h5", "give a state")


def test_strict_runs_end_at_the_first_loss(spmn: Spmn, program: Path, tmp_path: Path) -> None:
    save_inputs(inputs_of(payload=400), tmp_path / "wide.h5")
    out, state = tmp_path / "run.h5", tmp_path / "state.h5"
    asked = ("run", program, "--inputs", tmp_path / "wide.h5", "--out", out, "--save-state", state)
    failing(spmn(*asked, "--strict"), "input 'words', axon", "step 1, stream 0", "the payload 400 is wider")
    assert not out.exists()
    assert not state.exists()
    assert spmn(*asked)[0] == 0
    assert out.exists()
    assert state.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--on", "spinnaker"], ["no runner is called 'spinnaker'", "emulator, reference"]),
        (["--on", "reference", "--strict"], ["--strict", "need --on emulator, not reference"]),
        (["--on", "reference", "--save-state", "state.h5"], ["--save-state need --on emulator"]),
        (["--probe", "place:u:1:2"], ["--probe 'place:u:1:2'", "TARGET:VARIABLE:EVERY"]),
        (["--probe", "place:u:often"], ["--probe 'place:u:often'"]),
        (["--probe", "place:u:²"], ["--probe 'place:u:²'"]),
        (["--probe", "place:u:"], ["--probe 'place:u:'"]),
        (["--probe", "place:u:0"], ["every is 0"]),
        (["--probe", "place:mood"], ["'mood'"]),
        (["--probe", "nowhere"], ["'nowhere' is no population"]),
        (["--probe", "heard:tag_1"], ["'tag_1'", "never changes it"]),
        (["--story", "none.txt"], ["cannot read the story 'none.txt'", "No such file", "name a file"]),
        (["--story", "."], ["'.'", "Is a directory"]),
        (["--story", "latin1.txt"], ["latin1.txt is no UTF-8 text", "a sentence per line"]),
        (["--story", "empty.txt"], ["no event to encode"]),
        (["--story", "moon.txt"], ["'moon'", "those that the program knows: mary, john"]),
        (["--story", "long.txt"], ["'Mary went where is hall.', has 5 words", "reads 1 to 3"]),
        (["--inputs", "none.h5"], ["none.h5", "no such file"]),
        (["--inputs", "parrot.h5"], ["parrot.h5", "holds a program: give a inputs"]),
        (["--state", "none.h5"], ["--state none.h5 goes with --inputs"]),
        (["--inputs", "in.h5", "--state", "none.h5"], ["none.h5", "no such file"]),
        (["--inputs", "in.h5", "--story", "moon.txt"], ["--story moon.txt does not go with --inputs"]),
        (["--inputs", "in.h5", "--out", "in.h5"], ["--out names 'in.h5', as --inputs does"]),
        (["--out", "./parrot.h5"], ["--out names 'parrot.h5', as PROGRAM does", "another file"]),
        (["--out", "a.h5", "--save-state", "a.h5"], ["--save-state names 'a.h5', as --out does"]),
        (["--out", "no/such/run.h5"], ["run.h5", "cannot be written"]),
    ],
)
def test_bad_arguments_end_in_one_line_and_leave_no_file(
    spmn: Spmn,
    program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin1.txt").write_bytes("Mary went to the café.".encode("latin-1"))
    (tmp_path / "empty.txt").write_text("\n  \n")
    save_inputs(inputs_of(), tmp_path / "in.h5")
    (tmp_path / "moon.txt").write_text("Mary went moon.\n")
    (tmp_path / "long.txt").write_text("Mary went hall.\nMary went where is hall.\n")
    before = {path.name for path in tmp_path.iterdir()}
    out = [] if "--out" in arguments else ["--out", "run.h5"]
    failing(spmn("run", program, *arguments, *out, say=STORY.encode()), *says)
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_story_may_begin_with_a_mark_and_ask_nothing(spmn: Spmn, program: Path) -> None:
    code, out, _ = spmn("run", program, say="\ufeffMary went hall.\n".encode())
    assert code == 0
    assert "the story asks no question" in out
    assert "operations per stream:" in out


def test_standard_input_that_is_no_text_is_refused(spmn: Spmn, program: Path) -> None:
    failing(spmn("run", program, say=b"Mary \xff\xfe.\n"), "standard input is no UTF-8 text")


def test_a_program_that_ends_before_its_answer_writes_nothing(spmn: Spmn, tmp_path: Path) -> None:
    hasty = parrot()
    hasty = dataclasses.replace(hasty, schedule=Schedule(1, lines=(ClockLine("ask", (0,), on="question"),)))
    save(hasty, tmp_path / "hasty.h5")
    ended = spmn("run", tmp_path / "hasty.h5", "--out", tmp_path / "run.h5", say=b"where is mary?")
    failing(ended, "lengthen the schedule's drain")
    assert not (tmp_path / "run.h5").exists()


@pytest.mark.parametrize("command", ["info", "run", "fits"])
def test_files_that_are_no_programs_are_refused(
    spmn: Spmn, program: Path, tmp_path: Path, command: str
) -> None:
    failing(spmn(command, tmp_path / "none.h5"), "none.h5", "no such file")
    (tmp_path / "text[b].h5").write_text("a program")
    failing(spmn(command, tmp_path / "text[b].h5"), "text[b].h5", "no HDF5 file")
    (tmp_path / "short.h5").write_bytes(program.read_bytes()[:-100])
    failing(spmn(command, tmp_path / "short.h5"), "short.h5")


def test_fits_says_what_is_used_and_what_does_not_fit(spmn: Spmn, program: Path, tmp_path: Path) -> None:
    code, out, _ = spmn("fits", program)
    assert code == 0
    assert "parrot.h5 fits Intel Loihi 2 (2021): 1 of " in out
    told = json.loads(spmn("fits", program, "--json")[1])
    assert told["fits"]
    assert told["cores"] == 1
    assert told["resources"][0]["what"] == "cores"
    assert told["resources"][0]["used"] == 1
    assert {type(row[name]) for row in told["resources"] for name in ("used", "of")} == {int}
    large = Program("large", (InputAxons("in", 1),), (Population("n", 1_000_000), Population("m", 1_000_000)))
    save(large, tmp_path / "large.h5")
    code, out, _ = spmn("fits", tmp_path / "large.h5", "--json")
    assert code == 1
    assert not json.loads(out)["fits"]
    assert json.loads(out)["problems"]
    failing(spmn("fits", program, "--chip", "abacus"), "'abacus'", "loihi1")


def test_conform_passes_between_emulator_and_reference(spmn: Spmn) -> None:
    code, out, _ = spmn("conform", "--runs", "6", "--between", "emulator", "reference")
    assert code == 0
    assert "programs: 6, equal: 6, different: 0, failed: 0, plastic: 4" in out
    (told,) = json.loads(spmn("conform", "--runs", "6", "--seed", "1", "--steps", "20", "--json")[1])
    assert (told["runners"], told["equal"], told["plastic"]) == ("emulator and reference", 6, 4)
    failing(spmn("conform", "--runs", "2", "--between", "emulator", "abacus"), "'abacus'")
    failing(spmn("conform", "--runtime", "3"), "--runtime 3 goes with lava")


def off_by_one(jobs: Sequence[Job], limit: float) -> list[Recording | RunError]:
    """The reference, but for a spike too many in one program, and another that fails."""
    recordings = runners.runner("reference")(jobs, limit)
    for number, job in enumerate(jobs):
        recording = recordings[number]
        if job.program.name == "case-2" and isinstance(recording, Recording):
            recording.probes["p0", "spikes"][9, 0, 0] += 1
        if job.program.name == "case-4":
            recordings[number] = RunError("out of [memory]")
    return recordings


def test_conform_shows_every_difference_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "RUNNERS", dict(runners.RUNNERS))
    runners.register("faulty", off_by_one)
    command = ["conform", "--runs", "6", "--between", "emulator", "faulty"]
    ended = CliRunner().invoke(cli.app, command, env={"COLUMNS": "200"})
    assert ended.exit_code == 1
    assert "seed 2: step 10: spikes of 'p0' [0], stream 0:" in ended.output
    assert "seed 4: out of [memory]" in ended.output
    assert "programs: 6, equal: 4, different: 1, failed: 1" in ended.output
    only = CliRunner().invoke(cli.app, [*command, "--seed", "5"])
    assert only.exit_code == 0


def without_torch(*arguments: str | Path, say: str = "") -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.modules['torch'] = None; from spmn.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, input=say, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


def test_programs_need_no_torch(program: Path, tmp_path: Path) -> None:
    ran = without_torch("run", program, say=STORY)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("Where is Mary? garden\n")
    trained = without_torch("train", "babi", "--out", tmp_path / "run")
    assert trained.returncode == 1
    (line,) = trained.stderr.strip().splitlines()
    assert line.startswith("spmn: this command needs torch: pip install torch")
    exact = without_torch("run", program, "--on", "torch", say=STORY)
    assert exact.returncode == 1
    assert exact.stderr.strip().splitlines() == [
        "spmn: the runner 'torch' needs torch: pip install torch, or use --on emulator"
    ]
