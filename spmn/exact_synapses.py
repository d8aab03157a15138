"""Fixed synapses of a chip program as few matrix products.

All axons and neurons of a program lie side by side in flat tensors:

    payloads  [batch, axons]     input axons | input axons with payload | LIF neurons | relays
    input     [batch, neurons]                                            LIF neurons | relays

Projections with the same delay, from the same sources to the same targets, are one matrix; exponents above 0
are in its weights. Exponents below 0 floor the sum of their projection and delay, so these stand alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardware.arithmetic import quantise_weights
from hardware.errors import RunError
from hardware.program import Program, Projection
from spmn.straight import straight, wrap

LARGEST_WEIGHT = 256
LARGEST_PAYLOAD = 2**23
SMALL = 2**36
"""Sums below this are added up as they are; larger ones are wrapped to 32 bits first."""
EXACT = 2**52


@dataclass(frozen=True)
class Layout:
    """Columns of every part of a program in the flat tensors."""

    binary: Mapping[str, range]  # axons of every input and population, as spikes
    graded: Mapping[str, range]  # the same, as payloads
    neuron: Mapping[str, range]
    inputs: int  # columns of input axons; neuron n sends on axon inputs + n
    lif: int  # LIF neurons
    neurons: int

    @classmethod
    def of(cls, program: Program) -> Layout:
        inputs = [(axons.name, axons.size) for axons in program.inputs]
        binary, start = ranges(inputs, 0)
        graded, start = ranges(inputs, start)
        cells = [(p.name, p.size) for kind in ("lif", "relay") for p in program.populations if p.kind == kind]
        neuron, neurons = ranges(cells, 0)
        sent, _ = ranges(cells, start)
        lif = sum(p.size for p in program.populations if p.kind == "lif")
        return cls({**binary, **sent}, {**graded, **sent}, neuron, start, lif, neurons)

    def source(self, name: str, num_message_bits: int) -> range:
        """Axons that a projection listens to."""
        return (self.graded if num_message_bits else self.binary)[name]

    def carries_payload(self, axons: range) -> bool:
        """False where these axons send 0 and 1 only."""
        spikes_only = axons.start < self.inputs // 2 or self.inputs <= axons.start < self.inputs + self.lif
        return not spikes_only


def ranges(parts: Iterable[tuple[str, int]], start: int) -> tuple[dict[str, range], int]:
    """Consecutive ranges for parts of given sizes, and where they end."""
    placed = {}
    for name, size in parts:
        placed[name] = range(start, start + size)
        start += size
    return placed, start


class Columns(nn.Module):
    """Some columns of a flat tensor, in the order given."""

    index: Tensor

    def __init__(self, parts: Sequence[range]) -> None:
        super().__init__()
        columns = np.concatenate([np.asarray(part) for part in parts])
        self.size = len(columns)
        first = int(columns[0])
        whole = np.array_equal(columns, np.arange(first, first + self.size))
        self.slice = slice(first, first + self.size) if whole else None
        self.register_buffer("index", torch.from_numpy(columns), persistent=False)

    def of(self, flat: Tensor) -> Tensor:
        """[batch, columns] of [batch, all]."""
        return flat.index_select(1, self.index) if self.slice is None else flat[:, self.slice]

    def add(self, flat: Tensor, values: Tensor) -> None:
        """Add values [batch, columns] in place."""
        if self.slice is None:
            flat.index_add_(1, self.index, values)
        else:
            flat[:, self.slice] += values

    def add_product(self, flat: Tensor, left: Tensor, right: Tensor) -> None:
        """Add left @ right in place."""
        if self.slice is None:
            self.add(flat, left @ right)
        else:
            flat[:, self.slice].addmm_(left, right)


def quantised(weights: Tensor, projection: Projection) -> Tensor:
    """`arithmetic.quantise_weights` of the nearest integers; where that clips, the gradient passes too."""
    mixed = projection.sign_mode == "mixed"
    sign = -1.0 if projection.sign_mode == "inhibitory" else 1.0
    unit = 2.0 ** (8 - projection.num_weight_bits + mixed)

    def quantise(weights: Tensor) -> Tensor:
        clipped = (sign * torch.round(weights)).clamp(-LARGEST_WEIGHT if mixed else 0, LARGEST_WEIGHT - 1)
        return sign * unit * torch.floor(clipped / unit)

    return straight(weights, quantise)


class Synapses(nn.Module):
    """Where a projection's weights of one delay lie in the matrix of its block."""

    scale: Tensor

    def __init__(self, projection: Projection, delay: int, rows: slice, columns: slice) -> None:
        super().__init__()
        self.name, self.rows, self.columns = projection.name, rows, columns
        delays = np.broadcast_to(np.asarray(projection.delays), projection.weights.shape)
        scale = (delay == delays.T) * 2.0 ** max(0, projection.weight_exp)
        self.register_buffer("scale", torch.from_numpy(scale), persistent=False)

    def add_to(self, matrix: Tensor, weights: Tensor) -> None:
        """Add weights [post, pre]."""
        matrix[self.rows, self.columns] += weights.T * self.scale


class Block(nn.Module):
    """Projections of one delay from the same sources to the same targets: one matrix [sources, targets]."""

    fixed: Tensor

    def __init__(
        self, layout: Layout, delay: int, projections: Sequence[Projection], trained: Collection[str]
    ) -> None:
        super().__init__()
        self.delay, self.exponent = delay, min(0, projections[0].weight_exp)
        listens = {p.name: layout.source(p.source, p.num_message_bits) for p in projections}
        drives = {p.name: layout.neuron[p.target] for p in projections}
        self.parts = sorted(set(listens.values()), key=lambda axons: axons.start)
        targets = sorted(set(drives.values()), key=lambda neurons: neurons.start)
        self.sources, self.targets = Columns(self.parts), Columns(targets)
        fixed = torch.zeros(self.sources.size, self.targets.size, dtype=torch.float64)
        self.trained = nn.ModuleList()
        rows, columns = _places(self.parts), _places(targets)
        bound = 0
        for p in projections:
            synapses = Synapses(p, delay, rows[listens[p.name]], columns[drives[p.name]])
            if p.name in trained:
                self.trained.append(synapses)
            else:
                weights = quantise_weights(p.weights, p.sign_mode, p.num_weight_bits)
                synapses.add_to(fixed, torch.from_numpy(weights).double())
            largest = LARGEST_PAYLOAD if layout.carries_payload(listens[p.name]) else 1
            bound += (LARGEST_WEIGHT << max(0, p.weight_exp)) * p.weights.shape[1] * largest
        if bound >= EXACT:
            raise RunError(
                f"{projections[0].name}: {self.sources.size} axons with payloads may sum to {bound:.3g}, the "
                "exact mode computes up to 2^52: use fewer message bits, or the emulator"
            )
        self.plain = bound < SMALL and self.exponent == 0
        self.register_buffer("fixed", fixed, persistent=False)

    def matrix(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The block's matrix with these weights of trained projections."""
        if not self.trained:
            return self.fixed
        matrix = self.fixed.clone()
        for synapses in self.trained:
            assert isinstance(synapses, Synapses)
            synapses.add_to(matrix, weights[synapses.name])
        return matrix

    def send(self, payloads: Tensor, matrix: Tensor, arriving: Tensor) -> None:
        """Add to the input [batch, neurons], modulo 2^32, what the payloads [batch, axons] bring."""
        sent = self.sources.of(payloads)
        if self.plain:
            self.targets.add_product(arriving, sent, matrix)
        else:
            self.targets.add(arriving, torch.floor(wrap(sent @ matrix) * 2.0**self.exponent))


def blocks(program: Program, layout: Layout, trained: Collection[str]) -> list[Block]:
    """All fixed projections of a program, merged."""
    apart: dict[tuple[range, int, str], list[Projection]] = defaultdict(list)
    for p in program.projections:
        for delay in np.unique(p.delays).tolist():
            floors = p.name if p.weight_exp < 0 else ""
            apart[layout.source(p.source, p.num_message_bits), delay, floors].append(p)
    merged: dict[tuple[int, str, bool, frozenset[str]], list[Projection]] = defaultdict(list)
    for (axons, delay, floors), projections in apart.items():
        targets = frozenset(p.target for p in projections)
        merged[delay, floors, layout.carries_payload(axons), targets] += projections
    return [Block(layout, key[0], projections, trained) for key, projections in merged.items()]


def _places(parts: Sequence[range]) -> dict[range, slice]:
    """Where parts lie when they are put side by side."""
    ends = np.cumsum([len(part) for part in parts]).tolist()
    return {part: slice(end - len(part), end) for part, end in zip(parts, ends, strict=True)}


Sending = list[tuple[Block, int]]
"""Blocks that bring something to this step, and the number of the payloads they read."""


def arriving(
    sending: Sending, payloads: Sequence[Tensor], matrices: Sequence[Tensor], silence: Tensor
) -> Tensor:
    """Input [batch, neurons] of a step, modulo 2^32, with the gradient of a sum without floor."""
    if torch.is_grad_enabled():
        summed: Tensor = _Arriving.apply(sending, silence, len(payloads), *payloads, *matrices)  # type: ignore[no-untyped-call]
        return summed
    return _sum(sending, payloads, matrices, silence)


def _sum(sending: Sending, payloads: Sequence[Tensor], matrices: Sequence[Tensor], silence: Tensor) -> Tensor:
    total = torch.zeros_like(silence)
    for (block, number), matrix in zip(sending, matrices, strict=True):
        block.send(payloads[number], matrix, total)
    return total


class _Arriving(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sending: Sending, silence: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.sending, ctx.count = sending, count
        ctx.save_for_backward(*tensors)
        return _sum(sending, tensors[:count], tensors[count:], silence)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        payloads, matrices = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        wanted = ctx.needs_input_grad[3:]
        d_payloads = [torch.zeros_like(p) if wanted[i] else None for i, p in enumerate(payloads)]
        d_matrices: list[Tensor | None] = [None] * len(matrices)
        for i, (block, number) in enumerate(ctx.sending):
            d_total = block.targets.of(grads[0]) * 2.0**block.exponent
            d_payload = d_payloads[number]
            if d_payload is not None:
                block.sources.add_product(d_payload, d_total, matrices[i].T)
            if wanted[ctx.count + i]:
                d_matrices[i] = block.sources.of(payloads[number]).T @ d_total
        return None, None, None, *d_payloads, *d_matrices
