"""The LIF window and the memory scan as torch operators, so that torch.compile and autograd know them.

`spmn::lif` and `spmn::memory_scan`, each with a backward operator, run on CPU tensors by numba (`kernels`)
and on CUDA tensors by triton (`gpu_kernels`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spmn import kernels

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
    tensors = read.float(), pre.float(), post.float(), affine, writes, memory
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
    """
    single = read.dim() == 4
    if single:
        read, pre, post, writes, memory = (x.unsqueeze(1) for x in (read, pre, post, writes, memory))
    asked = list(predict) or [False] * post.shape[-2]
    currents, after, _ = _scan(
        read, pre, post, affine, writes, memory, float(bounds[0]), float(bounds[1]), asked
    )
    return (currents[:, 0], after[:, 0]) if single else (currents, after)
