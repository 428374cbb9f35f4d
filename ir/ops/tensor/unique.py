"""Elements that are equal: found, counted, hashed and split. Rules from Caffe2's unique_ops, find_op and others."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import bounded, require, require_rank
from graphc.ir.ops._segments import INTS, length_of
from graphc.ir.ops._sorting import argsort, find_last
from graphc.ir.types import UNKNOWN, DType, TensorType

Array = np.ndarray


def _permutations(call: Call) -> list[TensorType]:
    """Two permutations of the elements of input 0."""
    shape = call.type(0).shape
    count = TensorType(
        DType.INT64, None if shape is None else (call.type(0).size if call.type(0).is_static else UNKNOWN,)
    )
    return [count, count]


def _unique_sizes(x: Array, dims: Array, order: Array, spare: Array) -> Any:
    argsort(x, order, spare)
    for k in range(x.size if dims.shape[0] else 0):
        if k == 0 or x.flat[order[k]] != x.flat[order[k - 1]]:
            dims[0] += 1
    return 0


def _unique(x: Array, y: Array, remapping: Array, order: Array, spare: Array) -> Any:
    count = -1
    for k in range(x.size):
        if k == 0 or x.flat[order[k]] != x.flat[order[k - 1]]:
            count += 1
            y[count] = x.flat[order[k]]
        if remapping.shape[0]:
            remapping[order[k]] = count
    return 0


def _unique_infer(call: Call) -> list[TensorType]:
    """unique_indices: a vector of the input's type, of one index or none the same; remapping: int32, one an index."""
    x, count = require(call, 0, INTS), length_of(call, 0)
    return [TensorType(x.dtype, (count if count in (0, 1) else UNKNOWN,)), TensorType(DType.INT32, (count,))]


op(
    "Unique",
    _unique_infer,
    inputs="indices",
    outputs="unique_indices remapping?",
    loop=_unique,
    sizes=_unique_sizes,
    scratch=_permutations,
    doc="The distinct elements in ascending order, and where every element is among them.",
)


def _duplicates_sizes(x: Array, dims: Array, order: Array, spare: Array) -> Any:
    argsort(x, order, spare)
    for k in range(x.shape[0]):
        spare[k] = 0
    for k in range(1, x.shape[0]):
        if x[order[k]] == x[order[k - 1]]:
            spare[order[k]] = 1
            dims[0] += 1
    return 0


def _duplicates(x: Array, y: Array, order: Array, spare: Array) -> Any:
    count = 0
    for i in range(x.shape[0]):
        if spare[i]:
            y[count] = i
            count += 1
    return 0


def _duplicates_infer(call: Call) -> list[TensorType]:
    """indices: an int64 vector."""
    require(call, 0, (DType.FLOAT, DType.DOUBLE, DType.INT32, DType.INT64, DType.STRING))
    require_rank(call, 0, 1)
    return [TensorType(DType.INT64, (UNKNOWN,))]


op(
    "FindDuplicateElements",
    _duplicates_infer,
    inputs="data",
    outputs="indices",
    loop=_duplicates,
    sizes=_duplicates_sizes,
    scratch=_permutations,
    doc="Indices of the elements that equal an earlier one.",
)


def _find(x: Array, query: Array, y: Array, order: Array, spare: Array, missing_value: int) -> Any:
    argsort(x, order, spare)
    for i in range(query.size):
        place = find_last(x, order, query.flat[i])
        y.flat[i] = missing_value
        if place >= 0 and x.flat[order[place]] == query.flat[i]:
            y.flat[i] = order[place]
    return 0


def _find_infer(call: Call) -> list[TensorType]:
    """query_indices: like query, which has the elements' type."""
    x, query = require(call, 0, INTS), require(call, 1, INTS)
    if None not in (x.dtype, query.dtype) and x.dtype is not query.dtype:
        call.fail("index and query have different element types")
    if not -(2**31) <= call.arg("missing_value") < 2**31:
        call.fail(f"missing_value is {call.arg('missing_value')}, which no int32 holds")
    return [query]


op(
    "Find",
    _find_infer,
    inputs="index query",
    outputs="query_indices",
    args=(Arg("missing_value", "int", -1, "the answer where there is no such element"),),
    loop=_find,
    scratch=_permutations,
    doc="Where every element of query is in index, of several places the last.",
)

MASK = 0xFFFFFFFF


def _hash(x: Array, y: Array, seed_high: int, seed_low: int, modulo: int) -> Any:
    """h = h * 65537 + byte over an element's bytes, which are signed; wraps around as the element type does."""
    for i in range(x.size):
        value, high, low = np.int64(x.flat[i]), np.int64(seed_high), np.int64(seed_low)
        for b in range(x.itemsize):
            byte = (value >> (8 * b)) & 255
            byte -= 256 if byte > 127 else 0
            sum_low = low * 65537 + (byte & MASK)
            high = (high * 65537 + (sum_low >> 32) + (MASK if byte < 0 else 0)) & MASK
            low = sum_low & MASK
        if x.itemsize == 4:
            high = np.int64(MASK if low > 2147483647 else 0)
        high -= 4294967296 if high > 2147483647 else 0
        y.flat[i] = ((high * 4294967296) + low) % modulo
    return 0


def _hash_infer(call: Call) -> list[TensorType]:
    """HashedIndices: like the input; modulo is a positive number of its type."""
    x = require(call, 0, INTS)
    limit = 2**31 - 1 if x.dtype is DType.INT32 else 2**63 - 1
    if not 0 < call.arg("modulo") <= limit:
        call.fail(f"argument modulo is {call.arg('modulo')}", f"give it a value from 1 to {limit}")
    return [x]


def _hash_constants(call: Call) -> tuple[int, int, int]:
    seed = call.arg("seed") * 0xDEADBEEF
    return (seed >> 32) & MASK, seed & MASK, call.arg("modulo")


op(
    "IndexHash",
    _hash_infer,
    inputs="Indices",
    outputs="HashedIndices",
    args=(Arg("seed", "int", 0, "what the hash starts from"), Arg("modulo", "int", 0, "hashes are below it")),
    loop=_hash,
    constants=_hash_constants,
    inplace=((0, 0),),
    doc="A hash of every index from 0 to modulo - 1.",
)


def _split_sizes(keys: Array, dims: Array, limit: int) -> Any:
    for i in range(keys.size):
        if keys.flat[i] < 0 or keys.flat[i] >= limit:
            return 1
        dims[keys.flat[i]] += 1
    return 0


def _split(keys: Array, ys: tuple[Array, ...], limit: int) -> Any:
    for key in range(limit):
        y, count = ys[key], 0
        for i in range(keys.size):
            if keys.flat[i] == key:
                y[count] = i
                count += 1
    return 0


def _split_infer(call: Call) -> list[TensorType]:
    """categorical_limit vectors of int32; what further outputs there are stays empty."""
    require(call, 0, (DType.INT64,))
    limit = bounded(call, call.arg("categorical_limit"), 1, "categorical_limit")
    if call.n_results < limit:
        call.fail(f"there are {call.n_results} outputs for {limit} categories")
    counted = [TensorType(DType.INT32, (UNKNOWN,))] * limit
    return [*counted, *[TensorType(DType.INT32, (0,))] * (call.n_results - limit)]


op(
    "KeySplit",
    _split_infer,
    inputs="keys",
    outputs="indices*",
    args=(Arg("categorical_limit", "int", 0, "number of categories"),),
    loop=_split,
    sizes=_split_sizes,
    errors=("keys: a key is negative, or not below categorical_limit",),
    doc="For every category the indices of the keys that name it.",
)
