"""The Perceiver in integers stores what it stores in float, and every runner gives the same bits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hardware.conformance import first_difference, watched
from hardware.emulator import Emulator
from hardware.files import load, save
from hardware.program import Probe
from hardware.reference import Reference
from spmn import perceiver_chip
from spmn.embedding import Grams
from spmn.errors import ExportError
from spmn.exact import Exact
from spmn.export import LAG
from spmn.perceiver import Perceiver, Scene, scene
from spmn.perceiver_chip import encode_scene, export_perceiver, present, store
from spmn.senses import Analog, Image, Sense, Tokens
from spmn.settings import Network

SENSES: dict[str, Sense] = {
    "text": Tokens(Grams(dims=256)),
    "image": Image(12),
    "vector": Analog(20, signed=True, width=6),
}
SETTINGS = Network(depth=2, heads=2, keys=16, values=16, encoder=40, decoder=8)


def streams(seed: int, count: int = 12) -> Scene:
    """Streams of three events, not all of all senses, the last one asking what is the first one again."""
    random = np.random.default_rng(seed)
    told = []
    for n in range(count):
        events: list[dict[str, object]] = [
            {
                "text": f"number {random.integers(99)} and {n}",
                "image": random.random((24, 24)),
                "vector": random.uniform(-1, 1, 20),
            }
            for _ in range(3)
        ]
        del events[1][("text", "image", "vector")[n % 3]]
        events[2] = events[0]
        told.append(events)
    found = scene(SENSES, told, SETTINGS.steps)
    asks = torch.zeros_like(found.asks)
    asks[:, 2] = True
    return Scene(found.seen, asks, found.real, found.clock)


@pytest.fixture(scope="module")
def network() -> Perceiver:
    torch.manual_seed(1)
    network = Perceiver(SETTINGS, SENSES)
    network.calibrate(streams(0, 40))
    with torch.no_grad():
        for level in network.levels:
            level.drive.bias[SETTINGS.width : 2 * SETTINGS.width] += 0.5  # of read keys: more is recalled
    return network.eval()


def test_integers_store_and_recall_what_the_float_network_does(network: Perceiver) -> None:
    events = streams(1)
    program = export_perceiver(network, streams(0, 40))
    found = store(network, program, events, strict=True)
    with torch.no_grad():
        activity = network(events)
    expected = activity.memory
    assert found.memory.shape == expected.shape
    assert expected.any(-1).float().mean() > 0.1
    assert ((found.memory - expected).abs() < 0.1).float().mean() > 0.97
    recalled = network.recalled(activity, events.asks)
    assert found.recalled.shape == recalled.shape

    def alike(counts: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack((counts.flatten(), recalled.flatten())))[0, 1])

    assert alike(found.recalled) > 0.7  # counts of spikes, neuron by neuron


def test_all_of_a_question_s_recall_is_counted(network: Perceiver) -> None:
    events = streams(1)
    program = export_perceiver(network, streams(0, 40))
    found = store(network, program, events).recalled
    names = [[f"level{d + 1}.recall.{h}" for h in range(SETTINGS.heads)] for d in range(SETTINGS.depth)]
    emulator = Emulator(replace(program, probes=tuple(Probe(name) for level in names for name in level)))
    _, recording = emulator.run(emulator.initial_state(12), encode_scene(network, program, events))
    assert program.schedule is not None
    for d, level in enumerate(names):
        taught = 2 * program.schedule.window + 2 + LAG * d  # until then, teachers of the event before
        spikes = sum(int((recording[name, "spikes"][taught:] != 0).sum()) for name in level)
        assert int((found[:, d] * SETTINGS.steps).sum().round()) == spikes > 50


def test_streams_in_parts_that_ask_differently(network: Perceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    events = streams(1)
    asks = events.asks.clone()
    asks[4:, 1] = True  # the later streams ask twice
    asks[9, 2] = False
    events = Scene(events.seen, asks, events.real, events.clock)
    program = export_perceiver(network, streams(0, 40))
    together = store(network, program, events)
    monkeypatch.setattr(perceiver_chip, "TOGETHER", 5)
    apart = store(network, program, events)
    assert torch.equal(apart.memory, together.memory)
    assert torch.equal(apart.recalled, together.recalled)
    assert len(apart.recalled) == int(asks.sum())


@pytest.mark.parametrize("bits", [4, 8])
def test_other_widths_of_the_memory(network: Perceiver, bits: int) -> None:
    events = streams(1)
    program = export_perceiver(network, streams(0, 40), memory_bits=bits)
    found = store(network, program, events, memory_bits=bits).memory
    assert 0.4 < found.max() < 0.6  # half of the largest: lp starts at 0.5
    assert ((found - network(events).memory).abs() < 0.2).float().mean() > 0.95


def test_runners_agree_on_graded_input(network: Perceiver) -> None:
    program = watched(export_perceiver(network, streams(0, 40)))
    inputs = encode_scene(network, program, streams(2, 3))
    emulator = Emulator(program)
    _, here = emulator.run(emulator.initial_state(3), inputs)
    for other in (Reference(program), Exact(program)):
        _, there = other.run(other.initial_state(3), inputs)
        assert first_difference(here, there) is None
    assert inputs["vector"].max() > 1
    assert any(values.any() for (name, _), values in here.probes.items() if "memory" in name)


def test_presence(network: Perceiver) -> None:
    program = export_perceiver(network, streams(0, 40))
    assert program.schedule is not None
    inputs = encode_scene(network, program, streams(0, 3))
    second = slice(program.schedule.window, program.schedule.window + SETTINGS.steps)
    for stream, missing in enumerate(SENSES):
        for name in SENSES:
            assert inputs[present(name)][second, stream].all() == (name != missing)
            assert inputs[name][second, stream].any() == (name != missing)
        assert not inputs["write"][2 * program.schedule.window :, stream].any()


def test_a_program_survives_its_file(network: Perceiver, tmp_path) -> None:  # type: ignore[no-untyped-def]
    program = export_perceiver(network, streams(0, 40))
    save(program, tmp_path / "p.h5")
    assert load(tmp_path / "p.h5") == program


def test_what_cannot_be_expressed(network: Perceiver) -> None:
    with pytest.raises(ExportError, match="memory_bits is 9"):
        export_perceiver(network, streams(0), memory_bits=9)
