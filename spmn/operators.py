"""The network's inner loops as torch operators, so that torch.compile and autograd know them.

`spmn::lif`, `spmn::memory_scan`, `spmn::standardise` and `spmn::level`, a whole memory level, each with a
backward operator, run on CPU tensors by numba (`kernels`, `projection_kernels`, `level_kernels`) and on CUDA
tensors by triton (`gpu_kernels`, `gpu_projection_kernels`, `gpu_level_kernels`). `spmn::project` is for CPUs
alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spmn import kernels, level_kernels, projection_kernels
from spmn.settings import require

_TYPES = (torch.float32, torch.bfloat16, torch.float16)
_TRITON = importlib.util.find_spec("triton") is not None


def supports(x: Tensor) -> bool:
    """Whether there are kernels for tensors like x; elsewhere the plain torch form has to do."""
    device = x.device.type
    return x.dtype in _TYPES and (device == "cpu" or (device == "cuda" and _TRITON))


# --------------------------------------------------------------------------------------------- LIF


@torch.library.custom_op("spmn::lif", mutates_args=(), device_types="cpu")
def lif(current: Tensor, dv: float, slope: float) -> Tensor:
    """`neurons.lif` where `supports(current)`: float32 potentials, spikes of the current's type."""
    return kernels.lif_forward(current.float(), dv).to(current.dtype)


@torch.library.custom_op("spmn::lif_backward", mutates_args=(), device_types="cpu")
def lif_backward(grad: Tensor, current: Tensor, dv: float, slope: float) -> Tensor:
    """Gradient of the current, given that of the spikes. The potentials are computed again."""
    return kernels.lif_backward(grad.float(), current.float(), dv, slope).to(current.dtype)


@lif.register_kernel("cuda")
def _(current: Tensor, dv: float, slope: float) -> Tensor:
    from spmn import gpu_kernels

    return gpu_kernels.lif_forward(current, dv)


@lif_backward.register_kernel("cuda")
def _(grad: Tensor, current: Tensor, dv: float, slope: float) -> Tensor:
    from spmn import gpu_kernels

    return gpu_kernels.lif_backward(grad, current, dv, slope)


@lif.register_fake
def _(current: Tensor, dv: float, slope: float) -> Tensor:
    return current.new_empty(current.shape)


@lif_backward.register_fake
def _(grad: Tensor, current: Tensor, dv: float, slope: float) -> Tensor:
    return current.new_empty(current.shape)


def _keep_current(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    current, *ctx.constants = inputs
    ctx.save_for_backward(current)


def _lif_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return lif_backward(grad, *ctx.saved_tensors, *ctx.constants), None, None


lif.register_autograd(_lif_gradient, setup_context=_keep_current)


# ------------------------------------------------------------------------------------- memory scan


@torch.library.custom_op("spmn::memory_scan", mutates_args=(), device_types="cpu")
def _scan(
    read: Tensor, pre: Tensor, post: Tensor, affine: Tensor, writes: Tensor, memory: Tensor,
    low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    tensors = read.float(), pre.float(), post.float(), affine.float(), writes, memory.float()
    return kernels.scan_forward(*tensors, low, high, predict)


@torch.library.custom_op("spmn::memory_scan_backward", mutates_args=(), device_types="cpu")
def _scan_backward(
    d_currents: Tensor, d_after: Tensor, read: Tensor, pre: Tensor, post: Tensor, affine: Tensor,
    writes: Tensor, memory: Tensor, copies: Tensor, low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    tensors = read.float(), pre.float(), post.float(), affine, writes, memory, copies
    found = kernels.scan_backward(d_currents, d_after, *tensors, low, high, predict)
    d_read, d_pre, d_post = (d.to(x.dtype) for d, x in zip(found, (read, pre, post), strict=False))
    return d_read, d_pre, d_post, found[3]


@_scan.register_kernel("cuda")
def _(
    read: Tensor, pre: Tensor, post: Tensor, affine: Tensor, writes: Tensor, memory: Tensor,
    low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    from spmn import gpu_kernels

    return gpu_kernels.scan_forward(read, pre, post, affine, writes, memory, low, high, predict)


@_scan_backward.register_kernel("cuda")
def _(
    d_currents: Tensor, d_after: Tensor, read: Tensor, pre: Tensor, post: Tensor, affine: Tensor,
    writes: Tensor, memory: Tensor, copies: Tensor, low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    from spmn import gpu_kernels

    tensors = d_currents, d_after, read, pre, post, affine, writes, memory, copies
    return gpu_kernels.scan_backward(*tensors, low, high, predict)


@_scan.register_fake
def _(
    read: Tensor, pre: Tensor, post: Tensor, affine: Tensor, writes: Tensor, memory: Tensor,
    low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    after = memory.new_empty(memory.shape)
    return kernels.by_step(read, memory.shape[-1]), after, kernels.new_copies(memory, read.shape[2])


@_scan_backward.register_fake
def _(
    d_currents: Tensor, d_after: Tensor, read: Tensor, pre: Tensor, post: Tensor, affine: Tensor,
    writes: Tensor, memory: Tensor, copies: Tensor, low: float, high: float, predict: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    d_pre, d_post, d_memory = (x.new_empty(x.shape) for x in (pre, post, memory))
    return kernels.by_step(read, read.shape[-1], read.dtype), d_pre, d_post, d_memory


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, low, high, predict = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.constants = low, high, predict


def _scan_gradient(ctx: Any, d_currents: Tensor, d_after: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    d_read, d_pre, d_post, d_memory = _scan_backward(d_currents, d_after, *ctx.saved_tensors, *ctx.constants)
    return d_read, d_pre, d_post, None, None, d_memory, None, None, None


_scan.register_autograd(_scan_gradient, setup_context=_keep_inputs)


def check_shapes(needed: dict[str, tuple[Tensor, tuple[int, ...]]]) -> None:
    """Raises SettingsError for shapes that do not go together: kernels would read beyond the end."""
    for name, (found, shape) in needed.items():
        must_be = f"{list(shape)} beside the others"
        require(found.shape == shape, f"the shape of {name}", list(found.shape), must_be)


def memory_scan(
    read: Tensor,
    pre: Tensor,
    post: Tensor,
    affine: Tensor,
    bounds: Sequence[float],
    writes: Tensor,
    memory: Tensor,
    predict: Sequence[bool] = (),
) -> tuple[Tensor, Tensor]:
    """`plasticity.scan_reference` where `supports(memory)`: the same arguments and results.

    The groups G may also be two dimensions [B, H] everywhere, of any strides: what lies in memory as
    [T, B, N, H, K] is read without a copy, and the currents are returned lying so.

    M must start within the bounds: a weight that no event touches is not clipped.

    Raises SettingsError for shapes that do not go together: kernels would read beyond the end.
    """
    *groups, keys, values = memory.shape
    products, learns = affine.shape[:1], pre.shape[-3:-2]
    events = (*groups, *writes.shape[-1:])
    needed = {
        "read": (read, (*events, *read.shape[-2:-1], keys)),
        "pre": (pre, (*events, *learns, *products, keys)),
        "post": (post, (*events, *learns, *products, values)),
        "affine": (affine, (*products, 2)),
        "writes": (writes, events),
    }
    check_shapes(needed)
    require(len(predict) in (0, *products), "the length of predict", len(predict), f"0 or {products[0]}")
    single = read.dim() == 4
    if single:
        read, pre, post, writes, memory = (x.unsqueeze(1) for x in (read, pre, post, writes, memory))
    asked = list(predict) or [False] * post.shape[-2]
    currents, after, _ = _scan(
        read, pre, post, affine, writes, memory, float(bounds[0]), float(bounds[1]), asked
    )
    return (currents[:, 0], after[:, 0]) if single else (currents, after)


# ------------------------------------------------------------------------- weight standardisation


@torch.library.custom_op("spmn::standardise", mutates_args=(), device_types="cpu")
def standardise(weight: Tensor, gain: Tensor) -> Tensor:
    """`neurons.standardise_reference` of weights [outputs, inputs], where `fused(weight)`."""
    check_shapes({"gain": (gain, weight.shape[:1])})
    return projection_kernels.standardise_forward(weight, gain)


@torch.library.custom_op("spmn::standardise_backward", mutates_args=(), device_types="cpu")
def _standardise_backward(grad: Tensor, weight: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    return projection_kernels.standardise_backward(grad, weight, gain)


@standardise.register_kernel("cuda")
def _(weight: Tensor, gain: Tensor) -> Tensor:
    from spmn import gpu_projection_kernels

    return gpu_projection_kernels.standardise_forward(weight, gain)


@_standardise_backward.register_kernel("cuda")
def _(grad: Tensor, weight: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    from spmn import gpu_projection_kernels

    return gpu_projection_kernels.standardise_backward(grad, weight, gain)


@standardise.register_fake
def _(weight: Tensor, gain: Tensor) -> Tensor:
    return weight.new_empty(weight.shape)


@_standardise_backward.register_fake
def _(grad: Tensor, weight: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    return weight.new_empty(weight.shape), gain.new_empty(gain.shape)


def _keep_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _standardise_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    d_weight, d_gain = _standardise_backward(grad, *ctx.saved_tensors)
    return d_weight, d_gain


standardise.register_autograd(_standardise_gradient, setup_context=_keep_weight)


# ------------------------------------------------------------------------- event-driven projection


@torch.library.custom_op("spmn::project", mutates_args=(), device_types="cpu")
def project(spikes: Tensor, weight: Tensor) -> Tensor:
    """`linear(spikes, weight)` of spikes [..., inputs] that are 0 or 1: adds the weights of those that fired.

    float32 on a CPU. The gradient of the weights is event-driven as well, that of the spikes is a dense
    product.
    """
    check_shapes({"spikes": (spikes, (*spikes.shape[:-1], weight.shape[1]))})
    return projection_kernels.project(spikes.float(), weight.float())


@torch.library.custom_op("spmn::project_backward", mutates_args=(), device_types="cpu")
def _project_backward(grad: Tensor, spikes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return projection_kernels.project_backward(grad, spikes, weight)


@project.register_fake
def _(spikes: Tensor, weight: Tensor) -> Tensor:
    return weight.new_empty(*spikes.shape[:-1], weight.shape[0])


@_project_backward.register_fake
def _(grad: Tensor, spikes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return spikes.new_empty(spikes.shape), weight.new_empty(weight.shape)


def _keep_spikes(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _project_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    d_spikes, d_weight = _project_backward(grad, *ctx.saved_tensors)
    return d_spikes, d_weight


project.register_autograd(_project_gradient, setup_context=_keep_spikes)


# ------------------------------------------------------------------------------------- memory level


def on_cpu(x: Tensor) -> bool:
    """Whether the operators that exist for the CPU alone take tensors like x."""
    return x.dtype is torch.float32 and x.device.type == "cpu"


def fused(x: Tensor) -> bool:
    """Whether there are kernels for a whole level, and for standardisation, of tensors like x."""
    return x.dtype is torch.float32 and supports(x)


@torch.library.custom_op("spmn::level", mutates_args=(), device_types="cpu")
def _level(
    words: Tensor, sentence: Tensor, below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor,
    memory: Tensor, strength: Tensor, gain: Tensor, bias: Tensor, reads: int, dv: float, slope: float,
    factors: Sequence[float], predict: Sequence[bool], low: float, high: float, record: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return level_kernels.forward(
        words, sentence, below, clock, writes, places, memory, strength, gain, bias, reads, dv, slope,
        factors, predict, low, high, record,
    )  # fmt: skip


@torch.library.custom_op("spmn::level_backward", mutates_args=(), device_types="cpu")
def _level_backward(
    d_recall: Tensor | None, d_read: Tensor | None, d_after: Tensor | None, words: Tensor, sentence: Tensor,
    below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor, memory: Tensor, strength: Tensor,
    gain: Tensor, bias: Tensor, copies: Tensor, dv: float, slope: float, factors: Sequence[float],
    predict: Sequence[bool], low: float, high: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return level_kernels.backward(
        d_recall, d_read, d_after, words, sentence, below, clock, writes, places, memory, strength, gain,
        bias, copies, dv, slope, factors, predict, low, high,
    )  # fmt: skip


@_level.register_kernel("cuda")
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    from spmn import gpu_level_kernels

    return gpu_level_kernels.forward(*arguments)


@_level_backward.register_kernel("cuda")
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    from spmn import gpu_level_kernels

    return gpu_level_kernels.backward(*arguments)


@_level.register_fake
def _(
    words: Tensor, sentence: Tensor, below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor,
    memory: Tensor, strength: Tensor, gain: Tensor, bias: Tensor, reads: int, dv: float, slope: float,
    factors: Sequence[float], predict: Sequence[bool], low: float, high: float, record: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return level_kernels.outputs(words, writes, memory, reads, record)


@_level_backward.register_fake
def _(
    d_recall: Tensor | None, d_read: Tensor | None, d_after: Tensor | None, words: Tensor, sentence: Tensor,
    below: Tensor | None, clock: Tensor, writes: Tensor, places: Tensor, memory: Tensor, strength: Tensor,
    gain: Tensor, bias: Tensor, copies: Tensor, dv: float, slope: float, factors: Sequence[float],
    predict: Sequence[bool], low: float, high: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    d_below = words.new_empty(writes.numel(), *words.shape[1:])
    like = (words, clock, memory, strength, gain, bias)
    d_words, d_clock, d_memory, d_strength, d_gain, d_bias = (x.new_empty(x.shape) for x in like)
    return d_words, d_below, d_clock, d_memory, d_strength, d_gain, d_bias


def _keep_level(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:10], output[3])
    ctx.constants = inputs[11:-1]
    ctx.mark_non_differentiable(output[3], output[4])
    ctx.set_materialize_grads(False)


def _level_gradient(
    ctx: Any, d_recall: Tensor | None, d_read: Tensor | None, d_after: Tensor | None, *_: Tensor | None
) -> tuple[Tensor | None, ...]:
    below = ctx.saved_tensors[2]
    d_words, d_below, d_clock, d_memory, *rest = _level_backward(
        d_recall, d_read, d_after, *ctx.saved_tensors, *ctx.constants
    )
    from_below = None if below is None else d_below
    return d_words, None, from_below, d_clock, None, None, d_memory, *rest, *[None] * 8


_level.register_autograd(_level_gradient, setup_context=_keep_level)


def level(
    words: Tensor,
    sentence: Tensor,
    below: Tensor | None,
    clock: Tensor,
    writes: Tensor,
    places: Tensor,
    reads: int,
    memory: Tensor,
    strength: Tensor,
    gain: Tensor,
    bias: Tensor,
    neuron: tuple[float, float],
    rule: tuple[Sequence[float], Sequence[bool], float, float],
    record: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One memory level over whole stories, where `fused(memory)`; `levels.Level.parts` says the same.

    words: [S, T, n] currents that the sentences drive; sentence: [B N], which one each event is; below:
    [B N, T, n] what the levels below add; n = 2 H K + H V + 2 H: write keys, read keys, associations, update
    and reset gates; clock: [B, N, V] constant currents into the last head's associations; writes: [B, N]
    bool; places: [B N], the row of each event among the `reads` events that are read out, or -1; memory:
    [B, H, K, V]; strength: [P] or [H, P]; gain: [] or [H], bias: [H, V] of the recall currents; neuron: dv
    and the slope of the surrogate; rule: factors and predict of `plasticity.ByEvent`, and the bounds of w.

    Returns recall spikes [B, N, T, H V], those of the events read out alone [reads, T, H V], M after the last
    event, and the spikes of the level's other neurons [B, N, T, n], which carry no gradient, with T = 0 if
    `record` is False.
    """
    factors, predict, low, high = rule
    stories, heads, keys, values = memory.shape
    events, products, inputs = writes.shape[1:], len(predict), words.shape[1:]
    needed = {
        "words": (words, (*words.shape[:1], *inputs[:1], heads * (2 * keys + values + 2))),
        "sentence": (sentence, (writes.numel(),)),
        "clock": (clock, (stories, *events, values)),
        "writes": (writes, (stories, *events)),
        "places": (places, (writes.numel(),)),
        "strength": (strength, (*strength.shape[:-1], products)),
        "bias": (bias, (heads, values)),
    }
    if below is not None:
        needed["below"] = below, (writes.numel(), *inputs)
    check_shapes(needed)
    recall, read, after, _, spikes = _level(
        words.float(), sentence, None if below is None else below.float(), clock.float(), writes, places,
        memory, strength.expand(heads, -1), gain.expand(heads), bias, reads, *neuron, list(factors),
        list(predict), float(low), float(high), record,
    )  # fmt: skip
    return recall, read, after, spikes
