"""Integers of a chip for float weights: close, even, and never more than 16 bits together."""

import numpy as np
import pytest
import torch

from spmn.quantise import QUIET, quantise


def test_weights_are_even_and_close() -> None:
    torch.manual_seed(0)
    parts = {"a": torch.randn(5, 7), "b": 10 * torch.randn(5, 3)}
    vth, quantised = quantise(parts)
    for name, (weights, exp) in quantised.items():
        assert (weights % 2 == 0).all()
        assert weights.min() >= -256
        assert weights.max() <= 254
        step = 2 ** (exp + 1) / vth
        assert np.abs(weights * 2**exp / vth - parts[name].numpy()).max() <= step + 1e-6
    assert quantised["a"][1] == 0
    assert quantised["b"][1] > 0


@pytest.mark.parametrize("sign", [1, -1])
def test_all_inputs_together_stay_below_the_quiet_line(sign: int) -> None:
    """Fine weights ask for a large threshold, many coarse ones of one sign forbid it."""
    torch.manual_seed(0)
    parts = {"fine": 0.01 * torch.randn(5, 4), "many": sign * torch.rand(5, 200), "word": torch.rand(5, 40)}
    _, quantised = quantise(parts, one_of={"word": 4})
    total = np.zeros(5)
    for name, (weights, exp) in quantised.items():
        brought = (sign * weights << exp).clip(min=0)
        total += brought.reshape(5, 4, -1).max(2).sum(1) if name == "word" else brought.sum(1)
    assert 0.7 * QUIET < total.max() <= QUIET
