from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from hardware import Emulator, FileError, RunError, load_recording, save_recording, store


@pytest.fixture
def recording(make_program, make_inputs):
    program = make_program(2)
    emulator = Emulator(program)
    return emulator.run(emulator.initial_state(2), make_inputs(program, 7, 2))[1]


def test_recordings_survive_the_file(recording, tmp_path):
    save_recording(recording, tmp_path / "run.h5")
    read = load_recording(tmp_path / "run.h5")
    assert read == recording
    assert read["cells", "u"].dtype == recording["cells", "u"].dtype
    uncounted = dataclasses.replace(recording, operations=None)
    save_recording(uncounted, tmp_path / "run.h5")
    assert load_recording(tmp_path / "run.h5") == uncounted != recording


def test_a_changed_recording_is_refused(recording, tmp_path):
    save_recording(recording, tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        file["probes/cells/v"][0, 0, 0] += 1
    with pytest.raises(FileError, match="probes/cells/v"):
        load_recording(tmp_path / "run.h5")


def test_what_was_not_probed_is_named(recording):
    with pytest.raises(RunError, match=r"\('cells', 'weights'\)"):
        recording["cells", "weights"]


@pytest.mark.parametrize(
    "leaves",
    [
        {"probes/x": np.zeros(3, np.int64)},
        {"first_step": "one"},
        {"steps": np.zeros(3, np.int64)},
    ],
)
def test_files_that_hold_something_else_are_refused(recording, tmp_path, leaves):
    about = {"runner": "emulator", "first_step": np.asarray(1), "steps": np.asarray(7)}
    store.write(tmp_path / "run.h5", "recording", about | leaves)
    with pytest.raises(FileError, match=r"run\.h5: no recording"):
        load_recording(tmp_path / "run.h5")
