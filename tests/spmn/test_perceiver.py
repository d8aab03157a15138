"""Events of four senses at once, or of some of them."""

import numpy as np
import pytest
import torch

from spmn.embedding import Grams
from spmn.errors import DataError, SettingsError
from spmn.perceiver import Perceiver, Scene, scene
from spmn.senses import Analog, Image, Sense, Sound, Tokens, Touch, Waveform
from spmn.settings import Network

SENSES: dict[str, Sense] = {
    "text": Tokens(Grams(dims=256)),
    "image": Image(12),
    "sound": Sound(bands=8, frames=4),
    "touch": Touch(channels=2),
    "vector": Analog(5, signed=True),
}
SETTINGS = Network(depth=2, heads=2, keys=16, values=16, encoder=40, decoder=8)
STEPS = SETTINGS.steps


def stimuli(seed: int) -> dict[str, object]:
    random = np.random.default_rng(seed)
    return {
        "text": f"number {seed} and some words",
        "image": random.random((28, 28)),
        "sound": Waveform(random.normal(0, 0.1, 4000), 8000),
        "touch": random.random((20, 2)),
        "vector": random.uniform(-1, 1, 5),
    }


@pytest.fixture
def network() -> Perceiver:
    torch.manual_seed(0)
    return Perceiver(SETTINGS, SENSES)


def test_what_is_seen_is_what_the_senses_say() -> None:
    events = [stimuli(0), {"text": "only words"}, stimuli(1)]
    found = scene(SENSES, [events, events[:1]], STEPS)
    assert found.real.tolist() == [[True, True, True], [True, False, False]]
    for name, sense in SENSES.items():
        seen = found.seen[name]
        expected = sense(events[2][name], STEPS) / sense.full
        assert seen.shape == (2, 3, 1 if name in ("text", "vector") else STEPS, sense.lines)
        assert torch.equal(seen[0, 2].expand(STEPS, -1), torch.from_numpy(expected).float())
        assert (seen[0, 1].any() == (name == "text")).all()
        assert not seen[1, 1:].any()


def test_a_constant_stimulus_before_a_moving_one_keeps_its_steps() -> None:
    touch = {"touch": Touch(channels=2)}
    still, moving = np.zeros((10, 2)), np.linspace(0, 1, 20).reshape(10, 2)
    found = scene(touch, [[{"touch": still}, {"touch": moving}]], STEPS).seen["touch"]
    assert not found[0, 0].any()
    assert torch.equal(found[0, 1], torch.from_numpy(touch["touch"](moving, STEPS)).float())


def test_a_missing_sense_brings_nothing(network: Perceiver) -> None:
    """A network without the sense, and otherwise the same, does the same."""
    both = scene(SENSES, [[{"text": "the same"}, stimuli(3)]], STEPS)
    one = scene({"text": SENSES["text"]}, [[{"text": "the same"}]], STEPS)
    network.calibrate(scene(SENSES, [[stimuli(n) for n in range(9)]], STEPS))
    heard = network(both).stimulus[:, 0]
    alone = Perceiver(SETTINGS, {"text": SENSES["text"]})
    alone.load_state_dict({k: v for k, v in network.state_dict().items() if k in alone.state_dict()})
    assert torch.equal(heard, alone(one).stimulus[:, 0])
    assert heard.any()


def test_calibration(network: Perceiver) -> None:
    some = scene(SENSES, [[stimuli(n) for n in range(40)]], STEPS)
    network.calibrate(some)
    for name, x in some.seen.items():
        current, present = network.brought(name, x)
        assert present.all()
        spread, mean = torch.std_mean(current.flatten(0, 1), 0, correction=0)
        torch.testing.assert_close(mean, torch.full((40,), 0.3), atol=1e-3, rtol=0)
        torch.testing.assert_close(spread, torch.full((40,), 0.7), atol=1e-3, rtol=0)


def test_one_event_is_too_little_to_calibrate_a_gain(network: Perceiver) -> None:
    network.calibrate(scene(SENSES, [[stimuli(0)]], STEPS))
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    assert (network.sense["vector"].gain == 1).all()


def test_questions_and_padding_write_nothing(network: Perceiver) -> None:
    events = [stimuli(n) for n in range(3)]
    told = scene(SENSES, [events, events[:1]], STEPS)
    network.calibrate(told)
    after = network(told).memory
    short = network(scene(SENSES, [events[:1]], STEPS)).memory
    assert torch.equal(after[:, 1], short[:, 0])
    assert not torch.equal(after[:, 0], short[:, 0])
    asking = Scene(told.seen, torch.ones_like(told.asks), told.real, told.clock)
    assert not network(asking).memory.any()
    assert torch.equal(network(asking, after).memory, after)


def test_a_clock_of_another_shape_is_refused(network: Perceiver) -> None:
    """A kernel would read beyond its end."""
    some = scene(SENSES, [[stimuli(n) for n in range(3)]] * 2, STEPS)
    for clock in (some.clock[:1], some.clock[0]):
        with pytest.raises(SettingsError, match="the shape of clock is"):
            network(Scene(some.seen, some.asks, some.real, clock))


@pytest.mark.parametrize("name", ["statement", "clock", "encoder", "keys", "type", "a.b", "", "x.present"])
def test_senses_have_names_of_their_own(name: str) -> None:
    with pytest.raises(SettingsError, match="the name of a sense is"):
        Perceiver(Network(), {name: SENSES["vector"]})


def test_gradients_reach_every_synapse(network: Perceiver) -> None:
    some = scene(SENSES, [[stimuli(n) for n in range(8)]], STEPS)
    network.calibrate(some)
    network(some, record=False).memory.square().sum().backward()
    for name in SENSES:
        gradient = network.sense[name].weight.grad
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ([], "no event"),
        ([[]], "no event"),
        ([[{}]], "event 0 has no stimulus"),
        ([[{"smell": 1}]], "event 0 has a sense 'smell'; this network has text, image"),
        ([[{"text": "a"}, {"vector": np.zeros(4)}]], r"shape \[4\]"),
    ],
)
def test_what_cannot_be_seen_is_refused(streams: list[list[dict[str, object]]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        scene(SENSES, streams, STEPS)
