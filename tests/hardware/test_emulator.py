from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import Emulator, InputAxons, Population, Probe, Program, Projection, RunError


def run_one(population, projection, spikes, inputs=2):
    """One population driven by one projection; returns its recording, stream 0."""
    program = Program(
        name="one",
        inputs=(InputAxons("in", inputs),),
        populations=(population,),
        projections=(projection,),
        probes=tuple(
            Probe(population.name, variable)
            for variable in (("spikes", "u", "v") if population.kind == "lif" else ("spikes",))
        ),
    )
    emulator = Emulator(program)
    recording = emulator.run(emulator.initial_state(1), {"in": np.array(spikes).reshape(-1, 1, inputs)})[1]
    return {variable: values[:, 0].tolist() for (_, variable), values in recording.probes.items()}


def test_a_projection_takes_one_step_and_a_neuron_none():
    got = run_one(Population("n", 1, vth=9), Projection("p", "in", "n", [[10]]), [1, 0, 0, 1, 0], inputs=1)
    assert got["spikes"] == [[0], [1], [0], [0], [1]]
    assert got["v"] == [[0], [0], [0], [0], [0]]
    assert got["u"] == [[0], [640], [0], [0], [640]]


def test_a_neuron_integrates_leaks_and_resets_to_0():
    # v: 640, 640/2 + 640 = 960, 480 + 640 = 1120 > 17 * 64
    got = run_one(Population("n", 1, vth=17, dv=2048), Projection("p", "in", "n", [[10]]), [1, 1, 1, 1, 0], 1)
    assert got["v"] == [[0], [640], [960], [0], [640]]
    assert got["spikes"] == [[0], [0], [0], [1], [0]]


def test_the_current_outlives_its_spike_when_du_says_so():
    got = run_one(
        Population("n", 1, vth=999, du=2047, dv=4096), Projection("p", "in", "n", [[10]]), [1, 0, 0, 0], 1
    )
    assert got["u"] == [[0], [640], [320], [160]]


def test_bias_is_added_at_every_step():
    got = run_one(
        Population("n", 2, vth=999, bias_mant=np.array([3, -5]), bias_exp=4),
        Projection("p", "in", "n", [[0], [0]]), [0, 0, 0], 1,
    )  # fmt: skip
    assert got["v"] == [[48, -80], [96, -160], [144, -240]]


def test_reset_clears_before_the_input_is_added():
    population = Population("n", 1, vth=999, reset_interval=3, reset_offset=4)
    got = run_one(population, Projection("p", "in", "n", [[10]]), [1] * 6, 1)
    # cleared at steps 1 and 4
    assert got["v"] == [[0], [640], [1280], [640], [1280], [1920]]


def test_delays_postpone_single_synapses():
    projection = Projection("p", "in", "n", [[10, 20]], delays=np.array([[0, 2]]))
    got = run_one(Population("n", 1, vth=999, dv=4096), projection, [[1, 1], [0, 0], [0, 0], [0, 0]])
    assert got["u"] == [[0], [640], [0], [1280]]


def test_right_shift_floors_every_delay_on_its_own():
    projection = Projection("p", "in", "n", [[-2, -2]], weight_exp=-2, delays=np.array([[1, 1]]))
    assert run_one(Population("n", 1, vth=999), projection, [[1, 1], [0, 0], [0, 0]])["u"][2] == [-64]
    projection = dataclasses.replace(projection, delays=np.array([[0, 1]]))
    assert run_one(Population("n", 1, vth=999), projection, [[1, 1], [0, 0], [0, 0]])["u"][1:] == [
        [-64],
        [-64],
    ]


def test_payloads_pass_only_where_the_projection_has_message_bits():
    relay = Population("n", 1, kind="relay")
    graded = Projection("p", "in", "n", [[10]], num_message_bits=8)
    assert run_one(relay, graded, [7, -3, 0], 1)["spikes"] == [[0], [70], [-30]]
    binary = dataclasses.replace(graded, num_message_bits=0)
    assert run_one(relay, binary, [7, -3, 0], 1)["spikes"] == [[0], [10], [10]]


def test_two_projections_into_one_neuron_add_up():
    program = Program(
        "two", (InputAxons("in", 1),), (Population("n", 1, vth=999, dv=4096),),
        (Projection("p", "in", "n", [[10]]), Projection("q", "in", "n", [[-4]])), probes=(Probe("n", "v"),),
    )  # fmt: skip
    emulator = Emulator(program)
    recording = emulator.run(emulator.initial_state(1), {"in": np.ones((2, 1, 1), dtype=int)})[1]
    assert recording["n", "v"].ravel().tolist() == [0, 384]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_a_batch_equals_single_runs(make_program, make_inputs, seed):
    program = make_program(seed)
    inputs = make_inputs(program, 30, 3, seed)
    emulator = Emulator(program)
    _, together = emulator.run(emulator.initial_state(3), inputs)
    for stream in range(3):
        alone = {name: spikes[:, stream : stream + 1] for name, spikes in inputs.items()}
        _, single = emulator.run(emulator.initial_state(1), alone)
        for key, values in single.probes.items():
            np.testing.assert_array_equal(together[key][:, stream], values[:, 0], err_msg=str(key))
        for name in ("spikes", "synaptic", "neuron", "plastic"):
            counted = getattr(together.operations, name)[stream]
            np.testing.assert_array_equal(counted, getattr(single.operations, name)[0], err_msg=name)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 29))
def test_a_split_run_equals_one_run(make_program, make_inputs, seed, cut):
    program = make_program(seed)
    inputs = make_inputs(program, 30, 2, seed)
    _, whole = Emulator(program).run(Emulator(program).initial_state(2), inputs)
    emulator = Emulator(program)
    middle, first = emulator.run(
        emulator.initial_state(2), {name: spikes[:cut] for name, spikes in inputs.items()}
    )
    rest = {name: spikes[cut:] for name, spikes in inputs.items()}
    end, second = Emulator(program).run(middle, rest)
    for key, values in whole.probes.items():
        np.testing.assert_array_equal(np.concatenate([first[key], second[key]]), values, err_msg=str(key))
        times = np.concatenate([first.times[key], second.times[key]])
        np.testing.assert_array_equal(times, whole.times[key])
    again, repeated = emulator.run(middle, rest)
    assert repeated == second
    assert (middle.step, end.step, again.step) == (cut, 30, 30)


def test_long_runs_read_on_in_the_random_streams(make_program, make_inputs):
    program = make_program(3)
    inputs = make_inputs(program, 700, 1)
    emulator = Emulator(program)
    _, whole = emulator.run(emulator.initial_state(1), inputs)
    state, _ = emulator.run(
        emulator.initial_state(1), {name: spikes[:650] for name, spikes in inputs.items()}
    )
    _, tail = Emulator(program).run(state, {name: spikes[650:] for name, spikes in inputs.items()})
    np.testing.assert_array_equal(whole["pair", "weights"][650:], tail["pair", "weights"])


def test_probes_record_every_nth_step(make_program, make_inputs):
    program = make_program(1)
    emulator = Emulator(program)
    _, recording = emulator.run(emulator.initial_state(1), make_inputs(program, 8, 1))
    assert recording.times["store", "weights"].tolist() == [1, 4, 7]
    assert len(recording["store", "weights"]) == 3


def test_operations_are_counted(memory):
    emulator = Emulator(memory)
    inputs = {"keys": np.zeros((4, 2, 4), dtype=int), "teacher": np.zeros((4, 2, 3), dtype=int)}
    inputs["teacher"][0, 1, 0] = 1
    inputs["keys"][1, 1, 2] = 64
    operations = emulator.run(emulator.initial_state(2), inputs)[1].operations
    assert operations.names == ("keys", "teacher", "values")
    assert operations.spikes[0].tolist() == [0, 0, 0]
    assert operations.spikes[1].tolist() == [1, 1, 1]
    # the teacher has one synapse, the key three
    assert operations.synaptic.tolist() == [0, 4]
    assert operations.neuron.tolist() == [12, 12]
    assert operations.plastic.tolist() == [0, 3]


def test_inputs_must_fit(memory):
    emulator = Emulator(memory)
    state = emulator.initial_state(1)
    good = {"keys": np.zeros((2, 1, 4), dtype=int), "teacher": np.zeros((2, 1, 3), dtype=int)}
    with pytest.raises(RunError, match="teacher"):
        emulator.run(state, {"keys": good["keys"]})
    with pytest.raises(RunError, match=r"\[1, 2\] steps"):
        emulator.run(state, good | {"keys": good["keys"][:1]})
    with pytest.raises(RunError, match="float64"):
        emulator.run(state, good | {"keys": good["keys"] * 1.0})
    with pytest.raises(RunError, match=r"\(2, 2, 4\)"):
        emulator.run(state, good | {"keys": np.zeros((2, 2, 4), dtype=int)})
    with pytest.raises(RunError, match="batch is 0"):
        emulator.initial_state(0)
