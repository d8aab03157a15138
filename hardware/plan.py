"""A program as flat tables, for the kernels: offsets instead of names, quantised and shifted weights.

Neurons of all populations are numbered in the program's order; so are sources, input axons first. The
synapses of a projection are split into blocks of one delay each, dense or, where few are nonzero, sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hardware import arithmetic
from hardware.program import GRADED_MODES, PlasticProjection, Program, Projection
from hardware.rules import FACTOR_BITS, ChipProduct
from hardware.state import slots

Ints = npt.NDArray[np.int64]
Table = Any
"""A structured array: rows of named columns."""

TRACES = ("x1", "x2", "y1", "y2", "y3")
DEPENDENCIES = ("x0", "y0", "u")
FACTORS = ("x0", "y0", *TRACES, "w", "t", "d")
TARGETS = ("weights", "tag_1", "tag_2")
PROBED = ("spikes", "u", "v", *TARGETS, *TRACES)
SPARSE_BELOW = 0.3
"""Share of nonzero synapses below which a block is walked synapse by synapse."""

POPULATION = {
    "start": np.int64,  # first neuron
    "size": np.int64,
    "output": np.int64,  # first neuron among the axons and neurons of all sources
    "pending": np.int64,  # start of the ring buffer of its input
    "slots": np.int64,
    "slot": np.int64,  # its first slot among those of all
    "relay": np.bool_,
    "biased": np.bool_,
    "vth": np.int64,
    "u_kept": np.float64,  # share of u that outlives a step, (4095 - du) / 4096: exact in binary
    "v_kept": np.float64,
    "reset_interval": np.int64,
    "reset_offset": np.int64,
    "payload_limit": np.int64,  # largest magnitude of a payload that all its projections carry
}
BLOCK = {
    "target": np.int64,
    "delay": np.int64,
    "graded": np.bool_,
    "shift": np.int64,  # right shift of the summed weights; left shifts are in the weights
    "sparse": np.bool_,
    "weights": np.int64,  # dense: start of [pre, post] weights
    "rows": np.int64,  # sparse: start of its row starts, one per pre neuron and one more
}
PLASTIC = {
    "source": np.int64,
    "target": np.int64,
    "pre": np.int64,
    "post": np.int64,
    "synapse": np.int64,  # start of [pre, post] weights
    "pre_start": np.int64,
    "post_start": np.int64,
    "tag_1": np.int64,  # start of [pre, post] tags, -1 for a tag that the rule does not change
    "tag_2": np.int64,
    "low": np.int64,  # limits of the weights
    "high": np.int64,
    "graded": np.bool_,
    "mode": np.int64,  # index into GRADED_MODES
    "exponent": np.int64,
    "epoch": np.int64,
    "decimation": np.int64,  # the dependency u is 1 in every so many epochs
    "x0": np.bool_,  # some product depends on x0, on y0, on u
    "y0": np.bool_,
    "u": np.bool_,
    "needs_x0": np.bool_,  # every product has x0, y0 as a factor
    "needs_y0": np.bool_,
    "gated": np.bool_,  # every product has some spike or trace as a factor
    "everywhere": np.bool_,  # the rule is evaluated at all synapses in every epoch
    "three_factor": np.bool_,
    "product": np.int64,  # first product of weights, then of tag_1, of tag_2, of the next projection
    "product_1": np.int64,
    "product_2": np.int64,
    "product_3": np.int64,
}
TRACE = {
    "impulse": np.int64,
    "kept": np.float64,  # exp(-1 / tau), 0 for tau 0
    "needed": np.bool_,  # every product has it as a factor
    "third": np.int64,  # output of the population that sets it, -1 for none
}
PRODUCT = {
    "dependency": np.int64,
    "mantissa": np.int64,
    "right": np.int64,
    "left": np.int64,  # exponent + 7
    "factor": np.int64,  # first factor, and first of the next product
    "end": np.int64,
}
FACTOR = {"variable": np.int64, "constant": np.int64, "low": np.int64, "high": np.int64}
PROBE = {
    "variable": np.int64,
    "part": np.int64,
    "every": np.int64,
    "offset": np.int64,
    "size": np.int64,
    "binary": np.bool_,
}


class Plan(NamedTuple):
    """A program for the kernels."""

    inputs: Ints
    """Where each input's axons start, and where the last ends."""
    sources: Ints
    """Where each source's axons or neurons start, and where the last ends."""
    populations: Table
    bias: npt.NDArray[np.int32]
    """Bias of every neuron, shifted."""
    blocks: Table
    first_block: Ints
    """Blocks of source s are first_block[s] .. first_block[s + 1] - 1."""
    weights: npt.NDArray[np.int16]
    """Dense blocks: [pre, post]; sparse ones: nonzero weights, pre by pre."""
    post: npt.NDArray[np.int32]
    """Post neuron of every weight of a sparse block; 0 in dense ones."""
    rows: Ints
    """Where the weights of each pre neuron of a sparse block start."""
    fan_out: Ints
    """Fixed synapses of nonzero weight of every source axon or neuron."""
    graded_fan_out: Ints
    """Those of them that see payloads."""
    plastic: Table
    traces: Table
    """Five rows per plastic projection, x1 to y3."""
    products: Table
    factors: Table
    probes: Table


def build(program: Program) -> Plan:
    """The program's tables."""
    sizes = np.array(list(program.sizes.values()), dtype=np.int64)
    inputs = len(program.inputs)
    index = {name: number - inputs for number, name in enumerate(program.sizes)}
    sources = _starts(sizes)
    products = [
        product for part in program.plastic for target in TARGETS for product in _series(part, target)
    ]
    bias = [
        np.broadcast_to(np.asarray(part.bias_mant) << part.bias_exp, part.size)
        for part in program.populations
    ]
    return Plan(
        inputs=_starts(sizes[:inputs]),
        sources=sources,
        populations=_populations(program, sources[inputs:]),
        bias=_joined(bias, np.int32),
        **_blocks(program, sizes, index),
        plastic=_plastic(program, index),
        traces=_traces(program, index, sources[inputs:]),
        products=_products(products),
        factors=_factors(products),
        probes=_probes(program, index),
    )


def payload_limit(program: Program, source: str) -> int:
    """Largest magnitude of a payload that all graded projections of a source carry."""
    projections: tuple[Projection | PlasticProjection, ...] = (*program.projections, *program.plastic)
    graded = [part for part in projections if part.source == source and part.num_message_bits]
    widths = [part.num_message_bits for part in graded]
    return int((1 << min(widths, default=24)) - 1)


def _table(columns: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Table:
    table = np.zeros(len(rows), dtype=list(columns.items()))
    for number, row in enumerate(rows):
        table[number] = tuple(row[name] for name in columns)
    return table


def _starts(sizes: Any) -> Ints:
    """Where each of consecutive pieces starts, and where the last ends."""
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))]).astype(np.int64)


def _joined(pieces: Sequence[npt.NDArray[Any]], kind: type[np.integer[Any]]) -> npt.NDArray[Any]:
    return np.concatenate([*pieces, np.zeros(0, dtype=kind)]).astype(kind)


def _populations(program: Program, output: Ints) -> Table:
    depth = slots(program)
    rows = []
    start = pending = slot = 0
    for number, part in enumerate(program.populations):
        rows.append(
            {
                "start": start,
                "size": part.size,
                "output": output[number],
                "pending": pending,
                "slots": depth[part.name],
                "slot": slot,
                "relay": part.kind == "relay",
                "biased": bool(np.any(part.bias_mant)),
                "vth": part.vth,
                "u_kept": (4095 - part.du) / 4096,
                "v_kept": (4096 - part.dv) / 4096,
                "reset_interval": part.reset_interval,
                "reset_offset": part.reset_offset,
                "payload_limit": payload_limit(program, part.name),
            }
        )
        start += part.size
        pending += part.size * depth[part.name]
        slot += depth[part.name]
    return _table(POPULATION, rows)


def _blocks(program: Program, sizes: Ints, index: dict[str, int]) -> dict[str, Any]:
    fan_out = [np.zeros(size, dtype=np.int64) for size in sizes]
    graded_fan_out = [np.zeros(size, dtype=np.int64) for size in sizes]
    blocks: list[dict[str, Any]] = []
    weights: list[npt.NDArray[np.int16]] = []
    post: list[npt.NDArray[np.int32]] = []
    rows: list[Ints] = []
    first, entries, row_entries = [0], 0, 0
    for number, name in enumerate(program.sizes):
        for projection in (part for part in program.projections if part.source == name):
            for delay, block in _by_delay(projection):
                nonzero = np.count_nonzero(block, axis=1)
                graded = projection.num_message_bits > 0
                fan_out[number] += nonzero
                graded_fan_out[number] += nonzero if graded else 0
                shifted = (block << max(0, projection.weight_exp)).astype(np.int16)
                sparse = int(nonzero.sum()) < SPARSE_BELOW * block.size
                blocks.append(
                    {
                        "target": index[projection.target],
                        "delay": delay,
                        "graded": graded,
                        "shift": max(0, -projection.weight_exp),
                        "sparse": sparse,
                        "weights": entries,
                        "rows": row_entries,
                    }
                )
                if sparse:
                    pre_index, post_index = np.nonzero(block)
                    weights.append(shifted[pre_index, post_index])
                    post.append(post_index.astype(np.int32))
                    rows.append(_starts(nonzero) + entries)
                    row_entries += len(rows[-1])
                else:
                    weights.append(shifted.ravel())
                    post.append(np.zeros(shifted.size, dtype=np.int32))
                entries += len(weights[-1])
        first.append(len(blocks))
    return {
        "blocks": _table(BLOCK, blocks),
        "first_block": np.array(first, dtype=np.int64),
        "weights": _joined(weights, np.int16),
        "post": _joined(post, np.int32),
        "rows": _joined(rows, np.int64),
        "fan_out": _joined(fan_out, np.int64),
        "graded_fan_out": _joined(graded_fan_out, np.int64),
    }


def _by_delay(projection: Projection) -> list[tuple[int, npt.NDArray[np.int32]]]:
    """Quantised weights [pre, post] of every delay that has any."""
    weights = arithmetic.quantise_weights(
        projection.weights, projection.sign_mode, projection.num_weight_bits
    )
    delays = np.broadcast_to(np.asarray(projection.delays), weights.shape)
    split = [(int(delay), np.where(delays == delay, weights, 0).T) for delay in np.unique(delays)]
    return [(delay, block) for delay, block in split if block.any()]


def _plastic(program: Program, index: dict[str, int]) -> Table:
    names = list(program.sizes)
    rows = []
    synapse = pre_start = post_start = tags = product = 0
    for part in program.plastic:
        post, pre = part.weights.shape
        products, needed = _all(part), part.rule.gates
        low, high = arithmetic.WEIGHT_LIMITS[part.sign_mode]
        row: dict[str, Any] = {
            "source": names.index(part.source),
            "target": index[part.target],
            "pre": pre,
            "post": post,
            "synapse": synapse,
            "pre_start": pre_start,
            "post_start": post_start,
            "low": low,
            "high": high,
            "graded": part.num_message_bits > 0,
            "mode": GRADED_MODES.index(part.graded),
            "exponent": part.weight_exp,
            "epoch": part.rule.t_epoch,
            "decimation": max((1 << p.decimation for p in products if p.dependency == "u"), default=1),
            "needs_x0": "x0" in needed,
            "needs_y0": "y0" in needed,
            "gated": bool(needed),
            # a tag of -257 lies beyond the accumulator, so that even a change of 0 moves it
            "everywhere": "tag_1" in part.rule.series,
            "three_factor": part.three_factor,
            "product": product,
        }
        row |= {name: any(p.dependency == name for p in products) for name in DEPENDENCIES}
        for tag in ("tag_1", "tag_2"):
            row[tag] = tags if tag in part.rule.series else -1
            tags += pre * post if tag in part.rule.series else 0
        for number, target in enumerate(TARGETS):
            product += len(_series(part, target))
            row[f"product_{number + 1}"] = product
        rows.append(row)
        synapse, pre_start, post_start = synapse + pre * post, pre_start + pre, post_start + post
    return _table(PLASTIC, rows)


def _traces(program: Program, index: dict[str, int], output: Ints) -> Table:
    rows = []
    for part in program.plastic:
        thirds = dict(zip(TRACES[2:], part.third_factors, strict=True))
        for trace in TRACES:
            third = thirds.get(trace)
            tau = getattr(part.rule, f"{trace}_tau")
            if part.three_factor and trace in thirds:
                tau = arithmetic.THIRD_FACTOR_TAU
            rows.append(
                {
                    "impulse": getattr(part.rule, f"{trace}_impulse"),
                    "kept": arithmetic.kept(tau),
                    "needed": trace in part.rule.gates,
                    "third": output[index[third]] if third else -1,
                }
            )
    return _table(TRACE, rows)


def _products(products: Sequence[ChipProduct]) -> Table:
    starts = _starts([len(product.factors) for product in products])
    return _table(
        PRODUCT,
        [
            {
                "dependency": DEPENDENCIES.index(product.dependency),
                "mantissa": product.mantissa,
                "right": min(product.shift, 63),  # a processor shifts modulo 64
                "left": product.exponent + arithmetic.WEIGHT_FRACTION_BITS,
                "factor": starts[number],
                "end": starts[number + 1],
            }
            for number, product in enumerate(products)
        ],
    )


def _factors(products: Sequence[ChipProduct]) -> Table:
    return _table(
        FACTOR,
        [
            {
                "variable": FACTORS.index(factor.variable),
                "constant": int(factor.constant),
                "low": -(1 << FACTOR_BITS[factor.variable]),
                "high": (1 << FACTOR_BITS[factor.variable]) - 1,
            }
            for product in products
            for factor in product.factors
        ],
    )


def _series(part: PlasticProjection, target: str) -> tuple[ChipProduct, ...]:
    return part.rule.series.get(target, ())


def _all(part: PlasticProjection) -> list[ChipProduct]:
    return [product for target in TARGETS for product in _series(part, target)]


def _probes(program: Program, index: dict[str, int]) -> Table:
    plastic = {part.name: number for number, part in enumerate(program.plastic)}
    relays = {part.name for part in program.populations if part.kind == "relay"}
    rows = []
    for probe in program.probes:
        if probe.target in plastic:
            number = plastic[probe.target]
            post, pre = program.plastic[number].weights.shape
            size = {"x": pre, "y": post}.get(probe.variable[0], post * pre)
        else:
            number, size = index[probe.target], program.sizes[probe.target]
        rows.append(
            {
                "variable": PROBED.index(probe.variable),
                "part": number,
                "every": probe.every,
                "offset": probe.offset % probe.every,
                "size": size,
                "binary": probe.variable == "spikes" and probe.target not in relays,
            }
        )
    return _table(PROBE, rows)
