"""Random programs: reproducible, alive, and with everything that a program can have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from hardware import Emulator
from hardware.conformance import Case, random_case
from hardware.program import GRADED_MODES, Program
from hardware.reference import Reference

SEEDS = 150


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [random_case(seed) for seed in range(SEEDS)]


def test_the_same_seed_gives_the_same_case(cases: list[Case]) -> None:
    for seed in (0, 1, 77, 149):
        again = random_case(seed)
        assert again.program == cases[seed].program
        assert again.inputs.keys() == cases[seed].inputs.keys()
        for name, spikes in again.inputs.items():
            np.testing.assert_array_equal(spikes, cases[seed].inputs[name])
    assert len({str(case.program) for case in cases}) == SEEDS


def test_cases_are_alive(cases: list[Case]) -> None:
    assert sum(case.alive for case in cases) >= 0.95 * SEEDS
    for case in cases[:20]:
        reference = Reference(case.program)
        _, recording = reference.run(reference.initial_state(1), case.inputs)
        spiking = all(recording[part.name, "spikes"].any() for part in case.program.populations)
        synapses = [
            values for (_, name), values in recording.probes.items() if name in ("weights", "tag_1", "tag_2")
        ]
        assert case.spiking == spiking
        assert case.learning == any((values != values[0]).any() for values in synapses)


def test_steps_and_plasticity_can_be_chosen() -> None:
    for seed in range(9):
        assert bool(random_case(seed).program.plastic) == (seed % 3 != 0)
        assert random_case(seed, plastic=True, steps=20).program.plastic
        still = random_case(seed, plastic=False, steps=7)
        assert not still.program.plastic
        assert {len(spikes) for spikes in still.inputs.values()} == {7}


def test_everything_that_can_change_is_probed(cases: list[Case]) -> None:
    for case in cases:
        wanted = {(part.name, "spikes") for part in case.program.populations}
        wanted |= {(p.name, name) for p in case.program.populations if p.kind == "lif" for name in "uv"}
        for part in case.program.plastic:
            wanted |= {(part.name, name) for name in ("weights", "x1", "x2", "y1", "y2", "y3")}
            wanted |= {(part.name, tag) for tag in ("tag_1", "tag_2") if tag in part.rule.series}
        assert {probe.key for probe in case.program.probes} == wanted
        assert {probe.every for probe in case.program.probes} == {1}


def features(program: Program) -> Iterator[str]:
    """What occurs in a program, by name."""
    for part in program.populations:
        yield part.kind
        if part.kind == "lif":
            yield f"du {part.du}" if part.du in (-1, 4095) else "du"
            yield f"dv {part.dv}" if part.dv in (0, 4096) else "dv"
        if part.kind == "relay" and part.vth:
            yield "relay with a threshold"
        if np.any(part.bias_mant):
            yield "bias" if isinstance(part.bias_mant, int) else "bias by neuron"
            yield f"bias_exp {part.bias_exp}"
        if part.reset_interval:
            yield "reset"
    for fixed in program.projections:
        yield f"storage {fixed.storage}"
        yield f"fixed {fixed.sign_mode}"
        yield f"weight_exp {fixed.weight_exp}"
        yield f"weight bits {fixed.num_weight_bits}"
        yield f"message bits {fixed.num_message_bits}"
        yield "delay by synapse" if not isinstance(fixed.delays, int) else f"delay {min(1, fixed.delays)}"
        if fixed.source == fixed.target:
            yield "recurrence"
    for learned in program.plastic:
        yield f"plastic {learned.sign_mode}"
        yield f"graded {learned.graded}"
        yield f"epoch {learned.rule.t_epoch}"
        yield f"plastic exponent {np.sign(learned.weight_exp)}"
        yield f"plastic bits {learned.num_weight_bits}"
        yield f"{2 + learned.three_factor} factors"
        for target, products in learned.rule.series.items():
            yield target
            for product in products:
                yield f"dependency {product.dependency}"
                yield f"decimation {product.decimation}" if product.dependency == "u" else ""
                yield from (f"factor {factor.variable}" for factor in product.factors)
        for trace in ("x1", "x2", "y1", "y2", "y3"):
            yield f"tau {getattr(learned.rule, f'{trace}_tau')}"
            yield f"impulse {getattr(learned.rule, f'{trace}_impulse')}"


EVERYTHING = {
    *("lif", "relay", "relay with a threshold", "bias", "bias by neuron", "reset", "recurrence"),
    *("du", "du -1", "du 4095", "dv", "dv 0", "dv 4096"),
    *(f"bias_exp {exponent}" for exponent in range(8)),
    *("storage dense", "storage sparse", "delay 0", "delay 1", "delay by synapse"),
    *(f"{kind} {mode}" for kind in ("fixed", "plastic") for mode in ("mixed", "excitatory", "inhibitory")),
    *(f"weight_exp {exponent}" for exponent in range(-8, 8)),
    *(f"weight bits {bits}" for bits in (1, 4, 8)),
    *(f"message bits {bits}" for bits in (0, 8, 16, 24)),
    *(f"graded {mode}" for mode in GRADED_MODES),
    *(f"epoch {steps}" for steps in (1, 2, 3, 5, 16)),
    *(f"plastic exponent {sign}" for sign in (-1, 0, 1)),
    *("plastic bits 5", "plastic bits 8", "2 factors", "3 factors", "weights", "tag_1", "tag_2"),
    *("dependency x0", "dependency y0", "dependency u", "decimation 0", "decimation 1", "decimation 2"),
    *(f"factor {name}" for name in ("x0", "y0", "x1", "x2", "y1", "y2", "y3", "w", "t", "d")),
    *(f"tau {tau}" for tau in (0, 1, 2, 5, 20, 100, 65535)),
    *(f"impulse {impulse}" for impulse in (0, 1, 16, 64, 127)),
}


def test_everything_that_a_program_can_have_occurs(cases: list[Case]) -> None:
    alive = [case for case in cases if case.alive]
    found = Counter(feature for case in alive for feature in {*features(case.program), *inputs_of(case)})
    wanted = EVERYTHING | {"payload 1", "payloads", "negative payloads"}
    assert {feature for feature in wanted if found[feature] < 2} == set()


def inputs_of(case: Case) -> Iterator[str]:
    for spikes in case.inputs.values():
        if spikes.min() < 0:
            yield "negative payloads"
        elif spikes.any():
            yield "payload 1" if spikes.max() == 1 else "payloads"


def test_extremes_of_the_arithmetic_occur(cases: list[Case]) -> None:
    """Clips, limits and saturations that only some programs reach."""
    reached: Counter[str] = Counter()
    for case in cases:
        emulator = Emulator(case.program)
        recording = emulator.run(emulator.initial_state(1), case.inputs)[1]
        for part in case.program.populations:
            if part.kind == "lif":
                v = recording[part.name, "v"]
                reached["v at its lower limit"] += bool((v == 1 - 2**23).any())
                u = recording[part.name, "u"].astype(np.int64)
                reached["u wraps"] += bool((np.abs(np.diff(u, axis=0)) > 2**23).any())
            else:
                reached["negative payload sent"] += bool((recording[part.name, "spikes"] < 0).any())
        for learned in case.program.plastic:
            weights = recording[learned.name, "weights"]
            reached["weight 255"] += bool((weights[1:] == 255).any())
            reached["mixed weight below -255"] += bool((weights[1:] == -256).any())
            reached["trace 127"] += bool((recording[learned.name, "x1"] == 127).any())
            if "tag_1" in learned.rule.series:
                tags = recording[learned.name, "tag_1"]
                reached["tag 255"] += bool((tags == 255).any())
                reached["tag below -255"] += bool((tags <= -256).any())
    assert {name: count for name, count in reached.items() if count < 2} == {}
