"""Int8 operators without weights: sums, pools, activations, softmax; QNNPACK's fixed-point numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import axis_of, require_rank
from graphc.ir.ops._window import output_image, window
from graphc.ir.ops.quantized._fixed_point import LIMIT, clamped, half_even, shifted
from graphc.ir.ops.quantized.int8 import (
    INT8_WINDOW,
    ORDER_NHWC,
    Y_QUANT,
    int8_input,
    int8_type,
    kept_quant,
    quant_of,
    result_quant,
    scale_and_zero,
)
from graphc.ir.types import DType, Quant, TensorType, dims_agree, merge_dims

SUM_BITS = 21
"""Fraction bits of the greater scale in an int8 sum."""


def _sum_type(call: Call) -> list[TensorType]:
    """Two inputs of one shape; Caffe2 refuses any other number."""
    if call.n_inputs != 2:
        call.fail(f"{call.n_inputs} inputs, the operator adds two", "add the others one after the other")
    shape, other = int8_input(call, 0).shape, int8_input(call, 1).shape
    if shape is None or other is None:
        return [int8_type(call, shape or other)]
    if len(shape) != len(other) or not all(map(dims_agree, shape, other)):
        call.fail(f"the inputs have the shapes {shape} and {other}", "make the shapes equal")
    return [int8_type(call, tuple(map(merge_dims, shape, other)))]


def _sum_constants(relu: bool) -> Callable[[Call], Sequence[int]]:
    """Zero points and integer multipliers of the inputs, shift, zero point and lower end of the result."""

    def constants(call: Call) -> Sequence[int]:
        quant, ins = result_quant(call), [quant_of(call, i) for i in range(2)]
        ratios = [np.float32(q.scale) / np.float32(quant.scale) for q in ins]
        if not 2**-14 <= max(ratios) < 2**8:
            call.fail(
                f"the inputs' scales are {[float(r) for r in ratios]} times that of the result",
                "the greater of the two has to be from 2**-14 to 2**8",
            )
        bits = SUM_BITS - math.floor(math.log2(max(ratios)))
        multipliers = [round(float(r) * 2.0**bits) for r in ratios]
        zeros = [q.zero_point for q in ins]
        return (*zeros, *multipliers, bits, quant.zero_point, quant.zero_point if relu else 0)

    return constants


def _sum(
    xs: tuple[np.ndarray, ...],
    y: np.ndarray,
    a_zero: int,
    b_zero: int,
    a_units: int,
    b_units: int,
    bits: int,
    zero: int,
    low: int,
) -> None:
    a, b = xs
    for i in range(y.size):
        total = (np.int64(a.flat[i]) - a_zero) * a_units + (np.int64(b.flat[i]) - b_zero) * b_units
        y.flat[i] = clamped(shifted(total, bits) + zero, low, 255)


for _name in ("Int8Sum", "Int8SumRelu", "Int8Add", "Int8AddRelu"):
    op(
        _name,
        _sum_type,
        inputs="X*",
        outputs="Y",
        args=(ORDER_NHWC, *Y_QUANT),
        loop=_sum,
        constants=_sum_constants(_name.endswith("Relu")),
        inplace=((0, 0), (1, 0)),
        doc="sum of two uint8 tensors of different scales" + (", then Relu" if _name.endswith("Relu") else ""),
    )


def _pooled_type(call: Call) -> TensorType:
    if call.arg("order") != "NHWC":
        call.fail(f"order '{call.arg('order')}' is not supported by int8 operators", "export the net in order NHWC")
    int8_input(call, 0)
    shape, image = require_rank(call, 0, 4), output_image(call)
    return TensorType(DType.UINT8, None if shape is None or image is None else (shape[0], *image, shape[3]))


def _average_type(call: Call) -> list[TensorType]:
    return [int8_type(call, _pooled_type(call).shape)]


def _window_constants(call: Call) -> tuple[int, ...]:
    win = window(call)
    return (*win.kernel, *win.stride, *win.dilation, *win.heads)


def _average_constants(relu: bool) -> Callable[[Call], Sequence[float]]:
    def constants(call: Call) -> Sequence[float]:
        quant, mine, size = result_quant(call), quant_of(call, 0), math.prod(window(call).kernel)
        unit = np.float32(mine.scale) / (np.float32(quant.scale) * np.float32(max(size, 1)))
        low = quant.zero_point if relu else 0
        return (*_window_constants(call), mine.zero_point, float(unit), quant.zero_point, low)

    return constants


def _half_away(x: float) -> int:
    """The nearest integer, of two the one farther from zero."""
    x = min(max(x, -LIMIT), LIMIT)
    return math.floor(x + 0.5) if x >= 0.0 else -math.floor(0.5 - x)


def _average(
    x: np.ndarray,
    y: np.ndarray,
    rows: int,
    columns: int,
    stride_h: int,
    stride_w: int,
    dilation_h: int,
    dilation_w: int,
    top: int,
    left: int,
    x_zero: int,
    unit: float,
    zero: int,
    low: int,
) -> None:
    """The border counts as the real value 0, and in the divisor."""
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for c in range(y.shape[3]):
                    total = 0
                    for k in range(rows):
                        row = i * stride_h - top + k * dilation_h
                        for q in range(columns):
                            column = j * stride_w - left + q * dilation_w
                            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                                total += np.int64(x[n, row, column, c]) - x_zero
                    y[n, i, j, c] = clamped(_half_away(total * unit) + zero, low, 255)


def _max_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.UINT8, _pooled_type(call).shape, quant=kept_quant(call))]


def _max_constants(relu: bool) -> Callable[[Call], Sequence[int]]:
    def constants(call: Call) -> Sequence[int]:
        return (*_window_constants(call), quant_of(call, 0).zero_point if relu else 0)

    return constants


def _maximum(
    x: np.ndarray,
    y: np.ndarray,
    rows: int,
    columns: int,
    stride_h: int,
    stride_w: int,
    dilation_h: int,
    dilation_w: int,
    top: int,
    left: int,
    low: int,
) -> None:
    """A pixel of the border is the nearest one of the image."""
    if x.size == 0:
        return
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for c in range(y.shape[3]):
                    best = low
                    for k in range(rows):
                        row = clamped(i * stride_h - top + k * dilation_h, 0, x.shape[1] - 1)
                        for q in range(columns):
                            column = clamped(j * stride_w - left + q * dilation_w, 0, x.shape[2] - 1)
                            best = max(best, np.int64(x[n, row, column, c]))
                    y[n, i, j, c] = best


for _relu in (False, True):
    _tail, _doc = ("Relu", ", then Relu") if _relu else ("", "")
    op(
        f"Int8AveragePool{_tail}",
        _average_type,
        inputs="X",
        outputs="Y",
        args=INT8_WINDOW,
        loop=_average,
        constants=_average_constants(_relu),
        doc="mean over windows of uint8 NHWC; the border counts" + _doc,
    )
    op(
        f"Int8MaxPool{_tail}",
        _max_type,
        inputs="X",
        outputs="Y",
        args=INT8_WINDOW,
        loop=_maximum,
        constants=_max_constants(_relu),
        doc="maximum over windows of uint8 NHWC; scale and zero point stay" + _doc,
    )


def _kept_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.UINT8, int8_input(call, 0).shape, quant=kept_quant(call))]


def _relu_loop(x: np.ndarray, y: np.ndarray, low: int) -> None:
    for i in range(x.size):
        y.flat[i] = max(np.int64(x.flat[i]), low)


op(
    "Int8Relu",
    _kept_type,
    inputs="X",
    outputs="Y",
    args=(ORDER_NHWC, *Y_QUANT),
    loop=_relu_loop,
    constants=lambda call: (quant_of(call, 0).zero_point,),
    inplace=((0, 0),),
    doc="max(q, zero point)",
)


def _same_shape_type(call: Call) -> list[TensorType]:
    return [int8_type(call, int8_input(call, 0).shape)]


def _table(call: Call) -> list[TensorType]:
    """A result for each of the 256 values."""
    return [TensorType(DType.UINT8, (256,))]


def _leaky_relu(
    x: np.ndarray, y: np.ndarray, table: np.ndarray, ratio: float, x_zero: int, alpha: float, zero: int
) -> None:
    for v in range(256):
        real = np.float32(ratio) * np.float32(v - x_zero)
        if real < 0.0:
            real = real * np.float32(alpha)
        table[v] = clamped(half_even(real) + zero, 0, 255)
    for i in range(x.size):
        y.flat[i] = table[x.flat[i]]


def _leaky_constants(call: Call) -> Sequence[float]:
    quant, mine = result_quant(call), quant_of(call, 0)
    ratio = np.float32(mine.scale) / np.float32(quant.scale)
    return (float(ratio), mine.zero_point, call.arg("alpha"), quant.zero_point)


op(
    "Int8LeakyRelu",
    _same_shape_type,
    inputs="X",
    outputs="Y",
    args=(Arg("alpha", "float", 0.01, "slope below zero"), ORDER_NHWC, *Y_QUANT),
    loop=_leaky_relu,
    scratch=_table,
    constants=_leaky_constants,
    inplace=((0, 0),),
    doc="LeakyRelu of uint8 values",
)


def _probability_type(call: Call) -> list[TensorType]:
    quant = result_quant(call)
    if quant != Quant(1 / 256, 0):
        call.fail(
            f"the result has scale {quant.scale} and zero point {quant.zero_point}",
            "Caffe2 wants Y_scale = 1/256 and Y_zero_point = 0",
        )
    return [int8_type(call, int8_input(call, 0).shape)]


def _sigmoid(x: np.ndarray, y: np.ndarray, table: np.ndarray, scale: float, zero: int) -> None:
    for v in range(256):
        real = np.float32(scale) * np.float32(v - zero)
        table[v] = clamped(half_even(256.0 / (1.0 + np.exp(-real))), 0, 255)
    for i in range(x.size):
        y.flat[i] = table[x.flat[i]]


op(
    "Int8Sigmoid",
    _probability_type,
    inputs="X",
    outputs="Y",
    args=(ORDER_NHWC, *Y_QUANT),
    loop=_sigmoid,
    scratch=_table,
    constants=scale_and_zero,
    doc="sigmoid of uint8 values in units of 1/256",
)

EXPONENT_UNITS = 8388607.0
"""Fixed-point units of exp(0) in the table of Int8Softmax: 2**23 - 1, fewer where the sum could pass 2**32."""


def _softmax(x: np.ndarray, y: np.ndarray, table: np.ndarray, columns: int, scale: float) -> None:
    """In integers: a table of exponentials relative to the row's maximum, then a rounded division."""
    units = min(4294967295.0 / max(columns, 1), EXPONENT_UNITS)
    for v in range(256):
        table[v] = half_even(units * np.exp(scale * (v - 255.0)))
    for first in range(0, x.size, max(columns, 1)):
        greatest, total = 0, 0
        for c in range(first, first + columns):
            greatest = max(greatest, np.int64(x.flat[c]))
        for c in range(first, first + columns):
            total += table[np.int64(x.flat[c]) + 255 - greatest]
        for c in range(first, first + columns):
            share = (table[np.int64(x.flat[c]) + 255 - greatest] * 256 + total // 2) // total
            y.flat[c] = min(share, 255)


def _softmax_type(call: Call) -> list[TensorType]:
    (y,) = _probability_type(call)
    if y.shape is not None and len(y.shape):
        axis_of(call, call.arg("axis"), len(y.shape))
    return [y]


def _softmax_constants(call: Call) -> Sequence[float]:
    shape = call.type(0).static_shape
    return (math.prod(shape[call.arg("axis") % max(len(shape), 1) :]), quant_of(call, 0).scale)


op(
    "Int8Softmax",
    _softmax_type,
    inputs="X",
    outputs="Y",
    args=(Arg("axis", "int", 1, "the dimensions from here on are the classes"), ORDER_NHWC, *Y_QUANT),
    loop=_softmax,
    scratch=lambda call: [TensorType(DType.INT64, (256,))],
    constants=_softmax_constants,
    doc="softmax of uint8 values in units of 1/256",
)
