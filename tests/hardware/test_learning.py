"""The plastic synapse at work: the golden write and read, and what each part of the rule needs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware import ChipRule, Emulator, InputAxons, PlasticProjection, Population, Probe, Program, Projection

WINDOW = 16


def drive(program, *events):
    """One stream of events: ("write", key, value) or ("read", key); returns its recording."""
    steps = WINDOW * len(events)
    inputs = {"keys": np.zeros((steps, 1, 4), dtype=int), "teacher": np.zeros((steps, 1, 3), dtype=int)}
    for number, (kind, key, *value) in enumerate(events):
        start = number * WINDOW
        if kind == "read":
            inputs["keys"][start : start + 6, 0, key] = 1
        else:
            inputs["teacher"][start + 9, 0, value[0]] = 1
            inputs["keys"][start + 10, 0, key] = 64
    emulator = Emulator(program)
    return emulator.run(emulator.initial_state(1), inputs)[1]


def weights_after(recording, event):
    return recording["memory", "weights"][(event + 1) * WINDOW - 1, 0]


def spikes_in_read_phase(recording, event):
    """(value, number of spikes) of the first 8 steps of an event."""
    counts = recording["values", "spikes"][event * WINDOW : event * WINDOW + 8, 0].sum(axis=0)
    return {value: count for value, count in enumerate(counts.tolist()) if count}


def test_golden_write_and_read(memory):
    recording = drive(memory, ("write", 0, 0), ("read", 0), ("write", 0, 2), ("read", 0), ("read", 1))
    np.testing.assert_array_equal(weights_after(recording, 0)[:, 0], (148, 0, 0))
    np.testing.assert_array_equal(weights_after(recording, 0)[:, 1:], np.full((3, 3), 2))
    assert spikes_in_read_phase(recording, 1) == {0: 3}
    np.testing.assert_array_equal(weights_after(recording, 1), weights_after(recording, 0))
    np.testing.assert_array_equal(weights_after(recording, 2)[:, 0], (60, 0, 150))
    assert spikes_in_read_phase(recording, 3) == {2: 3, 0: 1}
    np.testing.assert_array_equal(weights_after(recording, 4), weights_after(recording, 2))
    assert spikes_in_read_phase(recording, 4) == {}


def test_one_key_does_not_disturb_another(memory):
    recording = drive(memory, ("write", 1, 1), ("write", 0, 0), ("read", 1))
    np.testing.assert_array_equal(weights_after(recording, 1)[:, 1], (0, 148, 0))
    assert spikes_in_read_phase(recording, 2) == {1: 3}


def test_the_written_trace_is_one_decay_of_half_the_payload(memory):
    recording = drive(memory, ("write", 0, 0))
    # 32 * exp(-1/2) = 19.4
    assert recording["memory", "x1"][10, 0, 0] in (19, 20)
    assert recording["memory", "x1"][9, 0, 0] == 0


@pytest.mark.parametrize("swap", ["potentiation and depression", "pre and post"])
def test_a_rule_written_the_wrong_way_round_fails_the_golden_write(memory, swap):
    wrong = {
        "potentiation and depression": "2^0*x0*x1*w - 2^1*x1*x0*y0*(254-w)",
        "pre and post": "2^1*y1*y0*x0*(254-w) - 2^0*y0*y1*w",
    }[swap]
    plastic = dataclasses.replace(memory.plastic[0], rule=ChipRule(wrong, x1_tau=2, y1_tau=2, y1_impulse=20))
    recording = drive(dataclasses.replace(memory, plastic=(plastic,)), ("write", 0, 0))
    assert weights_after(recording, 0)[:, 0].tolist() != [148, 0, 0]
    assert weights_after(recording, 0)[0, 0] < 148 or weights_after(recording, 0)[1, 0] != 0


def learner(dw, graded="none", **rule):
    """2 pre axons, 2 post neurons that fire one step after their teacher; weights start at 100."""
    return Program(
        name="learner",
        inputs=(InputAxons("pre", 2), InputAxons("teacher", 2)),
        populations=(Population("post", 2, vth=2**14, dv=4096),),
        projections=(Projection("teach", "teacher", "post", 254 * np.eye(2, dtype=int), weight_exp=7),),
        plastic=(
            PlasticProjection(
                "synapses",
                "pre",
                "post",
                np.full((2, 2), 100),
                rule=ChipRule(dw, **rule),
                seed=5,
                weight_exp=-8,
                graded=graded,
            ),
        ),
        probes=(Probe("synapses", "weights"), Probe("synapses", "x1"), Probe("synapses", "y1")),
    )


def run(program, pre=(), teacher=(), steps=8):
    """Recording with pre spikes at (step, axon[, payload]) and teacher spikes at (step, axon)."""
    inputs = {"pre": np.zeros((steps, 1, 2), dtype=int), "teacher": np.zeros((steps, 1, 2), dtype=int)}
    for step, axon, *payload in pre:
        inputs["pre"][step - 1, 0, axon] = payload[0] if payload else 1
    for step, axon in teacher:
        inputs["teacher"][step - 1, 0, axon] = 1
    emulator = Emulator(program)
    return emulator.run(emulator.initial_state(1), inputs)[1]


def weights_of(program, **spikes):
    """Weights [step, post, pre] of such a run."""
    return run(program, **spikes)["synapses", "weights"][:, 0]


def test_pre_spikes_change_columns_and_post_spikes_rows():
    np.testing.assert_array_equal(weights_of(learner("7*x0"), pre=[(3, 1)])[-1], [[100, 107], [100, 107]])
    np.testing.assert_array_equal(weights_of(learner("7*y0"), teacher=[(3, 1)])[-1], [[100, 100], [107, 107]])


def test_the_rule_sees_a_post_spike_in_the_step_it_is_sent():
    changed = weights_of(learner("7*y0"), teacher=[(3, 1)])
    assert changed[:, 1, 0].tolist() == [100, 100, 100, 107, 107, 107, 107, 107]


def test_epochs_delay_learning_to_their_end():
    changed = weights_of(learner("7*x0", t_epoch=4), pre=[(2, 0), (3, 0), (5, 0)])
    assert changed[:, 0, 0].tolist() == [100, 100, 100, 107, 107, 107, 107, 114]


def test_a_second_spike_in_an_epoch_adds_its_impulse():
    rule = {"x1_impulse": 10, "x1_tau": 65535, "t_epoch": 4}
    once = weights_of(learner("2^0*u0*x1", **rule), pre=[(2, 0)])[3, 0, 0]
    twice = weights_of(learner("2^0*u0*x1", **rule), pre=[(2, 0), (3, 0)])[3, 0, 0]
    assert once - 100 in (9, 10)
    assert twice - 100 in (18, 19, 20)


def test_traces_are_read_at_the_time_of_the_dependency():
    # the trace decays by exp(-1) per step: 100 at the spike, 36.8 a step later
    rule = {"x1_impulse": 100, "x1_tau": 1, "t_epoch": 4}
    at_pre = weights_of(learner("x0*x1", **rule), pre=[(2, 0)])[3, 0, 0]
    at_post = weights_of(learner("y0*x1", **rule), pre=[(2, 0)], teacher=[(2, 0)])[3, 0, 0]
    assert at_pre == 200
    assert at_post in (136, 137)


def test_u_acts_in_every_2_to_the_k_th_epoch():
    changed = weights_of(learner("3*u1", t_epoch=2))
    assert changed[:, 0, 0].tolist() == [100, 100, 100, 103, 103, 103, 103, 106]


def test_weights_stay_excitatory():
    np.testing.assert_array_equal(weights_of(learner("-7*2^8*x0"), pre=[(1, 0)])[-1, :, 0], (0, 0))
    np.testing.assert_array_equal(weights_of(learner("7*2^8*x0"), pre=[(1, 0)])[-1, :, 0], (255, 255))


def test_fractional_changes_round_at_random_by_the_stream_of_seed_2():
    changed = weights_of(learner("2^-1*x0"), pre=[(step, 0) for step in range(1, 9)])[:, 0, 0]
    draws = np.random.default_rng(2).random(9)[1:]
    np.testing.assert_array_equal(np.diff(changed, prepend=100), (draws < 0.5).astype(int))


def test_rounding_draws_one_number_per_epoch():
    changed = weights_of(learner("2^-1*u0", t_epoch=2))[:, 0, 0]
    draws = np.random.default_rng(2).random(5)[1:]
    np.testing.assert_array_equal(np.diff(changed[1::2], prepend=100), (draws < 0.5).astype(int))


def test_traces_decay_by_streams_of_their_own():
    rule = {"x1_impulse": 100, "x1_tau": 4, "y1_impulse": 90, "y1_tau": 4}
    recording = run(learner("x0*x1*y1", **rule), pre=[(2, 0)], teacher=[(1, 0)])
    # streams 5 and 5 + 2, the second of a step's two draws
    for trace, seed, value in (("x1", 5, 100), ("y1", 7, 90)):
        draws = np.random.default_rng(seed).random(17)
        for step in range(2, 9):
            assert recording["synapses", trace][step - 1, 0, 0] == value
            exact = value * np.exp(-1 / 4)
            value = int(exact) + (draws[2 * (step + 1)] < exact % 1) if step < 8 else value


def test_a_second_payload_in_an_epoch_overwrites_the_first():
    recording = run(
        learner("x0*x1", graded="overwrite", x1_tau=9, t_epoch=4), pre=[(1, 0, 20), (2, 0, 60), (3, 0, 255)]
    )
    # 255 halves to 128, which only the end of the epoch brings below 127
    assert recording["synapses", "x1"][:3, 0, 0].tolist() == [10, 30, 128]


def test_only_overflowing_spikes_count_in_overflow_mode():
    program = learner("7*x0", graded="add_overflow", x1_tau=65535)
    # 90 halves to 45: the third spike passes 127
    changed = weights_of(program, pre=[(step, 0, 90) for step in range(1, 5)])
    assert changed[:, 0, 0].tolist()[:4] == [100, 100, 107, 107]
