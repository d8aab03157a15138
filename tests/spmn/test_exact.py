"""The exact mode: the bits of the reference, from and to the same states, and gradients with a meaning."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from hardware.arithmetic import WEIGHT_LIMITS, quantise_weights
from hardware.errors import RunError
from hardware.program import (
    InputAxons,
    PlasticProjection,
    Population,
    Probe,
    Program,
    Projection,
)
from hardware.recording import Recording
from hardware.reference import Reference
from hardware.rules import ChipRule
from hardware.schedule import encode
from hardware.state import State
from spmn.datasets.babi import Story
from spmn.events import stream
from spmn.exact import Exact, dense
from spmn.exact_synapses import quantised
from spmn.export import export
from spmn.network import SPMN
from spmn.runners import chip_events
from spmn.straight import straight

Inputs = dict[str, np.ndarray]

SEEDS = 30
RULES = (
    "2^1*x1*x0*y0*(254-w) - 2^0*x0*x1*w",
    "2^-1*x1*y0 - 2^-1*y1*x0",
    "3*2^-2*y0*x2*y2*y3 - 5*2^-4*u1*w*w*w*x1",
    "7*2^-7*y0*(x1-20)*w - 2^-3*x0*y1",
    "2^-2*u0*y1*x1*(5-w)",
    "3*2^0*x0*x1*w*w*w - 2^-1*x0*x1*y1",
)
TAGGED = ChipRule(
    "2^-2*u0*t*y1", dt="2^-1*x1*y0 - 7*2^-1*x0*t*(x2+4)", dd="2^-3*y0*d + x0*x1", x1_tau=4, x2_tau=9,
    x2_impulse=30, x1_impulse=40, t_epoch=2,
)  # fmt: skip


def program_of(seed: int) -> Program:
    """A small recurrent program; over the seeds, every part with every option."""
    random = np.random.default_rng(seed)

    def one(*choices: Any) -> Any:
        return choices[random.integers(len(choices))]

    inputs = (InputAxons("a", 4), InputAxons("b", 3))
    cells = (
        Population("one", 5, vth=one(0, 300), du=one(-1, 2000, 4095), dv=one(0, 409, 4096)),
        Population("relay", 5, kind="relay", vth=one(0, 30)),
        Population(
            "two", 4, vth=150, dv=90, bias_mant=random.integers(-99, 99, 4), bias_exp=3,
            reset_interval=one(3, 7), reset_offset=one(2, 11),
        ),
        Population("wild", 2, vth=131071, du=-1, bias_mant=4000, bias_exp=7),
    )  # fmt: skip
    size = {part.name: part.size for part in (*inputs, *cells)}

    def weights(source: str, target: str, sign: str) -> np.ndarray:
        low, high = WEIGHT_LIMITS[sign]
        shape = size[target], size[source]
        return random.integers(low, high + 1, shape) * (random.random(shape) < 0.7)

    projections = []
    for number, target in enumerate(("one", "relay", "two", "one", "two", "relay", "wild", "one", "two")):
        source = one("a", "b") if number < 3 else one("a", "b", "one", "two", "wild", "relay")
        if source == "relay" and target == "relay":
            continue  # payloads would grow beyond all bounds
        sign = one("mixed", "excitatory") if number < 3 else one("mixed", "excitatory", "inhibitory")
        exponents = (-1, 0, 1, 4) if number < 3 else (-8, -3, -1, 0, 1, 4)
        projections.append(
            Projection(
                f"p{number}", source, target, weights(source, target, sign), one(*exponents), one(8, 5), sign,
                num_message_bits=16 if source == "relay" else one(0, 0, 8),
                delays=one(0, 0, 2, random.integers(0, 6, (size[target], size[source]))),
                storage=one("dense", "sparse"),
            )
        )  # fmt: skip
    plastic = []
    for number in range(3):
        graded = one("none", "overwrite", "add_saturate", "add_overflow")
        source, sign = one("relay", "a", "one"), one("excitatory", "mixed", "inhibitory")
        third = one(("", "", ""), ("", "", ""), ("relay", "", "one"))
        own = {} if any(third) else {"y1_impulse": 50, "y1_tau": one(0, 9), "y2_impulse": 90, "y2_tau": 3}
        x1 = 0 if graded != "none" else 60
        rule = ChipRule(
            one(*RULES), x1_impulse=x1, x1_tau=one(1, 5), x2_impulse=30, x2_tau=8, t_epoch=one(1, 1, 3), **own
        )
        if one(True, False, False):
            rule = dataclasses.replace(TAGGED, x1_impulse=x1)
        start = weights(source, "one", sign)
        bits = 8 if graded != "none" or source == "relay" else one(0, 8)
        for twin in range(one(1, 2)):
            plastic.append(
                PlasticProjection(
                    f"plastic{number}.{twin}", source, "one", start, rule, seed=int(random.integers(99)),
                    weight_exp=one(-2, 0, 1), sign_mode=sign, num_message_bits=bits, graded=graded,
                    third_factors=third,
                )
            )  # fmt: skip
    probes = [Probe(p.name) for p in cells]
    probes += [Probe(p.name, v) for p in cells if p.kind == "lif" for v in ("u", "v")]
    probes += [
        Probe(p.name, v, every=2) for p in plastic for v in ("x1", "x2", "y1", "y2", "y3", *p.rule.series)
    ]
    probes += [Probe(p.name, "weights") for p in plastic if "weights" not in p.rule.series]
    return Program(f"random-{seed}", inputs, cells, tuple(projections), tuple(plastic), tuple(probes))


def inputs_of(program: Program, steps: int, batch: int, seed: int) -> Inputs:
    random = np.random.default_rng(seed)
    return {
        axons.name: (random.random((steps, batch, axons.size)) < 0.3)
        * random.integers(-9, 99, (steps, batch, axons.size))
        for axons in program.inputs
    }


def assert_same(found: tuple[State, Recording], expected: tuple[State, Recording]) -> None:
    for key, values in expected[1].probes.items():
        other = found[1][key]
        assert other.dtype == values.dtype, key
        assert np.array_equal(other, values), f"{key}, first at {np.argwhere(other != values)[0]}"
        assert np.array_equal(found[1].times[key], expected[1].times[key]), key
    assert found[1].first_step == expected[1].first_step
    assert found[0] == expected[0]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_same_bits_as_the_reference_and_as_with_gradients(seed: int) -> None:
    program = program_of(seed)
    inputs = inputs_of(program, 30, 3, seed)
    exact, reference = Exact(program), Reference(program)
    expected = reference.run(reference.initial_state(3), inputs)
    assert_same(exact.run(exact.initial_state(3), inputs), expected)
    signals = exact(inputs)
    for key, values in expected[1].probes.items():
        assert np.array_equal(signals[key].detach().numpy(), values), key
    assert exact.program() == program


def test_the_random_programs_spike_and_learn() -> None:
    """Else the test above says nothing."""
    silent, learnt = 0, 0
    for seed in range(SEEDS):
        program = program_of(seed)
        reference = Reference(program)
        state, recording = reference.run(reference.initial_state(3), inputs_of(program, 30, 3, seed))
        silent += not all(recording[name, "spikes"].any() for name in ("one", "two", "relay"))
        start = reference.initial_state(3)
        learnt += any(state.plastic[p.name].weights.tolist() != start.plastic[p.name].weights.tolist()
                      for p in program.plastic)  # fmt: skip
    assert silent < 6
    assert learnt > 20


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("cut", [1, 13])
def test_states_go_to_the_reference_and_back(seed: int, cut: int) -> None:
    """With spikes under way in delays, in the middle of an epoch of learning."""
    program = program_of(seed)
    inputs = inputs_of(program, 26, 2, seed)
    exact, reference = Exact(program), Reference(program)
    start = reference.initial_state(2)
    whole, _ = reference.run(start, inputs)
    first = {name: array[:cut] for name, array in inputs.items()}
    second = {name: array[cut:] for name, array in inputs.items()}
    for one, other in ((exact, reference), (reference, exact), (exact, exact)):
        assert other.run(one.run(start, first)[0], second)[0] == whole
    assert start == reference.initial_state(2)


def test_sums_beyond_32_bits_wrap() -> None:
    random = np.random.default_rng(0)
    axons = 2**12
    weights = random.integers(128, 256, (1, axons))
    program = Program(
        "large",
        (InputAxons("in", axons),),
        (Population("cell", 1, vth=9), Population("slow", 1, vth=131071, du=100)),
        (
            Projection("a", "in", "cell", weights, sign_mode="excitatory", num_message_bits=24),
            Projection("b", "in", "slow", weights - 160, -3, num_message_bits=24),
        ),
        probes=(Probe("cell", "u"), Probe("slow", "u"), Probe("slow", "v")),
    )
    inputs = {"in": random.integers(2**23 - 2000, 2**23, (4, 2, axons)) * np.array([1, -1])[:, None]}
    exact, reference = Exact(program), Reference(program)
    start = reference.initial_state(2)
    assert_same(exact.run(start, inputs), reference.run(start, inputs))


@pytest.mark.parametrize("t_epoch", [1, 2])
def test_saturated_traces_and_tags_move_by_themselves(t_epoch: int) -> None:
    """x1 of 128 overflows without a spike; a tag of -257 lies beyond the accumulator of the rule."""
    rule = ChipRule("2^-1*x0*y0*w", dt="2^-1*x0*y0*t", x1_tau=9, t_epoch=t_epoch)
    program = Program(
        "saturated",
        (InputAxons("in", 3),),
        (Population("cell", 2, vth=100),),
        plastic=(PlasticProjection("p", "in", "cell", np.ones((2, 3), int), rule, 1, graded="add_overflow"),),
        probes=(Probe("p", "x1"), Probe("p", "tag_1")),
    )
    exact, reference = Exact(program), Reference(program)
    start = reference.initial_state(2)
    start.plastic["p"].x1[:] = 128
    start.plastic["p"].tag_1[:] = -257
    inputs = {"in": np.zeros((5, 2, 3), int)}
    expected = reference.run(start, inputs)
    assert expected[1]["p", "x1"][0].max() < 3
    assert expected[1]["p", "tag_1"][-1].max() == -256
    assert_same(exact.run(start, inputs), expected)


@pytest.fixture
def deployed(network: SPMN) -> Program:
    """The exported network with probes everywhere."""
    program = export(network)
    probes = [Probe(p.name) for p in program.populations]
    probes += [Probe(p.name, v) for p in program.plastic for v in ("weights", "x1")]
    return dataclasses.replace(program, probes=tuple(probes))


def test_whole_stories_on_the_deployed_network(
    deployed: Program, network: SPMN, stories: list[Story]
) -> None:
    chosen = [chip_events(stream(s, network.vocabulary)) for s in stories[:4]]
    inputs = encode(deployed, chosen)
    exact, reference = Exact(deployed), Reference(deployed)
    expected = reference.run(reference.initial_state(4), inputs)
    assert expected[1]["level2.memory.0", "weights"].any()
    assert_same(exact.run(exact.initial_state(4), inputs), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_same_bits_on_a_gpu(deployed: Program, network: SPMN, stories: list[Story]) -> None:
    inputs = encode(deployed, [chip_events(stream(s, network.vocabulary)) for s in stories[:4]])
    exact, reference = Exact(deployed).to("cuda"), Reference(deployed)
    assert_same(exact.run(exact.initial_state(4), inputs), reference.run(reference.initial_state(4), inputs))


def test_trains_what_was_trained_and_no_helper(network: SPMN) -> None:
    with torch.no_grad():
        for part in (network.decoder, *(level.drive for level in network.levels)):
            part.bias += 0.5 + torch.arange(len(part.bias)) % 2
    deployed = export(network)
    trained = {p.name for p in deployed.projections if dense(p)}
    roles = ("write_key", "read_key", "association", "update", "reset")
    targets = {"encoder", "decoder"} | {f"level{d}.{role}" for d in (1, 2) for role in roles}
    for name in trained:
        source, target = name.split(".to.")
        assert source in ("words", "statement", "question", "encoder", "bias") or ".recall." in source, name
        assert target in targets or (source == "bias" and ".recall." in target), name
    fixed = {p.name for p in deployed.projections} - trained
    for name in fixed:
        source, target = name.split(".to.")
        helper = source in ("clock", "quiet", "write") or "latch" in name or "relay" in target
        assert helper, name


@pytest.mark.parametrize("sign_mode", ["mixed", "excitatory", "inhibitory"])
@pytest.mark.parametrize("bits", [1, 5, 8])
def test_weights_are_quantised_as_on_the_chip(sign_mode: Any, bits: int) -> None:
    low, high = WEIGHT_LIMITS[sign_mode]
    integers = np.arange(low, high + 1)[None]
    projection = Projection("p", "a", "b", integers, num_weight_bits=bits, sign_mode=sign_mode)
    between = torch.from_numpy(integers + np.random.default_rng(0).uniform(-0.49, 0.49, integers.shape))
    between.requires_grad_()
    found = quantised(between, projection)
    assert np.array_equal(found.detach().numpy(), quantise_weights(integers, sign_mode, bits))
    found.sum().backward()
    assert (between.grad == 1).all()


def test_program_runs_as_the_module_does_after_training() -> None:
    program = program_of(3)
    exact = Exact(program, trained=lambda p: True)
    with torch.no_grad():
        for weights in exact.latent:
            weights += 40 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    changed = exact.program()
    assert changed != program
    inputs = inputs_of(program, 20, 2, 0)
    reference = Reference(changed)
    expected = reference.run(reference.initial_state(2), inputs)
    assert_same(exact.run(exact.initial_state(2), inputs), expected)
    exact.limit()
    assert exact.program() == changed
    for p, weights in zip(exact.trained, exact.latent, strict=True):
        low, high = WEIGHT_LIMITS[p.sign_mode]
        assert low <= weights.min()
        assert weights.max() <= high


def line(weight: int, vth: int, exponent: int = 1, **constants: Any) -> Program:
    return Program(
        "line",
        (InputAxons("in", 1),),
        (Population("cell", 1, vth=vth, **constants),),
        (Projection("w", "in", "cell", [[weight]], exponent, delays=2),),  # type: ignore[arg-type]
        probes=(Probe("cell"), Probe("cell", "v")),
    )


@pytest.mark.parametrize("exponent", [1, -2])
def test_gradient_of_the_membrane_is_that_of_a_leaky_sum(exponent: int) -> None:
    """u and v are linear in the weight; 0.5 of u and 0.75 of v are left per step."""
    exact = Exact(line(100, 131071, exponent, du=2047, dv=1024), trained=["w"])
    spikes = np.zeros((9, 1, 1), dtype=np.int8)
    spikes[[0, 3]] = 1
    exact(inputs={"in": spikes})["cell", "v"][-1].sum().backward()
    expected = sum(
        64 * 2.0**exponent * 0.5**j * 0.75 ** (8 - arrived - j)
        for arrived in (3, 6)
        for j in range(8 - arrived + 1)
    )
    assert float(exact.latent[0].grad) == pytest.approx(expected)


def test_gradient_of_a_spike_is_the_surrogate() -> None:
    for weight, vth in ((90, 200), (120, 200)):
        exact = Exact(line(weight, vth), trained=["w"], slope=3.0)
        signals = exact({"in": np.ones((4, 1, 1), dtype=np.int8)})
        assert bool(signals["cell", "spikes"][-1]) == (2 * weight > vth)
        signals["cell", "spikes"][-1].sum().backward()
        distance = abs(2 * weight - vth) / vth
        assert float(exact.latent[0].grad) == pytest.approx(2 / vth / (1 + 3.0 * distance) ** 2)


def test_straight_keeps_the_exact_value_and_the_smooth_gradient() -> None:
    x = torch.tensor([0.1, 2.0**52 + 1], dtype=torch.float64, requires_grad=True)
    y = straight(x, lambda x: torch.floor(x / 2), 0.5)
    assert y.tolist() == [0.0, 2.0**51]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.5, 0.5]


@pytest.fixture
def writer() -> Program:
    """Cues drive keys, keys drive a relay that writes (payload 16); "ask" reads (payload 1)."""
    eye = np.eye(2, dtype=int)
    return Program(
        "writer",
        (InputAxons("cue", 2), InputAxons("ask", 2), InputAxons("teacher", 1)),
        (
            Population("keys", 2, vth=100),
            Population("relay", 2, kind="relay"),
            Population("value", 1, vth=300, reset_interval=4, reset_offset=1),
        ),
        (
            Projection("key", "cue", "keys", np.array([[90, 20], [30, 120]]), sign_mode="excitatory"),
            Projection("write", "keys", "relay", 16 * eye, sign_mode="excitatory"),
            Projection("read", "ask", "relay", eye, sign_mode="excitatory"),
            Projection("teach", "teacher", "value", np.array([[200]]), 1, sign_mode="excitatory", delays=1),
        ),
        (
            PlasticProjection(
                "memory", "relay", "value", np.zeros((1, 2), dtype=int),
                ChipRule("2^1*x0*x1*y0*(254-w) - 2^0*x0*x1*w", x1_tau=65535), seed=3, graded="overwrite",
            ),
        ),
        probes=(Probe("value", "v"), Probe("memory", "weights")),
    )  # fmt: skip


def silence(program: Program, steps: int) -> Inputs:
    return {axons.name: np.zeros((steps, 1, axons.size), dtype=np.int32) for axons in program.inputs}


@pytest.mark.parametrize("asked", [0, 1])
def test_gradient_of_a_recall_reaches_what_wrote_it(writer: Program, asked: int) -> None:
    """Cue 1 writes under key 1; key 0 was silent, and is told that it would have written too. The key that is
    not asked has no part in the recall."""
    inputs = silence(writer, 12)
    inputs["cue"][0, 0, 1] = inputs["teacher"][0, 0, 0] = 1
    inputs["ask"][8, 0, asked] = 1
    exact = Exact(writer, trained=["key"])
    signals = exact(inputs)
    weights = signals["memory", "weights"][-1, 0, 0]
    assert weights[0] == 0
    assert weights[1] > 20
    recall = signals["value", "v"][10, 0, 0]
    assert recall == 64 * weights[asked]
    recall.backward()
    gradient = exact.latent[0].grad
    assert gradient is not None
    assert (gradient[:, 0] == 0).all()
    assert gradient[asked, 1] > 0
    assert gradient[1 - asked, 1] == 0


def test_no_graph_without_gradients(writer: Program) -> None:
    exact = Exact(writer)
    inputs = inputs_of(writer, 4, 1, 0)
    with torch.no_grad():
        assert not any(values.requires_grad for values in exact(inputs).values())
    assert exact(inputs)["value", "v"].requires_grad


def test_what_cannot_run_is_refused(writer: Program) -> None:
    with pytest.raises(RunError, match="'kye'"):
        Exact(writer, trained=["kye"])
    exact = Exact(writer)
    with pytest.raises(RunError, match="give exactly"):
        exact.run(exact.initial_state(1), {})
    with pytest.raises(RunError, match=r"torch\.float32"):
        Exact(writer).float().run(exact.initial_state(1), inputs_of(writer, 2, 1, 0))
    with pytest.raises(RunError, match="no host"):
        exact.logits({}, [(0, 0)])
    loud = Projection("read", "ask", "relay", 255 * np.eye(2, dtype=int), 7, num_message_bits=24)
    exact = Exact(dataclasses.replace(writer, projections=(loud,)))
    inputs = silence(writer, 3)
    inputs["ask"][0, 0, 1] = 1000
    with pytest.raises(RunError, match="population 'relay', step 2: the payload 32512000 exceeds 24 bits"):
        exact.run(exact.initial_state(1), inputs)
