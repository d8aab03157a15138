from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware import (
    ChipRule,
    ClockLine,
    Host,
    InputAxons,
    PlasticProjection,
    Population,
    Probe,
    Program,
    ProgramError,
    Projection,
    Readout,
    Schedule,
    TimeAxons,
    TokenAxons,
    load,
    save,
)

RULE = ChipRule("x0*x1", x1_tau=3)


def base(**parts):
    """A small valid program with some parts replaced."""
    default = {
        "name": "p",
        "inputs": (InputAxons("in", 2), InputAxons("tick", 1)),
        "populations": (Population("n", 3), Population("relay", 2, kind="relay")),
        "projections": (Projection("s", "in", "n", np.ones((3, 2), dtype=int)),),
    }
    return Program(**(default | parts))


def plastic(**fields):
    default = {
        "name": "m",
        "source": "in",
        "target": "n",
        "weights": np.ones((3, 2), dtype=int),
        "rule": RULE,
        "seed": 1,
    }
    return PlasticProjection(**(default | fields))


def test_equality_compares_arrays():
    assert base() == base()
    other = np.ones((3, 2), dtype=int)
    other[0, 0] = 2
    assert base() != base(projections=(Projection("s", "in", "n", other),))
    assert plastic() == plastic()
    assert plastic() != plastic(rule=ChipRule("x0*x1", x1_tau=4))
    assert Population("n", 3, bias_mant=1) != Population("n", 3, bias_mant=np.array([1, 1, 2]))


def test_parts_may_be_lists(tmp_path):
    listed = base(inputs=[*base().inputs], populations=[*base().populations], probes=[Probe("n")])
    assert listed == base(probes=(Probe("n"),))
    save(listed, tmp_path / "p.h5")
    assert load(tmp_path / "p.h5") == listed


@pytest.mark.parametrize("name", [".", "..", "", "a/b"])
def test_names_that_are_no_names_of_datasets_are_refused(name):
    with pytest.raises(ProgramError, match="not usable"):
        InputAxons(name, 1)


def test_numbers_beyond_64_bits_are_not_taken_for_others():
    with pytest.raises(ProgramError, match="18446744073709551611"):
        Projection("s", "in", "n", np.array([[2**64 - 5]], dtype=np.uint64))


def test_lava_would_not_wrap_the_sum_of_a_dense_projection_with_delays():
    weights = np.full((1, 2), 254)
    wide = Projection("s", "in", "n", weights, weight_exp=-8, num_message_bits=22, delays=1)
    dataclasses.replace(wide, num_message_bits=24, storage="sparse")
    dataclasses.replace(wide, num_message_bits=24, delays=0)
    dataclasses.replace(wide, num_message_bits=24, weight_exp=0)
    with pytest.raises(ProgramError, match="may sum to 8522825220, beyond 32 bits"):
        dataclasses.replace(wide, num_message_bits=24)


def test_arrays_are_copied_and_frozen():
    weights = np.ones((3, 2), dtype=np.int16)
    projection = Projection("s", "in", "n", weights)
    weights[:] = 9
    assert projection.weights.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        projection.weights[0, 0] = 2


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"vth": 2**17}, "vth is 131072"),
        ({"du": 4096}, "du is 4096"),
        ({"du": -2}, "du is -2"),
        ({"dv": 4097}, "dv is 4097"),
        ({"dv": 0.5}, "dv is 0.5"),
        ({"bias_mant": 4096}, "bias_mant is 4096"),
        ({"bias_mant": np.array([1, -4097, 0])}, "bias_mant spans -4097"),
        ({"bias_mant": np.array([1, 2])}, r"bias_mant has shape \(2,\)"),
        ({"bias_exp": 8}, "bias_exp is 8"),
        ({"size": 0}, "size is 0"),
        ({"name": "a/b"}, "'a/b'"),
        ({"kind": "izhikevich"}, "'izhikevich'"),
        ({"kind": "relay", "bias_mant": 3}, "neither bias nor reset"),
    ],
)
def test_population_limits(fields, complaint):
    with pytest.raises(ProgramError, match=complaint):
        Population(**({"name": "n", "size": 3} | fields))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"weights": [[256]]}, "weights spans 256"),
        ({"weights": [[-1]], "sign_mode": "excitatory"}, "weights spans -1"),
        ({"weights": [[1]], "sign_mode": "inhibitory"}, "weights spans 1"),
        ({"weights": [[0.5]]}, "float64"),
        ({"weights": [1]}, "2 dimension"),
        ({"sign_mode": "both"}, "'both'"),
        ({"weight_exp": 8}, "weight_exp is 8"),
        ({"num_weight_bits": 9}, "num_weight_bits is 9"),
        ({"num_message_bits": 25}, "num_message_bits is 25"),
        ({"delays": 64}, "delays is 64"),
        ({"delays": np.array([[64]])}, "delays spans 64"),
        ({"delays": np.array([[1, 1]])}, "delays has shape"),
        ({"storage": "csr"}, "storage is 'csr': use one of 'dense', 'sparse'"),
    ],
)
def test_projection_limits(fields, complaint):
    with pytest.raises(ProgramError, match=complaint):
        Projection(**({"name": "s", "source": "a", "target": "b", "weights": [[1]]} | fields))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"graded": "sometimes"}, "'sometimes'"),
        ({"graded": "overwrite", "num_message_bits": 0}, "num_message_bits is 0"),
        ({"graded": "overwrite", "rule": ChipRule("x0*x1", x1_tau=3, x1_impulse=5)}, "x1_impulse is 5"),
        ({"graded": "overwrite", "rule": ChipRule("x0*x1")}, "x1_tau is 0"),
        ({"third_factors": ("n",)}, "give the sources of y1, y2 and y3"),
        (
            {"third_factors": ("n", "", ""), "rule": ChipRule("x0*x1", x1_tau=3, y1_tau=2)},
            "third factors set y1",
        ),
        ({"third_factors": ("n", "", ""), "rule": ChipRule("x0*y3", y3_impulse=2)}, "third factors set y3"),
    ],
)
def test_plastic_limits(fields, complaint):
    with pytest.raises(ProgramError, match=complaint):
        plastic(**fields)


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"populations": (Population("in", 3),)}, "'in' is defined twice"),
        ({"inputs": ()}, "no inputs"),
        ({"attributes": {"epochs": 3}}, "attribute 'epochs' is 3"),
        ({"projections": (Projection("s", "out", "n", np.ones((3, 2), int)),)}, "source 'out'"),
        ({"projections": (Projection("s", "in", "in", np.ones((2, 2), int)),)}, "target 'in'"),
        ({"projections": (Projection("s", "in", "n", np.ones((2, 3), int)),)}, r"need \(3, 2\)"),
        (
            {"projections": (Projection("s", "relay", "n", np.ones((3, 2), int)),)},
            "relay 'relay' sends payloads",
        ),
        ({"plastic": (plastic(target="relay"),)}, r"need \(2, 2\)"),
        ({"probes": (Probe("n"), Probe("n"))}, "defined twice"),
        ({"probes": (Probe("in"),)}, "'in' is no population"),
        ({"probes": (Probe("n", "weights"),)}, "'n' is no plastic"),
        ({"probes": (Probe("relay", "v"),)}, "has no state"),
        ({"plastic": (plastic(),), "probes": (Probe("m", "tag_1"),)}, "the rule of 'm' never changes it"),
        (
            {"plastic": (plastic(rule=ChipRule(dt="x0*x1", x1_tau=3)),), "probes": (Probe("m", "tag_2"),)},
            "probe of 'tag_2': the rule of 'm' never changes it",
        ),
        (
            {"plastic": (plastic(third_factors=("in", "", "")),)},
            "third factor 'in' must be a population of 3",
        ),
        ({"plastic": (plastic(third_factors=("", "relay", "")),)}, "3 neurons, one per post neuron, found 2"),
        ({"plastic": (plastic(third_factors=("", "", "nobody")),)}, "found None"),
        ({"schedule": Schedule(8, lines=(ClockLine("in", (0,)),))}, "clock line 'in'"),
        ({"host": Host(("a",), TokenAxons("in", 2, (0,)))}, "no schedule"),
    ],
)
def test_parts_must_fit_each_other(parts, complaint):
    with pytest.raises(ProgramError, match=complaint):
        base(**parts)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"vocabulary": ("a", "b")}, "must have size 4"),
        ({"vocabulary": ("a", "a", "b")}, "'a' is defined twice"),
        ({"time": TimeAxons("time", np.zeros((2, 3), dtype=int), (0,))}, "must have size 3"),
        ({"time": TimeAxons("ask", np.zeros((2, 1), dtype=int), (0,))}, "'ask' is defined twice"),
    ],
)
def test_host_must_fit_the_axons(hosted, change, complaint):
    with pytest.raises(ProgramError, match=complaint):
        dataclasses.replace(hosted, host=dataclasses.replace(hosted.host, **change))


def test_readout_needs_a_probe_and_one_row_per_answer(hosted):
    with pytest.raises(ProgramError, match="add a probe"):
        dataclasses.replace(hosted, probes=())
    with pytest.raises(ProgramError, match="one row per answer"):
        Readout("r", ("echo",), 0, 1, np.ones((1, 6), dtype=int), np.zeros(2, dtype=int), ("a", "b"))


@pytest.mark.parametrize("steps", [(-1,), (1, 1), (0.5,)])
def test_clock_steps_are_distinct_and_not_negative(steps):
    with pytest.raises(ProgramError, match="tick"):
        ClockLine("tick", steps)


def test_storage_third_factors_and_tags_are_part_of_a_program():
    parts = plastic(rule=ChipRule("x0*x1", dt="x0*y1", dd="y0", x1_tau=3), third_factors=["n", "", "n"])
    assert parts.third_factors == ("n", "", "n")
    assert parts.three_factor
    assert not plastic().three_factor
    program = base(plastic=(parts,), probes=(Probe("m", "tag_1"), Probe("m", "tag_2")))
    assert program != base(plastic=(plastic(rule=parts.rule),), probes=program.probes)
    dense = base().projections[0]
    assert base(projections=(dataclasses.replace(dense, storage="sparse"),)) != base()
