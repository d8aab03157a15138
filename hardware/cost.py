"""What a run cost: counted operations under NeuroBench's names, and an estimate of the energy.

    Recording.operations --costs--> operations per stream          --energy--> pJ per stream, an estimate

Names and definitions are those of NeuroBench, where it has them (Yik et al., Nature Communications 2025,
arXiv 2304.04640; neurobench 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hardware.arithmetic import quantise_weights
from hardware.checks import IntArray
from hardware.errors import RunError
from hardware.fits import load_chip, synapse_bits
from hardware.program import PlasticProjection, Program, Projection
from hardware.recording import Operations, Recording

Float = npt.NDArray[np.floating[Any]]

STATE_BITS = 24
"""Width of u and v."""
TRACE_BITS = 7
BIAS_BITS = 13


@dataclass(frozen=True, eq=False)
class Costs:
    """Costs of a run; arrays are [batch], one number per stream.

    Args:
        effective_acs: synaptic operations of spikes without payload: additions.
        effective_macs: those of spikes with a payload: multiplications and additions.
        dense: synaptic operations if every neuron fired at every step and weights of 0 counted.
        membrane_updates: neurons updated. NeuroBench counts only updates that change the membrane, so this is
            an upper bound of its number.
        plastic_updates: learning rules evaluated; not in NeuroBench.
        activation_sparsity: 1 - spikes / (neurons * steps), of the populations.
        connection_sparsity: share of synapses of weight 0, before the first step.
        parameter_count: synapses and, where a population has one per neuron, biases.
        footprint: bytes of the deployed network, see `footprint`.
    """

    effective_acs: IntArray
    effective_macs: IntArray
    dense: int
    membrane_updates: IntArray
    plastic_updates: IntArray
    activation_sparsity: Float
    connection_sparsity: float
    parameter_count: int
    footprint: int

    def rows(self, questions: int | None = None) -> list[tuple[str, int]]:
        """(NeuroBench's name or ours, mean per stream), or per question if `questions` were asked in all."""
        count = questions or len(self.effective_acs)
        per = {
            "Effective_ACs": self.effective_acs,
            "Effective_MACs": self.effective_macs,
            "Dense": np.full(len(self.effective_acs), self.dense),
            "Membrane updates": self.membrane_updates,
            "Plastic updates": self.plastic_updates,
        }
        return [(name, round(int(values.sum()) / count)) for name, values in per.items()]

    def whole_rows(self) -> list[tuple[str, int | float]]:
        """What is of the program and the run as a whole."""
        return [
            ("Activation sparsity", round(float(self.activation_sparsity.mean()), 4)),
            ("Connection sparsity", round(self.connection_sparsity, 4)),
            ("Parameter count", self.parameter_count),
            ("Footprint, bytes", self.footprint),
        ]


@dataclass(frozen=True, eq=False)
class Energy:
    """Energy of a run in pJ per stream, [batch]: an estimate from published constants, never a measurement.

    Args:
        synaptic, plastic, spikes: of synaptic operations, of learning and of sending spikes.
        neurons_inactive, neurons_active: of neuron updates, if all of them are inactive or active.
    """

    synaptic: Float
    plastic: Float
    spikes: Float
    neurons_inactive: Float
    neurons_active: Float

    @property
    def low(self) -> Float:
        """Sum, if no neuron update is active."""
        return self.synaptic + self.plastic + self.spikes + self.neurons_inactive

    @property
    def high(self) -> Float:
        """Sum, if all neuron updates are active."""
        return self.synaptic + self.plastic + self.spikes + self.neurons_active


def costs(program: Program, recording: Recording) -> Costs:
    """Costs of a run of this program.

    dense = steps * sum over projections of post * pre
    effective_macs = operations.graded, effective_acs = operations.synaptic - operations.graded

    Raises:
        RunError: the runner counts no operations, or it ran a program of other parts.
    """
    operations = _counted(recording)
    if operations.names != tuple(program.sizes):
        raise RunError(f"the recording is not of the program {program.name!r}: give the program that was run")
    projections = _projections(program)
    inputs = len(program.inputs)
    neurons = sum(population.size for population in program.populations)
    spikes = operations.spikes[:, inputs:].sum(axis=1)
    zeros = sum(int(np.count_nonzero(_deployed(projection) == 0)) for projection in projections)
    synapses = sum(projection.weights.size for projection in projections)
    biases = sum(p.size for p in program.populations if isinstance(p.bias_mant, np.ndarray))
    return Costs(
        effective_acs=operations.synaptic - operations.graded,
        effective_macs=operations.graded,
        dense=recording.steps * synapses,
        membrane_updates=operations.neuron,
        plastic_updates=operations.plastic,
        activation_sparsity=1 - spikes / max(1, neurons * recording.steps),
        connection_sparsity=zeros / max(1, synapses),
        parameter_count=synapses + biases,
        footprint=footprint(program),
    )


def footprint(program: Program, chip: str = "loihi2") -> int:
    """Bytes of the deployed network, parameters and state of one stream, rounded up.

    bits = sum over stored synapses of weight + delay + tag bits
         + 48 per LIF neuron (u and v), 13 more where every neuron has its own bias
         + 7 per trace that the rule uses: x1, x2 of every source neuron, y1, y2, y3 of every target neuron

    Synapses are stored as in `hardware.fits`, without the indices and headers of the chip's memory; constants
    that a population or projection shares are not counted.
    """
    limits = load_chip(chip)
    bits = 0
    for population in program.populations:
        bits += 2 * STATE_BITS * population.size if population.kind == "lif" else 0
        bits += BIAS_BITS * population.size if isinstance(population.bias_mant, np.ndarray) else 0
    for projection in _projections(program):
        sparse = isinstance(projection, Projection) and projection.storage == "sparse"
        weights = projection.weights
        stored = int(np.count_nonzero(_deployed(projection))) if sparse else weights.size
        bits += stored * synapse_bits(projection, limits)
        if isinstance(projection, PlasticProjection):
            post, pre = weights.shape
            sizes = {"x1": pre, "x2": pre, "y1": post, "y2": post, "y3": post}
            bits += TRACE_BITS * sum(size for trace, size in sizes.items() if projection.rule.uses(trace))
    return -(-bits // 8)


def energy(operations: Operations, chip: str = "loihi1", hops: int = 0) -> Energy:
    """Energy of counted operations: an estimate, never a measurement.

    E = 23.6 pJ * synaptic operations + 120 pJ * plastic updates + (1.7 pJ + hops * 4.0 pJ) * spikes
        + 52 pJ (inactive) .. 81 pJ (active) * neuron updates

    The constants are those of the chip's data file, for Loihi 1 from Davies et al. 2018, IEEE Micro
    38(1):82-99, table 2: simulated, at 0.75 V, the minimum of a synaptic operation. It leaves out idle power,
    the embedded processors, input and output, graded payloads, and spikes that are sent to several cores.

    Args:
        hops: tiles that a spike crosses on its way, each at the cost of the dearer direction.

    Raises:
        RunError: there is no such chip, nothing is published for it, or hops < 0.
    """
    cost = load_chip(chip).energy
    if not cost:
        raise RunError(f"no energy per operation of {chip!r} is published: use 'loihi1'")
    if hops < 0:
        raise RunError(f"hops is {hops}: give at least 0")
    per_spike = cost["spike"] + hops * max(cost["east_west_hop"], cost["north_south_hop"])
    return Energy(
        synaptic=cost["synaptic_operation"] * operations.synaptic,
        plastic=cost["plastic_update"] * operations.plastic,
        spikes=per_spike * operations.spikes.sum(axis=1),
        neurons_inactive=cost["inactive_neuron_update"] * operations.neuron,
        neurons_active=cost["active_neuron_update"] * operations.neuron,
    )


def _counted(recording: Recording) -> Operations:
    if recording.operations is None:
        raise RunError(f"the runner {recording.runner!r} counts no operations: use the emulator")
    return recording.operations


def _projections(program: Program) -> tuple[Projection | PlasticProjection, ...]:
    return (*program.projections, *program.plastic)


def _deployed(projection: Projection | PlasticProjection) -> npt.NDArray[np.int32]:
    return quantise_weights(projection.weights, projection.sign_mode, projection.num_weight_bits)
