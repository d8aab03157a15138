from __future__ import annotations

import dataclasses
import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import ChipRule, InputAxons, PlasticProjection, Population, Program, Projection, RunError
from hardware.fits import Use, chip_names, load_chip, place


def ones(post: int, pre: int) -> np.ndarray:
    return np.full((post, pre), 1)


def program(*populations: Population, inputs: int = 1, **parts: object) -> Program:
    return Program("p", (InputAxons("in", inputs),), populations, **parts)


def fan(post: int, pre: int, **options: object) -> Projection:
    options = {"sign_mode": "excitatory"} | options
    return Projection("synapses", "in", "cells", ones(post, pre), **options)


def test_every_limit_has_unit_source_and_says_if_it_is_an_assumption():
    assert chip_names() == ["loihi1", "loihi2"]
    limits = [set(load_chip(name).limits) for name in chip_names()]
    assert limits[0] == limits[1]
    for name in chip_names():
        content = json.loads((files("hardware") / "chips" / f"{name}.json").read_text())
        for entry in (*content["limits"].values(), *content["energy"].values()):
            assert entry["unit"]
            assert entry["source"]
            assert isinstance(entry["assumption"], bool)
            assert entry["value"] >= 0
            assert "widths" not in entry or entry["widths"][-1] == entry["value"]


def test_synapses_take_what_the_memory_layout_says():
    """100 neurons of 8-bit weights: blocks of 64 * 8 + 10 and 36 * 8 + 10 bits per source, in words of 64."""
    placed = place(program(Population("cells", 100), inputs=3, projections=(fan(100, 3),)), "loihi1")
    assert placed.populations[0].use == Use(neurons=100, input_axons=3, synaptic_memory=3 * (576 + 320))
    assert placed.populations[0].synapses == 300
    assert placed.fits
    assert placed.populations[0].cores == (0,)


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        ({"num_weight_bits": 4}, 4),
        ({"num_weight_bits": 7}, 8),  # no width of 7 on Loihi 1
        ({"sign_mode": "mixed"}, 8),  # even weights: the sign is one of the 8 bits
        ({"delays": 2}, 8 + 6),
        ({"delays": 0}, 8),
    ],
)
def test_the_width_of_a_synapse_follows_its_projection(options, bits):
    options = {"num_weight_bits": 8} | options
    cells = program(Population("cells", 64), inputs=1, projections=(fan(64, 1, **options),))
    weights = 4 * ones(64, 1)
    cells = dataclasses.replace(
        cells, projections=(dataclasses.replace(cells.projections[0], weights=weights),)
    )
    words = -(-(64 * bits + 10) // 64)
    assert place(cells, "loihi1").populations[0].use.synaptic_memory == 64 * words


def test_sparse_storage_counts_what_is_left_after_quantisation_and_adds_an_index():
    weights = np.zeros((100, 4), dtype=int)
    weights[:60, 3] = 200
    weights[7, :3] = (3, 1, 0)
    sparse = Projection(
        "s", "in", "cells", weights, num_weight_bits=7, sign_mode="excitatory", storage="sparse"
    )
    placed = place(program(Population("cells", 100), inputs=4, projections=(sparse,)), "loihi2").populations
    # 7 bits clear the lowest bit: 3 -> 2 stays, 1 does not; the index of 100 neurons has 7 bits
    assert placed[0].synapses == 61
    words = -(-(60 * (7 + 7) + 10) // 64) + 1
    assert placed[0].use == Use(neurons=100, input_axons=2, synaptic_memory=64 * words)


def plastic(name: str, **options: object) -> PlasticProjection:
    rule = options.pop("rule", ChipRule("2^-1*x1*y0", x1_impulse=9))
    return PlasticProjection(name, "in", "cells", ones(64, 2), rule, 1, num_message_bits=0, **options)


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        ({}, 8),
        ({"num_weight_bits": 4}, 8),  # learning fills all 8 bits
        ({"sign_mode": "mixed"}, 9),
        ({"rule": ChipRule("x0*w", dt="x0*y0", dd="x0*y0")}, 8 + 9 + 8),
    ],
)
def test_plastic_synapses_take_more_memory_and_axons(options, bits):
    cells = program(Population("cells", 64), inputs=2, plastic=(plastic("m", **options),))
    use = place(cells, "loihi1").populations[0].use
    assert use.input_axons == 2 * 2
    assert use.synaptic_memory == 2 * 64 * -(-(64 * bits + 10) // 64)


def test_third_factors_take_an_axon_per_neuron_at_both_ends():
    cells = Population("cells", 64)
    reward = Population("reward", 64)
    rule = ChipRule("2^-1*x1*y1*y0", x1_impulse=9)
    learning = plastic("m", rule=rule, third_factors=("reward", "", ""))
    placed = place(program(cells, reward, inputs=2, plastic=(learning,)), "loihi2")
    assert placed.fits
    assert placed.populations[0].use.input_axons == 2 * 2 + 64
    assert placed.populations[1].use.output_axons == 64


def test_a_population_is_cut_where_neurons_memory_or_output_axons_end():
    by_neurons = place(program(Population("cells", 2500)), "loihi1")
    assert [core.use.neurons for core in by_neurons.cores] == [1024, 1024, 452]
    # 4,000 sources, n neurons: 4,000 * ceil((8 n + 10) / 64) * 64 bits <= 2^20 up to n = 30
    by_memory = place(program(Population("cells", 100), inputs=4000, projections=(fan(100, 4000),)), "loihi1")
    assert [core.use.neurons for core in by_memory.cores] == [30, 30, 30, 10]
    assert by_memory.fits
    # 8 targets in a core each: 8 axons per neuron, so 512 neurons per core
    targets = [Population(f"t{index}", 1024) for index in range(8)]
    projections = [
        Projection(f"p{index}", "cells", f"t{index}", ones(1024, 1000), storage="sparse", sign_mode="mixed")
        for index in range(8)
    ]
    projections = [
        dataclasses.replace(part, weights=2 * np.eye(1024, 1000, dtype=int)) for part in projections
    ]
    one_each = place(program(Population("cells", 1000), *targets, projections=tuple(projections)), "loihi1")
    cut = [core for core in one_each.cores if "cells" in core.populations]
    assert [core.use.output_axons for core in cut] == [4096, 8 * 1000 - 4096]


def test_a_cut_target_costs_its_sources_output_axons():
    """100 targets of 4,000 inputs each lie on 4 cores, so each of the 4,000 sources sends 4 spikes."""
    source = Population("source", 4000)
    target = Population("cells", 100)
    projection = Projection("p", "source", "cells", ones(100, 4000), sign_mode="excitatory")
    placed = place(program(source, target, projections=(projection,)), "loihi2")
    assert len(placed.populations[1].cores) == 4
    assert placed.populations[0].use.output_axons == 4 * 4000
    assert len(placed.populations[0].cores) == 4


def test_packing_keeps_to_thresholds_settings_and_learning_rules():
    thresholds = place(program(*(Population(f"p{vth}", 1, vth=vth) for vth in range(17))), "loihi2")
    assert [len(core.populations) for core in thresholds.cores] == [16, 1]
    settings = place(program(*(Population(f"p{du}", 1, du=du) for du in range(33))), "loihi2")
    assert [len(core.populations) for core in settings.cores] == [32, 1]
    rules = [ChipRule(f"{number}*x1*y0", x1_impulse=9) for number in (1, 2, 3, 5)]
    populations = [Population(f"p{index}", 64) for index in range(4)]
    learning = [
        dataclasses.replace(plastic(f"m{index}", rule=rule), target=f"p{index}")
        for index, rule in enumerate(rules)
    ]
    placed = place(program(*populations, inputs=2, plastic=tuple(learning)), "loihi2")
    assert [len(core.populations) for core in placed.cores] == [3, 1]
    together = [plastic(f"m{index}", rule=rule) for index, rule in enumerate(rules)]
    too_many = place(program(Population("cells", 64), inputs=2, plastic=tuple(together)), "loihi2")
    assert [str(problem) for problem in too_many.problems] == [
        "learning rules that end at 'cells': 4, the limit is 3: "
        "use the same rule for several projections, or split the population"
    ]


def test_unpacked_populations_have_cores_of_their_own():
    parts = program(Population("a", 5), Population("b", 5))
    assert len(place(parts).cores) == 1
    assert [core.populations for core in place(parts, pack=False).cores] == [("a",), ("b",)]


def test_too_many_neurons_are_refused_with_the_chips_they_need():
    large = program(Population("cells", 2**18), Population("few", 10))
    placed = place(large, "loihi1")
    assert not placed.fits
    assert (len(placed.cores), placed.cores_available, placed.chips_needed) == (257, 128, 3)
    assert [str(problem) for problem in placed.problems] == [
        "cores: 257, the limit is 128: "
        "use 3 chips, or make smaller what takes most cores: cells (256), few (1)"
    ]
    assert place(large, "loihi1", chips=3).fits
    assert place(large, "loihi2").fits


def test_a_neuron_with_too_many_inputs_is_refused_once_and_counted_all_the_same():
    placed = place(program(Population("cells", 10), inputs=5000, projections=(fan(10, 5000),)), "loihi2")
    assert [str(problem) for problem in placed.problems] == [
        "neuron 0 of 'cells': input axons: 5,000, the limit is 4,096: "
        "connect 904 fewer source neurons, or let neurons in between sum them"
    ]
    assert len(placed.cores) == 1
    far = place(program(Population("cells", 1), inputs=20000, projections=(fan(1, 20000),)), "loihi2")
    assert [problem.value for problem in far.problems] == [20000, 20000 * 64]
    assert "about 16,384 of its 20,000 synapses fit" in far.problems[1].advice


def test_a_neuron_with_too_many_outputs_is_refused(monkeypatch):
    chip = load_chip("loihi2")
    few = chip.limits | {"output_axons": dataclasses.replace(chip.limits["output_axons"], value=2)}
    monkeypatch.setattr("hardware.fits.load_chip", lambda name: dataclasses.replace(chip, limits=few))
    targets = [Population(f"t{index}", 1) for index in range(3)]
    projections = tuple(Projection(f"p{index}", "cells", f"t{index}", ones(1, 1)) for index in range(3))
    two = [Population("cells", 5), targets[0]]
    pairs = place(program(*two, projections=(Projection("p", "cells", "t0", ones(1, 5)),)), pack=False)
    assert [core.use.output_axons for core in pairs.cores] == [2, 2, 1, 0]
    placed = place(program(Population("cells", 1), *targets, projections=projections))
    assert [str(problem) for problem in placed.problems] == [
        "neuron 0 of 'cells': output axons: 3, the limit is 2: "
        "let it reach fewer cores: smaller targets, or neurons in between that pass it on"
    ]


def test_what_loihi_1_cannot_do_is_named(make_program):
    recurrent = make_program(0)
    told = {problem.what: problem for problem in place(recurrent, "loihi1").problems}
    assert list(told) == [
        "bits of payload of the spikes of 'relay', 'in'",  # plastic inputs have a payload by default
        "graded spikes in the learning of 'store'",
        "populations with a periodic reset, 'reset'",
    ]
    assert next(iter(told.values())).value == 8
    assert place(recurrent, "loihi2").fits
    reward = plastic("m", rule=ChipRule("2^-1*x1*y1*y0", x1_impulse=9), third_factors=("cells", "", "cells"))
    modulated = program(Population("cells", 64), inputs=2, plastic=(reward,))
    assert [problem.what for problem in place(modulated, "loihi1").problems] == ["third factors of 'm'"]
    payloads = program(Population("cells", 2), inputs=3, projections=(fan(2, 3, num_message_bits=8),))
    assert [problem.value for problem in place(payloads, "loihi1").problems] == [8]
    spikes = dataclasses.replace(payloads, projections=(fan(2, 3, num_message_bits=1),))
    assert place(spikes, "loihi1").fits


def test_names_of_many_parts_are_cut_short():
    relays = [Population(f"r{index}", 1, "relay") for index in range(6)]
    assert place(program(*relays), "loihi1").problems[0].what.endswith("'r0', 'r1', 'r2' and 3 more")


def test_assumptions_of_the_chip_and_of_the_mapping_are_told(memory):
    told = place(memory, "loihi2").assumptions
    assert any(text.startswith("synaptic memory: 1,048,576 bits per core (not public") for text in told)
    assert any("share a core" in text for text in told)
    assert not any(text.startswith("neurons:") for text in told)


def test_rows_have_the_totals(memory):
    placed = place(memory, "loihi2")
    assert placed.population_rows() == [("values", 3, 1, 21, 1, 11, 0)]
    assert placed.resource_rows()[:2] == [
        ("cores", 1, 120, 0.8, None, None, "Lava 0.10.0 compiler: 120 of the chip's 128 cores"),
        ("neurons", 3, 8192, 0.0, 3, 8192, load_chip("loihi2").limits["neurons"].source),
    ]
    assert placed.resource_rows()[2][-1].startswith("assumed; ")


def test_unknown_chips_and_no_chips_are_refused(memory):
    with pytest.raises(RunError, match="chip is 'loihi3': use one of 'loihi1', 'loihi2'"):
        place(memory, "loihi3")
    with pytest.raises(RunError, match="chips is 0"):
        place(memory, chips=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["loihi1", "loihi2"]), st.booleans())
def test_every_neuron_and_synapse_is_placed_and_no_core_holds_too_much(seed, name, pack):
    random = np.random.default_rng(seed)
    sizes = {name: int(random.integers(1, 1300)) for name in ("a", "b", "c")}
    populations = [Population(name, size, vth=int(random.integers(9))) for name, size in sizes.items()]
    projections = []
    for index in range(int(random.integers(1, 4))):
        source, target = random.choice(["a", "b", "c"], 2)
        weights = 2 * (random.random((sizes[target], sizes[source])) < random.random() / 8)
        storage = str(random.choice(["dense", "sparse"]))
        projections.append(Projection(f"p{index}", str(source), str(target), weights, storage=storage))
    placed = place(program(*populations, projections=tuple(projections)), name, chips=9, pack=pack)
    assert placed.fits
    chip = load_chip(name)
    for core in placed.cores:
        assert all(taken <= chip[resource] for resource, taken in zip(Use._fields, core.use, strict=True))
    assert {part.name: part.use.neurons for part in placed.populations} == sizes
    for part in placed.populations:
        ending = [p for p in projections if p.target == part.name]
        dense = sum(p.weights.size for p in ending if p.storage == "dense")
        assert part.synapses == dense + sum(
            np.count_nonzero(p.weights) for p in ending if p.storage == "sparse"
        )
    assert sum(core.use.output_axons for core in placed.cores) >= sum(
        core.use.input_axons for core in placed.cores
    )
