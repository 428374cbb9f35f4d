"""Choosing rows by booleans and keys: BooleanMask, BooleanUnmask, Conditional, Partition, GatherByKey, IsMemberOf."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, merge_shapes, require, require_rank, vector
from graphc.ir.ops._updates import INTS
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType


def _mask_infer(call: Call) -> list[TensorType]:
    """masked_data: rows of data where the mask is true; masked_indices: their numbers, int64."""
    data = call.type(0)
    require(call, 1, (DType.BOOL,))
    mask = require_rank(call, 1, 1)
    if data.shape is not None and not data.shape:
        call.fail("data is a scalar, it needs rows")
    if data.shape is not None and mask is not None:
        agree(call, mask[0], data.shape[0], "elements of the mask, one for every row of data")
    held = call.constant(1)
    n: Dim = UNKNOWN if held is None else int(np.count_nonzero(held))
    rows = data.with_shape(None if data.shape is None else (n, *data.shape[1:]))
    return [rows, TensorType(DType.INT64, (n,))]


def _mask_sizes(data: np.ndarray, mask: np.ndarray, dims: np.ndarray) -> None:
    n = 0
    for i in range(mask.size):
        n += 1 if mask[i] else 0
    for d in range(dims.size):
        dims[d] = n


def _mask(data: np.ndarray, mask: np.ndarray, masked: np.ndarray, indices: np.ndarray) -> None:
    n = data.size // max(mask.size, 1)
    row = 0
    for i in range(mask.size):
        if mask[i]:
            for j in range(n):
                masked.flat[row * n + j] = data.flat[i * n + j]
            if indices.size:
                indices.flat[row] = i
            row += 1


def _mask_reference(call: Call, data: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    return [data[mask], np.flatnonzero(mask).astype(np.int64)]


op(
    "BooleanMask",
    _mask_infer,
    inputs="data mask",
    outputs="masked_data masked_indices?",
    sizes=_mask_sizes,
    loop=_mask,
    reference=_mask_reference,
    doc="The rows of data where the mask is true, and their numbers.",
)


def _mask_gradient_infer(call: Call) -> list[TensorType]:
    """ddata: a vector with an element for every one of the mask, as Caffe2 has it whatever the data's shape was."""
    require(call, 0, (DType.BOOL,))
    mask, grad = require_rank(call, 0, 1), call.type(1)
    require(call, 1, (DType.BOOL, DType.INT32, DType.INT64, DType.FLOAT, DType.DOUBLE))
    return [grad.with_shape((UNKNOWN if mask is None else mask[0],))]


def _mask_gradient(mask: np.ndarray, grad: np.ndarray, output: np.ndarray) -> int:
    taken = 0
    for i in range(mask.size):
        if mask[i]:
            if taken >= grad.size:
                return 1
            output[i] = grad.flat[taken]
            taken += 1
    return 0


op(
    "BooleanMaskGradient",
    _mask_gradient_infer,
    inputs="mask dmasked_data",
    outputs="ddata",
    loop=_mask_gradient,
    errors=("the mask has more true elements than the gradient",),
    doc="Gradient of BooleanMask of a vector: its elements where the mask is true, else 0.",
)


def _mask_lengths_infer(call: Call) -> list[TensorType]:
    """masked_lengths: as lengths."""
    lengths = require(call, 0, INTS)
    require_rank(call, 0, 1)
    require(call, 1, (DType.BOOL,))
    require_rank(call, 1, 1)
    return [lengths]


def _mask_lengths(lengths: np.ndarray, mask: np.ndarray, output: np.ndarray) -> int:
    p = 0
    for i in range(lengths.size):
        length = int(lengths[i])
        if length < 0 or p + length > mask.size:
            return 1
        kept = 0
        for j in range(p, p + length):
            kept += 1 if mask[j] else 0
        output[i] = kept
        p += length
    return 0 if p == mask.size else 1


op(
    "BooleanMaskLengths",
    _mask_lengths_infer,
    inputs="lengths mask",
    outputs="masked_lengths",
    loop=_mask_lengths,
    errors=("a length is negative, or the lengths do not add up to the elements of the mask",),
    doc="How many elements of each segment the mask keeps.",
)


def _unmask_infer(call: Call) -> list[TensorType]:
    """unmasked_data: a vector of the values' type with an element for every one of a mask."""
    if call.n_inputs == 0 or call.n_inputs % 2:
        call.fail(f"{call.n_inputs} inputs, but masks and values come in pairs")
    size: Dim = UNKNOWN
    for i in range(0, call.n_inputs, 2):
        require(call, i, (DType.BOOL,))
        size = vector(call, i, size, f"elements of mask {i // 2} and the masks before")
        require_rank(call, i + 1, 1)
        if call.type(i + 1).dtype is not call.type(1).dtype:
            call.fail("the values have different types of elements", "insert a Cast")
    return [TensorType(call.type(1).dtype, (size,))]


def _unmask(pairs: Any, output: np.ndarray, taken: np.ndarray, size: int, width: int) -> int:
    """width: bytes of an element. taken: how many values of each pair are used."""
    n = len(pairs) // 2
    for i in range(size):
        found = -1
        for k in range(n - 1, -1, -1):
            if pairs[2 * k][i]:
                found = k
        if found < 0:
            return 3
        values, at = pairs[2 * found + 1], taken[found] * width
        if at + width > values.size:
            return 1
        for j in range(width):
            output[i * width + j] = values[at + j]
        taken[found] += 1
    for k in range(n):
        if taken[k] * width != pairs[2 * k + 1].size:
            return 2
    return 0


def _unmask_constants(call: Call) -> list[int]:
    dtype = call.type(1).dtype
    return [call.type(0).size, dtype.itemsize if dtype else 0]


op(
    "BooleanUnmask",
    _unmask_infer,
    inputs="mask_and_values*#",
    outputs="unmasked_data#",
    loop=_unmask,
    constants=_unmask_constants,
    scratch=lambda call: [TensorType(DType.INT64, (call.n_inputs // 2,))],
    errors=(
        "a mask has more true elements than its values",
        "a mask has fewer true elements than its values",
        "at some position every mask is false",
    ),
    doc="Every element from the values of the first mask that is true there; the inverse of BooleanMask.",
)


def _conditional_infer(call: Call) -> list[TensorType]:
    """DataO: as DataT."""
    require(call, 0, (DType.BOOL,))
    condition, yes, no = require_rank(call, 0, 1), call.type(1), call.type(2)
    if yes.dtype is not no.dtype:
        call.fail("DataT and DataF have different types of elements", "insert a Cast")
    shape = merge_shapes(call, yes.shape, no.shape, "shapes of DataT and DataF")
    if shape is not None and not shape:
        call.fail("DataT is a scalar, it needs rows")
    if shape is not None and condition is not None:
        agree(call, shape[0], condition[0], "rows of DataT, one for every element of Condition")
    return [yes.with_shape(shape)]


def _conditional(condition: np.ndarray, yes: np.ndarray, no: np.ndarray, output: np.ndarray) -> None:
    n = yes.size // max(condition.size, 1)
    for i in range(condition.size):
        for j in range(i * n, i * n + n):
            output.flat[j] = yes.flat[j] if condition[i] else no.flat[j]


op(
    "Conditional",
    _conditional_infer,
    inputs="Condition DataT DataF",
    outputs="DataO",
    loop=_conditional,
    doc="Row i of DataT where Condition[i] is true, else of DataF.",
)


def _partitions(call: Call) -> int:
    """Number of parts of a Partition."""
    if call.n_inputs == 0 or call.n_results == 0 or call.n_results % call.n_inputs:
        call.fail(f"{call.n_results} outputs are no multiple of {call.n_inputs} inputs")
    return call.n_results // call.n_inputs


def _partition_infer(call: Call) -> list[TensorType]:
    """For every part in turn: the keys that fall into it, and the rows of the other inputs beside them."""
    parts = _partitions(call)
    keys = require(call, 0, INTS).shape
    one: list[TensorType] = []
    for i in range(call.n_inputs):
        t = call.type(i)
        if keys is None or t.shape is None:
            one.append(t.with_shape(None))
            continue
        if not keys:
            call.fail("the keys are a scalar, they need a dimension")
        if len(t.shape) < len(keys):
            call.fail(f"input {i} has {len(t.shape)} dimensions, the keys have {len(keys)}")
        merge_shapes(call, t.shape[: len(keys)], keys, f"first dimensions of input {i} and those of the keys")
        one.append(t.with_shape((UNKNOWN, *t.shape[len(keys) :])))
    return one * parts


def part_of(key: Any, parts: int) -> int:
    """Part of a loop: the key modulo the number of parts, counted from 0 for negative keys too."""
    return int(key) % parts


def _key(keys: np.ndarray, i: int, width: int) -> int:
    """Key ``i`` of a vector of bytes, of ``width`` bytes each."""
    at = i * width
    if width == 8:
        return int(keys[at : at + 8].view(np.int64)[0])
    return int(keys[at : at + 4].view(np.int32)[0])


def _put_key(keys: np.ndarray, i: int, width: int, value: int) -> None:
    at = i * width
    if width == 8:
        wide = keys[at : at + 8].view(np.int64)
        wide[0] = value
    else:
        narrow = keys[at : at + 4].view(np.int32)
        narrow[0] = value


def _partition_sizes(inputs: Any, dims: np.ndarray, n: int, parts: int, width: int, pack: int) -> None:
    count = len(inputs)
    for i in range(n):
        part = part_of(_key(inputs[0], i, width), parts)
        for k in range(count):
            dims[part * count + k] += 1


def _partition(inputs: Any, outputs: Any, n: int, parts: int, width: int, pack: int) -> None:
    """n: number of keys, of ``width`` bytes each."""
    keys, count = inputs[0], len(inputs)
    for part in range(parts):
        row = 0
        for i in range(n):
            key = _key(keys, i, width)
            if part_of(key, parts) == part:
                _put_key(outputs[part * count], row, width, (key - part) // parts if pack else key)
                for k in range(1, count):
                    x, y = inputs[k], outputs[part * count + k]
                    size = x.size // n
                    for j in range(size):
                        y[row * size + j] = x[i * size + j]
                row += 1


def _partition_constants(call: Call) -> list[int]:
    keys = call.type(0)
    return [keys.size, _partitions(call), keys.dtype.itemsize if keys.dtype else 0, call.arg("pack_first_input")]


op(
    "Partition",
    _partition_infer,
    inputs="X*#",
    outputs="Y*#",
    args=(Arg("pack_first_input", "int", 0, "keys are divided by the number of parts"),),
    sizes=_partition_sizes,
    loop=_partition,
    constants=_partition_constants,
    doc="Rows by their keys modulo the number of parts: the outputs are all inputs of part 0, then of part 1 ...",
)


def _by_key_infer(call: Call) -> list[TensorType]:
    """values: for every key a row of the shards."""
    if call.n_inputs < 2:
        call.fail("there are no shards", "give keys and at least one shard")
    require(call, 0, INTS)
    keys, first = require_rank(call, 0, 1), call.type(1)
    total: Dim = 0
    for i in range(1, call.n_inputs):
        t = call.type(i)
        if t.dtype is not first.dtype:
            call.fail("the shards have different types of elements", "insert a Cast")
        if t.shape is None or first.shape is None:
            total = UNKNOWN
            continue
        if not t.shape:
            call.fail(f"shard {i - 1} is a scalar, it needs rows")
        merge_shapes(call, t.shape[1:], first.shape[1:], "shapes of the shards' rows")
        total = t.shape[0] + total
    if keys is not None:
        agree(call, total, keys[0], "rows of all shards, one for every key")
    return [first.with_shape(None if first.shape is None else (UNKNOWN if keys is None else keys[0], *first.shape[1:]))]


def _gather_by_key(keys: np.ndarray, shards: Any, output: np.ndarray, taken: np.ndarray) -> int:
    """taken: how many elements of each shard are used."""
    n = output.size // max(keys.size, 1)
    for i in range(keys.size):
        part = part_of(keys[i], len(shards))
        shard, at = shards[part], taken[part]
        if at + n > shard.size:
            return 1
        for j in range(n):
            output.flat[i * n + j] = shard.flat[at + j]
        taken[part] += n
    return 0


op(
    "GatherByKey",
    _by_key_infer,
    inputs="keys sharded_values*",
    outputs="values",
    loop=_gather_by_key,
    scratch=lambda call: [TensorType(DType.INT64, (call.n_inputs - 1,))],
    errors=("more keys fall into a shard than it has rows",),
    doc="Rows of shards put back in the order of their keys; the inverse of Partition.",
)


def _members(call: Call) -> tuple[Any, ...]:
    values = call.arg("value")
    if not isinstance(values, tuple):
        call.fail("argument 'value' is no list", "give the members as a list")
    return values


def _member_infer(call: Call) -> list[TensorType]:
    """Y: bool, as X."""
    x = require(call, 0, (DType.INT32, DType.INT64, DType.BOOL, DType.STRING))
    wanted = bytes if x.dtype is DType.STRING else int
    if x.dtype is not None and not all(isinstance(v, wanted) for v in _members(call)):
        call.fail(f"argument 'value' has members of another type than the input, {x.dtype.text}")
    return [TensorType(DType.BOOL, x.shape)]


def _member(x: np.ndarray, y: np.ndarray, members: Any, count: int) -> None:
    for i in range(x.size):
        found = False
        for m in range(count):
            if x.flat[i] == members[m]:
                found = True
                break
        y.flat[i] = found


def _member_reference(call: Call, x: np.ndarray) -> list[np.ndarray]:
    members = set(_members(call))
    return [np.array([v in members for v in x.reshape(-1).tolist()], np.bool_).reshape(x.shape)]


op(
    "IsMemberOf",
    _member_infer,
    inputs="X",
    outputs="Y",
    args=(Arg("value", "any", (), "the members"), Arg("dtype", "any", None, "type of the members, that of X")),
    loop=_member,
    constants=lambda call: [tuple(_members(call)) or (0,), len(_members(call))],
    reference=_member_reference,
    doc="Whether each element is among the members.",
)
