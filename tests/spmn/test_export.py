"""The exported program on the emulator against the float network: timing, spikes, weights, answers."""

import dataclasses

import numpy as np
import pytest
import torch

from hardware.emulator import Emulator
from hardware.files import load, save
from hardware.lowering import lower
from hardware.program import Probe
from hardware.schedule import encode
from spmn.datasets.babi import Story
from spmn.errors import ExportError
from spmn.evaluation import answer
from spmn.events import STATEMENT, Stream, collate, stream
from spmn.export import LAG, LONGEST_TAU, MEMORY_BITS, chip_rules, export, full_memory, room
from spmn.network import SPMN
from spmn.runners import answer_on, chip_events
from spmn.settings import Network

ROLES = ("write_key", "read_key", "association", "update", "reset")


@pytest.fixture
def streams(network: SPMN, stories: list[Story]) -> list[Stream]:
    return [stream(s, network.vocabulary) for s in stories]


def run_probed(
    network: SPMN, streams: list[Stream], probes: list[Probe]
) -> dict[tuple[str, str], np.ndarray]:
    program = dataclasses.replace(export(network), probes=(*export(network).probes, *probes))
    inputs = encode(program, [chip_events(s) for s in streams])
    emulator = Emulator(program)
    return dict(emulator.run(emulator.initial_state(len(streams)), inputs)[1].probes)


def windows(spikes: np.ndarray, first: int, steps: int, window: int, events: int) -> np.ndarray:
    """[T, B, N, n] of chip spikes that belong to the events' read phases."""
    spikes = np.concatenate((spikes, np.zeros_like(spikes[:1])))
    cut = [spikes[n * window + first : n * window + first + steps] for n in range(events)]
    return np.stack(cut, 2)


def test_spikes_of_every_population_are_those_of_torch(network: SPMN, streams: list[Stream]) -> None:
    """One step of delay, or one line of the schedule, off by one breaks this. Small rounding differences
    spread in a network that is not trained, so most spikes are asked for, in the right step."""
    batch = collate(streams[:6])
    settings = network.settings
    probes = [Probe("encoder")]
    for d in range(settings.depth):
        probes += [Probe(f"level{d + 1}.{role}") for role in ROLES]
        probes += [Probe(f"level{d + 1}.recall.{h}") for h in range(settings.heads)]
    recorded = run_probed(network, streams[:6], probes)
    with torch.no_grad():
        activity = network(batch)
        decoded = network.decode(activity, torch.ones_like(batch.kind, dtype=torch.bool))
    steps, count = settings.steps, batch.kind.shape[1]
    real = (batch.kind >= 0).numpy()

    def agrees(name: str, chip: np.ndarray, expected: torch.Tensor, first: int) -> None:
        want = expected.numpy()[:, real] > 0
        assert want.mean() > 0.01, f"{name} is silent: the comparison says nothing"
        early, here, late = (
            (got & want).sum() / (got | want).sum()
            for got in (windows(chip, first + at, steps, 2 * steps, count)[:, real] > 0 for at in (-1, 0, 1))
        )
        assert here > 0.4, f"{name}: {here:.2f} of the spikes are shared"
        assert here > 1.2 * max(early, late), (
            f"{name} fires in other steps: {early:.2f} {here:.2f} {late:.2f}"
        )

    agrees("encoder", recorded["encoder", "spikes"], activity.encoder, 1)
    for d, level in enumerate(activity.levels):
        for role in ROLES:
            agrees(role, recorded[f"level{d + 1}.{role}", "spikes"], getattr(level, role), LAG * d + 2)
        heads = [recorded[f"level{d + 1}.recall.{h}", "spikes"] for h in range(settings.heads)]
        agrees("recall", np.concatenate(heads, 2), level.recall, LAG * d + 4)
    decoded = decoded.view(steps, *batch.kind.shape, -1)
    agrees("decoder", recorded["decoder", "spikes"], decoded, LAG * settings.depth + 2)


def test_memory_is_that_of_torch_and_questions_write_nothing(network: SPMN, streams: list[Stream]) -> None:
    chosen, steps = streams[:4], network.settings.steps
    window = 2 * steps
    names = [f"level{d + 1}.memory.{h}" for d in range(network.settings.depth) for h in range(2)]
    recorded = run_probed(network, chosen, [Probe(name, "weights") for name in names])
    events = collate(chosen)
    memory = network.start(len(chosen))
    worst = []
    for n in range(10):
        with torch.no_grad():
            memory = network(events.at(slice(n, n + 1)), memory).memory
        for i, name in enumerate(names):
            d, h = divmod(i, 2)
            weights = recorded[name, "weights"]
            written = n * window + LAG * d + steps + 5  # the step in which this event is learnt
            chip = weights[written].transpose(0, 2, 1) / (2**MEMORY_BITS - 2)
            worst.append((chip - memory[d, :, h].numpy()).__abs__().mean())
            before = weights[written - 1]
            changed = (weights[written] != before).any(axis=(1, 2))
            assert not changed[(events.kind[:, n] != STATEMENT).numpy()].any(), "a question wrote"
            quiet = weights[n * window + LAG * d + steps + 6 : (n + 1) * window + LAG * d + steps + 5]
            assert (quiet == weights[written]).all(), "something was learnt outside the write step"
    assert memory.mean() > 0.02
    assert np.mean(worst) < 0.02


def test_recall_bias_acts_in_the_read_phase_alone(network: SPMN, streams: list[Stream]) -> None:
    """While the memory is empty, in the first event, nothing else drives recall."""
    with torch.no_grad():
        for level in network.levels:
            level.memory.bias.fill_(0.6)
        expected = network(collate(streams[:2]).at(slice(0, 1))).levels
    heads = range(network.settings.heads)
    probes = [Probe(f"level{d + 1}.recall.{h}") for d in range(network.settings.depth) for h in heads]
    recorded = run_probed(network, streams[:2], probes)
    steps = network.settings.steps
    for d, level in enumerate(expected):
        first = LAG * d + 4
        chip = np.concatenate([recorded[f"level{d + 1}.recall.{h}", "spikes"] for h in heads], 2)
        assert (chip[first : first + steps] == level.recall[:, :, 0].numpy()).all()
        assert chip[:first].sum() == 0
        assert float(level.recall.mean()) == pytest.approx(0.4)


def test_answers_agree_and_survive_the_file(
    network: SPMN, streams: list[Stream], tmp_path_factory: pytest.TempPathFactory
) -> None:
    program = export(network, attributes={"made": "here"})
    path = tmp_path_factory.mktemp("export") / "p.h5"
    save(program, path)
    assert load(path) == program
    answers, cost = answer_on("emulator", load(path), streams)
    assert [len(given) for given in answers.given] == [int((s.kind == 1).sum()) for s in streams]
    assert min(dataclasses.astuple(cost)) > 0
    in_torch = answer(network, streams)
    assert answers.rates["encoder"] == pytest.approx(in_torch.rates["encoder"], rel=0.05)
    assert answers.rates["level1.read_key"] == pytest.approx(in_torch.rates["read_key1"], rel=0.1)


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_nothing_overflows_in_any_network_at_any_time(
    network: SPMN, streams: list[Stream], bits: int
) -> None:
    """Weights far larger than trained ones; the bound must not rest on what is stored or said."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
        for level in network.levels:
            level.memory.gain.abs_()
    program = export(network, memory_bits=bits)
    emulator = Emulator(program, strict=True)
    inputs = encode(program, [chip_events(s) for s in streams])
    _, recording = emulator.run(emulator.initial_state(len(streams)), inputs)
    assert recording["decoder", "spikes"].any()
    full = {name: np.full_like(spikes, 1) for name, spikes in inputs.items() if name in ("write", "bias")}
    emulator.run(emulator.initial_state(len(streams)), {**inputs, **full})


@pytest.mark.parametrize("payload", [3, 5, 7, 8])
def test_rates_of_a_rule_count_with_what_the_payload_sets_x1_to(network: SPMN, payload: int) -> None:
    """Half of 7 is 4 on the chip, which rounds to even."""
    half = {3: 2, 5: 2, 7: 4, 8: 4}[payload]
    full, memory, heads = full_memory(6), network.levels[0].memory, network.settings.heads
    rates = {name: rate.expand(heads).tolist() for name, rate in memory.rates().items()}
    for h, found in enumerate(chip_rules(network.levels[0], payload, full)):
        own = {name: rate[h] for name, rate in rates.items()}
        assert found == lower(memory.rule, own, x1_level=half, x1_tau=LONGEST_TAU, w_max=full)


@pytest.mark.parametrize(("bits", "payload", "shift"), [(8, 8, 0), (6, 16, 2), (4, 16, 4)])
def test_what_16_bits_leave_is_used(network: SPMN, bits: int, payload: int, shift: int) -> None:
    """8 keys: 16 * 62 * 8 = 7,936, four times of which is the most below 31,744."""
    program = export(network, memory_bits=bits)
    assert {part.weight_exp for part in program.plastic} == {shift}
    relays = [part for part in program.projections if part.target == "level1.relay.0"]
    assert max(int(part.weights.max()) for part in relays) == payload
    assert room(payload * (2**bits - 2) * 8 << shift) == 0


def test_each_head_has_its_own_threshold_and_rule(network: SPMN) -> None:
    """The level's, or another head's, break this."""
    program = export(network)
    vth = {population.name: population.vth for population in program.populations}
    rules = {part.name: part.rule for part in program.plastic}
    for d, level in enumerate(network.levels, 1):
        full = 62 << 2  # of 6 bits, shifted up
        for h, gain in enumerate(level.memory.gain.tolist()):
            assert vth[f"level{d}.recall.{h}"] == round(full * 0.15 * 8 / gain)
        for h in range(2):
            rates = {name: rate[h].item() for name, rate in level.memory.rates().items()}
            lowered = lower(level.memory.rule, rates, x1_level=8, x1_tau=LONGEST_TAU, w_max=62)
            assert rules[f"level{d}.memory.{h}"] == lowered
        assert rules[f"level{d}.memory.0"] != rules[f"level{d}.memory.1"]
    shared = dataclasses.replace(network.settings, per_head=False)
    same = export(SPMN(shared, network.vocabulary))
    assert len({part.rule for part in same.plastic}) == 1
    assert {p.vth for p in same.populations if ".recall." in p.name} == {round(248 * 0.15 * 8 / 6)}


def test_what_is_one_to_one_is_stored_sparsely(network: SPMN) -> None:
    """Dense, the zeros of latches and relays would take a third of a large network's cores."""
    for part in export(network).projections:
        synapses = np.count_nonzero(part.weights)
        if ".latch" in part.name or ".relay" in part.name:
            assert synapses == part.weights.shape[0] or part.source == "write"
            assert part.storage == ("sparse" if part.weights.shape[1] > 3 else "dense")
        if part.target == "decoder" and part.source == "encoder":
            assert part.storage == "dense"


@pytest.mark.parametrize("bits", [1, 9])
def test_bits_of_memory_are_limited(network: SPMN, bits: int) -> None:
    with pytest.raises(ExportError, match=f"memory_bits is {bits}"):
        export(network, memory_bits=bits)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rule": "pair-stdp"}, "learns in every step"),
        ({"rule": "error-driven"}, "weights down to -1"),
        ({"steps": 1}, "steps is 1"),
    ],
)
def test_what_the_chip_cannot_do_is_refused(network: SPMN, change: dict[str, object], says: str) -> None:
    settings = dataclasses.replace(network.settings, **change)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=says):
        export(SPMN(settings, network.vocabulary))


def test_memory_too_fine_to_be_taught_is_refused(network: SPMN) -> None:
    wide = SPMN(dataclasses.replace(network.settings, keys=64), network.vocabulary)
    export(wide, memory_bits=7)
    with pytest.raises(
        ExportError, match=r"64 keys whose synapses weigh up to 254 .* give fewer --memory-bits"
    ):
        export(wide, memory_bits=8)


def test_weights_that_are_not_finite_are_refused(network: SPMN) -> None:
    with torch.no_grad():
        network.decoder.bias[0] = float("nan")
    with pytest.raises(ExportError, match="not finite"):
        export(network)


def test_window_is_two_read_phases(network: SPMN) -> None:
    program = export(network)
    assert program.schedule is not None
    assert program.schedule.window == 2 * network.settings.steps
    short = SPMN(Network(steps=2, depth=1, heads=1, keys=4, values=4, embedding=4, encoder=4, decoder=4),
                 network.vocabulary)  # fmt: skip
    assert export(short).schedule.window == 6  # type: ignore[union-attr]
