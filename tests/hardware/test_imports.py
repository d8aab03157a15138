from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hardware import load_recording, runners, save, save_inputs

ROOT = Path(__file__).parents[2]


def test_hardware_needs_no_torch_and_no_spmn():
    code = (
        "import sys\n"
        "for name in ('torch', 'spmn', 'experiments', 'lava'):\n"
        "    sys.modules[name] = None\n"
        "import hardware\n"
        "print(len(hardware.__all__))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_emulator_runs_where_torch_cannot_be_imported(make_program, make_inputs, tmp_path):
    program = make_program(7)
    inputs = make_inputs(program, 12, 2)
    save(program, tmp_path / "program.h5")
    save_inputs(inputs, tmp_path / "inputs.h5")
    code = (
        "import sys\n"
        "for name in ('torch', 'spmn', 'experiments', 'lava'):\n"
        "    sys.modules[name] = None\n"
        "from hardware import load, load_inputs, runners, save_recording\n"
        "program, inputs = load('program.h5'), load_inputs('inputs.h5')\n"
        "save_recording(runners.run('emulator', program, inputs), 'recording.h5')\n"
        "from hardware.conformance import random_case\n"
        "print(random_case(1).alive)\n"
    )
    command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "True\n"), result.stderr
    assert load_recording(tmp_path / "recording.h5") == runners.run("emulator", program, inputs)


def test_public_names_exist():
    import hardware

    assert sorted(set(hardware.__all__)) == sorted(hardware.__all__)
    assert all(hasattr(hardware, name) for name in hardware.__all__)
