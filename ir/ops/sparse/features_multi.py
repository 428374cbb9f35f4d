"""Features that come with keys of their own, merged example by example; gradients. See ``features.py``.

Rules from Caffe2's ``feature_maps_ops.h``. Lengths must add up to the elements that they divide: of others Caffe2
leaves parts of the answer unwritten, or reads beyond the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.ir.opdef import Call, op
from graphc.ir.ops._segments import int_vector, length_of, total_length
from graphc.ir.ops.sparse.features import VALUES, column, examples, features, open_vectors, same_lengths, start_places
from graphc.ir.types import Dim, DType, TensorType

Array = np.ndarray

UNEVEN = "LENGTHS: a length is negative, or their sum is not the number of elements that they divide"
ERRORS = (UNEVEN,)
INT64 = (DType.INT64,)


def _uneven(lengths: Any, divided: Any) -> Any:
    """How many of the vectors of lengths do not add up to the elements of their feature."""
    wrong = 0
    for j in range(len(lengths)):
        if total_length(lengths[j]) != divided[j].shape[0]:
            wrong += 1
    return wrong


def _add_lengths(lengths: Any, out: Array) -> None:
    for j in range(len(lengths)):
        for i in range(out.shape[0]):
            out[i] += lengths[j][i]


def _merge(lengths: Any, xs: Any, out: Array, starts: Array) -> None:
    """The elements of all features, example by example."""
    n = 0
    for j in range(len(lengths)):
        starts[j] = 0
    for i in range(lengths[0].shape[0]):
        for j in range(len(lengths)):
            for k in range(lengths[j][i]):
                out[n + k] = xs[j][starts[j] + k]
            n += lengths[j][i]
            starts[j] += lengths[j][i]


def _merge_values(lengths: Any, values_lengths: Any, xs: Any, out: Array, starts: Array) -> None:
    """The values of all features, example by example: each key has values of its own."""
    n, half = 0, starts.shape[0] // 2
    for j in range(len(lengths)):
        starts[j] = 0
        starts[half + j] = 0
    for i in range(lengths[0].shape[0]):
        for j in range(len(lengths)):
            for _ in range(lengths[j][i]):
                count = values_lengths[j][starts[half + j]]
                for k in range(count):
                    out[n + k] = xs[j][starts[j] + k]
                n += count
                starts[j] += count
                starts[half + j] += 1


def _scalar(inputs: Any, lengths: Array, keys: Array, values: Array, starts: Array) -> Any:
    if _uneven(inputs[0::3], inputs[1::3]):
        return 1
    _add_lengths(inputs[0::3], lengths)
    _merge(inputs[0::3], inputs[1::3], keys, starts)
    _merge(inputs[0::3], inputs[2::3], values, starts)
    return 0


def _list(inputs: Any, lengths: Array, keys: Array, values_lengths: Array, values: Array, starts: Array) -> Any:
    if _uneven(inputs[0::4], inputs[1::4]) + _uneven(inputs[2::4], inputs[3::4]):
        return 1
    _add_lengths(inputs[0::4], lengths)
    _merge(inputs[0::4], inputs[1::4], keys, starts)
    _merge(inputs[0::4], inputs[2::4], values_lengths, starts)
    _merge_values(inputs[0::4], inputs[2::4], inputs[3::4], values, starts)
    return 0


def _map(
    inputs: Any, lengths: Array, keys: Array, values_lengths: Array, values_keys: Array, values: Array, starts: Array
) -> Any:
    if _uneven(inputs[0::5], inputs[1::5]) + _uneven(inputs[2::5], inputs[4::5]):
        return 1
    _add_lengths(inputs[0::5], lengths)
    _merge(inputs[0::5], inputs[1::5], keys, starts)
    _merge(inputs[0::5], inputs[2::5], values_lengths, starts)
    _merge_values(inputs[0::5], inputs[2::5], inputs[3::5], values_keys, starts)
    _merge_values(inputs[0::5], inputs[2::5], inputs[4::5], values, starts)
    return 0


def _total(call: Call, width: int, k: int) -> Dim:
    """Number of elements of input ``k`` of all features."""
    total: Dim = 0
    for i in range(k, call.n_inputs, width):
        total = total + length_of(call, i)
    return total


def _infer(call: Call, width: int) -> list[TensorType]:
    """out_lengths: int32, out_keys: int64, then the lengths of lists and maps, the keys of maps, the values."""
    features(call, width)
    for i in range(0, call.n_inputs, width):
        int_vector(call, i)
    count, keys = examples(call, width, (0,), call.n_inputs), _total(call, width, 1)
    column(call, width, 1, INT64)
    same_lengths(call, width, 1)
    types = [TensorType(DType.INT32, (count,)), TensorType(DType.INT64, (keys,))]
    if width > 3:
        column(call, width, 2, (DType.INT32,))
        types.append(TensorType(DType.INT32, (keys,)))
    if width > 4:
        same_lengths(call, width, 3)
    for k in range(2 if width == 3 else 3, width):
        types.append(TensorType(column(call, width, k, VALUES).dtype, (_total(call, width, k),)))
    return types


def _types_of(width: int) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        return _infer(call, width)

    return infer


for _name, _width, _loop, _outputs in (
    ("Scalar", 3, _scalar, "out_values"),
    ("List", 4, _list, "out_values_lengths out_values_values"),
    ("Map", 5, _map, "out_values_lengths out_values_keys out_values_values"),
):
    op(
        f"MergeMulti{_name}FeatureTensors",
        _types_of(_width),
        inputs="inputs*",
        outputs=f"out_lengths out_keys {_outputs}",
        loop=_loop,
        scratch=start_places(_width),
        errors=ERRORS,
        doc=f"Features of keys, each with a {_name.lower()}, example by example.",
    )


def _scalar_gradient_sizes(inputs: Any, dims: Array, starts: Array) -> Any:
    lengths, total = inputs[:-1], np.int64(0)
    for j in range(len(lengths)):
        dims[j] = total_length(lengths[j])
        if dims[j] < 0:
            return 1
        total += dims[j]
    return 1 if total != inputs[-1].shape[0] else 0


def _scalar_gradient(inputs: Any, outputs: Any, starts: Array) -> Any:
    lengths, gradient, n = inputs[:-1], inputs[-1], 0
    for j in range(len(lengths)):
        starts[j] = 0
    for i in range(lengths[0].shape[0]):
        for j in range(len(lengths)):
            for k in range(lengths[j][i]):
                outputs[j][starts[j] + k] = gradient[n + k]
            n += lengths[j][i]
            starts[j] += lengths[j][i]
    return 0


def _scalar_gradient_infer(call: Call) -> list[TensorType]:
    """A vector of data-dependent length for each feature."""
    count = features(call, 1, 1)
    for i in range(count):
        int_vector(call, i)
    examples(call, 1, (0,), count)
    return open_vectors(call, count)


op(
    "MergeMultiScalarFeatureTensorsGradient",
    _scalar_gradient_infer,
    inputs="in_lengths_and_values_grad*",
    outputs="in_values_grad*",
    loop=_scalar_gradient,
    sizes=_scalar_gradient_sizes,
    scratch=start_places(1),
    errors=ERRORS,
    doc="Gradient of MergeMultiScalarFeatureTensors.",
)


def _values_gradient_sizes(inputs: Any, dims: Array, starts: Array) -> Any:
    lengths, values_lengths, total = inputs[0:-1:2], inputs[1:-1:2], np.int64(0)
    if _uneven(lengths, values_lengths):
        return 1
    for j in range(len(lengths)):
        dims[j] = total_length(values_lengths[j])
        if dims[j] < 0:
            return 1
        total += dims[j]
    return 1 if total != inputs[-1].shape[0] else 0


def _values_gradient(inputs: Any, outputs: Any, starts: Array) -> Any:
    lengths, values_lengths, gradient = inputs[0:-1:2], inputs[1:-1:2], inputs[-1]
    n, half = 0, starts.shape[0] // 2
    for j in range(len(lengths)):
        starts[j] = 0
        starts[half + j] = 0
    for i in range(lengths[0].shape[0]):
        for j in range(len(lengths)):
            for _ in range(lengths[j][i]):
                count = values_lengths[j][starts[half + j]]
                for k in range(count):
                    outputs[j][starts[j] + k] = gradient[n + k]
                n += count
                starts[j] += count
                starts[half + j] += 1
    return 0


def _values_gradient_infer(call: Call) -> list[TensorType]:
    """A vector of data-dependent length for each feature."""
    count = features(call, 2, 1)
    for i in range(2 * count):
        int_vector(call, i)
    examples(call, 2, (0,), 2 * count)
    return open_vectors(call, count)


for _name in ("List", "Map"):
    op(
        f"MergeMulti{_name}FeatureTensorsGradient",
        _values_gradient_infer,
        inputs="in_lengths_and_values_grad*",
        outputs="in_values_values_grad*",
        loop=_values_gradient,
        sizes=_values_gradient_sizes,
        scratch=start_places(2),
        errors=ERRORS,
        doc=f"Gradient of MergeMulti{_name}FeatureTensors.",
    )
