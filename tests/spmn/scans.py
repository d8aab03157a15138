"""Random arguments for the memory scan, shared by the tests of its kernels."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hardware.rules import LearningRule
from spmn.plasticity import Rates, scan_reference, terms


class Case(NamedTuple):
    """Arguments of `scan_reference`."""

    read: Tensor
    pre: Tensor
    post: Tensor
    affine: Tensor
    bounds: tuple[float, float]
    writes: Tensor
    memory: Tensor
    predict: tuple[bool, ...]

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return self.read, self.pre, self.post, self.memory


def random_case(
    rule: LearningRule, groups: int, events: int, steps: int, keys: int, values: int,
    density: float = 0.3, written: float = 0.7, seed: int = 0,
) -> Case:  # fmt: skip
    random = torch.Generator().manual_seed(seed)

    def spikes(*shape: int) -> Tensor:
        return (torch.rand(shape, generator=random) < density).float()

    learns = 1 if rule.resolution == "event" else steps
    x0, y0 = spikes(groups, events, learns, keys), spikes(groups, events, learns, values)
    with torch.no_grad():
        x1, y1 = (0.2 + 0.8 * torch.rand(x.shape, generator=random) for x in (x0, y0))
        found = terms(rule, Rates(rule).strengths(), x0, x1, y0, y1)
    memory = rule.low + (rule.high - rule.low) * torch.rand(groups, keys, values, generator=random)
    writes = torch.rand(groups, events, generator=random) < written
    read = spikes(groups, events, steps, keys)
    return Case(
        read, found.pre, found.post, found.affine, (rule.low, rule.high), writes, memory, found.predict
    )


def with_gradients(scan: Callable[..., tuple[Tensor, Tensor]], case: Case) -> list[Tensor]:
    """Currents, memory after, and the gradients of read, pre, post and memory of a fixed loss."""
    read, pre, post, memory = (x.clone().requires_grad_() for x in case.leaves)
    currents, after = scan(read, pre, post, case.affine, case.bounds, case.writes, memory, case.predict)
    weight = torch.linspace(-1, 1, currents.numel()).to(currents).view(currents.shape)
    leaves = (read, pre, post, memory)
    loss = (currents * weight).sum() + (after * after).sum()
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [currents.detach(), after.detach(), *gradients]


def assert_equal_to_reference(found: list[Tensor], case: Case, leaving_out: int | None = None) -> None:
    """Every result to 1e-5 of its largest component, the reference taken in float64."""
    exact = Case(*(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in case))
    expected = [x for i, x in enumerate(with_gradients(scan_reference, exact)) if i != leaving_out]
    for fast, slow in zip(found, expected, strict=True):
        assert fast.shape == slow.shape
        if slow.numel():
            assert (fast - slow).abs().max() <= 1e-5 * max(float(slow.abs().max()), 1e-3)
