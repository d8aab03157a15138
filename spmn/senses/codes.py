"""Values between 0 and 1 as spikes: snnTorch's rate and latency codes, and our deterministic rate code.

Steps of a window: T. One line per value.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch

from spmn.errors import SettingsError
from spmn.senses.interface import Floats, Spikes


def rate(values: Floats, steps: int) -> Spikes:
    """Regular rate code: value x spikes floor(x T + 1/2) times, evenly spread over the window.

    The same stimulus gives the same spikes, so that a program can be checked bit by bit; the stochastic code
    is `poisson`. Cost: x T spikes per line.
    """
    counts = np.floor(np.clip(values, 0, 1).ravel() * steps + 0.5).astype(np.int64)
    so_far = np.arange(steps + 1)[:, None] * counts // steps
    return np.asarray(np.diff(so_far, axis=0), np.uint8)


def poisson(values: Floats, steps: int, seed: int = 0) -> Spikes:
    """snnTorch's rate code: in every step a spike with probability x. Cost: about x T spikes per line.

    The noise is frozen: the same seed draws the same numbers for every stimulus, so that a run can be
    repeated.
    """
    spikegen = _spikegen()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        spikes = spikegen.rate(torch.from_numpy(np.clip(values, 0, 1).ravel()), num_steps=steps)
    return np.asarray(spikes, np.uint8)


def latency(values: Floats, steps: int, threshold: float = 0.05) -> Spikes:
    """snnTorch's linear latency code: one spike, the earlier the larger x; none below the threshold.

        t = round((T - 1) (1 - x)),   0 <= t < T

    Cost: at most one spike per line.
    """
    found = np.clip(values, 0, 1).ravel()
    if steps == 1:
        return (found >= threshold)[None].astype(np.uint8)
    spikegen = _spikegen()
    spikes = spikegen.latency(
        torch.from_numpy(found), num_steps=steps, threshold=threshold, linear=True, normalize=True, clip=True
    )
    return np.asarray(spikes, np.uint8)


CODES: dict[str, Callable[[Floats, int], Spikes]] = {"rate": rate, "latency": latency, "poisson": poisson}


def code_named(name: str) -> Callable[[Floats, int], Spikes]:
    """The code of this name; raises SettingsError naming those that exist."""
    if name not in CODES:
        raise SettingsError(f"there is no code {name!r}; choose one of {', '.join(CODES)}")
    return CODES[name]


def _spikegen() -> ModuleType:
    try:
        from snntorch import spikegen
    except ModuleNotFoundError:
        raise SettingsError(
            "snntorch, whose spike generators make this code, is not installed: pip install snntorch, "
            'or choose code "rate"'
        ) from None
    return spikegen  # type: ignore[no-any-return]
