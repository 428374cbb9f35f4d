"""Features of examples: dense, single and multiple ones merged into lengths, keys and values; gradients.

Rules from Caffe2's ``feature_maps_ops.h``. The inputs of a feature stand together: a merge of features of four inputs
each has those of feature i at 4 i, ... 4 i + 3. Values that are missing from single lists and maps have no place in the
values of the input: the next value follows at once. Lengths that do not fit the values are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, require, require_rank
from graphc.ir.ops._segments import int_vector, length_of
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

Array = np.ndarray

VALUES = (DType.BOOL, DType.INT32, DType.INT64, DType.FLOAT, DType.DOUBLE, DType.STRING)
"""What Caffe2 dispatches the values and keys of features on."""

SHORT = "LENGTHS: a length is negative, or they are more than the values that they divide"
FEATURE_IDS = Arg("feature_ids", "ints", (), "the key of each feature")
ERRORS = (SHORT,)


def _ids(call: Call, features: Dim) -> tuple[int, ...]:
    """The keys of the features; fails unless there are as many as features."""
    ids = tuple(call.arg("feature_ids"))
    agree(call, len(ids), features, "number of feature_ids, one for each feature")
    return ids


def features(call: Call, width: int, after: int = 0) -> int:
    """How many features have inputs; fails unless each has ``width``, before ``after`` further inputs."""
    count, rest = divmod(call.n_inputs - after, width)
    if rest or count < 1:
        call.fail(f"{call.n_inputs} inputs, but {width} for each feature{' and 1 more' if after else ''} are needed")
    return count


def _present(call: Call, i: int) -> Dim:
    """Number of examples of which input ``i`` says whether they are there."""
    require(call, i, (DType.BOOL,))
    return length_of(call, i)


def column(call: Call, width: int, k: int, dtypes: Sequence[DType]) -> TensorType:
    """The type that input ``k`` of all features has, vectors of any length."""
    found = TensorType(None, (UNKNOWN,))
    for i in range(k, call.n_inputs - call.n_inputs % width, width):
        wanted = dtypes if found.dtype is None else (found.dtype,)
        found = TensorType(require(call, i, wanted).dtype or found.dtype, (UNKNOWN,))
        length_of(call, i)
    return found


def examples(call: Call, width: int, columns: Sequence[int], last: int) -> Dim:
    """Number of examples, which these inputs of all features have, up to input ``last``."""
    count: Dim = UNKNOWN
    for i in range(last):
        if i % width in columns:
            count = agree(call, length_of(call, i), count, f"examples of input {i}, as of the inputs before")
    return count


def _vectors(examples: Dim, *types: DType | None) -> list[TensorType]:
    """out_lengths: int32, out_keys: int64, then vectors of data-dependent lengths."""
    first = [TensorType(DType.INT32, (examples,)), TensorType(DType.INT64, (UNKNOWN,))]
    return [*first, *(TensorType(t, (UNKNOWN,)) for t in types)]


def _set_dims(dims: Array, keys: int, values: int, pairs: int) -> None:
    """The first ``pairs`` open dimensions are the number of keys, the others that of values."""
    for k in range(dims.shape[0]):
        dims[k] = keys if k < pairs else values


def _dense_sizes(x: Array, present: Array, dims: Array, ids: Any) -> Any:
    count = 0
    for k in range(present.size):
        count += 1 if present.flat[k] else 0
    _set_dims(dims, count, count, 2)
    return 0


def _dense(x: Array, present: Array, lengths: Array, keys: Array, values: Array, ids: Any) -> Any:
    n = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if present[i, j]:
                lengths[i] += 1
                keys[n] = ids[j]
                values[n] = x[i, j]
                n += 1
    return 0


def _dense_infer(call: Call) -> list[TensorType]:
    """out_lengths: int32, one for each row; out_keys: int64; out_values: the type of the matrix."""
    x, present = require(call, 0, VALUES), require(call, 1, (DType.BOOL,))
    shape = require_rank(call, 0, 2)
    other = require_rank(call, 1, 2)
    if shape is None:
        return _vectors(UNKNOWN, x.dtype)
    if other is not None:
        agree(call, other[0], shape[0], "rows of input 1, as of input 0")
        agree(call, other[1], shape[1], "columns of input 1, as of input 0")
    assert present.dtype is not DType.STRING
    _ids(call, shape[1])
    return _vectors(shape[0], x.dtype)


op(
    "MergeDenseFeatureTensors",
    _dense_infer,
    inputs="in1 in1_presence",
    outputs="out_lengths out_keys out_values",
    args=(FEATURE_IDS,),
    loop=_dense,
    sizes=_dense_sizes,
    doc="The features of a matrix that are there, example by example.",
)


def _scalar_sizes(inputs: Any, dims: Array, ids: Any) -> Any:
    present, count = inputs[1::2], 0
    for j in range(len(present)):
        for i in range(present[j].shape[0]):
            count += 1 if present[j][i] else 0
    _set_dims(dims, count, count, 2)
    return 0


def _scalar(inputs: Any, lengths: Array, keys: Array, values: Array, ids: Any) -> Any:
    xs, present, n = inputs[0::2], inputs[1::2], 0
    for i in range(lengths.shape[0]):
        for j in range(len(xs)):
            if present[j][i]:
                lengths[i] += 1
                keys[n] = ids[j]
                values[n] = xs[j][i]
                n += 1
    return 0


def _scalar_infer(call: Call) -> list[TensorType]:
    """out_lengths: int32, one for each example; out_keys: int64; out_values: the type of the values."""
    _ids(call, features(call, 2))
    for i in range(1, call.n_inputs, 2):
        _present(call, i)
    rows = examples(call, 2, (0, 1), call.n_inputs)
    return _vectors(rows, column(call, 2, 0, VALUES).dtype)


op(
    "MergeSingleScalarFeatureTensors",
    _scalar_infer,
    inputs="inputs*",
    outputs="out_lengths out_keys out_values",
    args=(FEATURE_IDS,),
    loop=_scalar,
    sizes=_scalar_sizes,
    doc="Features of one number each that are there, example by example.",
)


def _scalar_gradient(inputs: Any, outputs: Any) -> Any:
    present, gradient, n = inputs[:-1], inputs[-1], 0
    for i in range(present[0].shape[0]):
        for j in range(len(present)):
            if present[j][i]:
                if n >= gradient.shape[0]:
                    return 1
                outputs[j][i] = gradient[n]
                n += 1
    return 0


def _scalar_gradient_infer(call: Call) -> list[TensorType]:
    """A vector of the gradient's type for each feature."""
    count = features(call, 1, 1)
    for i in range(count):
        _present(call, i)
    rows = examples(call, 1, (0,), count)
    dtype = require(call, count, VALUES).dtype
    length_of(call, count)
    return [TensorType(dtype, (rows,))] * count


op(
    "MergeSingleScalarFeatureTensorsGradient",
    _scalar_gradient_infer,
    inputs="in_presence_and_values_grad*",
    outputs="in_grad*",
    args=(FEATURE_IDS,),
    loop=_scalar_gradient,
    constants=lambda call: (),
    errors=("VALUES_GRAD has fewer elements than features are there",),
    doc="Gradient of MergeSingleScalarFeatureTensors.",
)


def _single_sizes(lengths: Any, present: Any, values: Any, dims: Array) -> Any:
    """Number of features that are there and of their values; 1 where an input has fewer values."""
    keys, total = 0, np.int64(0)
    for j in range(len(lengths)):
        mine = np.int64(0)
        for i in range(lengths[j].shape[0]):
            if present[j][i]:
                if lengths[j][i] < 0:
                    return 1
                keys += 1
                mine += lengths[j][i]
        if mine > values[j].shape[0]:
            return 1
        total += mine
    _set_dims(dims, keys, total, 2)
    return 0


def _single_keys(lengths: Any, present: Any, lengths_out: Array, keys: Array, values_lengths: Array, ids: Any) -> None:
    n = 0
    for i in range(lengths_out.shape[0]):
        for j in range(len(lengths)):
            if present[j][i]:
                lengths_out[i] += 1
                keys[n] = ids[j]
                values_lengths[n] = lengths[j][i]
                n += 1


def _single_values(lengths: Any, present: Any, xs: Any, out: Array, starts: Array) -> None:
    n = 0
    for j in range(len(lengths)):
        starts[j] = 0
    for i in range(lengths[0].shape[0]):
        for j in range(len(lengths)):
            if present[j][i]:
                for k in range(lengths[j][i]):
                    out[n + k] = xs[j][starts[j] + k]
                n += lengths[j][i]
                starts[j] += lengths[j][i]


def _list_sizes(inputs: Any, dims: Array, starts: Array, ids: Any) -> Any:
    return _single_sizes(inputs[0::3], inputs[2::3], inputs[1::3], dims)


def _list(
    inputs: Any, lengths: Array, keys: Array, values_lengths: Array, values: Array, starts: Array, ids: Any
) -> Any:
    _single_keys(inputs[0::3], inputs[2::3], lengths, keys, values_lengths, ids)
    _single_values(inputs[0::3], inputs[2::3], inputs[1::3], values, starts)
    return 0


def _map_sizes(inputs: Any, dims: Array, starts: Array, ids: Any) -> Any:
    return _single_sizes(inputs[0::4], inputs[3::4], inputs[2::4], dims)


def _map(
    inputs: Any,
    lengths: Array,
    keys: Array,
    values_lengths: Array,
    values_keys: Array,
    values: Array,
    starts: Array,
    ids: Any,
) -> Any:
    _single_keys(inputs[0::4], inputs[3::4], lengths, keys, values_lengths, ids)
    _single_values(inputs[0::4], inputs[3::4], inputs[1::4], values_keys, starts)
    _single_values(inputs[0::4], inputs[3::4], inputs[2::4], values, starts)
    return 0


def start_places(width: int) -> Any:
    """Scratch: where the next values of each feature begin, twice."""
    return lambda call: [TensorType(DType.INT64, (2 * max(call.n_inputs // width, 1),))]


def _single_infer(call: Call, width: int) -> list[TensorType]:
    """out_lengths, out_keys, out_values_lengths, then the keys of a map and the values."""
    _ids(call, features(call, width))
    for i in range(0, call.n_inputs, width):
        int_vector(call, i)
        _present(call, i + width - 1)
    rows = examples(call, width, (0, width - 1), call.n_inputs)
    data = [column(call, width, k, VALUES) for k in range(1, width - 1)]
    if width == 4:
        same_lengths(call, width, 1)
    return [*_vectors(rows, DType.INT32), *data]


def same_lengths(call: Call, width: int, k: int) -> None:
    """Keys of a map, input ``k`` of each feature, are as many as its values, the input after it."""
    for i in range(k, call.n_inputs, width):
        agree(call, length_of(call, i), length_of(call, i + 1), f"keys of input {i}, one for each value")


op(
    "MergeSingleListFeatureTensors",
    lambda call: _single_infer(call, 3),
    inputs="inputs*",
    outputs="out_lengths out_keys out_values_lengths out_values_values",
    args=(FEATURE_IDS,),
    loop=_list,
    sizes=_list_sizes,
    scratch=start_places(3),
    errors=ERRORS,
    doc="Features of a list each that are there, example by example.",
)
op(
    "MergeSingleMapFeatureTensors",
    lambda call: _single_infer(call, 4),
    inputs="inputs*",
    outputs="out_lengths out_keys out_values_lengths out_values_keys out_values_values",
    args=(FEATURE_IDS,),
    loop=_map,
    sizes=_map_sizes,
    scratch=start_places(4),
    errors=ERRORS,
    doc="Features of a map each that are there, example by example.",
)


def _single_gradient_sizes(inputs: Any, dims: Array, starts: Array) -> Any:
    lengths, present, total = inputs[0:-1:2], inputs[1:-1:2], np.int64(0)
    for j in range(len(lengths)):
        mine = np.int64(0)
        for i in range(lengths[j].shape[0]):
            if present[j][i]:
                if lengths[j][i] < 0:
                    return 1
                mine += lengths[j][i]
        dims[j] = mine
        total += mine
    return 1 if total > inputs[-1].shape[0] else 0


def _single_gradient(inputs: Any, outputs: Any, starts: Array) -> Any:
    lengths, present, gradient, n = inputs[0:-1:2], inputs[1:-1:2], inputs[-1], 0
    for j in range(len(lengths)):
        starts[j] = 0
    for i in range(lengths[0].shape[0]):
        for j in range(len(lengths)):
            if present[j][i]:
                for k in range(lengths[j][i]):
                    outputs[j][starts[j] + k] = gradient[n + k]
                n += lengths[j][i]
                starts[j] += lengths[j][i]
    return 0


def open_vectors(call: Call, count: int) -> list[TensorType]:
    """A vector of the gradient's type for each feature."""
    dtype = require(call, call.n_inputs - 1, VALUES).dtype
    length_of(call, call.n_inputs - 1)
    return [TensorType(dtype, (UNKNOWN,))] * count


def _single_gradient_infer(call: Call) -> list[TensorType]:
    """A vector of data-dependent length for each feature."""
    count = features(call, 2, 1)
    for i in range(0, 2 * count, 2):
        int_vector(call, i)
        _present(call, i + 1)
    examples(call, 2, (0, 1), 2 * count)
    return open_vectors(call, count)


for _kind in ("List", "Map"):
    op(
        f"MergeSingle{_kind}FeatureTensorsGradient",
        _single_gradient_infer,
        inputs="in_lengths_presence_and_values_grad*",
        outputs="in_values_grad*",
        args=(FEATURE_IDS,),
        loop=_single_gradient,
        sizes=_single_gradient_sizes,
        scratch=start_places(2),
        constants=lambda call: (),
        errors=ERRORS,
        doc=f"Gradient of MergeSingle{_kind}FeatureTensors.",
    )
