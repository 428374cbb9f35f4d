"""Sums of rows of quantised tables, which indices choose, over runs of given lengths.

Rules from Caffe2's lengths_reducer_fused_*_rowwise_ops.h and lengths_reducer_rowwise_8bit_ops.h. LENGTHS is int32.
A pruned table has a mapping from the indices to its rows, -1 for rows that it has lost; [0] means that it lost none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Call, op
from graphc.ir.ops._half import row_float, row_half
from graphc.ir.ops._rules import agree, require, require_rank
from graphc.ir.ops._segments import (
    BAD_INDEX,
    BAD_LENGTHS,
    FLOAT,
    INTS,
    int_vector,
    length_of,
    scale_row,
    total_length,
    with_rows,
)
from graphc.ir.ops.sparse.rowwise_quantized import check_scales
from graphc.ir.types import UNKNOWN, DType, TensorType

LOST = -1
BAD_MAPPING = "COMPRESSED_INDICES_MAPPING: an index is outside of it, or it names no row of DATA"
ERRORS = (BAD_LENGTHS, BAD_INDEX, BAD_MAPPING)

Array = np.ndarray


def add_packed(y: Array, row: Array, bits: int, wide: int, weight: Any) -> None:
    """Add ``weight`` times the numbers of a fused row to ``y``. wide: scale and bias are float32, not half."""
    end = row.shape[0] - (8 if wide else 4)
    scale = weight * (row_float(row, end) if wide else row_half(row, end))
    bias = weight * (row_float(row, end + 4) if wide else row_half(row, end + 2))
    per_byte, mask = 8 // bits, (1 << bits) - 1
    for j in range(y.shape[0]):
        code = (np.int64(row[j // per_byte]) >> (j % per_byte * bits)) & mask
        y[j] += np.float32(code) * scale + bias


def mapped(mapping: Array, i: Any, pruned: int) -> Any:
    """The row that index ``i`` means: -1 a lost one, -2 an index that is outside of the mapping."""
    if not pruned or (mapping.shape[0] == 1 and mapping[0] == 0):
        return np.int64(i)
    if i < 0 or i >= mapping.shape[0]:
        return np.int64(-2)
    return np.int64(mapping[i])


def sum_packed(
    data: Array,
    weights: Array,
    indices: Array,
    lengths: Array,
    mapping: Array,
    y: Array,
    bits: int,
    wide: int,
    weighted: int,
    mean: int,
    pruned: int,
) -> Any:
    """The loop of all look-ups in fused rows."""
    if total_length(lengths) != indices.shape[0]:
        return 1
    k, with_map = 0, pruned and not (mapping.shape[0] == 1 and mapping[0] == 0)
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            at = mapped(mapping, np.int64(indices[k]), pruned)
            if (at < 0 and (at != LOST or not with_map)) or at >= data.shape[0]:
                return 3 if with_map else 2
            if at >= 0:
                add_packed(y[i], data[at], bits, wide, np.float32(weights[k]) if weighted else np.float32(1))
            k += 1
        if mean and lengths[i] > 0:
            scale_row(y, i, y.shape[1], np.float32(1.0 / lengths[i]))
    return 0


def _sum(data: Array, indices: Array, lengths: Array, y: Array, bits: int, wide: int, mean: int) -> Any:
    return sum_packed(data, lengths, indices, lengths, lengths, y, bits, wide, 0, mean, 0)


def _weighted(
    data: Array, weights: Array, indices: Array, lengths: Array, y: Array, bits: int, wide: int, mean: int
) -> Any:
    return sum_packed(data, weights, indices, lengths, lengths, y, bits, wide, 1, 0, 0)


def _pruned(
    data: Array, indices: Array, lengths: Array, mapping: Array, y: Array, bits: int, wide: int, mean: int
) -> Any:
    return sum_packed(data, lengths, indices, lengths, mapping, y, bits, wide, 0, mean, 1)


def _pruned_weighted(
    data: Array,
    weights: Array,
    indices: Array,
    lengths: Array,
    mapping: Array,
    y: Array,
    bits: int,
    wide: int,
    mean: int,
) -> Any:
    return sum_packed(data, weights, indices, lengths, mapping, y, bits, wide, 1, 0, 1)


def _columns(call: Call, bits: int, wide: bool) -> Any:
    """How many numbers a fused row of DATA, a matrix of uint8, has."""
    require(call, 0, (DType.UINT8,))
    shape, extra = require_rank(call, 0, 2), 8 if wide else 4
    if shape is None:
        return UNKNOWN
    if isinstance(shape[1], int) and shape[1] <= extra:
        call.fail(f"rows of {shape[1]} bytes have no numbers", f"scale and bias take {extra}")
    return (shape[1] - extra) * (8 // bits)


def _fused_op(name: str, bits: int, how: str, pruned: bool) -> None:
    wide, weighted = bits == 8, how == "WeightedSum"

    def infer(call: Call) -> list[TensorType]:
        """output: float, a row for every length; one weight for every index."""
        columns, first = _columns(call, bits, wide), 1 + weighted
        count = int_vector(call, first, INTS)
        if weighted:
            require(call, 1, FLOAT)
            agree(call, length_of(call, 1), count, "number of WEIGHTS")
        if pruned:
            int_vector(call, first + 2)
        return [TensorType(DType.FLOAT, (int_vector(call, first + 1), columns))]

    loops = (_pruned_weighted if weighted else _pruned) if pruned else (_weighted if weighted else _sum)
    mapping = " COMPRESSED_INDICES_MAPPING" if pruned else ""
    op(
        name,
        infer,
        inputs=f"DATA {'WEIGHTS ' if weighted else ''}INDICES LENGTHS{mapping}",
        outputs="output",
        loop=loops,
        constants=lambda call: (bits, int(wide), int(how == "Mean")),
        errors=ERRORS,
        flops=lambda call: 2 * call.type(1 + weighted).size * call.node.results[0].type.static_shape[-1],
        family=__name__,
        doc=f"{how} of runs of rows of {bits}-bit numbers{', some of which the table lost' if pruned else ''}.",
    )


for _bits in (8, 4, 2):
    for _how in ("Sum", "Mean", "WeightedSum"):
        _fused_op(f"SparseLengths{_how}Fused{_bits}BitRowwise", _bits, _how, pruned=False)
        _fused_op(f"SparseLengths{_how}{_bits}BitRowwiseSparse", _bits, _how, pruned=True)


def sum_bytes(
    data: Array,
    weights: Array,
    indices: Array,
    lengths: Array,
    scale_bias: Array,
    y: Array,
    weighted: int,
    mean: int,
) -> Any:
    """The loop of all look-ups in rows of bytes whose scales are in a tensor of their own."""
    if total_length(lengths) != indices.shape[0]:
        return 1
    k, size = 0, y.size // max(y.shape[0], 1)
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            at = np.int64(indices[k])
            if at < 0 or at >= data.shape[0]:
                return 2
            weight = np.float32(weights[k]) if weighted else np.float32(1)
            scale, bias = weight * scale_bias[at, 0], weight * scale_bias[at, 1]
            for j in range(size):
                y.flat[i * size + j] += np.float32(data.flat[at * size + j]) * scale + bias
            k += 1
        if mean and lengths[i] > 0:
            scale_row(y, i, size, np.float32(1.0 / lengths[i]))
    return 0


def _bytes(data: Array, indices: Array, lengths: Array, scale_bias: Array, y: Array, mean: int) -> Any:
    return sum_bytes(data, lengths, indices, lengths, scale_bias, y, 0, mean)


def _bytes_weighted(
    data: Array, weights: Array, indices: Array, lengths: Array, scale_bias: Array, y: Array, mean: int
) -> Any:
    return sum_bytes(data, weights, indices, lengths, scale_bias, y, 1, mean)


def _bytes_infer(call: Call) -> list[TensorType]:
    """output: float, a row of DATA's kind for every length; scale_bias has two numbers for every row of DATA."""
    data, first = require(call, 0, (DType.UINT8,)), call.n_inputs - 3
    check_scales(call, call.n_inputs - 1)
    count = int_vector(call, first, INTS)
    if first == 2:
        require(call, 1, FLOAT)
        agree(call, length_of(call, 1), count, "number of SCALARS")
    return [with_rows(data.shape, int_vector(call, first + 1))]


for _how in ("Sum", "Mean", "WeightedSum", "WeightedMean"):
    _weights = "SCALARS " if "Weighted" in _how else ""
    op(
        f"SparseLengths{_how}8BitsRowwise",
        _bytes_infer,
        inputs=f"DATA {_weights}INDICES LENGTHS scale_bias",
        outputs="output",
        loop=_bytes_weighted if _weights else _bytes,
        constants=lambda call, mean="Mean" in _how: (int(mean),),
        errors=ERRORS,
        doc=f"{_how} of runs of rows of bytes, which INDICES choose from DATA.",
    )


def _gather(data: Array, indices: Array, y: Array) -> Any:
    for i in range(indices.shape[0]):
        if indices[i] < 0 or indices[i] >= data.shape[0]:
            return 2
        add_packed(y[i], data[indices[i]], 8, 1, np.float32(1))
    return 0


def _gather_infer(call: Call) -> list[TensorType]:
    """OUTPUT: float, a row for every index."""
    return [TensorType(DType.FLOAT, (int_vector(call, 1, INTS), _columns(call, 8, wide=True)))]


op(
    "GatherFused8BitRowwise",
    _gather_infer,
    inputs="DATA INDICES",
    outputs="OUTPUT",
    loop=_gather,
    errors=ERRORS,
    doc="The rows of 8-bit numbers that INDICES choose, as float.",
)


def _kept_sizes(indices: Array, lengths: Array, mapping: Array, weights: Array, dims: Array) -> Any:
    total = total_length(lengths)
    if total < 0 or total > indices.shape[0]:
        return 1
    for k in range(total):
        if indices[k] < 0 or indices[k] >= mapping.shape[0]:
            return 3
        for d in range(dims.shape[0]):
            dims[d] += 1 if mapping[indices[k]] != LOST else 0
    return 0


def _kept(
    indices: Array,
    lengths: Array,
    mapping: Array,
    weights: Array,
    out_indices: Array,
    out_lengths: Array,
    out_weights: Array,
) -> Any:
    k, count = 0, 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            if mapping[indices[k]] != LOST:
                out_indices[count] = mapping[indices[k]]
                out_lengths[i] += 1
                if out_weights.shape[0]:
                    out_weights[count] = weights[k]
                count += 1
            k += 1
    return 0


def _kept_infer(call: Call) -> list[TensorType]:
    """Indices of the input's type, int32 lengths, and weights where there are input weights."""
    dtype, count = require(call, 0, INTS).dtype, length_of(call, 0)
    lengths = int_vector(call, 1)
    int_vector(call, 2)
    if call.has(3) is not (call.n_results == 3):
        call.fail("weights are an input without output, or an output without input")
    types = [TensorType(dtype, (UNKNOWN,)), TensorType(DType.INT32, (lengths,))]
    if not call.has(3):
        return types
    require(call, 3, FLOAT)
    agree(call, length_of(call, 3), count, "number of WEIGHTS")
    return [*types, TensorType(DType.FLOAT, (UNKNOWN,))]


op(
    "SparseLengthsSumSparseLookup",
    _kept_infer,
    inputs="INDICES LENGTHS COMPRESSED_INDICES_MAPPING WEIGHTS?",
    outputs="output_indices output_lengths output_weights?",
    loop=_kept,
    sizes=_kept_sizes,
    errors=ERRORS,
    doc="The rows that indices mean in a pruned table, without those that it lost.",
)
