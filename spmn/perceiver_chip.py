"""The Perceiver as a chip program: what senses say goes in as spikes, what was stored comes out as weights.

Senses run on the host. Their lines are input axons, one more axon per sense says that it has something to
say, and all that follows is as in `spmn.export`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hardware.emulator import Emulator
from hardware.program import Probe, Program
from hardware.recording import Recording
from spmn.export import (
    CLOCKED,
    LAG,
    MEMORY_BITS,
    RECALL_STEP,
    Draft,
    chip_decay,
    drafted,
    expressible,
    full_memory,
)
from spmn.levels import clock_lines
from spmn.neurons import Projection
from spmn.perceiver import Perceiver, Scene
from spmn.quantise import quantise

Inputs = dict[str, npt.NDArray[np.uint8]]
TOGETHER = 64
"""Streams that run side by side."""


@torch.no_grad()
def export_perceiver(
    network: Perceiver,
    some: Scene,
    memory_bits: int = MEMORY_BITS,
    payload: int | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Program:
    """The network as a program of chip integers; `memory_bits` and `payload` as in `spmn.export.export`.

    some: typical events. The strongest current that they bring to a neuron, times HEADROOM, sets how large
    weights may be; the emulator's strict mode tells if an event goes beyond 16 bits.

    Raises ExportError where the network's rule or sizes cannot be expressed.
    """
    with expressible():
        draft = drafted(network, lambda draft: _encoder(draft, network, some), memory_bits, payload)
        return draft.program("perceiver", None, (), network.settings.depth, attributes or {})


HEADROOM = 2.0


def _encoder(draft: Draft, network: Perceiver, some: Scene) -> None:
    draft.inputs = {name: sense.lines for name, sense in network.senses.items()}
    draft.inputs |= {present(name): 1 for name in network.senses} | CLOCKED
    parts, most = dict[str, Tensor](), dict[str, Tensor]()
    for name, sense in network.senses.items():
        synapses = network.sense[name]
        assert isinstance(synapses, Projection)
        folded = synapses.folded()
        parts[name] = folded / sense.full
        parts[present(name)] = synapses.bias[:, None]
        if name in some.seen:
            current = some.seen[name].flatten(0, 2) @ folded.T
            most[name] = HEADROOM * torch.stack((current.amax(0), (-current).amax(0))).clamp(min=0)
    for kind, name in enumerate(("statement", "question")):
        parts[name] = network.kind[kind][:, None]
    vth, quantised = quantise(parts, most=most)
    draft.population("encoder", network.settings.encoder, vth, chip_decay(network), first=1)
    for source, (weights, exp) in quantised.items():
        bits = network.senses[source].bits if source in network.senses else 0
        draft.connect(source, "encoder", weights, exp=exp, payload_bits=bits)


def present(sense: str) -> str:
    """The input axon that spikes while a sense has something to say."""
    return f"{sense}.present"


def encode_scene(network: Perceiver, program: Program, events: Scene) -> Inputs:
    """Input spikes of streams of events that run side by side: input axons -> [steps, batch, size]."""
    schedule = program.schedule
    assert schedule is not None
    shape = events.real.shape
    window, steps = schedule.window, network.settings.steps
    total = window * shape[1] + schedule.drain
    inputs: Inputs = {
        axons.name: np.zeros((total, shape[0], axons.size), np.uint8) for axons in program.inputs
    }

    def drive(name: str, offset: int, values: npt.NDArray[np.uint8]) -> None:
        """values: [B, N, size]"""
        for n in range(shape[1]):
            if n * window + offset < total:
                inputs[name][n * window + offset] |= values[:, n]

    for name, seen in events.seen.items():
        payloads = (seen * network.senses[name].full).round().to(torch.uint8)
        said = payloads.flatten(2).any(-1, keepdim=True).numpy().astype(np.uint8)
        for t in range(steps):
            drive(name, t, payloads[:, :, min(t, payloads.shape[2] - 1)].numpy())
            drive(present(name), t, said)
    real, asks = events.real.numpy()[..., None], events.asks.numpy()[..., None]
    code = clock_lines(events.clock).numpy().astype(np.uint8)
    for t in range(1, steps + 1):
        drive("clock", t, code * real)
    on = {"event": real, "statement": real & ~asks, "question": real & asks}
    for line in schedule.lines:
        for t in line.steps:
            drive(line.name, t, on[line.on].astype(np.uint8))
    return inputs


class Stored(NamedTuple):
    """What streams of events left on the chip."""

    memory: Tensor  # M, [depth, B, H, K, V], as shares of the largest weight
    recalled: Tensor  # at events that ask, in row-major order: mean recall spikes [R, depth, H V]


def store(
    network: Perceiver,
    program: Program,
    events: Scene,
    memory_bits: int = MEMORY_BITS,
    strict: bool = False,
) -> Stored:
    """Streams of events on the emulator, from an empty M. `memory_bits` as the program's.

    Raises RunError, in strict mode, where the chip's arithmetic would lose something.
    """
    s = network.settings
    heads = [[f"level{d + 1}.{{}}.{h}" for h in range(s.heads)] for d in range(s.depth)]
    asked = events.real & events.asks
    probes = [Probe(name.format("recall")) for level in heads for name in level] if asked.any() else []
    emulator = Emulator(replace(program, probes=tuple(probes)), strict=strict)
    full = full_memory(memory_bits)
    memories, recalled = [], [torch.zeros(0, s.depth, s.recall)]
    for first in range(0, len(events.real), TOGETHER):
        chosen = torch.arange(first, min(first + TOGETHER, len(events.real)))
        inputs = encode_scene(network, program, events.at(chosen))
        state, recording = emulator.run(emulator.initial_state(len(chosen)), inputs)
        weights = [
            [torch.from_numpy(state.plastic[name.format("memory")].weights).mT / full for name in level]
            for level in heads
        ]
        memories.append(torch.stack([torch.stack(level, 1) for level in weights]))
        if probes:
            recalled.append(_recalled(recording, program, heads, asked[chosen], s.steps))
    return Stored(torch.cat(memories, 1), torch.cat(recalled))


def _recalled(
    recording: Recording, program: Program, heads: Sequence[Sequence[str]], asked: Tensor, steps: int
) -> Tensor:
    """Mean recall spikes [R, depth, H V] in the T steps in which plastic synapses are read."""
    assert program.schedule is not None
    stream, event = asked.nonzero().T
    start = event * program.schedule.window
    levels = []
    for d, level in enumerate(heads):
        spikes = [torch.from_numpy(recording[name.format("recall"), "spikes"] != 0) for name in level]
        at = start[:, None] + RECALL_STEP + LAG * d + torch.arange(steps)
        levels.append(torch.cat([of_head[at, stream[:, None]] for of_head in spikes], -1).float().mean(1))
    return torch.stack(levels, 1)
