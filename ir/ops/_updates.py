"""Rules and pieces of loops that parameter updates share: sizes, rates, counters, rows chosen by index.

Caffe2's optimisers compare numbers of elements, not shapes (``caffe2/sgd/*.h``): a gradient of shape (6,) updates a
parameter of shape (2, 3). Loops therefore go through elements in row-major order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.ops._rules import agree, product, require
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

BAD_ROW = "INDICES has a row that the parameter does not have"
"""The first error of every loop that updates rows."""

INTS = (DType.INT32, DType.INT64)


def count(call: Call, i: int) -> Dim:
    """Number of elements of input ``i``."""
    shape = call.type(i).shape
    return UNKNOWN if shape is None else product(shape)


def floats(call: Call, *inputs: int) -> None:
    """The inputs are float32."""
    for i in inputs:
        require(call, i, (DType.FLOAT,))


def equal_counts(call: Call, first: int, *others: int) -> None:
    """The other inputs have as many elements as ``first``."""
    for i in others:
        what = f"elements of input {i} ({call.input_name(i)}) and input {first} ({call.input_name(first)})"
        agree(call, count(call, i), count(call, first), what)


def one_element(call: Call, *inputs: int) -> None:
    """The inputs are float32 and have one element each: rates, sums of squares."""
    for i in inputs:
        require(call, i, (DType.FLOAT,))
        agree(call, count(call, i), 1, f"elements of input {i} ({call.input_name(i)})")


def iteration(call: Call, i: int) -> None:
    """Input ``i`` counts iterations: int64, at least one element, of which the first counts."""
    require(call, i, (DType.INT64,))
    if count(call, i) == 0:
        call.fail(f"input {i} ({call.input_name(i)}) has no elements, it holds the number of the iteration")


def rows_of(call: Call, param: int, indices: int, grad: int) -> TensorType:
    """Type of the parameter; GRAD has for every index a row of the parameter's size.

    Caffe2: ``param.size_from_dim(1) == grad.size_from_dim(indices.dim())``.
    """
    types = require(call, param, (DType.FLOAT,)), require(call, indices, INTS), require(call, grad, (DType.FLOAT,))
    shape, at, slope = (t.shape for t in types)
    if shape is not None and not shape:
        call.fail(f"input {param} ({call.input_name(param)}) is a scalar, it needs rows")
    if shape is None or at is None or slope is None:
        return types[0]
    if len(slope) < len(at):
        call.fail(f"the gradient has {len(slope)} dimensions, the indices have {len(at)}")
    agree(call, product(slope[: len(at)]), product(at), "rows of the gradient", "give a row for every index")
    agree(call, product(slope[len(at) :]), product(shape[1:]), "size of a row of the gradient")
    return types[0]


def row_counts(call: Call, param: int, *others: int) -> None:
    """The other inputs have an element for every row of the parameter."""
    shape = call.type(param).shape
    for i in others:
        if shape:
            agree(call, count(call, i), shape[0], f"elements of input {i} ({call.input_name(i)}), one for every row")


def between(call: Call, name: str, low: float, high: float = math.inf, open: bool = False) -> None:
    """The argument is at least ``low`` and at most ``high``, with ``open`` neither of them."""
    x = call.arg(name)
    inside = low < x < high if open else low <= x <= high
    if not inside:
        call.fail(f"argument '{name}' is {x:g}", f"give it a value from {low:g} to {high:g}")


def copy_all(x: np.ndarray, y: np.ndarray) -> None:
    """Part of a loop: y is x."""
    for i in range(x.size):
        y.flat[i] = x.flat[i]


def outside(indices: np.ndarray, rows: int) -> int:
    """Part of a loop: 1 if an index is no row, else 0."""
    for i in range(indices.size):
        if indices.flat[i] < 0 or indices.flat[i] >= rows:
            return 1
    return 0


def root(x: Any) -> Any:
    """Part of a loop: the square root in float32, NaN for negative numbers."""
    return np.sqrt(np.float32(x))


def blend(old: Any, new: Any, beta: Any) -> Any:
    """Part of a loop: a moving average in float32."""
    return np.float32(beta) * old + (np.float32(1) - np.float32(beta)) * new
