"""Would conformance see it? Deliberate faults of the emulator against recordings of the reference."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import hardware
from hardware import Recording, save, save_inputs, save_recording
from hardware.conformance import random_case
from hardware.lava import Job
from hardware.runners import runner

PROGRAMS = 60

RUN = """
import json, sys
from pathlib import Path
import hardware
from hardware import Emulator, RunError, load, load_inputs, load_recording
from hardware.conformance import first_difference
folder, copy = map(Path, sys.argv[1:])
assert Path(hardware.__file__).is_relative_to(copy), hardware.__file__
found = {}
for seed in sorted(int(path.stem) for path in (folder / "program").iterdir()):
    program = load(folder / "program" / f"{seed}.h5")
    try:
        emulator = Emulator(program)
        inputs = load_inputs(folder / "inputs" / f"{seed}.h5")
        recording = emulator.run(emulator.initial_state(1), inputs)[1]
        difference = first_difference(recording, load_recording(folder / "recording" / f"{seed}.h5"))
    except RunError as problem:
        difference = problem
    if difference is not None:
        found[seed] = str(difference)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Fault:
    """Texts that are replaced in a file of the package; each occurs once."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]


FAULTS = (
    Fault("none", "kernels.py", ()),
    Fault(
        "decay rounds down instead of towards 0",
        "kernels.py",
        (("np.int64(u[neuron] * u_kept)", "np.int64(np.floor(u[neuron] * u_kept))"),),
    ),
    Fault(
        "du without its + 1",
        "plan.py",
        (('"u_kept": (4095 - part.du) / 4096', '"u_kept": (4096 - part.du) / 4096'),),
    ),
    Fault(
        "a potential at the threshold fires",
        "kernels.py",
        (("if membrane > threshold:", "if membrane >= threshold:"),),
    ),
    Fault(
        "weights are shifted before they are summed",
        "plan.py",
        (
            ('"shift": max(0, -projection.weight_exp)', '"shift": 0'),
            (
                "(block << max(0, projection.weight_exp))",
                "((block << max(0, projection.weight_exp)) >> max(0, -projection.weight_exp))",
            ),
        ),
    ),
    Fault(
        "products are shifted one bit too little",
        "plan.py",
        (('"right": min(product.shift, 63)', '"right": max(0, min(product.shift, 63) - 1)'),),
    ),
    Fault(
        "products are shifted modulo 64 bits",
        "plan.py",
        (('"right": min(product.shift, 63)', '"right": product.shift'),),
    ),
    Fault(
        "the x stream has another seed",
        "emulator.py",
        (("(RandomStream(part.seed), ", "(RandomStream(part.seed + 1), "),),
    ),
    Fault(
        "the first of a step's two numbers",
        "emulator.py",
        (("y.take(2 * step)", "y.take(2 * step - 1)"),),
    ),
    Fault(
        "traces reach 128",
        "learning_kernels.py",
        (("return min(max(trace + impulse, 0), 127)", "return min(max(trace + impulse, 0), 128)"),),
    ),
    Fault(
        "delays are a step too short",
        "plan.py",
        (('"delay": delay', '"delay": max(0, delay - 1)'),),
    ),
    Fault(
        "resets come a step late",
        "kernels.py",
        (
            (
                "step % interval == population.reset_offset % interval",
                "(step - 1) % interval == population.reset_offset % interval",
            ),
        ),
    ),
    Fault(
        "weights end at 254",
        "plan.py",
        (('"high": high', '"high": min(high, 254)'),),
    ),
    Fault(
        "weights of one sign pass 0",
        "plan.py",
        (('"low": low', '"low": -256'),),
    ),
)


def replace(file: Path, changes: tuple[tuple[str, str], ...]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{file.name} has {text.count(old)} times {old!r}"
        text = text.replace(old, new)
    file.write_text(text)


def record_cases(folder: Path) -> None:
    """Programs, inputs and what the reference recorded."""
    for name in ("program", "inputs", "recording"):
        (folder / name).mkdir(parents=True)
    cases = [random_case(seed) for seed in range(PROGRAMS)]
    recordings = runner("reference")([Job(case.program, case.inputs) for case in cases], 0.0)
    for case, recording in zip(cases, recordings, strict=True):
        assert isinstance(recording, Recording)
        save(case.program, folder / "program" / f"{case.seed}.h5")
        save_inputs(case.inputs, folder / "inputs" / f"{case.seed}.h5")
        save_recording(recording, folder / "recording" / f"{case.seed}.h5")


def differences(cases: Path, copy: Path) -> dict[str, str]:
    """Seed -> first difference, or what the run raised, of the package in `copy`."""
    # one folder for all faults: what was compiled with another fault must not be taken for this one
    environment = os.environ | {"PYTHONPATH": str(copy), "NUMBA_CACHE_DIR": str(copy / "compiled")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, cases, copy],
        cwd=copy, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_conformance_finds_deliberate_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_cases(tmp_path / "cases")
    package = Path(hardware.__file__).parent
    shutil.copytree(package, tmp_path / "copy" / "hardware", ignore=shutil.ignore_patterns("__pycache__"))
    found = {}
    for fault in FAULTS:
        file = tmp_path / "copy" / "hardware" / fault.file
        whole = file.read_text()
        replace(file, fault.changes)
        found[fault.name] = differences(tmp_path / "cases", tmp_path / "copy")
        file.write_text(whole)
    with capsys.disabled():
        print(f"\n{'fault':<44}{'programs':>10}  first found by")
        for name, by_seed in found.items():
            first = next((f"seed {seed}, {where}" for seed, where in by_seed.items()), "nothing")
            print(f"{name:<44}{len(by_seed):>4} of {PROGRAMS}  {first}")
    assert found.pop("none") == {}
    missed = [name for name, by_seed in found.items() if not by_seed]
    assert not missed
