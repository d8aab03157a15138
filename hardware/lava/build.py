"""A program as Lava Processes: one description, which the runtime connects and `models` steps by hand.

Every number of the program is passed on explicitly, for what Lava would guess or default depends on the data
or on its version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from hardware.errors import RunError
from hardware.lava import stock
from hardware.program import GRADED_MODES, PlasticProjection, Population, Program, Projection

SIGN_MODES = {
    "mixed": stock.SignMode.MIXED,
    "excitatory": stock.SignMode.EXCITATORY,
    "inhibitory": stock.SignMode.INHIBITORY,
}
TRACES = ("x1", "x2", "y1", "y2", "y3")


@dataclass(frozen=True)
class Wire:
    """An output port of one part of the program, connected to an input port of another."""

    source: str
    output: str
    target: str
    input: str


def processes(program: Program) -> dict[str, Any]:
    """Part -> a new Lava Process of it, for all populations and projections. Raises RunError."""
    parts = {population.name: _population(population) for population in program.populations}
    parts |= {projection.name: _projection(projection) for projection in program.projections}
    parts |= {projection.name: _plastic(projection) for projection in program.plastic}
    return parts


def source(name: str, payloads: npt.NDArray[np.integer[Any]]) -> Any:
    """The RingBuffer that sends payloads [steps, size] once. Raises RunError."""
    # a RingBuffer starts again at its end, so it must be as long as the run
    process = _make(stock.RingBuffer, name, data=np.ascontiguousarray(payloads.T, dtype=np.int64))
    process.name = name
    return process


def wires(program: Program) -> list[Wire]:
    """How the Lava Processes of a program and the sources of its inputs are connected."""
    connected = []
    projections: tuple[Projection | PlasticProjection, ...] = (*program.projections, *program.plastic)
    for projection in projections:
        connected.append(Wire(projection.source, "s_out", projection.name, "s_in"))
        connected.append(Wire(projection.name, "a_out", projection.target, "a_in"))
    for plastic in program.plastic:
        connected.append(Wire(plastic.target, "s_out", plastic.name, "s_in_bap"))
        for trace, factor in zip(TRACES[2:], plastic.third_factors, strict=True):
            if factor:
                connected.append(Wire(factor, "s_out", plastic.name, f"s_in_{trace}"))
    return connected


def _population(population: Population) -> Any:
    shape = (population.size,)
    if population.kind == "relay":
        process = _make(stock.GradedVec, population.name, shape=shape, vth=population.vth, exp=0)
        process.name = population.name
        return process
    kind, reset = stock.LIF, {}
    if population.reset_interval:
        kind = stock.LIFReset
        reset = {"reset_interval": population.reset_interval, "reset_offset": population.reset_offset}
    return _make(
        kind,
        population.name,
        shape=shape,
        u=0,
        v=0,
        du=population.du,
        dv=population.dv,
        bias_mant=np.broadcast_to(population.bias_mant, shape).copy(),
        bias_exp=population.bias_exp,
        vth=population.vth,
        name=population.name,
        **reset,
    )


def _projection(projection: Projection) -> Any:
    synapses = _synapses(projection)
    delays = np.broadcast_to(projection.delays, projection.weights.shape).copy()
    longest = int(delays.max())
    if projection.storage == "sparse":
        synapses["weights"] = csr_matrix(synapses["weights"])
        if not longest:
            return _make(stock.Sparse, **synapses)
        delays = csr_matrix(np.where(projection.weights != 0, delays, 0))
        return _make(stock.DelaySparse, delays=delays, max_delay=longest, **synapses)
    if not longest:
        return _make(stock.Dense, **synapses)
    return _make(stock.DelayDense, delays=delays, max_delay=longest, **synapses)


def _plastic(projection: PlasticProjection) -> Any:
    return _make(
        stock.LearningDense,
        learning_rule=_rule(projection),
        graded_spike_cfg=stock.GradedSpikeCfg(GRADED_MODES.index(projection.graded)),
        **_synapses(projection),
    )


def _rule(projection: PlasticProjection) -> Any:
    """A rule object of its own: Lava changes it, and it carries the seed."""
    rule = projection.rule
    traces = TRACES[:2] if projection.three_factor else TRACES
    kind = stock.Loihi3FLearningRule if projection.three_factor else stock.Loihi2FLearningRule
    numbers = {
        f"{trace}_{part}": getattr(rule, f"{trace}_{part}") for trace in traces for part in ("impulse", "tau")
    }
    texts = {target: getattr(rule, target) or None for target in ("dw", "dd", "dt")}
    return _make(kind, projection.name, t_epoch=rule.t_epoch, rng_seed=projection.seed, **numbers, **texts)


def _synapses(projection: Projection | PlasticProjection) -> dict[str, Any]:
    return {
        "owner": projection.name,
        "name": projection.name,
        "weights": np.array(projection.weights),
        "weight_exp": projection.weight_exp,
        "num_weight_bits": projection.num_weight_bits,
        "sign_mode": SIGN_MODES[projection.sign_mode],
        "num_message_bits": projection.num_message_bits,
    }


def _make(kind: Any, owner: str, **parameters: Any) -> Any:
    """kind(**parameters). Raises RunError for a float among them: Lava runs it, with other results."""
    for name, value in parameters.items():
        if _is_float(value):
            raise RunError(f"{owner}: {name} is {value!r}, but {kind.__name__} must be given integers")
    return kind(**parameters)


def _is_float(value: object) -> bool:
    dtype: Any = getattr(value, "dtype", None)
    return isinstance(value, float) or (dtype is not None and dtype.kind not in "iu")
