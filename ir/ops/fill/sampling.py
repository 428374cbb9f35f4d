"""Random choices: WeightedSample, WeightedMultiSampling, UniqueUniformFill. Seeds are those of ``random.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import Shape, bounded, merge_shapes, require, require_rank
from graphc.ir.ops.fill._twister import STATE, begin, call_seed, uniform, whole
from graphc.ir.ops.fill.fill import FILL_ARGS, dtype_argument, fill_shape
from graphc.ir.types import UNKNOWN, DType, TensorType


def _sample_infer(call: Call) -> list[TensorType]:
    """sampled_indexes: int32 (rows, 1); sampled_values: float likewise. Vectors without elements of empty weights."""
    require(call, 0, (DType.FLOAT,))
    weights = require_rank(call, 0, 2)
    if call.n_inputs != call.n_outputs:
        call.fail(f"{call.n_inputs} inputs and {call.n_outputs} outputs, as many are needed")
    if call.has(1):
        require(call, 1, (DType.FLOAT,))
        weights = merge_shapes(call, weights, call.type(1).shape, "shapes of the weights and the values")
    shape: Shape | None = None
    if weights is not None and 0 in weights:
        shape = (0,)
    elif weights is not None:
        shape = (weights[0], 1) if all(isinstance(d, int) for d in weights) else None
    return [TensorType(DType.INT32, shape), TensorType(DType.FLOAT, shape)]


def lower_bound(values: np.ndarray, n: int, x: Any) -> int:
    """Part of a loop: the first of ``n`` ascending values that is not below ``x``, ``n`` if there is none."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if values[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


def _sample(
    weights: np.ndarray,
    values: np.ndarray,
    indexes: np.ndarray,
    chosen: np.ndarray,
    state: np.ndarray,
    sums: np.ndarray,
    seed: int,
) -> int:
    """What Caffe2 adds to the last sum makes up for rounding."""
    begin(state, seed)
    n = weights.shape[1]
    for i in range(weights.shape[0] if n > 0 else 0):
        total = np.float32(0)
        for j in range(n):
            total += weights[i, j]
            sums[j] = total
        r = uniform(state, np.float32(0), total)
        sums[n - 1] += np.float32(0.01)
        at = lower_bound(sums, n, r)
        if at == n:
            return 1
        indexes.flat[i] = at
        if chosen.size:
            chosen.flat[i] = values.flat[i * n + at]
    return 0


op(
    "WeightedSample",
    _sample_infer,
    inputs="sampling_weights sampling_values?",
    outputs="sampled_indexes sampled_values?",
    loop=_sample,
    constants=lambda call: [call_seed(call)],
    scratch=lambda call: [STATE, TensorType(DType.FLOAT, (call.type(0).static_shape[1],))],
    errors=("the weights of a row add up to a negative number",),
    traits=Trait.RANDOM,
    doc="A column for each row, drawn with the row's weights, and its value.",
)


def _multi_infer(call: Call) -> list[TensorType]:
    """sampled_indexes: int32, of the shape of the second input, or ``num_samples`` of them; none of an empty cdf."""
    require(call, 0, (DType.FLOAT,))
    cdf = require_rank(call, 0, 1)
    if call.has(1) and call.given("num_samples"):
        call.fail("the number is given twice", "give the argument num_samples or the second input")
    shape = call.type(1).shape if call.has(1) else (bounded(call, call.arg("num_samples"), 0, "num_samples"),)
    if cdf is None or not isinstance(cdf[0], int):
        return [TensorType(DType.INT32, None if shape is None else (UNKNOWN,) * len(shape))]
    return [TensorType(DType.INT32, (0,) if cdf[0] == 0 else shape)]


def _multi(cdf: np.ndarray, shape: np.ndarray, indexes: np.ndarray, state: np.ndarray, seed: int) -> int:
    begin(state, seed)
    n = cdf.size
    for i in range(indexes.size):
        at = lower_bound(cdf, n, uniform(state, np.float32(0), cdf[n - 1]))
        if at == n:
            return 1
        indexes.flat[i] = at
    return 0


op(
    "WeightedMultiSampling",
    _multi_infer,
    inputs="sampling_cdf shape_tensor?",
    outputs="sampled_indexes",
    args=(Arg("num_samples", "int", 0, "how many, where there is no second input"),),
    loop=_multi,
    constants=lambda call: [call_seed(call)],
    scratch=lambda call: [STATE],
    errors=("the sums of sampling_cdf do not ascend",),
    traits=Trait.RANDOM,
    doc="Indices drawn with weights of which sampling_cdf has the running sums.",
)


def _unique_infer(call: Call) -> list[TensorType]:
    """output: different integers of the type that ``dtype`` names."""
    dtype = dtype_argument(call, DType.INT32)
    if dtype not in (DType.INT32, DType.INT64):
        call.fail(f"dtype is {dtype.text}", "use int32 or int64")
    for name in ("min", "max"):
        if not call.given(name):
            call.fail(f"argument '{name}' is missing")
    if not call.arg("min") < call.arg("max"):
        call.fail(f"min {call.arg('min')} is not below max {call.arg('max')}")
    t = TensorType(dtype, fill_shape(call))
    if call.has(1):
        require(call, 1, (dtype,))
    if t.is_static and (not call.has(1) or call.type(1).is_static):
        wanted = t.size + (call.type(1).size if call.has(1) else 0)
        if wanted > call.arg("max") - call.arg("min") + 1:
            call.fail(f"there are no {wanted} different numbers from {call.arg('min')} to {call.arg('max')}")
    return [t]


def _put(table: np.ndarray, used: np.ndarray, x: Any) -> bool:
    """Part of a loop: put a number into a table of power-of-two size; false where it is there already."""
    mask = table.size - 1
    at = (int(x) * 2654435761) & mask
    while used[at]:
        if table[at] == x:
            return False
        at = (at + 1) & mask
    used[at] = 1
    table[at] = x
    return True


def _unique(
    x: np.ndarray,
    avoid: np.ndarray,
    y: np.ndarray,
    state: np.ndarray,
    table: np.ndarray,
    used: np.ndarray,
    seed: int,
    low: int,
    high: int,
) -> int:
    begin(state, seed)
    for i in range(avoid.size):
        if not _put(table, used, np.int64(avoid.flat[i])):
            return 1
    for i in range(y.size):
        drawn = np.int64(whole(state, low, high))
        while not _put(table, used, drawn):
            drawn = np.int64(whole(state, low, high))
        y.flat[i] = drawn
    return 0


def _unique_scratch(call: Call) -> list[TensorType]:
    """The generator, and a table with room for twice as many numbers as it will hold."""
    held = call.node.results[0].type.size + (call.type(1).size if call.has(1) else 0)
    size = 1 << (2 * held + 1).bit_length()
    return [STATE, TensorType(DType.INT64, (size,)), TensorType(DType.UINT8, (size,))]


op(
    "UniqueUniformFill",
    _unique_infer,
    inputs="X? avoid?",
    outputs="Y",
    args=(
        Arg("min", "int", 0, "least value"),
        Arg("max", "int", 0, "greatest value, included"),
        Arg("dtype", "any", None, "int32 or int64"),
        *FILL_ARGS,
    ),
    loop=_unique,
    constants=lambda call: [call_seed(call), call.arg("min"), call.arg("max")],
    scratch=_unique_scratch,
    errors=("a number is to be avoided twice",),
    traits=Trait.RANDOM,
    inplace=((0, 0),),
    shape_inputs=(0,),
    doc="Different integers from min to max, none of those to be avoided.",
)
