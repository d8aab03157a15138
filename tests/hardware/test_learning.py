"""The plastic synapse at work: the golden write and read, and what each part of the rule needs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware import ChipRule, InputAxons, PlasticProjection, Population, Probe, Program, Projection

WINDOW = 16


def drive(engine, program, *events):
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
    running = engine(program)
    return running.run(running.initial_state(1), inputs)[1]


def weights_after(recording, event):
    return recording["memory", "weights"][(event + 1) * WINDOW - 1, 0]


def spikes_in_read_phase(recording, event):
    """(value, number of spikes) of the first 8 steps of an event."""
    counts = recording["values", "spikes"][event * WINDOW : event * WINDOW + 8, 0].sum(axis=0)
    return {value: count for value, count in enumerate(counts.tolist()) if count}


def test_golden_write_and_read(engine, memory):
    recording = drive(engine, memory, ("write", 0, 0), ("read", 0), ("write", 0, 2), ("read", 0), ("read", 1))
    np.testing.assert_array_equal(weights_after(recording, 0)[:, 0], (148, 0, 0))
    np.testing.assert_array_equal(weights_after(recording, 0)[:, 1:], np.full((3, 3), 2))
    assert spikes_in_read_phase(recording, 1) == {0: 3}
    np.testing.assert_array_equal(weights_after(recording, 1), weights_after(recording, 0))
    np.testing.assert_array_equal(weights_after(recording, 2)[:, 0], (60, 0, 150))
    assert spikes_in_read_phase(recording, 3) == {2: 3, 0: 1}
    np.testing.assert_array_equal(weights_after(recording, 4), weights_after(recording, 2))
    assert spikes_in_read_phase(recording, 4) == {}


def test_one_key_does_not_disturb_another(engine, memory):
    recording = drive(engine, memory, ("write", 1, 1), ("write", 0, 0), ("read", 1))
    np.testing.assert_array_equal(weights_after(recording, 1)[:, 1], (0, 148, 0))
    assert spikes_in_read_phase(recording, 2) == {1: 3}


def test_the_written_trace_is_one_decay_of_half_the_payload(engine, memory):
    recording = drive(engine, memory, ("write", 0, 0))
    # 32 * exp(-1/2) = 19.4
    assert recording["memory", "x1"][10, 0, 0] in (19, 20)
    assert recording["memory", "x1"][9, 0, 0] == 0


@pytest.mark.parametrize("swap", ["potentiation and depression", "pre and post"])
def test_a_rule_written_the_wrong_way_round_fails_the_golden_write(engine, memory, swap):
    wrong = {
        "potentiation and depression": "2^0*x0*x1*w - 2^1*x1*x0*y0*(254-w)",
        "pre and post": "2^1*y1*y0*x0*(254-w) - 2^0*y0*y1*w",
    }[swap]
    plastic = dataclasses.replace(memory.plastic[0], rule=ChipRule(wrong, x1_tau=2, y1_tau=2, y1_impulse=20))
    recording = drive(engine, dataclasses.replace(memory, plastic=(plastic,)), ("write", 0, 0))
    assert weights_after(recording, 0)[:, 0].tolist() != [148, 0, 0]
    assert weights_after(recording, 0)[0, 0] < 148 or weights_after(recording, 0)[1, 0] != 0


TAGS = {"tag_1": "dt", "tag_2": "dd"}


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
        probes=probes("weights", "x1", "y1", *(tag for tag in ("tag_1", "tag_2") if rule.get(TAGS[tag]))),
    )


def probes(*variables):
    return tuple(Probe("synapses", variable) for variable in variables)


def run(engine, program, steps=8, **spikes):
    """Recording of one stream with spikes of an input at (step, axon) or (step, axon, payload)."""
    inputs = {part.name: np.zeros((steps, 1, part.size), dtype=int) for part in program.inputs}
    for name, events in spikes.items():
        for step, axon, *payload in events:
            inputs[name][step - 1, 0, axon] = payload[0] if payload else 1
    running = engine(program)
    return running.run(running.initial_state(1), inputs)[1]


def weights_of(engine, program, **spikes):
    """Weights [step, post, pre] of such a run."""
    return run(engine, program, **spikes)["synapses", "weights"][:, 0]


def test_pre_spikes_change_columns_and_post_spikes_rows(engine):
    pre = weights_of(engine, learner("7*x0"), pre=[(3, 1)])
    assert pre[-1].tolist() == [[100, 107], [100, 107]]
    post = weights_of(engine, learner("7*y0"), teacher=[(3, 1)])
    assert post[-1].tolist() == [[100, 100], [107, 107]]


def test_the_rule_sees_a_post_spike_in_the_step_it_is_sent(engine):
    changed = weights_of(engine, learner("7*y0"), teacher=[(3, 1)])
    assert changed[:, 1, 0].tolist() == [100, 100, 100, 107, 107, 107, 107, 107]


def test_epochs_delay_learning_to_their_end(engine):
    changed = weights_of(engine, learner("7*x0", t_epoch=4), pre=[(2, 0), (3, 0), (5, 0)])
    assert changed[:, 0, 0].tolist() == [100, 100, 100, 107, 107, 107, 107, 114]


def test_a_second_spike_in_an_epoch_adds_its_impulse(engine):
    rule = {"x1_impulse": 10, "x1_tau": 65535, "t_epoch": 4}
    once = weights_of(engine, learner("2^0*u0*x1", **rule), pre=[(2, 0)])[3, 0, 0]
    twice = weights_of(engine, learner("2^0*u0*x1", **rule), pre=[(2, 0), (3, 0)])[3, 0, 0]
    assert once - 100 in (9, 10)
    assert twice - 100 in (18, 19, 20)


def test_traces_are_read_at_the_time_of_the_dependency(engine):
    # the trace decays by exp(-1) per step: 100 at the spike, 36.8 a step later
    rule = {"x1_impulse": 100, "x1_tau": 1, "t_epoch": 4}
    at_pre = weights_of(engine, learner("x0*x1", **rule), pre=[(2, 0)])[3, 0, 0]
    at_post = weights_of(engine, learner("y0*x1", **rule), pre=[(2, 0)], teacher=[(2, 0)])[3, 0, 0]
    assert at_pre == 200
    assert at_post in (136, 137)


def test_u_acts_in_every_2_to_the_k_th_epoch(engine):
    changed = weights_of(engine, learner("3*u1", t_epoch=2))
    assert changed[:, 0, 0].tolist() == [100, 100, 100, 103, 103, 103, 103, 106]
    changed = weights_of(engine, learner("3*u2"))
    assert changed[:, 0, 0].tolist() == [100, 100, 100, 103, 103, 103, 103, 106]
    changed = weights_of(engine, learner("3*u0 - u0"))
    assert changed[:, 0, 0].tolist() == [102, 104, 106, 108, 110, 112, 114, 116]


def test_weights_stay_excitatory(engine):
    np.testing.assert_array_equal(weights_of(engine, learner("-7*2^8*x0"), pre=[(1, 0)])[-1, :, 0], (0, 0))
    np.testing.assert_array_equal(weights_of(engine, learner("7*2^8*x0"), pre=[(1, 0)])[-1, :, 0], (255, 255))


def test_fractional_changes_round_at_random_by_the_stream_of_seed_2(engine):
    changed = weights_of(engine, learner("2^-1*x0"), pre=[(step, 0) for step in range(1, 9)])[:, 0, 0]
    draws = np.random.default_rng(2).random(9)[1:]
    np.testing.assert_array_equal(np.diff(changed, prepend=100), (draws < 0.5).astype(int))


def test_rounding_draws_one_number_per_epoch(engine):
    changed = weights_of(engine, learner("2^-1*u0", t_epoch=2))[:, 0, 0]
    draws = np.random.default_rng(2).random(5)[1:]
    np.testing.assert_array_equal(np.diff(changed[1::2], prepend=100), (draws < 0.5).astype(int))


def test_traces_decay_by_streams_of_their_own(engine):
    rule = {"x1_impulse": 100, "x1_tau": 4, "y1_impulse": 90, "y1_tau": 4}
    recording = run(engine, learner("x0*x1*y1", **rule), pre=[(2, 0)], teacher=[(1, 0)])
    # streams 5 and 5 + 2, the second of a step's two draws
    for trace, seed, value in (("x1", 5, 100), ("y1", 7, 90)):
        draws = np.random.default_rng(seed).random(17)
        for step in range(2, 9):
            assert recording["synapses", trace][step - 1, 0, 0] == value
            exact = value * np.exp(-1 / 4)
            value = int(exact) + (draws[2 * (step + 1)] < exact % 1) if step < 8 else value


def test_a_second_payload_in_an_epoch_overwrites_the_first(engine):
    program = learner("x0*x1", graded="overwrite", x1_tau=9, t_epoch=4)
    recording = run(engine, program, pre=[(1, 0, 20), (2, 0, 60), (3, 0, 255)])
    # 255 halves to 128, which only the end of the epoch brings below 127
    assert recording["synapses", "x1"][:3, 0, 0].tolist() == [10, 30, 128]


def test_only_overflowing_spikes_count_in_overflow_mode(engine):
    program = learner("7*x0", graded="add_overflow", x1_tau=65535)
    # 90 halves to 45: the third spike passes 127
    changed = weights_of(engine, program, pre=[(step, 0, 90) for step in range(1, 5)])
    assert changed[:, 0, 0].tolist()[:4] == [100, 100, 107, 107]


@pytest.mark.parametrize(
    ("dw", "change"),
    [
        # x1 is 47, x2 is 20; w has 9 bits, a trace 7: right shift by 9 + 7 + 4 - 15 = 5, 7 + 7 + 4 - 15 = 3
        ("x0*x1*(w-99)", 1),
        ("-x0*x1*(w-99)", -2),  # -47 >> 5 floors
        ("3*x0*x1*(w-99)", 4),  # 141 >> 5: the mantissa comes before the shift
        ("2^2*x0*x1*(w-99)", 4),  # (47 >> 5) << 2: the exponent after it
        ("3*2^-1*x0*x1*(w-99)", 2),
        ("x0*x1*x2", 117),  # 940 >> 3
        ("x0*x2*(x1-43)*(w-99)", 0),  # 80 >> 12
        ("x0*(x1+100)", 127),  # factors are clipped
        ("x0*(x1-127)", -80),
        ("x0*(120-x1)", 73),
        ("2*x0*x1 - 2*x0*x1 - x0", -1),
        # 7 * 150^4 = 3543750000 is -751217296 in 32 bits; right shift by 4 * 9 + 4 - 15 = 25
        ("7*x0*(w+50)*(w+50)*(w+50)*(w+50)", -23),
        # 100^9 is -1486618624 in 32 bits: 70 bits to the right -1 is left of it, and 0 of a positive one
        ("x0*w*w*w*w*w*w*w*w*w", -1),
        ("-x0*w*w*w*w*w*w*w*w*w", 0),
    ],
)
def test_products_are_scaled_by_hand(engine, dw, change):
    program = learner(dw, x1_impulse=47, x1_tau=65535, x2_impulse=20, x2_tau=65535)
    assert weights_of(engine, program, pre=[(2, 0)])[1, 0, 0] == 100 + change


def test_the_accumulator_saturates_after_every_product(engine):
    """100 + 56, then 32767 / 128 = 255.99 instead of 1052, then 112 less; 143.99 rounds up at this draw."""
    assert np.random.default_rng(2).random(3)[2] < 127 / 128
    program = learner("7*2^3*x0 + 7*2^7*x0 - 7*2^4*x0")
    assert weights_of(engine, program, pre=[(2, 0)])[1, 0, 0] == 144


def test_traces_within_an_epoch_share_one_random_number(engine):
    rule = {"x1_impulse": 100, "x1_tau": 2, "t_epoch": 4}
    recording = run(engine, learner("u0*x1", **rule), pre=[(1, 0)])
    draw, value = np.random.default_rng(5).random(9)[2 * 4], 100
    for _ in range(3):
        exact = value * np.exp(-1 / 2)
        value = int(exact) + (draw < exact % 1)
    assert recording["synapses", "x1"][:4, 0, 0].tolist() == [0, 0, 0, value]
    assert recording["synapses", "weights"][3, 0, 0, 0] == 100 + value


def test_post_traces_are_read_at_the_time_of_the_pre_spike(engine):
    """y1 is 90 at the post spike of step 2, 33.1 a step later, 12.2 after two."""
    rule = {"y1_impulse": 90, "y1_tau": 1, "t_epoch": 4}
    read = {
        step: weights_of(engine, learner("x0*y1", **rule), pre=[(step, 0)], teacher=[(1, 0)])[3, 0, 0] - 100
        for step in range(1, 5)
    }
    assert read[1] == 0
    assert read[2] == 90
    assert read[3] in (33, 34)
    assert read[4] in (12, 13)


@pytest.mark.parametrize(
    ("graded", "rule", "traces"),
    [
        # half the payloads: 45, 45, 45, 128 (127.5), -1 % 256 = 255
        ("none", {"x1_impulse": 10}, [0, 10, 20, 30, 40, 40]),
        ("overwrite", {}, [45, 45, 45, 128, 255, 255]),
        ("add_saturate", {}, [45, 90, 127, 127, 126, 126]),
        ("add_overflow", {}, [45, 90, 8, 9, 8, 8]),
    ],
)
def test_payloads_set_x1_within_an_epoch(engine, graded, rule, traces):
    program = learner("x0*x1", graded=graded, x1_tau=9, t_epoch=16, **rule)
    recording = run(engine, program, 6, pre=[(1, 1, 90), (2, 1, 90), (3, 1, 90), (4, 1, 255), (5, 1, -2)])
    assert recording["synapses", "x1"][:, 0, 1].tolist() == traces
    assert not recording["synapses", "x1"][:, 0, 0].any()


def test_a_trace_of_128_overflows_without_a_spike(engine):
    program = learner("x0*x1", graded="add_overflow", x1_tau=9, t_epoch=16)
    recording = run(engine, program, 4, pre=[(1, 0, 254), (2, 0, 256)])
    # 127; 127 + 128 - 127; 128 - 127
    assert recording["synapses", "x1"][:, 0, 0].tolist() == [127, 128, 1, 1]


def test_all_changes_read_old_values(engine):
    program = learner("x0*d", dd="x0*t", dt="3*x0*(d+1)")
    recording = run(engine, program, 5, pre=[(step, 0) for step in range(1, 6)])
    weights, tag_1, tag_2 = (recording["synapses", name][:, 0] for name in ("weights", "tag_1", "tag_2"))
    # t grows by 3 (0 + 1), 3 (0 + 1), 3 (3 + 1), 3 (9 + 1), 3 (27 + 1); d by the t before, w by the d before
    assert tag_1[:, 0, 0].tolist() == [3, 6, 18, 48, 132]
    assert tag_2[:, 0, 0].tolist() == [0, 3, 9, 27, 75]
    assert weights[:, 0, 0].tolist() == [100, 100, 103, 112, 139]
    assert (weights[:, :, 1] == 100).all()


def test_a_tag_that_no_rule_changes_reads_as_0(engine):
    assert weights_of(engine, learner("x0*(t+7) + x0*d"), pre=[(1, 0)])[-1, 0, 0] == 107


def test_tags_change_without_weights(engine):
    recording = run(engine, learner("", dt="5*y0 - 7*x0"), pre=[(2, 0)], teacher=[(4, 0)])
    assert recording["synapses", "tag_1"][:, 0, 0, 0].tolist() == [0, -7, -7, -7, -2, -2, -2, -2]
    assert (recording["synapses", "weights"] == 100).all()


def test_tags_have_their_limits(engine):
    program = learner("x0", dd="-3*x0", dt="7*2^8*x0")
    recording = run(engine, program, pre=[(1, 0)])
    assert recording["synapses", "tag_2"][-1, 0, 0, 0] == 0
    assert recording["synapses", "tag_1"][-1, 0, 0, 0] == 255
    assert run(engine, learner("x0", dd="7*2^8*x0"), pre=[(1, 0)])["synapses", "tag_2"][-1, 0, 0, 0] == 255


def test_a_tag_of_minus_257_moves_without_a_spike(engine):
    """The accumulator ends at -32769 / 128 = -256.008, which rounds down where a draw is 127/128 or more."""
    draws = np.random.default_rng(2).random(500)
    step = int(np.flatnonzero(draws[1:-1] >= 127 / 128)[0]) + 1
    recording = run(engine, learner("", dt="-7*2^8*x0"), step + 2, pre=[(step, 1), (step - 1, 0)])
    tags = recording["synapses", "tag_1"][-4:, 0, 0]
    # axon 0, a step earlier, rounds up, and -256 stays
    assert tags.tolist() == [[-256, 0], [-256, -257], [-256, -256], [-256, -256]]


def test_weights_of_every_sign_mode_end_at_their_limits(engine):
    for mode, down, up in (("mixed", -256, 255), ("excitatory", 0, 255), ("inhibitory", -255, 0)):
        for rule, limit in (("-7*2^8*x0", down), ("7*2^8*x0", up)):
            program = learner(rule)
            plastic = dataclasses.replace(
                program.plastic[0], sign_mode=mode, weights=np.zeros((2, 2), dtype=int)
            )
            program = dataclasses.replace(program, plastic=(plastic,))
            assert (weights_of(engine, program, pre=[(2, 0)])[-1, :, 0] == limit).all(), (mode, rule)


def rewarded(dw, thirds=("reward", "", ""), dt="", **rule):
    """`learner` with a reward that a relay passes on as y1, and a trace of post spikes for y2.

    A signal reaches the reward a step later. A post spike sets the echo to 64 a step later; then it halves.
    """
    program = learner(dw, dt=dt, **rule)
    ones = np.eye(2, dtype=int)
    return dataclasses.replace(
        program,
        inputs=(*program.inputs, InputAxons("signal", 2)),
        populations=(
            *program.populations, Population("reward", 2, "relay"), Population("echo", 2, "relay"),
        ),
        projections=(
            *program.projections,
            Projection("told", "signal", "reward", ones, sign_mode="excitatory", num_message_bits=8),
            Projection("heard", "post", "echo", 64 * ones, sign_mode="excitatory"),
            Projection("fade", "echo", "echo", 128 * ones, -8, sign_mode="excitatory", num_message_bits=8),
        ),
        plastic=(dataclasses.replace(program.plastic[0], third_factors=thirds),),
        probes=(*program.probes, *probes("y2", "y3")),
    )  # fmt: skip


def test_third_factors_are_what_their_populations_send(engine):
    program = rewarded("x0", ("reward", "echo", ""))
    signal = [(2, 0, 40), (3, 1, -200), (4, 0, 7), (4, 1, 7)]
    recording = run(engine, program, signal=signal, teacher=[(3, 1)])
    silence = [[0, 0]]
    expected = 2 * silence + [[40, 0], [0, -200], [7, 7]] + 3 * silence
    assert recording["synapses", "y1"][:, 0].tolist() == expected
    assert recording["synapses", "y2"][:, 0, 1].tolist() == [0, 0, 0, 0, 64, 32, 16, 8]
    assert not recording["synapses", "y3"].any()


def test_a_reward_acts_at_its_own_step_on_its_own_neuron(engine):
    signal = [(2, 0, 40), (2, 1, -5), (4, 0, 99), (5, 0, 200)]
    changed = weights_of(engine, rewarded("x0*y1"), signal=signal, pre=[(3, 0), (4, 0), (6, 1)])
    # the factor of step 6 is clipped to 127
    assert changed[-1].tolist() == [[140, 227], [95, 100]]
    assert changed[1:3, :, 0].tolist() == [[100, 100], [140, 95]]
    # -200 is clipped to -128
    assert weights_of(engine, rewarded("2^-1*x0*y1"), signal=[(2, 0, -200)], pre=[(3, 0)])[-1, 0, 0] == 36


def test_a_reward_within_an_epoch_is_read_at_its_end(engine):
    program = rewarded("x0*y1", t_epoch=4)
    assert weights_of(engine, program, signal=[(1, 0, 40)], pre=[(2, 0)])[-1, 0, 0] == 100
    assert weights_of(engine, program, signal=[(3, 0, 40)], pre=[(2, 0)])[-1, 0, 0] == 140


def test_post_spikes_do_not_drive_traces_that_third_factors_set(engine):
    program = rewarded("y0*y1", ("reward", "", ""))
    recording = run(engine, program, teacher=[(1, 0), (2, 0), (3, 0)])
    assert not recording["synapses", "y1"].any()
    assert (recording["synapses", "weights"] == 100).all()


def test_reward_modulated_stdp_with_an_eligibility_tag(engine):
    program = rewarded("u0*t*y1", ("reward", "echo", ""), dt="x1*y0 - x0*y2", x1_impulse=64, x1_tau=65535)
    recording = run(
        engine, program, 11,
        pre=[(2, 0), (6, 0)], teacher=[(3, 0)], signal=[(3, 0, 16), (7, 0, 16), (7, 1, 50), (9, 0, -8)],
    )  # fmt: skip
    tags, weights = (recording["synapses", name][:, 0] for name in ("tag_1", "weights"))
    # post at step 4: x1 = 64; pre at step 6: y2 = 32, two steps after the post spike
    assert tags[:, 0, 0].tolist() == [0, 0, 0, 64, 64, 32, 32, 32, 32, 32, 32]
    # a reward at step 4 finds the tag of step 3; 32 * 16 >> 5 at step 8, 32 * -8 >> 5 at step 10
    assert weights[:, 0, 0].tolist() == 7 * [100] + 2 * [116] + 2 * [108]
    assert not tags[:, 1].any()
    assert not tags[:, :, 1].any()
    assert (weights[:, 1] == 100).all()
    assert (weights[:, :, 1] == 100).all()
