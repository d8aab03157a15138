"""A deployed network on the emulator, the numpy reference and, where it is installed, Lava."""

from __future__ import annotations

from typing import Any

import torch

from experiments.chip_speed import speeds
from hardware.errors import RunError
from hardware.lava import find_python
from spmn.datasets.generator import generate
from spmn.events import Vocabulary, stream
from spmn.export import export
from spmn.network import SPMN
from spmn.runners import STORIES, chip_events
from spmn.settings import Network


def chip(rounds: int) -> list[dict[str, Any]]:
    """Rows for an untrained network on generated stories of task 1; `experiments.chip_speed` takes a
    trained one."""
    stories = generate(1, 5 * STORIES, 0)[:STORIES]
    vocabulary = Vocabulary.of(stories)
    torch.manual_seed(0)
    program = export(SPMN(Network(), vocabulary))
    try:
        lava = bool(find_python())
    except RunError:
        lava = False
    found = speeds(program, [chip_events(stream(s, vocabulary)) for s in stories], rounds, lava)
    ours = found["emulator, one stream"]
    return [
        {"what": f"chip step: {name}", "ms": round(1e3 * seconds, 4), "over ours": round(seconds / ours, 2)}
        for name, seconds in found.items()
    ]
