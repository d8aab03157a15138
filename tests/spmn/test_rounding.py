"""Weights as the chip's: they are the exported ones, gradients pass, and the export stays as it is."""

import copy
import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hardware.lowering import realised
from spmn import training
from spmn.data import Source
from spmn.datasets.babi import Story
from spmn.errors import ExportError
from spmn.evaluation import answer
from spmn.events import QUESTION, collate, stream
from spmn.export import ROLES, export
from spmn.network import SPMN
from spmn.rounding import round_as_exported
from spmn.runs import load_tensors
from spmn.settings import Network, Preset, Training
from spmn.training import start, train


@pytest.fixture
def rounded(network: SPMN) -> SPMN:
    found = copy.deepcopy(network)
    round_as_exported(found)
    return found.train()


def exported(network: SPMN) -> dict[str, dict[str, Tensor]]:
    """Weights of every population of the chip program in thresholds, by source."""
    program = export(network.eval())
    vth = {population.name: population.vth for population in program.populations if population.vth}
    found: dict[str, dict[str, Tensor]] = {}
    for p in program.projections:
        if p.target not in vth:  # relays
            continue
        weights = torch.from_numpy(p.weights * 2.0**p.weight_exp / vth[p.target])
        found.setdefault(p.target, {})[p.source] = weights.float()
    return found


def test_training_computes_with_the_weights_of_the_program(network: SPMN, rounded: SPMN) -> None:
    """A row of another role, another threshold or a column of another source breaks this."""
    chip = exported(network)
    parts = rounded.encoder.rounding(rounded.encoder.parts())  # type: ignore[misc]
    for source, weights in parts.items():
        torch.testing.assert_close(weights, chip["encoder"][source], atol=1e-5, rtol=1e-5)
    seen = ["encoder"]
    for d, level in enumerate(rounded.levels):
        for role, weights in zip(ROLES, level.drive.used().split(level.sizes), strict=True):
            there = torch.cat([chip[f"level{d + 1}.{role}"][source] for source in seen], 1)
            torch.testing.assert_close(weights, there, atol=1e-5, rtol=1e-5)
        seen += [f"level{d + 1}.recall.{h}" for h in range(network.settings.heads)]
    there = torch.cat([chip["decoder"][source] for source in seen], 1)
    torch.testing.assert_close(rounded.decoder.used(), there, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(there, network.decoder.folded(), atol=1e-4)


@pytest.mark.parametrize("per_head", [True, False])
def test_training_computes_with_the_rates_of_the_program(network: SPMN, per_head: bool) -> None:
    """The rates behind them, or another head's, break this."""
    network = SPMN(dataclasses.replace(network.settings, per_head=per_head), network.vocabulary)
    with torch.no_grad():
        for level in network.levels:
            level.memory.rates.logits.uniform_(-0.3, 0.3)
    chip = {part.name: part.rule for part in export(network).plastic}
    round_as_exported(network)
    for d, level in enumerate(network.levels, 1):
        rule, behind = level.memory.rule, torch.stack(list(level.memory.rates().values()), -1)
        rates = [realised(rule, chip[f"level{d}.memory.{h}"], x1_level=8, w_max=62) for h in range(2)]
        strengths = level.memory.rates.strengths()
        sign = torch.tensor([p.coefficient for p in rule.products])
        torch.testing.assert_close(strengths.expand(2, -1), sign * torch.tensor(rates), rtol=0, atol=1e-7)
        assert (strengths.abs() != behind[..., [1, 0]]).all()  # ld, lp
        strengths.sum().backward()
        rounded, level.memory.rates.rounding = level.memory.rates.logits.grad, None
        level.memory.rates.logits.grad = None
        level.memory.rates.strengths().sum().backward()
        assert torch.equal(rounded, level.memory.rates.logits.grad)


@pytest.mark.parametrize(
    ("rule", "says"), [("pair-stdp", "learns in every step"), ("error-driven", "weights down to -1")]
)
def test_rules_that_the_chip_has_not_are_refused_at_the_beginning(
    tmp_path: Path, rule: str, says: str
) -> None:
    preset = Preset(Network(rule=rule, encoder=24), Training(epochs=4, chip_weights_from=0.75))
    with pytest.raises(ExportError, match=says):
        train(start(tmp_path, Source((1,), questions=1500), preset))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_the_encoder_hears_axons_as_it_hears_sentences(network: SPMN, stories: list[Story]) -> None:
    """An axon of another word, position or end breaks this; padding must stay silent."""
    batch = collate([stream(s, network.vocabulary) for s in stories[:6]])
    words, asks = batch.words.flatten(0, 1), (batch.kind > 0).flatten()
    expected = network.encoder.train()(words, asks)
    network.encoder.rounding = dict
    torch.testing.assert_close(network.encoder(words, asks), expected, atol=1e-5, rtol=1e-5)


def test_gradients_pass_straight_through(network: SPMN, rounded: SPMN) -> None:
    for one in (network.train(), rounded):
        random = torch.Generator().manual_seed(0)
        for synapses in (one.decoder, *(level.drive for level in one.levels)):
            folded = synapses.used()
            (folded * torch.randn(folded.shape, generator=random)).sum().backward()  # type: ignore[no-untyped-call]
    for name, weights in rounded.named_parameters():
        torch.testing.assert_close(weights.grad, network.get_parameter(name).grad)


def test_words_learn_through_axons_as_through_sentences(network: SPMN, stories: list[Story]) -> None:
    """Padding learns nothing: its gradient would make silence say something."""
    batch = collate([stream(s, network.vocabulary) for s in stories[:6]])
    words, asks = batch.words.flatten(0, 1), (batch.kind > 0).flatten()
    heard = copy.deepcopy(network).train()
    heard.encoder.rounding = dict
    for one in (network.train(), heard):
        currents = one.encoder(words, asks)
        (currents * torch.randn(currents.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert not heard.encoder.word.weight.grad[0].any()  # type: ignore[index]
    for name, weights in heard.encoder.named_parameters():
        torch.testing.assert_close(
            weights.grad, network.encoder.get_parameter(name).grad, atol=1e-3, rtol=1e-4
        )


def test_the_program_does_not_change(network: SPMN, rounded: SPMN) -> None:
    """Rounded twice, weights would move to another threshold's steps."""
    once, twice = exported(network), exported(rounded)
    for target, sources in once.items():
        for source, weights in sources.items():
            assert torch.equal(weights, twice[target][source]), (target, source)


def test_all_rounded_weights_are_computed_with(network: SPMN, stories: list[Story]) -> None:
    """What computes with the weights behind them would answer as before."""
    batch = collate([stream(s, network.vocabulary) for s in stories[:2]])
    used: list[int] = []

    def silent(number: int, weights: torch.Tensor) -> torch.Tensor:
        used.append(number)
        return torch.zeros_like(weights)

    synapses = [*(level.drive for level in network.levels), network.decoder]
    for number, some in enumerate(synapses):
        some.rounding = partial(silent, number)
        some.bias.data.fill_(-1.0)
    with torch.no_grad():
        activity = network.eval()(batch)
        decoded = network.decode(activity, batch.kind == QUESTION)
    assert used == list(range(len(synapses)))
    assert not decoded.any()
    assert not any(level.read_key.any() for level in activity.levels)


def test_the_best_epoch_is_a_rounded_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However well the weights behind did before."""

    def worse(network: SPMN) -> None:
        network.decoder.rounding = torch.zeros_like

    monkeypatch.setattr(training, "round_as_exported", worse)
    network = Network(depth=1, heads=2, keys=16, values=16, embedding=24, encoder=24, decoder=32)
    settings = Training(epochs=4, practice=0.0, chip_weights_from=0.75)
    run = start(tmp_path, Source((1,), questions=1500), Preset(network, settings))
    train(run)
    errors = [line["error"] for line in run.metrics]
    assert min(errors[:3]) < errors[3]
    assert load_tensors(tmp_path / "network.safetensors")[1]["epoch"] == 4


def test_weights_are_rounded_from_a_share_of_the_epochs_on(tmp_path: Path) -> None:
    """In the second of two epochs, not in the first."""
    network = Network(heads=2, keys=8, values=8, embedding=16, encoder=16, decoder=16, depth=2, dropout=0.0)
    losses = []
    for share in (0.0, 0.5, 1.0):
        settings = Training(epochs=2, practice=0.0, chip_weights_from=share)
        run = start(tmp_path / str(share), Source((1,), questions=1500), Preset(network, settings))
        train(run)
        losses.append([line["loss"] for line in run.metrics])
        best = run.trained()
        assert torch.equal(best.decoder.used(), best.decoder.folded()) == (share == 1.0)
        checks = [stream(s, run.vocabulary) for s in run.source.split()[1]]
        assert answer(best, checks).errors(checks)[1] == min(
            line["error"] for line in run.metrics[int(share == 0.5) :]
        )
    always, half, never = losses
    assert half[0] == never[0] != always[0]
    assert half[1] != never[1]


def test_weights_that_are_not_finite_are_refused(rounded: SPMN) -> None:
    for synapses in (rounded.levels[1].drive, rounded.decoder):
        with torch.no_grad():
            synapses.gain[0] = torch.inf
        with pytest.raises(ExportError, match="not finite"):
            synapses.used()
