"""Sixteen float32 numbers as one value inside numba kernels: what a compiler would have to find by itself.

    a + b, a - b, a * b     lane by lane; a number in a lane position: lanes(x)
    load(array, i), store(array, i, a)      array[i : i + 16] of a flat float32 array, not checked
    mad(a, b, c)            a b + c, rounded once or twice as the machine does it fastest
    above(a, b, x, y)       x where a > b, else y
    ratio(a, b), size(a)    a / b, |a|
    bits(a, b)              a number with bit j set where a > b in lane j; lowest(bits): its lowest set bit
    total(a)                the sum of the lanes
    totals(array, i)        in lane j the sum of array[i + 16 j : i + 16 j + 16]

LLVM maps them to the vectors that the machine has (one of AVX-512, two of AVX2, four of NEON).
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

_intrinsic: Any = intrinsic
WIDTH = 16
_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes16")


LANES = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _FLOATS)


def _operator(op: Any, instruction: str) -> None:
    @type_callable(op)
    def _(context: Any) -> Any:
        return lambda a, b: LANES if a is LANES and b is LANES else None

    @lower_builtin(op, LANES, LANES)
    def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


for _op, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_op, _instruction)


def _spread(builder: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), scalar, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(one, ir.Constant(_FLOATS, ir.Undefined), zeros)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    at = builder.gep(view.data, [index])
    return builder.bitcast(at, _FLOATS.as_pointer())


@_intrinsic
def lanes(typing: Any, x: Any) -> Any:
    """x in every lane."""
    return LANES(types.float32), lambda context, builder, signature, args: _spread(builder, args[0])


@_intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """array[index : index + 16]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], *args), align=4)

    return LANES(array, types.uint64), emit


@_intrinsic
def store(typing: Any, array: Any, index: Any, a: Any) -> Any:
    """array[index : index + 16] = a."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.uint64, LANES), emit


@_intrinsic
def mad(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.fmul(args[0], args[1], flags=["contract"])
        return builder.fadd(product, args[2], flags=["contract"])

    return LANES(LANES, LANES, LANES), emit


@_intrinsic
def above(typing: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """x where a > b, else y."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return LANES(LANES, LANES, LANES, LANES), emit


@_intrinsic
def bits(typing: Any, a: Any, b: Any) -> Any:
    """Bit j: whether a > b in lane j."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = builder.bitcast(builder.fcmp_ordered(">", *args), ir.IntType(WIDTH))
        return builder.zext(found, ir.IntType(64))

    return types.uint64(LANES, LANES), emit


@_intrinsic
def lowest(typing: Any, found: Any) -> Any:
    """The lowest set bit of `found`, which must not be 0."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.uint64(types.uint64), emit


@_intrinsic
def ratio(typing: Any, a: Any, b: Any) -> Any:
    """a / b."""
    return LANES(LANES, LANES), lambda context, builder, signature, args: builder.fdiv(*args)


@_intrinsic
def size(typing: Any, a: Any) -> Any:
    """|a|."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOATS, [_FLOATS]), f"llvm.fabs.v{WIDTH}f32"
        )
        return builder.call(function, args)

    return LANES(LANES), emit


def _fold(builder: Any, a: Any, b: Any, width: int) -> Any:
    """In each group of `width` lanes the sums of a's two halves, then those of b's.

    a and b hold in each of their groups of `width` lanes things that are to be added up.
    """
    low, high = [], []
    for start in range(0, WIDTH, width):
        for source in (start, WIDTH + start):
            low += [source + lane for lane in range(width // 2)]
            high += [source + width // 2 + lane for lane in range(width // 2)]
    kind = ir.VectorType(ir.IntType(32), WIDTH)
    return builder.fadd(
        builder.shuffle_vector(a, b, ir.Constant(kind, low)),
        builder.shuffle_vector(a, b, ir.Constant(kind, high)),
    )


def _transposed_sums(builder: Any, rows: list[Any]) -> Any:
    """Lane j: the sum of rows[j]; rows are paired far ones first, which leaves the sums in order."""
    width = WIDTH
    while len(rows) > 1:
        half = len(rows) // 2
        rows = [_fold(builder, a, b, width) for a, b in zip(rows[:half], rows[half:], strict=True)]
        width //= 2
    return rows[0]


@_intrinsic
def totals(typing: Any, array: Any, index: Any) -> Any:
    """In lane j the sum of array[index + 16 j : index + 16 j + 16]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = _pointer(context, builder, signature.args[0], *args)
        rows = [builder.load(builder.gep(first, [ir.IntType(64)(row)]), align=4) for row in range(WIDTH)]
        return _transposed_sums(builder, rows)

    return LANES(array, types.uint64), emit


@_intrinsic
def total(typing: Any, a: Any) -> Any:
    """The sum of the lanes: pairs of halves, so the order does not depend on the machine."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (rest,), width = args, WIDTH
        while width > 1:
            width //= 2
            kind = ir.VectorType(ir.IntType(32), width)
            low, high = (ir.Constant(kind, list(range(at, at + width))) for at in (0, width))
            undefined = ir.Constant(rest.type, ir.Undefined)
            rest = builder.fadd(
                builder.shuffle_vector(rest, undefined, low), builder.shuffle_vector(rest, undefined, high)
            )
        return builder.extract_element(rest, ir.IntType(32)(0))

    return types.float32(LANES), emit
