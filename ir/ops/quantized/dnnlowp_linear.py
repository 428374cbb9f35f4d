"""Products of the engine DNNLOWP beside convolution and FC: BatchMatMul, ElementwiseLinear, packed weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call
from graphc.ir.ops._rules import Shape, agree, axis_of, product, require, vector
from graphc.ir.ops.quantized._dnnlowp import (
    HIGH,
    check_quant_args,
    either_input,
    input_numbers,
    number,
    output_numbers,
    output_type,
    parameters,
    quantised,
    quantised_twice,
    range_parameters,
    real,
    report,
    requantised,
    span_parameters,
)
from graphc.ir.ops.quantized.dnnlowp import dnnlowp, store
from graphc.ir.types import OPEN_QUANT, Dim, DType, TensorType


def _matrices(call: Call) -> tuple[Shape, Shape] | None:
    """The shapes of A and B, a vector as a matrix of one row (A) or column (B); None while a rank is unknown."""
    a, b = either_input(call, 0).shape, either_input(call, 1).shape
    if a is None or b is None:
        return None
    if not call.arg("broadcast") and (len(a) != len(b) or len(a) < 2):
        call.fail(f"A has {len(a)} dimensions and B {len(b)}", "set broadcast=1, or give both as many, at least 2")
    if not a or not b:
        call.fail("A and B need at least one dimension")
    return (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b


def _matmul_type(call: Call) -> list[TensorType]:
    """Y: the longer batch dimensions, then rows of A and columns of B; those of a vector are left out."""
    shapes = _matrices(call)
    if shapes is None:
        return [output_type(call, None)]
    a, b = shapes
    rank_a, rank_b = len(call.type(0).shape or ()), len(call.type(1).shape or ())
    rows, depth = (a[-1], a[-2]) if call.arg("trans_a") and rank_a > 1 else (a[-2], a[-1])
    columns, depth_b = (b[-2], b[-1]) if call.arg("trans_b") and rank_b > 1 else (b[-1], b[-2])
    agree(call, depth_b, depth, "columns of A and rows of B differ")
    for i in range(3, min(len(a), len(b)) + 1):
        agree(call, b[-i], a[-i], "batch dimensions of A and B differ")
    batch = a[:-2] if len(a) >= len(b) else b[:-2]
    if rank_a == 1 and rank_b == 1:
        return [output_type(call, (1,))]
    tail: tuple[Dim, ...] = (columns,) if rank_a == 1 else (rows,) if rank_b == 1 else (rows, columns)
    return [output_type(call, (*batch, *tail))]


def _matmul_constants(call: Call) -> Sequence[float]:
    """Batches, how many of A and of B there are, rows, columns, depth; steps of A's rows and depth, of B's."""
    shapes = _matrices(call)
    assert shapes is not None
    a, b = ([d for d in s if isinstance(d, int)] for s in shapes)
    rank_a, rank_b = len(call.type(0).static_shape), len(call.type(1).static_shape)
    flip_a, flip_b = bool(call.arg("trans_a")) and rank_a > 1, bool(call.arg("trans_b")) and rank_b > 1
    rows, depth = (a[-1], a[-2]) if flip_a else (a[-2], a[-1])
    columns = b[-2] if flip_b else b[-1]
    of_a, of_b = math.prod(a[:-2]), math.prod(b[:-2])
    steps = (1, rows) if flip_a else (depth, 1), (depth, 1) if flip_b else (1, columns)
    numbers = (*input_numbers(call, 0), *input_numbers(call, 1), *output_numbers(call))
    return (max(of_a, of_b) * (of_a * of_b > 0), of_a, of_b, rows, columns, depth, *steps[0], *steps[1], *numbers)


def _fill(x: np.ndarray, xs: np.ndarray, scale: float, zero: int, sparse: int, real_values: bool) -> Any:
    given = scale > 0.0
    if not real_values:
        scale, zero = parameters(x, scale, zero, sparse)
    for i in range(x.size):
        xs[i] = real(x, i, given, scale, zero) if real_values else number(x, i, given, scale, zero) - zero
    return np.float32(scale)


def _dot(xs: np.ndarray, ys: np.ndarray, first: int, second: int, depth: int, step: int, other: int) -> float:
    total = 0.0
    for k in range(depth):
        total += xs[first + k * step] * ys[second + k * other]
    return total


def _matmul_range(
    a: np.ndarray,
    b: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    batches: int,
    of_a: int,
    of_b: int,
    rows: int,
    columns: int,
    depth: int,
    a_row: int,
    a_step: int,
    b_column: int,
    b_step: int,
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    positive: int,
    sparse: int,
) -> tuple[float, int]:
    if batches == 0:
        return np.float32(1.0), 0
    _fill(a, xs, a_scale, a_zero, sparse, True)
    _fill(b, ys, b_scale, b_zero, sparse, True)
    low = high = np.float32(0.0)
    empty = True
    for n in range(batches):
        at, to = n % of_a * rows * depth, n % of_b * depth * columns
        for i in range(rows):
            for j in range(columns):
                value = np.float32(_dot(xs, ys, at + i * a_row, to + j * b_column, depth, a_step, b_step))
                low, high = (value, value) if empty else (min(low, value), max(high, value))
                empty = False
    return range_parameters(low, high, positive, sparse)


def _matmul_sizes(
    a: np.ndarray,
    b: np.ndarray,
    dims: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    batches: int,
    of_a: int,
    of_b: int,
    rows: int,
    columns: int,
    depth: int,
    a_row: int,
    a_step: int,
    b_column: int,
    b_step: int,
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _matmul_range(
        a,
        b,
        xs,
        ys,
        batches,
        of_a,
        of_b,
        rows,
        columns,
        depth,
        a_row,
        a_step,
        b_column,
        b_step,
        a_scale,
        a_zero,
        b_scale,
        b_zero,
        positive,
        sparse,
    )
    report(dims, found, found_zero)


def _matmul(
    a: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    batches: int,
    of_a: int,
    of_b: int,
    rows: int,
    columns: int,
    depth: int,
    a_row: int,
    a_step: int,
    b_column: int,
    b_step: int,
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    if not scale > 0.0:
        scale, zero = _matmul_range(
            a,
            b,
            xs,
            ys,
            batches,
            of_a,
            of_b,
            rows,
            columns,
            depth,
            a_row,
            a_step,
            b_column,
            b_step,
            a_scale,
            a_zero,
            b_scale,
            b_zero,
            positive,
            sparse,
        )
    unit = _fill(a, xs, a_scale, a_zero, sparse, False) * _fill(b, ys, b_scale, b_zero, sparse, False)
    unit = np.float32(unit) / np.float32(scale)
    k = 0
    for n in range(batches):
        at, to = n % of_a * rows * depth, n % of_b * depth * columns
        for i in range(rows):
            for j in range(columns):
                total = _dot(xs, ys, at + i * a_row, to + j * b_column, depth, a_step, b_step)
                store(y, k, requantised(int(total), unit, zero, 0, HIGH), scale, zero, as_float)
                k += 1


dnnlowp(
    "BatchMatMul",
    "Int8BatchMatMul",
    infer=_matmul_type,
    more="BatchMatMul_16",
    inputs="A B",
    outputs="Y",
    args=(
        Arg("trans_a", "int", 0, "A comes transposed"),
        Arg("trans_b", "int", 0, "B comes transposed"),
        Arg("broadcast", "int", 0, "the batch dimensions of one are the last of the other's"),
        Arg("constant_B", "int", 0, "a preference, never changes the answer"),
    ),
    loop=_matmul,
    sizes=_matmul_sizes,
    scratch=lambda call: [TensorType(DType.DOUBLE, (call.type(i).size,)) for i in range(2)],
    constants=_matmul_constants,
    doc="A B of every batch in whole numbers",
)


def _linear_type(call: Call) -> list[TensorType]:
    """Y has the shape of X; a and b have the elements of a row, the dimensions from ``axis`` on."""
    shape = either_input(call, 0).shape
    for i in (1, 2):
        require(call, i, (DType.FLOAT,))
        if shape is not None:
            vector(call, i, product(shape[axis_of(call, call.arg("axis"), len(shape)) :]), "elements of a row")
    return [output_type(call, shape)]


def _linear_range(
    x: np.ndarray, a: np.ndarray, b: np.ndarray, x_scale: float, x_zero: int, positive: int, sparse: int
) -> tuple[float, int]:
    low = high = np.float32(0.0)
    for i in range(x.size):
        d = i % a.size
        value = real(x, i, x_scale > 0.0, x_scale, x_zero) * a[d] + b[d]
        low, high = (value, value) if i == 0 else (min(low, value), max(high, value))
    return range_parameters(low, high, positive, sparse)


def _linear_sizes(
    x: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    dims: np.ndarray,
    numbers: np.ndarray,
    w_sparse: int,
    x_scale: float,
    x_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _linear_range(x, a, b, x_scale, x_zero, positive, sparse)
    report(dims, found, found_zero)


def _linear(
    x: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    numbers: np.ndarray,
    w_sparse: int,
    x_scale: float,
    x_zero: int,
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    if not scale > 0.0:
        scale, zero = _linear_range(x, a, b, x_scale, x_zero, positive, sparse)
    given = x_scale > 0.0
    x_scale, x_zero = parameters(x, x_scale, x_zero, sparse)
    a_scale, a_zero = span_parameters(a, 0, a.size, w_sparse)
    mine = np.float32(x_scale) * np.float32(a_scale)
    unit = mine / np.float32(scale)
    for d in range(a.size):
        numbers[0, d], numbers[1, d] = quantised(a[d], a_scale, a_zero) - a_zero, quantised_twice(b[d], mine, 0)
    for i in range(x.size):
        d = i % a.size
        raw = (number(x, i, given, x_scale, x_zero) - x_zero) * numbers[0, d] + numbers[1, d]
        store(y, i, requantised(raw, unit, zero, 0, HIGH), scale, zero, as_float)


dnnlowp(
    "ElementwiseLinear",
    "Int8ElementwiseLinear",
    infer=_linear_type,
    inputs="X a b",
    outputs="Y",
    args=(Arg("axis", "int", 1, "first dimension of a row"),),
    loop=_linear,
    sizes=_linear_sizes,
    scratch=lambda call: [TensorType(DType.INT64, (2, call.type(1).size))],
    constants=lambda call: (
        int(call.arg("preserve_weight_sparsity")),
        *input_numbers(call, 0),
        *output_numbers(call),
    ),
    doc="a X + b of every row in whole numbers",
)

# ---- packed weights --------------------------------------------------------------------------------------------------


def _pack_type(call: Call) -> list[TensorType]:
    """The packed weights are the weights; the bias is int32 in units of in_scale times the weights' scale."""
    check_quant_args(call)
    w = either_input(call, 0)
    types = [TensorType(w.dtype, w.shape, quant=w.quant)]
    if call.n_results > 1:
        if not call.has(1) or call.arg("in_scale") is None:
            call.fail("a second output needs a bias and the argument 'in_scale'", "give both, or name one output")
        if call.arg("quantize_channelwise") or "ROWWISE" in call.node.op:
            call.fail("a bias of weights with a scale for each row has no scale of its own", "name one output")
        types.append(TensorType(DType.INT32, require(call, 1, (DType.FLOAT,)).shape, quant=OPEN_QUANT))
    return types


def _pack_sizes(
    w: np.ndarray, b: np.ndarray, dims: np.ndarray, in_scale: float, scale: float, zero: int, sparse: int
) -> None:
    found, _ = parameters(w, scale, zero, sparse)
    report(dims, np.float32(in_scale) * np.float32(found), 0)


def _pack(
    w: np.ndarray,
    b: np.ndarray,
    packed: np.ndarray,
    whole: np.ndarray,
    in_scale: float,
    scale: float,
    zero: int,
    sparse: int,
) -> None:
    for i in range(w.size):
        packed.flat[i] = w.flat[i]
    found, _ = parameters(w, scale, zero, sparse)
    unit = np.float32(in_scale) * np.float32(found)
    for i in range(whole.size):
        whole.flat[i] = quantised_twice(b.flat[i], unit, 0)


def _pack_constants(call: Call) -> Sequence[float]:
    in_scale = call.arg("in_scale")
    return (1.0 if in_scale is None else in_scale, *input_numbers(call, 0), int(call.arg("preserve_weight_sparsity")))


_PACK_ARGS = (
    Arg("in_scale", "float", None, "scale of the input that the weights will meet"),
    Arg("save_unpacked_weights", "int", 0, "a preference, never changes the answer"),
    Arg("nbits_in_non_outlier", "int", None, "a preference, never changes the answer"),
    Arg("quantize_channelwise", "int", 0, "each row has a scale of its own; so with DNNLOWP_ROWWISE"),
)
dnnlowp(
    "Int8FCPackWeight",
    infer=_pack_type,
    more="Int8FCPackWeight_ACC16 Int8FCPackWeight_ROWWISE",
    plain="Int8FCPackWeight",
    inputs="W b?",
    outputs="W_packed B_q?",
    args=(Arg("axis_w", "int", 1, "first dimension of a row of W"), *_PACK_ARGS),
    loop=_pack,
    sizes=_pack_sizes,
    constants=_pack_constants,
    doc="weights ahead of Int8FC, which packs them itself; the bias in whole numbers",
)
