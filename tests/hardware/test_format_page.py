"""docs/program-format.md lists what the files hold: all of it, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from hardware import (
    ClockLine,
    Emulator,
    FileError,
    Probe,
    Program,
    Schedule,
    load,
    save,
    save_recording,
    store,
)
from hardware.inputs import save_inputs
from hardware.program import PLASTIC_VARIABLES, POPULATION_VARIABLES
from hardware.rules import ChipRule
from hardware.state import save_state

PAGE = (Path(__file__).parents[2] / "docs" / "program-format.md").read_text()
SECTIONS = {name.split("\n")[0].lower(): name for name in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}


def documented(section: str) -> dict[str, str]:
    """Dataset -> its type, of the tables of a section."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", SECTIONS[section], flags=re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a dataset is listed twice"
    return dict(rows)


def found(*paths: Path) -> dict[str, set[str]]:
    """Dataset, its numbers as <i> -> the types it has in these files."""
    types: dict[str, set[str]] = {}

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            assert set(item.attrs) <= {"sha256", "unit"}
            kind = "text" if item.dtype.kind == "S" else "integer"
            kind += "s" if kind == "text" and item.ndim else ""
            types.setdefault(re.sub(r"/\d+", "/<i>", name), set()).add(f"{kind} {item.ndim}")
        else:
            assert not item.attrs

    for path in paths:
        with h5py.File(path) as file:
            assert set(file.attrs) == {"format", "kind", "version", "sha256"}
            file.visititems(add)
    return types


def as_found(described: str) -> set[str]:
    """The types that the page describes, such as "integer or integer [post, pre]", as `found` writes them."""
    types = set()
    for text in described.split(" or "):
        kind, _, shape = text.partition(" [")
        types.add(f"{kind} {len(shape.split(',')) if shape else 0}")
    return types


def assert_listed(section: str, types: dict[str, set[str]]) -> None:
    page = documented(section)
    assert sorted(page) == sorted(types)
    for name, described in page.items():
        assert types[name] == as_found(described), name


@pytest.fixture(scope="module")
def tagged(make_program) -> Program:
    """A program with every kind of population and projection, all of whose variables are probed."""
    program = make_program(0)
    plastic = dataclasses.replace(
        program.plastic[1], rule=ChipRule("2^-1*x1*y0", x1_impulse=9, dd="2^1*x0*y0", dt="2^1*x0*y0")
    )
    probes = [Probe("cells", variable) for variable in POPULATION_VARIABLES]
    probes += [Probe(plastic.name, variable) for variable in PLASTIC_VARIABLES]
    return dataclasses.replace(program, plastic=(program.plastic[0], plastic), probes=tuple(probes))


def test_every_dataset_of_a_program_is_listed(tagged, hosted, tmp_path):
    save(tagged, tmp_path / "tagged.h5")
    save(hosted, tmp_path / "hosted.h5")
    assert_listed("programs", found(tmp_path / "tagged.h5", tmp_path / "hosted.h5"))


def named(types: dict[str, set[str]], pattern: str, name: str) -> dict[str, set[str]]:
    """The same with names of parts replaced by what the page calls them."""
    result: dict[str, set[str]] = {}
    for dataset, kinds in types.items():
        result.setdefault(re.sub(pattern, name, dataset), set()).update(kinds)
    return result


def test_every_dataset_of_a_recording_state_and_input_file_is_listed(tagged, make_inputs, tmp_path):
    emulator = Emulator(tagged)
    inputs = make_inputs(tagged, 3, 2)
    state, recording = emulator.run(emulator.initial_state(2), inputs)
    save_recording(recording, tmp_path / "recording.h5")
    types = named(found(tmp_path / "recording.h5"), r"^probes/[^/]+", "probes/<target>")
    assert_listed("recordings", named(types, r"^times/.*", "times/<target>/<variable>"))
    save_state(state, tmp_path / "state.h5")
    types = named(found(tmp_path / "state.h5"), r"^(u|v|pending)/.*", r"\1/<population>")
    assert_listed("states", named(types, r"^plastic/[^/]+", "plastic/<projection>"))
    save_inputs(inputs, tmp_path / "inputs.h5")
    assert_listed("inputs", named(found(tmp_path / "inputs.h5"), r"^inputs/.*", "inputs/<axons>"))


def test_checksums_are_what_the_page_says(hosted, tmp_path):
    save(hosted, tmp_path / "program.h5")
    with h5py.File(tmp_path / "program.h5") as file:
        contents = {
            "host/time/code": ("|i1(2, 2)", bytes([1, 0, 0, 1])),
            "schedule/window": ("|i1()", bytes([4])),
            "schedule/lines/on": ("tuple[8, 5]", b"questionevent"),
            "name": ("str[6]", b"hosted"),
            "host/vocabulary": ("tuple[4, 4, 7]", b"maryjohnkitchen"),
        }
        for name, (kind, content) in contents.items():
            text = name.encode() + b"\0" + kind.encode() + b"\0" + content
            assert file[name].attrs["sha256"] == hashlib.sha256(text).hexdigest().encode()
        digests: dict[str, bytes] = {}
        file.visititems(lambda name, item: digests.update({name: item.attrs.get("sha256", b"")}))
        joined = b"".join(digests[name] for name in sorted(digests))
        assert file.attrs["sha256"] == hashlib.sha256(joined).hexdigest().encode()


def test_what_is_empty_has_a_dataset_and_what_is_not_there_none(hosted, memory, tmp_path):
    silent = dataclasses.replace(hosted, schedule=Schedule(4, lines=(ClockLine("ask", ()),)))
    save(silent, tmp_path / "silent.h5")
    assert load(tmp_path / "silent.h5") == silent
    with h5py.File(tmp_path / "silent.h5") as file:
        assert file["schedule/lines/0/steps"].shape == (0,)
        assert "plastic" not in file
    save(memory, tmp_path / "memory.h5")
    with h5py.File(tmp_path / "memory.h5") as file:
        assert {"schedule", "host"}.isdisjoint(file)
        assert file["plastic/0/third_factors"][()].tolist() == [b"", b"", b""]
        assert file["plastic/rule/dd"][()].tolist() == [b""]


@pytest.mark.parametrize(
    ("largest", "kind"),
    [
        (127, "i1"),
        (-128, "i1"),
        (128, "i2"),
        (-129, "i2"),
        (2**15 - 1, "i2"),
        (-(2**15) - 1, "i4"),
        (2**31 - 1, "i4"),
    ],
)
def test_integers_take_the_fewest_bytes(hosted, tmp_path, largest, kind):
    readout = dataclasses.replace(hosted.host.readouts[0], bias=np.array([0, largest, -1]))
    program = dataclasses.replace(hosted, host=dataclasses.replace(hosted.host, readouts=(readout,)))
    save(program, tmp_path / "program.h5")
    with h5py.File(tmp_path / "program.h5") as file:
        assert file["host/readouts/0/bias"].dtype == kind
    loaded = load(tmp_path / "program.h5").host.readouts[0].bias
    assert loaded.dtype == np.int64
    assert loaded.tolist() == [0, largest, -1]


@pytest.mark.parametrize(
    ("first", "last", "stored"),
    [(-256, 254, "i1"), (0, 2, "i1"), (-254, 253, "i2"), (-258, 0, "i2"), (0, 256, "i2")],
)
def test_even_integers_are_stored_as_halves(tmp_path, first, last, stored):
    values = np.array([first, *range(-64, 64, 2), last], dtype=np.int16)
    store.write(tmp_path / "file.h5", "program", {"values": values})
    with h5py.File(tmp_path / "file.h5") as file:
        attributes = file["values"].attrs
        assert file["values"].dtype == stored
        assert attributes.get("unit") == (2 if stored == "i1" else None)
        text = b"values\0<i2(66,)\0" + values.astype("<i2").tobytes()
        assert attributes["sha256"] == hashlib.sha256(text).hexdigest().encode()
    read = store.read(tmp_path / "file.h5", "program")["values"]
    assert read.dtype == np.int16
    assert read.tolist() == values.tolist()


@pytest.mark.parametrize("unit", [None, 1, 4, -2, [2], "2"])
def test_another_unit_is_refused(tmp_path, unit):
    values = np.arange(-256, 256, 2, dtype=np.int16)
    store.write(tmp_path / "file.h5", "program", {"values": values})
    with h5py.File(tmp_path / "file.h5", "r+") as file:
        del file["values"].attrs["unit"]
        if unit is not None:
            file["values"].attrs["unit"] = unit
    with pytest.raises(FileError, match="dataset 'values' was changed"):
        store.read(tmp_path / "file.h5", "program")


def test_a_column_says_which_parts_have_an_array(make_program, tmp_path):
    population = dataclasses.replace(make_program(0).populations[0], bias_mant=3)
    vector = dataclasses.replace(population, name="vector", bias_mant=np.arange(population.size))
    program = Program("two", make_program(0).inputs, (population, vector))
    save(program, tmp_path / "program.h5")
    with h5py.File(tmp_path / "program.h5") as file:
        assert file["populations/bias_mant"][()].tolist() == [3, -(2**15)]
        assert file["populations/1/bias_mant"][()].tolist() == list(range(population.size))
        assert "0" not in file["populations"]
    assert load(tmp_path / "program.h5") == program


@pytest.mark.parametrize("word", ["end\0", "\ud800"])
def test_texts_that_would_not_come_back_are_refused(hosted, tmp_path, word):
    with pytest.raises(FileError, match="dataset 'host/vocabulary'"):
        store.write(tmp_path / "program.h5", "program", {"host/vocabulary": ("mary", word)})
    assert not list(tmp_path.iterdir())
