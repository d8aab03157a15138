"""SPMN's stage 0, similarity: what two sentences change in the memory is as alike as the sentences are.

Each sentence is stored in its own copy of M, at first empty. dM is what its storing changed; the similarity
of two sentences in memory is the cosine of their dM. It is trained towards the similarity of the sentences'
embeddings (after the first training stage of SPMN, MaShuo-dzu/SPMN, 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hardware.program import Program
from spmn.datasets.corpus import Corpus
from spmn.embedding import Embedding, Floats, Grams, TfIdf, Transformer
from spmn.errors import DataError, SettingsError
from spmn.perceiver import Perceiver, Scene
from spmn.perceiver_chip import export_perceiver, store
from spmn.runs import reading
from spmn.senses import Analog
from spmn.settings import Network, building, require
from spmn.stages import Stage, load_best, read_record

PEAK, WIDTH = 0.5, 6
"""Of the graded spikes that bring an embedding: finer ones would leave the chip's weights too few bits."""
TOGETHER = 256
"""Sentences stored side by side, each in its own copy of M."""
BINS = 10
"""Parts of the range of similarities; each counts alike in a batch, however many pairs it holds."""


def changes(memory: Tensor) -> Tensor:
    """dM of streams of one event, whose M was empty: [B, depth H K V] from [depth, B, H, K, V]."""
    return memory.transpose(0, 1).flatten(1)


def units(rows: Tensor) -> Tensor:
    """Rows of length 1; rows of 0 stay 0."""
    found: Tensor = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return found


def pairwise(rows: Tensor) -> Tensor:
    """Cosines of all pairs i < j of rows [B, n], one after the other: [B (B - 1) / 2]."""
    i, j = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    return (units(rows) @ units(rows).T)[i, j]


def evened(target: Tensor) -> Tensor:
    """Weights of pairs [n] that add up to 1, and to the same in every tenth of 0..1 with pairs in it: most
    pairs of sentences have nothing in common."""
    bins = (target * BINS).long().clamp(0, BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)
    weights = 1.0 / counts[bins].to(target.dtype)
    return weights / weights.sum()


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(similarities in memory, targets, weights that add up to 1), each [pairs]."""


def mae_loss(found: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """sum w |s - e|: the published MAE loss where all weights are alike."""
    return (weights * (found - target).abs()).sum()


def ratio_loss(found: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """sum w (e / s - 1)^2 / 2: the published ratio loss; s and e below 0.05 count as 0.05, or it would
    explode."""
    ratio = target.clamp_min(0.05) / found.clamp_min(0.05)
    return (weights * (ratio - 1) ** 2 / 2).sum()


def rank_loss(found: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """1 - corr_w(s, e) + 0.1 sum w |s - e|: linear in the targets first, at their level second.

    Weighted Pearson correlation. Differentiable everywhere, it is what a rank correlation becomes where
    ranks are evened out, as the weights do; the second term keeps similarities comparable with targets.
    """
    s = found - (weights * found).sum()
    e = target - (weights * target).sum()
    norms = ((weights * s * s).sum() * (weights * e * e).sum()).clamp_min(1e-12).sqrt()
    return 1 - (weights * s * e).sum() / norms + 0.1 * mae_loss(found, target, weights)


LOSSES: dict[str, Loss] = {"mae": mae_loss, "ratio": ratio_loss, "rank": rank_loss}


@dataclass(frozen=True)
class Objective:
    """What the similarity stage minimises, and on how many sentences at a time."""

    loss: str = "rank"
    batch: int = 96
    fixed_synapses: bool = True  # those from the embedding keep their random start; the levels learn

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise SettingsError(f"there is no loss {self.loss!r}; choose one of {', '.join(LOSSES)}")
        require(self.batch >= 4, "batch", self.batch, "at least 4")


NETWORK = Network(depth=1, heads=96, keys=32, values=8, encoder=1024, decoder=1)
"""Many small heads: every one is a vote on what is alike."""


def hearing(embedding: Embedding) -> Analog:
    """The sense that embeddings come through."""
    return Analog(embedding.dims, embedding.signed, peak=PEAK, width=WIDTH)


def seeing(vectors: Floats, sense: Analog) -> Scene:
    """Every embedding [n, dims] as a stream of one event, as graded spikes carry it."""
    spikes = sense.payloads(vectors).astype(np.float32) / sense.full
    n = len(vectors)
    real = torch.ones(n, 1, dtype=torch.bool)
    clock = torch.zeros(n, 1, dtype=torch.long)
    return Scene({"text": torch.from_numpy(spikes)[:, None, None]}, ~real, real, clock)


def build(network: Network, sense: Analog) -> Perceiver:
    """A network that hears embeddings. It has no use for the clock, and its gates start open."""
    with building(network):
        perceiver = Perceiver(network, {"text": sense})
    with torch.no_grad():
        for level in perceiver.levels:
            keys, gates = 2 * level.sizes[0], sum(level.sizes[:3])
            level.drive.bias[:keys] = 0.0
            level.drive.bias[gates:] = 2.0
    perceiver.unclocked()
    return perceiver


class Similarity(Stage):
    """Stage 0 on a corpus.

    Half of a batch are sentences, the other half each of them mixed with a sentence drawn at random, as
    embeddings: x = share a + (1 - share) b, of length 1. So every batch holds all degrees of similarity,
    whatever the corpus is. Validated on the scored pairs of `held_out`, or, if it has none, on as many pairs
    of its sentences, each with its nearest neighbour and with one at random.
    """

    name = "similarity"
    decides = "target_pearson"

    def __init__(
        self,
        corpus: Corpus,
        held_out: Corpus,
        network: Network = NETWORK,
        objective: Objective | None = None,
        embedding: Embedding | None = None,
        seed: int = 0,
    ) -> None:
        self.corpus, self.held_out = corpus, held_out
        self.settings, self.objective = network, objective or Objective()
        self.embedding = embedding or TfIdf.fit(corpus.sentences)
        self.vectors = self.embedding(corpus.sentences)
        torch.manual_seed(seed)
        self.sense = hearing(self.embedding)
        self.network: Perceiver = build(network, self.sense)
        self.network.calibrate(seeing(self.vectors[:: max(1, len(self.vectors) // 500)], self.sense))
        self.network.sense.requires_grad_(not self.objective.fixed_synapses)
        if isinstance(self.embedding, TfIdf):
            self.network.register_buffer("idf", torch.from_numpy(self.embedding.idf))
        self.pairs = judged(held_out, self.embedding, seed)

    @property
    def record(self) -> dict[str, Any]:
        return {
            "network": asdict(self.settings),
            "objective": asdict(self.objective),
            "embedding": self.embedding.record,
            "corpus": self.corpus.digest,
            "held_out": self.held_out.digest,
        }

    def loss(self, random: np.random.Generator) -> Tensor:
        half = self.objective.batch // 2
        chosen, others = random.integers(len(self.vectors), size=(2, half))
        share = random.random((half, 1)).astype(np.float32)
        mixed = share * self.vectors[chosen] + (1 - share) * self.vectors[others]
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        vectors = np.concatenate((self.vectors[chosen], mixed))
        found = pairwise(changes(self.network(seeing(vectors, self.sense), record=False).memory))
        target = pairwise(torch.from_numpy(vectors))
        return LOSSES[self.objective.loss](found, target, evened(target))

    def validate(self) -> dict[str, float]:
        return self.pairs.scores(
            recalled(self.network, self.pairs.first), recalled(self.network, self.pairs.second)
        )


def recalled(network: Perceiver, vectors: Floats) -> Tensor:
    """dM of embeddings, in float: [n, depth H K V]."""
    with torch.no_grad():
        return _in_parts(network, vectors, lambda events: network(events, record=False).memory)


def stored(network: Perceiver, program: Program, vectors: Floats, memory_bits: int) -> Tensor:
    """dM of embeddings, in the integers of a program on the emulator: [n, depth H K V]."""
    return _in_parts(network, vectors, lambda events: store(network, program, events, memory_bits).memory)


def _in_parts(network: Perceiver, vectors: Floats, remember: Callable[[Scene], Tensor]) -> Tensor:
    sense = network.senses["text"]
    assert isinstance(sense, Analog)
    parts = (vectors[at : at + TOGETHER] for at in range(0, len(vectors), TOGETHER))
    return torch.cat([changes(remember(seeing(part, sense))) for part in parts])


@dataclass(frozen=True, eq=False)
class Judged:
    """Pairs of embeddings, and what people said of them, where they were asked."""

    first: Floats  # [pairs, dims]
    second: Floats
    human: npt.NDArray[np.float64] | None  # [pairs]

    @property
    def target(self) -> npt.NDArray[np.float64]:
        """Cosines of the embeddings."""
        found: npt.NDArray[np.float64] = (self.first * self.second).sum(1, dtype=np.float64)
        return found

    def scores(self, first: Tensor, second: Tensor) -> dict[str, float]:
        """Correlations and error of the similarities of dM [pairs, n] with the targets and with people."""
        found = (units(first) * units(second)).sum(1).double().numpy()
        scores = {
            "target_spearman": spearman(found, self.target),
            "target_pearson": pearson(found, self.target),
            "mae": float(np.abs(found - self.target).mean()),
        }
        if self.human is not None:
            scores |= {
                "human_spearman": spearman(found, self.human),
                "human_pearson": pearson(found, self.human),
                "embedding_human_spearman": spearman(self.target, self.human),
            }
        return scores


def judged(corpus: Corpus, embedding: Embedding, seed: int = 0) -> Judged:
    """The pairs on which a network is judged.

    Raises DataError where there are fewer than two sentences, or all pairs are equally alike.
    """
    if len(corpus.sentences) < 2:
        raise DataError(
            f"{len(corpus.sentences)} sentences are left to validate on that are not trained on; "
            "give at least 2 others"
        )
    vectors = embedding(corpus.sentences)
    if corpus.pairs:
        first, second = np.array([(p.first, p.second) for p in corpus.pairs]).T
        scores = np.array([p.score for p in corpus.pairs])
        human = scores if np.ptp(scores) > 0 else None
    else:
        each = np.arange(min(len(vectors), 1000))
        alike = vectors[each] @ vectors.T
        alike[each, each] = -1
        others = (each + np.random.default_rng(seed).integers(1, len(vectors), len(each))) % len(vectors)
        first, second = np.tile(each, 2), np.concatenate((alike.argmax(1), others))
        human = None
    found = Judged(vectors[first], vectors[second], human)
    if np.ptp(found.target) < 1e-6:
        raise DataError(
            f"all {len(first)} pairs of the held-out sentences are equally alike ({found.target[0]:.2f}); "
            "give more, and more different, sentences"
        )
    return found


def spearman(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Rank correlation; ties get their mean rank."""
    return pearson(ranks(a), ranks(b))


def pearson(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Linear correlation; 0 where one side is constant."""
    a, b = a - a.mean(), b - b.mean()
    norms = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / norms) if norms > 0 else 0.0


def ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """From 0; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return ((2 * last - counts - 1) / 2)[inverse]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network of stage 0, with the embedding that it hears through."""

    network: Perceiver
    embedding: Embedding

    def program(self, typical: Floats, memory_bits: int) -> Program:
        """The network in integers; `typical` embeddings show how strong its input gets."""
        return export_perceiver(self.network, seeing(typical, hearing(self.embedding)), memory_bits)


def open_similarity(folder: Path | str) -> Trained:
    """A run of `spmn train similarity`, at its best step. Raises CheckpointError where there is none."""
    record = read_record(folder, Similarity.name)
    idf = None
    with reading(Path(folder) / "run.json"):
        how = dict(record["embedding"])
        if how.pop("kind") == "tf-idf":
            grams = Grams(**{**how, "letters": tuple(how["letters"])})
            idf = torch.zeros(grams.dims)
            embedding: Embedding = TfIdf(grams, idf.numpy())  # shares its memory with idf
        else:
            embedding = Transformer(how["model"])
        settings = Network(**record["network"])
    network = build(settings, hearing(embedding))
    if idf is not None:
        network.register_buffer("idf", idf)
    load_best(network, folder)
    return Trained(network, embedding)


def parts(corpus: Corpus, held_out: float, seed: int) -> tuple[Corpus, Corpus]:
    """A share of the distinct sentences set aside, at least two: (training, held out). Scored pairs across
    the cut are left out; of the held-out side they are what is validated on."""
    order = np.random.default_rng([seed, 5]).permutation(len(corpus.sentences))
    count = min(max(2, round(held_out * len(order))), len(order) - 1)
    aside = Corpus(tuple(corpus.sentences[i] for i in sorted(order[:count])))
    kept = Corpus(tuple(corpus.sentences[i] for i in sorted(order[count:])))
    return replace(corpus.without(aside), left_out=corpus.left_out), corpus.without(kept)


def neighbours(held: Tensor, asked: Tensor, count: int) -> list[list[tuple[int, float]]]:
    """Of each dM in `asked` [n, m] the most similar ones among `held` [N, m], with their similarity."""
    best = (units(asked) @ units(held).T).topk(min(count, len(held)), 1)
    return [
        list(zip(row.tolist(), values.tolist(), strict=True))
        for row, values in zip(best.indices, best.values, strict=True)
    ]
