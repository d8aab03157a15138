"""What runs on a GPU, against the plain forms in float64 and against the CPU; skipped where there is none."""

import copy

import level_cases
import numpy as np
import pytest
import torch
from level_cases import Sizes, random_level
from scans import assert_equal_to_reference, random_case, with_gradients
from torch import Tensor

from spmn import operators
from spmn.events import Vocabulary, collate, practise, stream
from spmn.network import SPMN
from spmn.neurons import lif, lif_reference, standardise_reference
from spmn.plasticity import RULES, TWO_FACTOR
from spmn.training import Objective

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
@pytest.mark.parametrize(
    ("groups", "events", "steps", "keys", "values"),
    [(2, 3, 2, 4, 4), (1, 0, 2, 3, 3), (40, 70, 5, 32, 32), (3, 2, 3, 5, 9), (1, 65, 1, 64, 16)],
)
def test_scan(rule, groups: int, events: int, steps: int, keys: int, values: int) -> None:
    case = random_case(rule, groups, events, steps, keys, values)
    there = case._replace(**{n: x.cuda() for n, x in case._asdict().items() if isinstance(x, Tensor)})
    found = [x.cpu() for x in with_gradients(operators.memory_scan, there)]
    assert_equal_to_reference(found, case)


@pytest.mark.parametrize("of", level_cases.OUTPUTS)
@pytest.mark.parametrize("rule", level_cases.RULES, ids=lambda rule: rule.name)
def test_level(rule, of: str) -> None:
    sizes = Sizes(stories=3, events=5, steps=3, heads=2, keys=5, values=7)
    level_cases.check(random_level(rule, sizes), level_cases.random_case(rule, sizes), [of], "cuda")


@pytest.mark.parametrize("events", [1, 32, 70])
@pytest.mark.parametrize("below", [True, False])
def test_level_of_the_usual_size(events: int, below: bool) -> None:
    sizes = Sizes(stories=3, events=events, steps=5, heads=4, keys=32, values=32)
    case = level_cases.random_case(TWO_FACTOR, sizes, below)
    level_cases.check(random_level(TWO_FACTOR, sizes, seed=1), case, device="cuda")


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (200, 1920), (1, 4097)])
def test_standardise(rows: int, columns: int) -> None:
    torch.manual_seed(rows)
    weight, gain, grad = torch.randn(rows, columns) + 3, torch.randn(rows), torch.randn(rows, columns)
    slow = [x.double().requires_grad_() for x in (weight, gain)]
    fast = [x.cuda().requires_grad_() for x in (weight, gain)]
    expected, found = standardise_reference(*slow), operators.standardise(*fast)
    torch.testing.assert_close(found.cpu(), expected.float(), rtol=1e-5, atol=1e-6)
    both = torch.autograd.grad(expected, slow, grad.double()), torch.autograd.grad(found, fast, grad.cuda())
    for exact, near in zip(*both, strict=True):
        torch.testing.assert_close(near.cpu(), exact.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 5, 16])
@pytest.mark.parametrize("neurons", [1, 1025, 300_000])
def test_lif(steps: int, neurons: int) -> None:
    torch.manual_seed(steps + neurons)
    current, grad = (torch.randn(steps, neurons) * 64).round() / 64, torch.randn(steps, neurons)
    slow = current.double().requires_grad_()
    spikes = lif_reference(slow, 0.5, 2.0)
    (expected,) = torch.autograd.grad(spikes, slow, grad.double())
    fast = current.cuda().requires_grad_()
    found = lif(fast, 0.5, 2.0)
    assert torch.equal(found.cpu(), spikes.float())
    (back,) = torch.autograd.grad(found, fast, grad.cuda())
    torch.testing.assert_close(back.cpu(), expected.float(), rtol=1e-5, atol=1e-6)


def test_a_training_step_is_that_of_the_cpu(network: SPMN, stories, vocabulary: Vocabulary) -> None:
    """Sums in another order may move a potential across the threshold: rarely."""
    random = np.random.default_rng(0)
    batch = collate([practise(stream(s, vocabulary), vocabulary, 0.3, random) for s in stories[:30]])
    there = copy.deepcopy(network).cuda()
    here, far = network(batch), there(batch)
    assert (here.read != far.read.cpu()).float().mean() < 1e-3
    assert here.read.mean() > 0.01
    gradients = []
    for each in (network, there):
        Objective(each, 0.1, 0.1)(batch).total.backward()
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in each.parameters()]))
    ours, theirs = gradients
    assert (ours - theirs).norm() < 0.02 * ours.norm()
