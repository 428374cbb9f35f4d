"""Rows of 1-, 2-, 4- or 8-bit numbers with their limits, rounded at random or not.

Rules from Caffe2's fused_rowwise_random_quantization_ops.cc and its quantize_and_compress. A row: the bits of a number,
how many places of its last bytes are unused, minimum and maximum as float32, then bytes, of which number i of every
part of the row shares byte i: the first part in the low bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._half import flat_float, put_flat_float
from graphc.ir.ops._rules import require, require_rank
from graphc.ir.ops._segments import FLOAT
from graphc.ir.ops.sparse._hashing import drawn, hash_seed
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

HEAD = 10
"""Bytes before the numbers."""
EPSILON = 1e-8

Array = np.ndarray


def _encode(x: Array, y: Array, bits: int, random: int, seed: int) -> int:
    columns, bytes_ = x.shape[1], y.shape[1] - HEAD
    largest = np.float32((1 << bits) - 1)
    for r in range(x.shape[0]):
        low = high = x[r, 0]
        for j in range(columns):
            low, high = min(low, x[r, j]), max(high, x[r, j])
        y[r, 0], y[r, 1] = bits, bytes_ * (8 // bits) - columns
        put_flat_float(y, r * y.shape[1] + 2, low)
        put_flat_float(y, r * y.shape[1] + 6, high)
        inverse = np.float32(1.0 / (np.float32((high - low) / largest) + EPSILON))
        for j in range(columns):
            place = (x[r, j] - low) * inverse
            if random:
                place = np.float32(math.floor(place + np.float32(drawn(seed, r * columns + j))))
            code = np.int64(np.round(min(max(place, np.float32(0)), largest)))
            y[r, HEAD + j % bytes_] |= np.uint8(code << (j // bytes_ * bits))
    return 0


def _bits(call: Call) -> int:
    bits = call.arg("bitwidth")
    if bits not in (1, 2, 4, 8):
        call.fail(f"argument bitwidth is {bits}", "use 1, 2, 4 or 8")
    return int(bits)


def _encode_infer(call: Call) -> list[TensorType]:
    """output: uint8, a row for every row of the input, which is a matrix with columns."""
    bits = _bits(call)
    require(call, 0, FLOAT)
    shape = require_rank(call, 0, 2)
    if shape is None:
        return [TensorType(DType.UINT8, (UNKNOWN, UNKNOWN))]
    if shape[1] == 0:
        call.fail("the rows have no elements")
    per_byte = 8 // bits
    return [TensorType(DType.UINT8, (shape[0], (shape[1] + (per_byte - 1)) // per_byte + HEAD))]


def _decode_sizes(x: Array, dims: Array) -> Any:
    if x.shape[0] == 0:
        return 1
    bits, tail = np.int64(x[0, 0]), np.int64(x[0, 1])
    if bits not in (1, 2, 4, 8) or tail >= 8 // max(bits, 1):
        return 1
    for r in range(x.shape[0]):
        if x[r, 0] != bits or x[r, 1] != tail:
            return 1
    dims[0] = max((x.shape[1] - HEAD) * (8 // bits) - tail, 0)
    return 0


def _decode(x: Array, y: Array) -> Any:
    bits, bytes_ = np.int64(x[0, 0]), x.shape[1] - HEAD
    largest = np.int64((1 << bits) - 1)
    for r in range(x.shape[0]):
        low, high = flat_float(x, r * x.shape[1] + 2), flat_float(x, r * x.shape[1] + 6)
        gap = np.float32(np.float32((high - low) / np.float32(largest)) + EPSILON)
        for j in range(y.shape[1]):
            code = (np.int64(x[r, HEAD + j % bytes_]) >> (j // bytes_ * bits)) & largest
            y[r, j] = np.float32(code) * gap + low
    return 0


def _decode_infer(call: Call) -> list[TensorType]:
    """float_input: float, a row for every row; how many columns the first bytes of a row say."""
    require(call, 0, (DType.UINT8,))
    shape = require_rank(call, 0, 2)
    rows: Dim = UNKNOWN if shape is None else shape[0]
    if shape is not None and isinstance(shape[1], int) and shape[1] < HEAD:
        call.fail(f"rows of {shape[1]} bytes have no head, which takes {HEAD}")
    return [TensorType(DType.FLOAT, (rows, UNKNOWN))]


op(
    "FloatToFusedRandRowwiseQuantized",
    _encode_infer,
    inputs="input",
    outputs="output",
    args=(
        Arg("bitwidth", "int", 8, "bits of a number: 1, 2, 4 or 8"),
        Arg("random", "int", 1, "round up as likely as the number is near, not to the nearest"),
    ),
    loop=_encode,
    constants=lambda call: (_bits(call), call.arg("random"), hash_seed(call)),
    call_traits=lambda call: Trait.RANDOM if call.arg("random") else Trait.NONE,
    doc="Rows as numbers of few bits between their minimum and maximum.",
)
op(
    "FusedRandRowwiseQuantizedToFloat",
    _decode_infer,
    inputs="quantized_input",
    outputs="float_input",
    loop=_decode,
    sizes=_decode_sizes,
    errors=("a row does not begin with 1, 2, 4 or 8 bits and its unused places, or the rows differ in them",),
    doc="Rows that FloatToFusedRandRowwiseQuantized made, as float.",
)
