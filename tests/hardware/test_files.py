from __future__ import annotations

import contextlib

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardware import FileError, ProgramError, load, load_recording, save


@pytest.fixture
def saved(hosted, tmp_path):
    path = tmp_path / "program.h5"
    save(hosted, path)
    return path


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6))
def test_programs_survive_the_file(make_program, tmp_path, seed):
    program = make_program(seed)
    save(program, tmp_path / "program.h5")
    assert load(tmp_path / "program.h5") == program


def test_schedule_and_host_survive_the_file(hosted, saved):
    assert load(saved) == hosted


def test_saving_replaces_the_file_and_leaves_nothing_else(hosted, memory, saved):
    save(memory, saved)
    assert load(saved) == memory
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_failed_save_leaves_the_old_file(hosted, memory, saved, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileError, match="no space left"):
        save(memory, saved)
    monkeypatch.undo()
    assert load(saved) == hosted
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_missing_and_foreign_files_are_refused(tmp_path, saved):
    with pytest.raises(FileError, match="no such file"):
        load(tmp_path / "nothing.h5")
    text = tmp_path / "text.h5"
    text.write_text("not a program")
    with pytest.raises(FileError, match=r"text\.h5"):
        load(text)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"] = np.ones(3)
    with pytest.raises(FileError, match="another program"):
        load(tmp_path / "other.h5")
    with pytest.raises(FileError, match="holds a program"):
        load_recording(saved)
    assert issubclass(FileError, ProgramError)


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.9])
def test_truncated_files_are_refused(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(FileError, match=r"program\.h5"):
        load(saved)


def test_another_version_is_refused(saved):
    with h5py.File(saved, "r+") as file:
        file.attrs["version"] = 99
    with pytest.raises(FileError, match="version 99"):
        load(saved)


def test_every_changed_dataset_is_named(saved):
    names = []
    with h5py.File(saved, "r") as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    assert "host/readouts/0/weights" in names
    content = saved.read_bytes()
    for name in names:
        saved.write_bytes(content)
        with h5py.File(saved, "r+") as file:
            dataset = file[name]
            value = dataset[()]
            if dataset.dtype.kind == "S":
                dataset[()] = b"x"
            else:
                dataset[()] = value + 1
        with pytest.raises(FileError, match=f"dataset '{name}' was changed"):
            load(saved)


def test_added_and_removed_datasets_are_noticed(saved):
    content = saved.read_bytes()
    with h5py.File(saved, "r+") as file:
        del file["projections/0/weights"]
    with pytest.raises(FileError, match="added or removed"):
        load(saved)
    saved.write_bytes(content)
    with h5py.File(saved, "r+") as file:
        file["extra"] = 1
    with pytest.raises(FileError, match="'extra'"):
        load(saved)


def test_a_program_out_of_range_is_refused_even_with_good_checksums(saved, hosted):
    object.__setattr__(hosted.populations[0], "vth", -1)
    try:
        save(hosted, saved)
    finally:
        object.__setattr__(hosted.populations[0], "vth", 10)
    with pytest.raises(FileError, match="vth is -1"):
        load(saved)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bytes_are_refused_or_harmless(hosted, tmp_path, data):
    path = tmp_path / "flipped.h5"
    save(hosted, path)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(FileError):
        assert load(path) == hosted
