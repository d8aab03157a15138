"""Shapes, sounds and words: what is drawn, what belongs together, and what guessing gets."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.association import stimuli
from experiments.association.__main__ import MODALITIES, Association, Bank, Episodes, judge, main
from experiments.association.stimuli import DRAWN, KINDS, SENSES
from spmn.errors import SettingsError
from spmn.settings import Network

SMALL = Network(depth=1, heads=2, keys=16, values=16, encoder=32, decoder=1)


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank.drawn(3, 5, 0)


@pytest.mark.parametrize("sense", MODALITIES)
def test_instances_of_a_kind_are_alike_and_differ(sense: str, bank: Bank) -> None:
    spikes = bank.spikes[sense].astype(float).mean(2)  # [kinds, instances, lines]
    assert spikes.shape[:2] == (KINDS, 3)
    rows = spikes.reshape(KINDS * 3, -1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    alike = rows @ rows.T
    kind = np.repeat(np.arange(KINDS), 3)
    same = (kind[:, None] == kind) & ~np.eye(len(kind), dtype=bool)
    assert alike[same].mean() > alike[kind[:, None] != kind].mean() + 0.02
    for a, b in [(0, 1), (1, 2), (0, 2)]:
        assert (bank.spikes[sense][:, a] != bank.spikes[sense][:, b]).any((1, 2)).mean() > 0.9


def test_no_instance_is_in_two_banks() -> None:
    stage = Association(SMALL, instances=8)
    for sense in MODALITIES:
        banks = [b.spikes[sense] for b in (stage.bank, stage.held_out, stage.unseen)]
        seen = [{spikes.tobytes() for kind in bank for spikes in kind} for bank in banks]
        assert sum(map(len, seen)) == len(set().union(*seen))
    assert all(stimuli.word(3, np.random.default_rng(n)) != "engine" for n in range(300))
    with pytest.raises(SettingsError, match="instances of word 0 use up"):
        Bank.drawn(2, 5, 0, [Bank({**stage.bank.spikes, "word": every_misspelling()})])


def every_misspelling() -> np.ndarray:
    drawn = [stimuli.word(0, np.random.default_rng(n)) for n in range(3000)]
    return np.array([[SENSES["word"](word, 5) for word in sorted(set(drawn))]] * KINDS)


def test_the_loss_asks_for_what_belongs_together(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Association(SMALL, instances=3)
    last: list[Episodes] = []
    monkeypatch.setattr(Episodes, "drawn", classmethod(lambda cls, *of: last.append(drawn(*of)) or last[-1]))
    monkeypatch.setattr(stage.network, "read", lambda scene: known(last[-1]))
    assert float(stage.loss(np.random.default_rng(5))) < 1e-3


def known(episodes: Episodes) -> dict[str, torch.Tensor]:
    """An ideal recall."""
    targets = episodes.targets()
    return {
        name: 30 * torch.nn.functional.one_hot(targets[:, m], KINDS).float()[:, None]
        for m, name in enumerate(MODALITIES)
    }


drawn = Episodes.drawn


def test_every_kind_is_another_stimulus() -> None:
    still = np.random.default_rng
    for sense, draw in DRAWN.items():
        drawn = [SENSES[sense](draw(kind, still(0)), 5).tobytes() for kind in range(KINDS)]
        assert len(set(drawn)) == KINDS, sense
    for one, other in itertools.combinations(stimuli.WORDS, 2):  # no misspelling of two words
        assert len(one) != len(other) or sum(a != b for a, b in zip(one, other, strict=True)) > 2
    assert len(stimuli.SHAPES) == len(stimuli.SYLLABLES) == len(set(stimuli.WORDS)) == KINDS


def test_what_is_asked_belongs_to_what_was_stored(bank: Bank) -> None:
    episodes = Episodes.drawn(bank, 4, 6, np.random.default_rng(0))
    scene = episodes.scene
    assert scene.asks.tolist() == [[False] * 6 + [True] * 18] * 4
    for m, sense in enumerate(MODALITIES):
        seen = scene.seen[sense].numpy().astype(np.uint8)
        for b in range(4):
            assert len(set(episodes.kinds[b, :, m])) == 6
            for n in range(6):
                for event in (n, 6 * (1 + m) + n):
                    of_kind = bank.spikes[sense][episodes.kinds[b, n, m]]
                    assert any((seen[b, event] == instance).all() for instance in of_kind)
                assert (seen[b, n] != seen[b, 6 * (1 + m) + n]).any()  # another instance is asked about
        others = [n for n in range(6, 24) if not 6 * (1 + m) <= n < 6 * (2 + m)]
        assert not seen[:, others].any()  # a question is of one sense


def test_shares_of_right_answers(bank: Bank) -> None:
    episodes = Episodes.drawn(bank, 4, 6, np.random.default_rng(1))
    ideal = known(episodes)
    assert set(episodes.correct(ideal).values()) == {1.0}
    ideal["sound"][:] = 0
    found = episodes.correct(ideal)
    assert {name for name, share in found.items() if share < 0.5} == {"image > sound", "word > sound"}


def test_without_memory_nothing_is_known() -> None:
    stage = Association(SMALL, instances=2)
    episodes = Episodes.drawn(stage.unseen, 3, 20, np.random.default_rng(0))
    with torch.no_grad():
        assert stage.network(episodes.scene).memory.any()
        assert not stage.network(episodes.without_memory()).memory.any()
    found = judge(stage, episodes, memory_bits=6)
    assert list(found) == ["torch", "emulator", "torch, M off", "emulator, M off"]
    # an empty memory recalls the same whatever is asked, so that each kind is named as often as it occurs
    assert all(share <= 1 / 20 + 1e-6 for name in ("torch, M off", "emulator, M off")
               for share in found[name].values())  # fmt: skip


def test_from_end_to_end(tmp_path: Path) -> None:
    main(out=tmp_path, steps=2, episodes=2, instances=2, threads=1)
    found = json.loads((tmp_path / "association.json").read_text())
    assert len(found["emulator"]) == 6
