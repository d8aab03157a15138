"""Lava gives the bits of the reference."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hardware import InputAxons, Population, Probe, Program, Projection, Recording, RunError
from hardware.lava import Job, run_jobs
from hardware.runners import run

pytestmark = pytest.mark.usefixtures("lava_python")

STEPS, BATCH = 40, 2
PORTS = 32


def compare(mode, programs, make_inputs, reference, same_recording) -> list[Recording]:
    jobs = [Job(program, make_inputs(program, STEPS, BATCH)) for program in programs]
    results = run_jobs(mode, jobs, limit=100)
    for job, result in zip(jobs, results, strict=True):
        assert isinstance(result, Recording), result
        same_recording(reference(job.program, job.inputs), result)
    return results


@pytest.mark.parametrize(("mode", "count"), [("models", 20), ("runtime", 2)])
def test_random_programs(mode, count, make_program, make_inputs, reference, same_recording) -> None:
    programs = [make_program(seed) for seed in range(count)]
    results = compare(mode, programs, make_inputs, reference, same_recording)
    learned = [result["store", "weights"] for result in results]
    assert sum((weights[0] != weights[-1]).any() for weights in learned) > count / 2


@pytest.mark.slow
def test_more_random_programs(make_program, make_inputs, reference, same_recording) -> None:
    compare("models", map(make_program, range(20, 320)), make_inputs, reference, same_recording)
    compare("runtime", map(make_program, range(20, 60)), make_inputs, reference, same_recording)


@pytest.mark.parametrize("mode", ["models", "runtime"])
def test_every_kind_of_part(mode, varied, make_inputs, reference, same_recording) -> None:
    """Also parts that are not connected to each other, and a probe that never records."""
    (result,) = compare(mode, [varied], make_inputs, reference, same_recording)
    silent = {key for key, values in result.probes.items() if not values.any()}
    assert silent == {("learns", "y2"), ("pairs", "y1")}  # no source; never due
    assert len(result["pairs", "y1"]) == 0
    assert result.runner == {"models": "lava models", "runtime": "lava simulation"}[mode]
    assert result.operations is None


def test_more_probes_than_one_process_has_ports(make_inputs, reference, same_recording) -> None:
    names = [f"p{number}" for number in range(PORTS // 2 + 1)]
    program = Program(
        name="wide",
        inputs=(InputAxons("in", 1),),
        populations=tuple(Population(name, 1, vth=number) for number, name in enumerate(names)),
        projections=tuple(Projection(f"to-{name}", "in", name, np.array([[20]])) for name in names),
        probes=tuple(Probe(name, variable) for name in names for variable in ("spikes", "u", "v")),
    )
    compare("runtime", [program], make_inputs, reference, same_recording)


def test_wide_payloads_and_no_steps(small, reference, same_recording) -> None:
    program = replace(
        small("payloads"),
        populations=(Population("cell", 2, kind="relay"),),
        projections=(Projection("drive", "in", "cell", np.array([[1], [2]]), num_message_bits=24,
                                sign_mode="excitatory"),),
        probes=(Probe("cell"),),
    )  # fmt: skip
    inputs = {"in": np.array([2**21, -(2**21), 0, 1, -1], dtype=np.int64).reshape(5, 1, 1)}
    same_recording(reference(program, inputs), run("lava", program, inputs))
    nothing = {"in": np.zeros((0, 3, 1), dtype=np.int64)}
    for name in ("lava", "lava-models"):
        assert run(name, program, nothing)["cell", "spikes"].shape == (0, 3, 2)


def test_sign_modes_are_not_guessed(reference, same_recording) -> None:
    """Lava would take zeros and positive weights for excitatory, negative ones for inhibitory."""
    weights = {"zero": [[0, 0]], "negative": [[-1, -3]], "positive": [[1, 3]]}
    program = Program(
        name="signs",
        inputs=(InputAxons("in", 2),),
        populations=tuple(Population(name, 1, kind="relay") for name in weights),
        projections=tuple(
            Projection(f"to-{name}", "in", name, np.array(values), sign_mode="mixed")
            for name, values in weights.items()
        ),
        probes=tuple(Probe(name) for name in weights),
    )
    inputs = {"in": np.ones((3, 1, 2), dtype=np.uint8)}
    for name in ("lava", "lava-models"):
        recording = run(name, program, inputs)
        last = {name: int(recording[name, "spikes"][-1].item()) for name in weights}
        assert last == {"zero": 0, "negative": -6, "positive": 2}
        same_recording(reference(program, inputs), recording)


def test_a_start_method_chosen_by_others(small, make_inputs) -> None:
    """Importing Lava after another start method was chosen fails; the worker chooses for itself."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        program = small("spawn")
        assert isinstance(run("lava", program, make_inputs(program, 3, 1)), Recording)
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_scripts_in_the_current_folder_are_not_executed(
    small: Callable[[str], Program], make_inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lava's compiler executes every module beside a Process."""
    for name in ("probes", "script", "hardware"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = small("siblings")
    for name in ("lava", "lava-models"):
        run(name, program, make_inputs(program, 3, 1))
    assert not (tmp_path / "executed").exists()


def test_wrong_inputs_are_an_error_of_their_job(small, make_inputs) -> None:
    program = small("inputs")
    wrong = {"in": np.zeros((3, 1, 5), dtype=np.uint8)}
    done = []
    results = run_jobs(
        "models",
        [Job(program, wrong), Job(program, make_inputs(program, 3, 1))],
        on_done=lambda number, _: done.append(number),
    )
    assert isinstance(results[0], RunError)
    assert "job 1 ('inputs')" in str(results[0])
    assert isinstance(results[1], Recording)
    assert done == [0, 1]


def test_what_the_worker_imports(inside) -> None:
    out = inside(
        "import sys\n"
        "for name in ('torch', 'numba', 'spmn', 'experiments'): sys.modules[name] = None\n"
        "from hardware.lava import chip, models, simulation, worker\n"
        "import multiprocessing; print(multiprocessing.get_start_method())"
    )
    assert out.split() == ["fork"]


def test_only_integers_reach_lava(inside) -> None:
    """A float changes the arithmetic of a fixed-point model, and hangs the run when it is read."""
    out = inside(
        "import numpy as np\n"
        "from hardware import *\n"
        "from hardware.lava import build, stock\n"
        "population = Population('p', 2, vth=3, bias_mant=5, reset_interval=4)\n"
        "(process,) = build.processes(Program('n', (InputAxons('in', 1),), (population,))).values()\n"
        "print({variable.name for variable in process.vars if np.asarray(variable.init).dtype.kind != 'i'})\n"
        "for value in (0.5, np.float64(2), np.ones(2)):\n"
        "    try: build._make(stock.LIF, 'p', shape=(2,), du=value)\n"
        "    except RunError as error: print(error)\n"
    )
    first, *errors = out.splitlines()
    assert first == "set()"
    assert len(errors) == 3
    assert "p: du is 0.5, but LIF must be given integers" in errors[0]
