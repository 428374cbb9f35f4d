"""Rows of 8-, 4- and 2-bit numbers that carry their scale and bias, to and from float and half.

Rules from Caffe2's fused_rowwise_*_ops.h, fused_nbit_rowwise_conversion.cc and lengths_reducer_rowwise_8bit_ops.h.
A fused row is the packed numbers, the first in the low bits, then scale and bias: float32 or half.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._half import (
    flat_float,
    flat_half,
    float_of,
    float_to_half,
    half_to_float,
    put_flat_float,
    put_flat_half,
)
from graphc.ir.ops._rules import agree, bounded, product, require, require_rank
from graphc.ir.ops._segments import FLOAT, row_size, rows_of
from graphc.ir.ops.sparse._greedy import search_limits
from graphc.ir.types import UNKNOWN, DType, TensorType

PLAIN, HALF_SCALE, DIVIDED, FAKE = range(4)
"""How numbers become bits: 8 bits with float32 scale; with half scale, by its inverse or (from half) a division;
a byte for each number with float32 scale."""

Array = np.ndarray


def limits(x: Array, start: Any, count: Any) -> Any:
    """The smallest and largest of ``count`` elements from ``start`` on; zeros where there are none."""
    low = high = float_of(x, start) if count else np.float32(0)
    for i in range(start, start + count):
        low, high = min(low, float_of(x, i)), max(high, float_of(x, i))
    return low, high


def clipped(value: Any, largest: Any) -> Any:
    """The nearest integer from 0 to ``largest``, of two the even one; 0 for what is not a number."""
    if value >= largest:
        return np.int64(largest)
    return np.int64(np.round(value)) if value > 0 else np.int64(0)


def scale_of(low: Any, high: Any, largest: Any, how: int) -> Any:
    """The scale of a row with these limits; a range of 0 has scale 1 but for ``PLAIN``."""
    span = np.float32(high - low)
    if how == PLAIN:
        return np.float32(span / np.float32(largest))
    scale = half_to_float(float_to_half(np.float32(span / np.float32(largest)))) if span != 0 else np.float32(1)
    if how != FAKE and (scale == 0 or (how == HALF_SCALE and math.isinf(np.float32(1) / scale))):
        scale = np.float32(1)
    return scale


def code_of(x: Any, low: Any, span: Any, scale: Any, largest: Any, how: int) -> Any:
    """The integer that stands for ``x``."""
    if how == PLAIN:
        return clipped((x - low) * np.float32(np.float32(255) / (span + np.float32(1e-8))), largest)
    if how == DIVIDED:
        return clipped(np.float32((x - low) / scale), largest)
    return clipped((x - low) * np.float32(np.float32(1) / scale), largest)


def _encode(x: Array, y: Array, bits: int, how: int, greedy: int) -> int:
    columns, width = x.shape[len(x.shape) - 1], y.shape[len(y.shape) - 1]
    per_byte, largest = 1 if how == FAKE else 8 // bits, (1 << bits) - 1
    for r in range(y.size // width):
        start, out = r * columns, r * width
        low, high = limits(x, start, columns)
        if greedy:
            low, high = search_limits(x, start, columns, low, high, largest)
        if how != PLAIN:
            low = half_to_float(float_to_half(low))
        scale, span = scale_of(low, high, largest, how), np.float32(high - low)
        for j in range(columns):
            code = code_of(float_of(x, start + j), low, span, scale, largest, how)
            y.flat[out + j // per_byte] |= np.uint8(code << (j % per_byte * bits))
        if how in (PLAIN, FAKE):
            put_flat_float(y, out + width - 8, scale)
            put_flat_float(y, out + width - 4, low)
        else:
            put_flat_half(y, out + width - 4, scale)
            put_flat_half(y, out + width - 2, low)
    return 0


def _decode(x: Array, y: Array, bits: int, how: int) -> int:
    columns, width = y.shape[len(y.shape) - 1], x.shape[len(x.shape) - 1]
    per_byte, mask = 8 // bits, (1 << bits) - 1
    for r in range(x.size // width):
        start, out = r * width, r * columns
        scale = flat_float(x, start + width - 8) if how == PLAIN else flat_half(x, start + width - 4)
        bias = flat_float(x, start + width - 4) if how == PLAIN else flat_half(x, start + width - 2)
        for j in range(columns):
            code = (np.int64(x.flat[start + j // per_byte]) >> (j % per_byte * bits)) & mask
            value = np.float32(code) * scale + bias
            y.flat[out + j] = float_to_half(value) if y.itemsize == 2 else value
    return 0


def _with_last(x: TensorType, dtype: DType, per_byte: int, extra: int, packed: bool) -> TensorType:
    """The type of packed rows, or of the numbers in them; ``extra``: bytes of scale and bias."""
    if x.shape is None:
        return TensorType(dtype)
    last = x.shape[-1] // per_byte + extra if packed else (x.shape[-1] - extra) * per_byte
    return TensorType(dtype, (*x.shape[:-1], last))


def _encode_op(name: str, bits: int, how: int, dtype: DType, kind: str) -> None:
    per_byte, extra = (1 if how == FAKE else 8 // bits), (8 if how in (PLAIN, FAKE) else 4)

    def infer(call: Call) -> list[TensorType]:
        """output: uint8, the last dimension packed, with scale and bias behind it."""
        x = require(call, 0, (dtype,))
        shape = require_rank(call, 0, 2) if how == FAKE else rows_of(call, 0)
        last = 0 if shape is None else shape[-1]
        if isinstance(last, int) and last % per_byte:
            call.fail(f"rows of {last} numbers do not fill their bytes", f"give a multiple of {per_byte}")
        return [_with_last(x, DType.UINT8, per_byte, extra, packed=True)]

    op(
        name,
        infer,
        inputs="input",
        outputs="output",
        loop=_encode,
        constants=lambda call: (bits, how, int(call.node.engine == "GREEDY" and bits < 8)),
        family=__name__,
        doc=f"Rows of {kind} as {bits}-bit numbers{' of one byte each' if how == FAKE else ''} with scale and bias.",
    )


for _from, _dtype, _kind in (("Float", DType.FLOAT, "float"), ("Half", DType.FLOAT16, "half")):
    for _bits in (2, 4):
        _how = HALF_SCALE if _from == "Float" else DIVIDED
        _encode_op(f"{_from}ToFused{_bits}BitRowwiseQuantized", _bits, _how, _dtype, _kind)
        _encode_op(f"{_from}ToFused{_bits}BitFakeRowwiseQuantized", _bits, FAKE, _dtype, _kind)
    _long = "HalfFloat" if _from == "Half" else "Float"
    _encode_op(f"{_long}ToFused8BitRowwiseQuantized", 8, PLAIN, _dtype, _kind)
    _encode_op(f"{_long}ToFused8BitRowwiseQuantizedHalfScaleBias", 8, HALF_SCALE, _dtype, _kind)


def _decode_op(name: str, bits: int, how: int, dtype: DType, kind: str) -> None:
    extra = 8 if how == PLAIN else 4

    def infer(call: Call) -> list[TensorType]:
        """The last dimension unpacked, without scale and bias."""
        x, shape = require(call, 0, (DType.UINT8,)), rows_of(call, 0)
        last = extra if shape is None else shape[-1]
        if isinstance(last, int) and last < extra:
            call.fail(f"rows of {last} bytes have no room for scale and bias, which take {extra}")
        return [_with_last(x, dtype, 8 // bits, extra, packed=False)]

    op(
        name,
        infer,
        inputs="scale_bias_quantized_input",
        outputs="output",
        loop=_decode,
        constants=lambda call: (bits, how),
        family=__name__,
        doc=f"Rows of {bits}-bit numbers with scale and bias as {kind}.",
    )


for _bits in (2, 4):
    _decode_op(f"Fused{_bits}BitRowwiseQuantizedToFloat", _bits, HALF_SCALE, DType.FLOAT, "float")
    _decode_op(f"Fused{_bits}BitRowwiseQuantizedToHalf", _bits, HALF_SCALE, DType.FLOAT16, "half")
_decode_op("Fused8BitRowwiseQuantizedToFloat", 8, PLAIN, DType.FLOAT, "float")
_decode_op("Fused8BitRowwiseQuantizedToHalfFloat", 8, PLAIN, DType.FLOAT16, "half")
_decode_op("Fused8BitRowwiseQuantizedHalfScaleBiasToFloat", 8, HALF_SCALE, DType.FLOAT, "float")
# Caffe2 registers this one with float numbers as well.
_decode_op("Fused8BitRowwiseQuantizedHalfScaleBiasToHalfFloat", 8, HALF_SCALE, DType.FLOAT, "float")


def _separate(x: Array, y: Array, scale_bias: Array) -> int:
    size = row_size(x)
    for r in range(x.shape[0]):
        low, high = limits(x, r * size, size)
        span = np.float32(high - low)
        scale_bias[r, 0] = np.float32(span / np.float32(255)) if span >= np.float32(1e-10) else np.float32(1)
        scale_bias[r, 1] = low
        inverse = np.float32(np.float32(1) / scale_bias[r, 0])
        for j in range(size if span >= np.float32(1e-10) else 0):
            value = np.floor((x.flat[r * size + j] - low) * inverse + np.float32(0.5))
            y.flat[r * size + j] = clipped(value, 255)
    return 0


def _separate_infer(call: Call) -> list[TensorType]:
    """quantized_input: uint8, like the input; scale_bias: float, two for every row."""
    x, shape = require(call, 0, FLOAT), rows_of(call, 0)
    rows = UNKNOWN if shape is None else shape[0]
    return [TensorType(DType.UINT8, x.shape), TensorType(DType.FLOAT, (rows, 2))]


def _joined(x: Array, scale_bias: Array, y: Array) -> int:
    size = row_size(x)
    for r in range(x.shape[0]):
        for j in range(size):
            y.flat[r * size + j] = np.float32(x.flat[r * size + j]) * scale_bias[r, 0] + scale_bias[r, 1]
    return 0


def check_scales(call: Call, i: int) -> None:
    """Input ``i`` is float, a scale and a bias for every row of input 0."""
    require(call, i, FLOAT)
    shape, rows = require_rank(call, i, 2), rows_of(call, 0)
    if shape is not None:
        agree(call, shape[1], 2, "columns of scale_bias")
        agree(call, shape[0], UNKNOWN if rows is None else rows[0], "rows of scale_bias")


def _joined_infer(call: Call) -> list[TensorType]:
    """output: float, like the quantised input."""
    x = require(call, 0, (DType.UINT8,))
    check_scales(call, 1)
    return [TensorType(DType.FLOAT, x.shape)]


op(
    "FloatToRowwiseQuantized8Bits",
    _separate_infer,
    inputs="input",
    outputs="quantized_input scale_bias",
    loop=_separate,
    doc="Rows as 8-bit numbers, with scale and bias in a tensor of their own.",
)
op(
    "Rowwise8BitQuantizedToFloat",
    _joined_infer,
    inputs="quantized_input scale_bias",
    outputs="output",
    loop=_joined,
    doc="Rows of 8-bit numbers times their scale plus their bias.",
)


def _dequantize(x: Array, y: Array, low: float, step: float) -> int:
    for i in range(y.size):
        y.flat[i] = np.float32(x.flat[i]) * np.float32(step) + np.float32(low)
    return 0


def _dequantize_infer(call: Call) -> list[TensorType]:
    """Y: float, of the shape that the argument gives; the input has a byte for each of its elements."""
    x = require(call, 0, (DType.UINT8,))
    shape = tuple(bounded(call, d, 0, "shape") for d in call.arg("shape"))
    if x.shape is not None:
        agree(call, product(x.shape), product(shape), "number of bytes")
    return [TensorType(DType.FLOAT, shape)]


def _dequantize_constants(call: Call) -> tuple[float, float]:
    low, high = np.float32(call.arg("min")), np.float32(call.arg("max"))
    return float(low), float(np.float32(float(high - low) / 255.0))


op(
    "ByteWeightDequant",
    _dequantize_infer,
    inputs="X",
    outputs="Y",
    args=(
        Arg("min", "float", -3.0, "what byte 0 stands for"),
        Arg("max", "float", 3.0, "what byte 255 stands for"),
        Arg("shape", "ints", (), "shape of the output"),
    ),
    loop=_dequantize,
    constants=_dequantize_constants,
    doc="Bytes as numbers evenly spaced from min to max.",
)
