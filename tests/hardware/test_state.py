"""Runs that stop and go on, on either engine, through a file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import (
    ChipRule,
    Emulator,
    FileError,
    InputAxons,
    PlasticProjection,
    Population,
    Program,
    RunError,
    load_state,
    save_recording,
    save_state,
    store,
)
from hardware.conformance import random_case
from hardware.reference import Reference

ENGINES = st.sampled_from([Emulator, Reference])


@pytest.fixture(scope="session")
def state_file(tmp_path_factory):
    return tmp_path_factory.mktemp("state") / "state.h5"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 40),
    st.sampled_from([Emulator, Reference]),
    st.sampled_from([Emulator, Reference]),
)
def test_a_run_goes_on_from_a_file_on_either_engine(outcome, state_file, seed, cut, first, second):
    case = random_case(seed)
    whole = outcome(Emulator, case.program, case.inputs)
    middle, before = outcome(
        first, case.program, {name: spikes[:cut] for name, spikes in case.inputs.items()}
    )
    save_state(middle, state_file)
    read = load_state(state_file, case.program)
    assert (read, read.step, read.batch) == (middle, cut, 1)
    rest = {name: spikes[cut:] for name, spikes in case.inputs.items()}
    end, after = outcome(second, case.program, rest, read)
    assert read == middle  # a run leaves the state that it starts from as it was
    assert end == whole[0]
    assert after.first_step == cut + 1
    for key, values in whole[1].probes.items():
        np.testing.assert_array_equal(np.concatenate([before[key], after[key]]), values, err_msg=str(key))
        times = np.concatenate([before.times[key], after.times[key]])
        np.testing.assert_array_equal(times, whole[1].times[key])


def test_long_runs_read_on_in_the_random_streams(outcome, engine, make_program, make_inputs):
    program = make_program(3)
    inputs = make_inputs(program, 700, 1)
    _, whole = outcome(engine, program, inputs)
    state, _ = outcome(engine, program, {name: spikes[:650] for name, spikes in inputs.items()})
    _, tail = outcome(engine, program, {name: spikes[650:] for name, spikes in inputs.items()}, state)
    np.testing.assert_array_equal(whole["pair", "weights"][650:], tail["pair", "weights"])


@pytest.fixture
def stored(outcome, make_program, make_inputs, tmp_path):
    """A program, the state after 9 steps of 2 streams, and its file."""
    program = make_program(4)
    state, _ = outcome(Emulator, program, make_inputs(program, 9, 2))
    save_state(state, tmp_path / "state.h5")
    return program, state, tmp_path / "state.h5"


def test_states_of_other_programs_are_refused(stored, make_program, memory):
    program, state, path = stored
    assert load_state(path, program) == state
    with pytest.raises(FileError, match=r"state\.h5: .*'u/values' is missing: it is no state of 'memory'"):
        load_state(path, memory)
    cells = program.populations[0]
    other = dataclasses.replace(
        program, populations=(*program.populations, dataclasses.replace(cells, name="x"))
    )
    with pytest.raises(FileError, match="'u/x' is missing"):
        load_state(path, other)
    fewer = dataclasses.replace(
        program,
        plastic=program.plastic[:1],
        probes=tuple(probe for probe in program.probes if probe.target != "pair"),
    )
    with pytest.raises(FileError, match=r"'plastic/pair/.*belong to no part"):
        load_state(path, fewer)
    delayed = [
        dataclasses.replace(part, delays=9) if part.name == "e" else part for part in program.projections
    ]
    with pytest.raises(FileError, match=r"'pending/cells' is int32 \(3, 2, .* needs int32 \(10, 2, "):
        load_state(path, dataclasses.replace(program, projections=tuple(delayed)))


def test_files_that_are_no_states_are_refused(outcome, stored, make_inputs, tmp_path):
    program, state, path = stored
    content = path.read_bytes()
    for share in (0, 0.3, 0.9, 0.999):
        (tmp_path / "short.h5").write_bytes(content[: int(share * len(content))])
        with pytest.raises(FileError, match=r"short\.h5"):
            load_state(tmp_path / "short.h5", program)
    save_recording(outcome(Emulator, program, make_inputs(program, 2, 1))[1], tmp_path / "recording.h5")
    with pytest.raises(FileError, match="holds a recording: give a state"):
        load_state(tmp_path / "recording.h5", program)
    with pytest.raises(FileError, match="no such file"):
        load_state(tmp_path / "none.h5", program)
    with pytest.raises(FileError, match="cannot be written"):
        save_state(state, tmp_path / "no" / "such" / "folder.h5")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("batch", np.asarray(0), "dataset 'batch' is 0"),
        ("batch", np.asarray([2, 2]), "dataset 'batch'"),
        ("batch", np.asarray(3), r"'u/cells' is int32 \(2, "),
        ("step", np.asarray(-1), "dataset 'step' is -1"),
        ("step", "nine", "dataset 'step' is nine"),
        ("v/cells", np.zeros((2, 1), dtype=np.int64), "dataset 'v/cells' is int64"),
        ("plastic/pair/x1", None, "'plastic/pair/x1' is missing"),
    ],
)
def test_states_with_wrong_parts_are_refused(stored, name, value, complaint):
    program, _, path = stored
    leaves = {key: leaf for key, leaf in store.read(path, "state").items() if key != name}
    store.write(path, "state", leaves | ({} if value is None else {name: value}))
    with pytest.raises(FileError, match=complaint):
        load_state(path, program)


@pytest.mark.parametrize(
    ("field", "value"),
    [("tx", 2**30), ("ty", -1), ("weights", 40000), ("x1", 256), ("x2", -1), ("y1", 128)],
)
def test_numbers_that_no_run_leaves_are_refused(outcome, make_program, make_inputs, tmp_path, field, value):
    """The kernels look things up by some of them."""
    program = make_program(4)
    inputs = make_inputs(program, 9, 2)
    state, _ = outcome(Emulator, program, inputs)
    part = next(
        part
        for part in program.plastic
        if getattr(state.plastic[part.name], field).size and not (field[0] == "y" and part.three_factor)
    )
    getattr(state.plastic[part.name], field)[-1] = value
    with pytest.raises(RunError, match=f"{part.name}: {field} spans .* outside"):
        Emulator(program).run(state, inputs)
    save_state(state, tmp_path / "wrong.h5")
    with pytest.raises(FileError, match=f"wrong.h5: {part.name}: {field} spans"):
        load_state(tmp_path / "wrong.h5", program)


def test_spike_times_of_another_epoch_are_refused(make_program, tmp_path):
    """A step of the last spike beyond those that the epoch has had so far."""
    program = make_program(4)
    state = Emulator(program).initial_state(1)
    state.step = program.plastic[0].rule.t_epoch
    state.plastic[program.plastic[0].name].tx[:] = 1
    save_state(state, tmp_path / "wrong.h5")
    with pytest.raises(FileError, match=r"tx spans 1\.\.1"):
        load_state(tmp_path / "wrong.h5", program)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state.u.update(post=np.zeros((2, 1), np.int32)), "u: post of the state is"),
        (lambda state: state.v.update(post=np.full_like(state.v["post"], 2**31 - 1)), "clipped to 24 bits"),
        (lambda state: state.u.pop("post"), "u of the state has"),
        (lambda state: setattr(state.plastic["m"], "weights", np.zeros((2, 3, 2), np.int32)), "m: weights"),
        (lambda state: setattr(state.plastic["m"], "weights", state.plastic["m"].weights + 0.9), "float64"),
        (lambda state: setattr(state, "step", 1.5), "of step 1.5"),
        (lambda state: state.plastic.clear(), "with the plastic projections"),
    ],
)
def test_states_of_other_shapes_are_refused_before_a_kernel_reads_them(change, complaint):
    program = Program(
        name="small",
        inputs=(InputAxons("pre", 3),),
        populations=(Population("post", 2, vth=100),),
        plastic=(PlasticProjection("m", "pre", "post", np.full((2, 3), 60), ChipRule("x1*y0"), seed=1),),
    )
    emulator = Emulator(program)
    state = emulator.initial_state(2)
    change(state)
    with pytest.raises(RunError, match=complaint):
        emulator.run(state, {"pre": np.ones((4, 2, 3), np.uint8)})
