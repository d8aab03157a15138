"""Random memory levels and what they are given, shared by the tests of a level's kernels; and the check of
spikes, memory and every gradient against the same level step by step in double precision."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor

from hardware.rules import LearningRule
from spmn import levels
from spmn.levels import Level, LevelSpikes, Told
from spmn.neurons import lif_reference
from spmn.plasticity import ERROR_DRIVEN, PAIR_STDP, TWO_FACTOR, PlasticMemory, by_event
from spmn.settings import Network


def rule(name: str, dw: str, low: float = 0.0, high: float = 1.0, **rates: float) -> LearningRule:
    return LearningRule(name=name, dw=dw, rates=rates, low=low, high=high)


SILENCE = rule("silence", "lp*x0*(1-y0) - ld*x0*w", high=0.5, lp=0.4, ld=0.3)  # learns where nothing fired
CLIPPED = rule(
    "clipped", "lp*x0*(0.5-y0)*(1+w) + lp*x0*x1*y0*y1*(w-0.5) - 0.1*lp*x0", low=-0.25, high=0.25, lp=0.9
)
RULES = [
    TWO_FACTOR, ERROR_DRIVEN, SILENCE, CLIPPED,
    rule("guess", "0.5*x0*y1 - 0.75*lp*x1*(1-y0)*y2*(1-w) - 0.25*lp*x0*w", low=-1.0, lp=0.7),
    rule("scaled guess", "0.25*x0*y0*y2*w - lp*x1*y2", low=-0.5, lp=0.2),
    rule("no rate", "0.125*x0*(0.5-y1)"),
]  # fmt: skip
STEP_BY_STEP = [
    PAIR_STDP,
    rule("no key", "lp*x0*y0 - ld*y1", lp=0.3, ld=0.1),
    rule("silent key", "lp*(1-x0)*y0", lp=0.3),
    rule("twice silent", "lp*x0*(1.5-y0)*(1.5-y0) - ld*x0", lp=0.3, ld=0.4),
    rule("two associations", "lp*x0*(1.5-y0)*y1 - ld*x0", lp=0.3, ld=0.4),
    LearningRule(name="trace", dw="lp*x1*y0 - ld*x0*w", x1_tau=2.0, rates={"lp": 0.3, "ld": 0.2}),
]  # what the kernel does not take
OUTPUTS = ("recall", "read", "memory")


class Case(NamedTuple):
    """What happens to a level."""

    words: Tensor
    sentence: Tensor
    below: Tensor | None
    clock: Tensor  # numbers of the events
    writes: Tensor
    reads: Tensor
    memory: Tensor

    @property
    def told(self) -> Told:
        return Told.of(self.sentence, self.clock, self.writes, self.reads, self.words)

    @property
    def arguments(self) -> tuple[Tensor, Tensor | None, Told, Tensor]:
        """Of `Level.forward`."""
        return self.words, self.below, self.told, self.memory

    def map(self, change) -> "Case":
        """With everything that is no number of something changed."""
        new = (x if x is None or not x.is_floating_point() else change(x) for x in self)
        return Case(*new)


class Sizes(NamedTuple):
    stories: int = 2
    events: int = 5
    steps: int = 3
    heads: int = 2
    keys: int = 5
    values: int = 7

    @property
    def neurons(self) -> int:
        return self.heads * (2 * self.keys + self.values + 2)


def random_level(chosen: LearningRule, sizes: Sizes, dv: float = 0.1, seed: int = 0) -> Level:
    """A level in which a few active keys make recall neurons fire; of an even seed, each head with its own
    gain and rates."""
    torch.manual_seed(seed)
    shape = {name: getattr(sizes, name) for name in ("steps", "heads", "keys", "values")}
    level = Level(Network(depth=1, dv=dv, **shape), 1)
    level.memory = PlasticMemory(chosen, sizes.heads, sizes.keys, sizes.values, per_head=seed % 2 == 0)
    level.by_event = by_event(chosen)
    with torch.no_grad():
        level.clock.normal_(0, 0.7)  # of two lines at a time
        level.memory.bias.normal_(0.2, 0.3)
        level.memory.gain.copy_(0.15 * sizes.keys * (0.3 + torch.rand_like(level.memory.gain)))
        level.memory.rates.logits.add_(0.1 * torch.randn_like(level.memory.rates.logits))
    return level


def random_case(
    chosen: LearningRule, sizes: Sizes, below: bool = True, shift: float = 0.0, written: float = 0.7,
    asked: float = 0.3, seed: int = 0,
) -> Case:  # fmt: skip
    """`shift` is added to all currents; one of the sentences is never said."""
    torch.manual_seed(seed)
    events = sizes.stories, sizes.events
    sentences = sizes.stories * sizes.events // 2 + 2
    driven = sizes.steps, sizes.neurons
    low, high = chosen.low, chosen.high
    return Case(
        words=torch.randn(sentences, *driven) * 0.7 + shift,
        sentence=torch.randint(1, sentences, events),
        below=torch.randn(sizes.stories * sizes.events, *driven) * 0.4 if below else None,
        clock=torch.randint(0, 200, events),
        writes=torch.rand(events) < written,
        reads=torch.rand(events) < asked,
        memory=low + (high - low) * torch.rand(sizes.stories, sizes.heads, sizes.keys, sizes.values),
    )


class Results(NamedTuple):
    spikes: LevelSpikes
    read: Tensor
    memory: Tensor
    gradients: dict[str, Tensor]


def results(level: Level, case: Case, of: Iterable[str] = OUTPUTS, record: bool = True) -> Results:
    """Everything that comes out, and the gradients of a loss of `of` whose terms do not cancel."""
    given = case.map(lambda x: x.detach().to(level.clock.device, copy=True).requires_grad_())
    spikes, read, memory = level(*given.arguments, record)
    outputs = {"recall": spikes.recall, "read": read, "memory": memory}
    random = torch.Generator().manual_seed(9)
    weights = {name: torch.rand(x.shape, generator=random).to(x) for name, x in outputs.items()}
    loss = sum((outputs[name] * weights[name]).sum() for name in of)
    leaves = {name: x for name, x in level.named_parameters() if not name.startswith("drive")}
    leaves |= {name: x for name in ("words", "below", "memory") if (x := getattr(given, name)) is not None}
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    detached = LevelSpikes(*(x.detach().cpu() for x in spikes))
    gradients = {name: x.cpu() for name, x in zip(leaves, found, strict=True)}
    return Results(detached, read.detach().cpu(), memory.detach().cpu(), gradients)


@contextmanager
def potentials_kept(kept: list[Tensor]) -> Iterator[None]:
    """The potentials of a level's neurons, and those of recall, are appended to `kept`."""

    def lif(current: Tensor, dv: float, slope: float) -> Tensor:
        spikes, v, before = lif_reference(current, dv, slope), torch.zeros_like(current[0]), []
        for injected, fired in zip(current.detach(), spikes.detach(), strict=True):
            before.append((1 - dv) * v + injected)
            v = before[-1] * (1 - fired)
        kept.append(torch.stack(before))
        return spikes

    with mock.patch.object(levels, "lif", lif):
        yield


def same_spikes(found: LevelSpikes, expected: LevelSpikes, potentials: Sequence[Tensor]) -> bool:
    """Whether all are equal; if not, the first to differ in a window must have come at the threshold."""
    sizes = [x.shape[-1] for x in expected[:-1]]
    kept = (*potentials[0].split_with_sizes(sizes, -1), potentials[1])
    equal = True
    for fast, slow, potential in zip(found, expected, kept, strict=True):
        differs = fast != slow
        first = differs & (differs.cumsum(0) == 1)
        assert ((potential - 1).abs()[first] < 1e-5).all()
        equal &= not differs.any()
    return equal


def assert_close(found: Tensor, expected: Tensor, name: str) -> None:
    assert found.shape == expected.shape, name
    assert found.dtype == torch.float32, name
    close = 1e-4 if name.endswith("rates.logits") else 1e-5  # a rate's is a difference of large sums
    if expected.numel():
        assert (found - expected).abs().max() <= close * max(float(expected.abs().max()), 1e-3), name


def check(level: Level, case: Case, of: Iterable[str] = OUTPUTS, device: str = "cpu") -> Results:
    """Compare the level on a device with the level in double precision."""
    found, kept = results(copy.deepcopy(level).to(device), case, of), []
    with potentials_kept(kept):
        expected = results(copy.deepcopy(level).double(), case.map(Tensor.double), of)
    assert found.read.dtype == found.spikes.recall.dtype == torch.float32
    assert torch.equal(found.read, found.spikes.recall.permute(1, 2, 0, 3)[case.reads])
    if same_spikes(found.spikes, expected.spikes, kept):
        assert_close(found.memory, expected.memory, "memory")
        for name, gradient in expected.gradients.items():
            assert_close(found.gradients[name], gradient, f"gradient of {name}")
    return found
