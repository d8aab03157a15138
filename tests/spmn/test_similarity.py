"""Stage 0: losses and metrics by hand, and a small training whose memory learns what is alike."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spmn.datasets.corpus import Corpus, Pair
from spmn.embedding import Grams, TfIdf, Transformer
from spmn.errors import DataError, SettingsError
from spmn.runs import read_metrics
from spmn.similarity import (
    LOSSES,
    NETWORK,
    Objective,
    Similarity,
    build,
    evened,
    hearing,
    judged,
    neighbours,
    open_similarity,
    pairwise,
    parts,
    pearson,
    ranks,
    recalled,
    seeing,
    spearman,
    stored,
)
from spmn.stages import Steps, train_stage

GRAMS = Grams(dims=512)
SMALL = replace(NETWORK, heads=8, encoder=96)
WHO, DOES, WHAT = (
    ["dog", "cat", "bird", "man", "girl"],
    ["eats", "sees", "likes", "wants"],
    ["fish", "bread", "milk", "nuts"],
)


def told(seed: int = 0, count: int = 60) -> Corpus:
    random = np.random.default_rng(seed)
    said = {
        f"the {random.choice(WHO)} {random.choice(DOES)} the {random.choice(WHAT)} today {n % 7}"
        for n in range(count)
    }
    return Corpus(tuple(sorted(said)))


def test_pairwise_by_hand() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 2.0]])
    half = 0.5**0.5
    assert pairwise(rows).tolist() == pytest.approx([half, 0, 0, 0, half, 0])


def test_weights_are_even_over_the_range() -> None:
    weights = evened(torch.tensor([0.01, 0.02, 0.03, 0.55, 0.95, 1.0, -0.1]))
    assert weights.tolist() == pytest.approx([1 / 12] * 3 + [1 / 3] + [1 / 6] * 2 + [1 / 12])


def test_losses_by_hand() -> None:
    found, target = torch.tensor([0.2, 0.5, 0.01]), torch.tensor([0.4, 0.5, 0.0])
    weights = torch.tensor([0.25, 0.5, 0.25])
    assert LOSSES["mae"](found, target, weights).item() == pytest.approx(0.25 * 0.2 + 0.25 * 0.01)
    assert LOSSES["ratio"](found, target, weights).item() == pytest.approx(0.25 * 1 / 2)
    linear = 0.3 * target + 0.1
    mae = (weights * (linear - target).abs()).sum().item()
    assert LOSSES["rank"](linear, target, weights).item() == pytest.approx(0.1 * mae, abs=1e-6)
    assert LOSSES["rank"](-target, target, weights).item() > 2
    assert LOSSES["rank"](torch.full((3,), 0.5), target, weights).isfinite()


def test_ranks_by_hand() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [3, 0, 3, 1, 3]
    # Spearman's own formula where there are no ties: 1 - 6 sum d^2 / (n (n^2 - 1))
    a, b = np.array([10.0, 20, 30, 40, 50]), np.array([2.0, 1, 4, 3, 5])
    assert spearman(a, b) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert pearson(a, np.ones(5)) == 0


@given(values=arrays(np.float64, st.integers(2, 30), elements=st.integers(-5, 5).map(float)))
def test_only_order_counts(values: np.ndarray) -> None:
    other = np.random.default_rng(0).random(len(values))
    assert spearman(values, other) == pytest.approx(spearman(np.exp(values), other))
    assert spearman(values, values) == pytest.approx(1.0 if np.ptp(values) else 0.0)
    assert spearman(values, -values) == pytest.approx(-1.0 if np.ptp(values) else 0.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("similarity")
    corpus, held_out = parts(told(), 0.3, 0)
    stage = Similarity(
        corpus, held_out, SMALL, Objective("rank", batch=32), TfIdf.fit(corpus.sentences, GRAMS)
    )
    train_stage(stage, Steps(steps=120, learning_rate=3e-3, validate_every=40), folder, threads=1)
    return folder


def test_memory_learns_what_is_alike(run: Path) -> None:
    lines = read_metrics(run)
    best = max(line["target_spearman"] for line in lines)
    assert best > lines[0]["target_spearman"] + 0.02
    assert best > 0.75
    assert lines[-1]["mae"] < lines[0]["mae"]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_falls(loss: str) -> None:
    corpus, held_out = parts(told(), 0.3, 0)
    stage = Similarity(corpus, held_out, SMALL, Objective(loss, batch=32), TfIdf.fit(corpus.sentences, GRAMS))
    optimiser = torch.optim.Adam(stage.network.parameters(), 3e-3)
    losses = []
    for step in range(40):
        optimiser.zero_grad()
        found = stage.loss(np.random.default_rng(step % 4))
        found.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(found.item())
    assert np.mean(losses[-8:]) < 0.95 * np.mean(losses[:8])


def test_integers_say_nearly_the_same(run: Path) -> None:
    trained = open_similarity(run)
    vectors = trained.embedding(told(3).sentences[:40])
    program = trained.program(vectors, 6)
    float_alike = pairwise(recalled(trained.network, vectors)).double().numpy()
    alike = pairwise(stored(trained.network, program, vectors, 6)).double().numpy()
    assert spearman(float_alike, alike) > 0.94
    assert np.abs(float_alike - alike).max() < 0.25
    assert float_alike.std() > 0.1


class Fake:
    """Stands in for a network of sentence-transformers: signed vectors, of any length."""

    def __init__(self, name: str) -> None:
        if name != "tiny":
            raise OSError(f"{name} is not a local folder")

    def get_sentence_embedding_dimension(self) -> int:
        return 24

    def encode(self, sentences: list[str]) -> np.ndarray:
        drawn = [np.random.default_rng(len(s)).normal(size=24) * len(s.strip("?")) for s in sentences]
        return np.array(drawn)


def test_embeddings_of_a_transformer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("sentence_transformers")
    library.SentenceTransformer = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    embedding = Transformer("tiny")
    assert np.linalg.norm(embedding(["ab", "abc"]), axis=1) == pytest.approx(1)
    corpus, held_out = parts(told(), 0.3, 0)
    stage = Similarity(corpus, held_out, SMALL, Objective(batch=8), embedding)
    train_stage(stage, Steps(steps=2, validate_every=2), tmp_path, threads=1)
    trained = open_similarity(tmp_path)
    assert trained.embedding == embedding
    vectors = trained.embedding(held_out.sentences[:5])
    assert vectors.min() < 0  # on lines of their own
    assert trained.network.senses["text"].lines == 48
    assert stored(trained.network, trained.program(vectors, 6), vectors, 6).any()
    with pytest.raises(DataError, match="no vector for '\\?'"):
        embedding(["?"])
    with pytest.raises(SettingsError, match="cannot load 'huge'"):
        _ = Transformer("huge").dims
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(SettingsError, match=r"pip install sentence-transformers"):
        _ = Transformer("tiny").dims


def test_neighbours(run: Path) -> None:
    trained = open_similarity(run)
    sentences = told().sentences
    held = recalled(trained.network, trained.embedding(sentences))
    found = neighbours(held, held[5:7], 3)
    assert [row[0][0] for row in found] == [5, 6]
    for row in found:
        assert row[0][1] == pytest.approx(1, abs=1e-4)
        assert row[0][1] >= row[1][1] >= row[2][1]
    assert len(neighbours(held[:2], held[:1], 9)[0]) == 2


def test_a_sentence_is_stored_as_it_was_heard() -> None:
    """Graded spikes carry an embedding to within half a step of its payload."""
    embedding = TfIdf.fit(told().sentences, GRAMS)
    vectors = embedding(told().sentences)
    heard = seeing(vectors, hearing(embedding)).seen["text"][:, 0, 0].numpy() * 0.5
    assert np.abs(heard - np.minimum(vectors, 0.5)).max() <= 0.25 / 63 + 1e-6


def test_gates_are_open_and_the_clock_is_off() -> None:
    embedding = TfIdf.fit(told().sentences, GRAMS)
    network = build(SMALL, hearing(embedding))
    events = seeing(embedding(told().sentences), hearing(embedding))
    network.calibrate(events)
    level = network(events).levels[0]
    assert level.update.amax(0).mean() > 0.9
    assert level.reset.amax(0).mean() > 0.9
    later = type(events)(events.seen, events.asks, events.real, events.clock + 100)
    assert torch.equal(network(events).memory, network(later).memory)


@given(count=st.integers(3, 40), share=st.floats(0.01, 0.9), seed=st.integers(0, 99))
def test_no_sentence_is_on_both_sides(count: int, share: float, seed: int) -> None:
    names = tuple(f"s{n}" for n in range(count))
    pairs = tuple(Pair(n, (n + 1) % count, float(n)) for n in range(count))
    training, held_out = parts(Corpus(names, pairs, left_out=2), share, seed)
    assert set(training.sentences) | set(held_out.sentences) == set(names)
    assert not set(training.sentences) & set(held_out.sentences)
    assert len(held_out.sentences) >= 2
    for side in (training, held_out):
        for pair in side.pairs:
            first, second = (int(side.sentences[i][1:]) for i in (pair.first, pair.second))
            assert (second - first) % count == 1
            assert pair.score == first
    assert parts(Corpus(names, pairs), share, seed)[0].sentences == training.sentences


def test_sentences_that_are_all_alike_are_refused() -> None:
    same = Corpus(("a dog sat", "a dog sat!", "A dog sat"))
    with pytest.raises(DataError, match=r"equally alike \(1.00\)"):
        judged(same, TfIdf.fit(same.sentences, GRAMS))


def test_scores_of_people_that_are_all_the_same_are_not_correlated() -> None:
    corpus = Corpus(told().sentences, (Pair(0, 1, 2.0), Pair(2, 9, 2.0), Pair(3, 30, 2.0)))
    assert judged(corpus, TfIdf.fit(corpus.sentences, GRAMS)).human is None


@pytest.mark.parametrize(
    ("setting", "said"), [({"loss": "huber"}, "no loss 'huber'"), ({"batch": 3}, "batch is 3")]
)
def test_settings_out_of_range(setting: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Objective(**setting)  # type: ignore[arg-type]
