"""Rows shared out by the remainder of their keys, with their runs' lengths. Rules from Caffe2's partition_ops.h."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._half import flat_bits, put_flat_bits
from graphc.ir.ops._rules import agree, require
from graphc.ir.ops._segments import BAD_LENGTHS, INTS, int_vector, length_of, rows_of, total_length
from graphc.ir.types import UNKNOWN, DType, TensorType

Array = np.ndarray


def key_at(keys: Array, i: Any, size: Any) -> Any:
    """Key ``i``, an integer of ``size`` bytes in a vector of bytes."""
    key = flat_bits(keys, i * size, size)
    return key - 4294967296 if size == 4 and key > 2147483647 else key


def part_of(keys: Array, i: Any, size: Any, parts: Any) -> Any:
    """The part to which key ``i`` belongs."""
    return key_at(keys, i, size) % parts


def _sizes(xs: tuple[Array, ...], dims: Array, size: int, pack: int, parts: int) -> Any:
    keys, others = xs[1], len(xs) - 1
    count = keys.shape[0] // size
    if total_length(xs[0].view(np.int32)) != count:
        return 1
    for i in range(count):
        for k in range(others):
            dims[part_of(keys, i, size, parts) * others + k] += 1
    return 0


def share_rows(x: Array, y: Array, keys: Array, size: Any, part: Any, parts: Any) -> None:
    """The rows of x, bytes like y, whose keys belong to ``part``, to y."""
    count, out = keys.shape[0] // size, 0
    row = x.shape[0] // max(count, 1)
    for i in range(count):
        if part_of(keys, i, size, parts) == part:
            for j in range(row):
                y[out + j] = x[i * row + j]
            out += row


def share_lengths(lengths: Array, y: Array, keys: Array, size: Any, part: Any, parts: Any) -> None:
    """How many keys of every run belong to ``part``."""
    k = 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            if part_of(keys, k, size, parts) == part:
                y[i] += 1
            k += 1


def _partition(xs: tuple[Array, ...], ys: tuple[Array, ...], size: int, pack: int, parts: int) -> Any:
    n, keys = len(xs), xs[1]
    for part in range(parts):
        share_lengths(xs[0].view(np.int32), ys[part * n].view(np.int32), keys, size, part, parts)
        for k in range(1, n):
            share_rows(xs[k], ys[part * n + k], keys, size, part, parts)
        packed = ys[part * n + 1]
        for i in range(packed.shape[0] // size if pack else 0):
            put_flat_bits(packed, i * size, key_at(packed, i, size) // parts, size)
    return 0


def _infer(call: Call) -> list[TensorType]:
    """For every part the types of all inputs: lengths as many, of the others those rows whose keys belong to it.

    Input 0: lengths, int32; input 1: keys, a vector of int32 or int64; all further ones have a row for every key.
    """
    n = call.n_inputs
    if n < 2 or call.n_results < n or call.n_results % n:
        call.fail(f"{call.n_results} outputs are no multiple of {n} inputs", "give lengths, keys and maybe rows")
    lengths = int_vector(call, 0)
    require(call, 1, INTS)
    count = length_of(call, 1)
    types = [TensorType(DType.INT32, (lengths,))]
    for i in range(1, n):
        x, shape = call.type(i), rows_of(call, i)
        if shape is not None:
            count = agree(call, shape[0], count, f"number of rows of input {i}")
        types.append(x.with_shape(shape and (UNKNOWN, *shape[1:])))
    return types * (call.n_results // n)


def _constants(call: Call) -> tuple[int, int, int]:
    size = 4 if call.type(1).dtype is DType.INT32 else 8
    return size, call.arg("pack_first_input"), call.n_results // max(call.n_inputs, 1)


op(
    "LengthsPartition",
    _infer,
    inputs="input*#",
    outputs="partitions*#",
    args=(Arg("pack_first_input", "int", 0, "keys become their quotients by the number of parts"),),
    loop=_partition,
    sizes=_sizes,
    constants=_constants,
    errors=(BAD_LENGTHS,),
    doc="Runs of rows as parts: a row belongs to the part that is its key modulo their number.",
)
