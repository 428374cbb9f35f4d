"""Rows shared out by the remainder of their keys, with their runs' lengths. Rules from Caffe2's partition_ops.h."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, require
from graphc.ir.ops._segments import BAD_LENGTHS, INTS, int_vector, length_of, rows_of, total_length
from graphc.ir.types import UNKNOWN, DType, TensorType

Array = np.ndarray


def _sizes(xs: tuple[Array, ...], dims: Array, pack: int, parts: int) -> Any:
    keys, others = xs[1], len(xs) - 1
    if total_length(xs[0]) != keys.shape[0]:
        return 1
    for i in range(keys.shape[0]):
        for k in range(others):
            dims[np.int64(keys[i]) % parts * others + k] += 1
    return 0


def share_rows(x: Array, which: Any, n: Any, keys: Array, ys: tuple[Array, ...], place: Any, pack: int) -> Any:
    """The rows of input ``which`` of ``n`` to its outputs, of which ``ys`` holds those from ``place`` on."""
    if len(ys) == 0:
        return 0
    y = ys[0]
    parts = (place + len(ys)) // n
    if place % n == which and keys.shape[0]:
        size, count = x.size // keys.shape[0], 0
        for i in range(keys.shape[0]):
            if np.int64(keys[i]) % parts == place // n:
                for j in range(size):
                    value = x.flat[i * size + j]
                    y.flat[count * size + j] = value // parts if pack and which == 1 else value
                count += 1
    return share_rows(x, which, n, keys, ys[1:], place + 1, pack)


def share_all(xs: tuple[Array, ...], which: Any, n: Any, keys: Array, ys: tuple[Array, ...], pack: int) -> Any:
    """The rows of all inputs but the lengths, from input ``which`` on, to their outputs."""
    if len(xs) == 0:
        return 0
    share_rows(xs[0], which, n, keys, ys, 0, pack)
    return share_all(xs[1:], which + 1, n, keys, ys, pack)


def count_rows(lengths: Array, keys: Array, n: Any, ys: tuple[Array, ...], place: Any) -> Any:
    """The lengths of the runs of every part to the outputs of the lengths."""
    if len(ys) == 0:
        return 0
    y, k = ys[0], 0
    parts = (place + len(ys)) // n
    for i in range(lengths.shape[0] if place % n == 0 else 0):
        for _ in range(lengths[i]):
            if np.int64(keys[k]) % parts == place // n:
                y.flat[i] += 1
            k += 1
    return count_rows(lengths, keys, n, ys[1:], place + 1)


def _partition(xs: tuple[Array, ...], ys: tuple[Array, ...], pack: int, parts: int) -> Any:
    count_rows(xs[0], xs[1], len(xs), ys, 0)
    return share_all(xs[1:], 1, len(xs), xs[1], ys, pack)


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


op(
    "LengthsPartition",
    _infer,
    inputs="input*",
    outputs="partitions*",
    args=(Arg("pack_first_input", "int", 0, "keys become their quotients by the number of parts"),),
    loop=_partition,
    sizes=_sizes,
    constants=lambda call: (call.arg("pack_first_input"), call.n_results // max(call.n_inputs, 1)),
    errors=(BAD_LENGTHS,),
    doc="Runs of rows as parts: a row belongs to the part that is its key modulo their number.",
)
