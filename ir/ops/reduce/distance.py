"""Products and distances of the rows of two arrays, with their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, merge_shapes, product, require, require_rank
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType, dims_agree

FLOAT = (DType.FLOAT,)
SMALL = 1e-12
"""Caffe2's kEps: squares of norms are at least this, differences up to it have no sign."""


def _pair(call: Call) -> TensorType:
    """The one type of X and Y."""
    x = require(call, 0, FLOAT)
    shape = merge_shapes(call, x.shape, require(call, 1, FLOAT).shape, "the shapes of X and Y differ")
    return x.with_shape(shape)


def _row_count(call: Call, pair: TensorType) -> Dim:
    """Rows of X; a product of no elements has none, whatever the first dimension."""
    if pair.shape is None:
        return UNKNOWN
    if call.node.op.startswith("DotProduct") and product(pair.shape) == 0:
        return 0
    return pair.shape[0] if pair.shape else 1


def _pair_infer(call: Call) -> list[TensorType]:
    """Z: one element for each row of X and Y, which have one shape."""
    pair = _pair(call)
    return [TensorType(pair.dtype, (_row_count(call, pair),))]


def _gradient_infer(call: Call) -> list[TensorType]:
    """dX and dY have the type of X and Y; dZ has an element for each row."""
    pair = _pair(call)
    require(call, 2, FLOAT)
    shape = require_rank(call, 2, 1)
    if shape is not None and pair.shape is not None:
        agree(call, shape[0], _row_count(call, pair), "length of dZ")
    return [pair, pair]


def _dot_loop(x: Any, y: Any, z: Any) -> None:
    n = x.size // max(z.size, 1)
    for r in range(z.size):
        total = np.float64(0)
        for i in range(r * n, r * n + n):
            total += x.flat[i] * y.flat[i]
        z[r] = total


def _l1_loop(x: Any, y: Any, z: Any) -> None:
    n = x.size // max(z.size, 1)
    for r in range(z.size):
        total = np.float64(0)
        for i in range(r * n, r * n + n):
            total += abs(x.flat[i] - y.flat[i])
        z[r] = total


def _squared_loop(x: Any, y: Any, z: Any) -> None:
    n = x.size // max(z.size, 1)
    for r in range(z.size):
        total = np.float64(0)
        for i in range(r * n, r * n + n):
            d = x.flat[i] - y.flat[i]
            total += d * d
        z[r] = total / 2


def _cosine_loop(x: Any, y: Any, z: Any) -> None:
    n = x.size // max(z.size, 1)
    for r in range(z.size):
        xx, yy, xy = np.float64(0), np.float64(0), np.float64(0)
        for i in range(r * n, r * n + n):
            xx += x.flat[i] * x.flat[i]
            yy += y.flat[i] * y.flat[i]
            xy += x.flat[i] * y.flat[i]
        z[r] = xy / math.sqrt(max(xx, SMALL) * max(yy, SMALL))


def _dot_gradient(x: Any, y: Any, dz: Any, dx: Any, dy: Any) -> None:
    n = x.size // max(dz.size, 1)
    for r in range(dz.size):
        for i in range(r * n, r * n + n):
            dx.flat[i] = y.flat[i] * dz[r]
            dy.flat[i] = x.flat[i] * dz[r]


def _l1_gradient(x: Any, y: Any, dz: Any, dx: Any, dy: Any) -> None:
    n = x.size // max(dz.size, 1)
    for r in range(dz.size):
        for i in range(r * n, r * n + n):
            d = x.flat[i] - y.flat[i]
            sign = int(d > SMALL) - int(d < -SMALL)
            dx.flat[i] = dz[r] * sign
            dy.flat[i] = -dz[r] * sign


def _squared_gradient(x: Any, y: Any, dz: Any, dx: Any, dy: Any) -> None:
    n = x.size // max(dz.size, 1)
    for r in range(dz.size):
        for i in range(r * n, r * n + n):
            g = (x.flat[i] - y.flat[i]) * dz[r]
            dx.flat[i] = g
            dy.flat[i] = -g


def _cosine_gradient(x: Any, y: Any, dz: Any, dx: Any, dy: Any) -> None:
    n = x.size // max(dz.size, 1)
    for r in range(dz.size):
        xx, yy, xy = np.float64(0), np.float64(0), np.float64(0)
        for i in range(r * n, r * n + n):
            xx += x.flat[i] * x.flat[i]
            yy += y.flat[i] * y.flat[i]
            xy += x.flat[i] * y.flat[i]
        xx, yy = max(xx, SMALL), max(yy, SMALL)
        both = np.float32(dz[r] / math.sqrt(xx * yy))
        own_x, own_y = np.float32(both * xy / xx), np.float32(both * xy / yy)
        for i in range(r * n, r * n + n):
            dx.flat[i] = y.flat[i] * both - x.flat[i] * own_x
            dy.flat[i] = x.flat[i] * both - y.flat[i] * own_y


_PAIRS: tuple[tuple[str, str, Callable[..., None], Callable[..., None]], ...] = (
    ("DotProduct", "Sum of the products of two rows.", _dot_loop, _dot_gradient),
    ("L1Distance", "Sum of the absolute differences of two rows.", _l1_loop, _l1_gradient),
    ("SquaredL2Distance", "Half the sum of the squared differences of two rows.", _squared_loop, _squared_gradient),
    ("CosineSimilarity", "Cosine of the angle between two rows.", _cosine_loop, _cosine_gradient),
)
for _name, _doc, _loop, _backward in _PAIRS:
    op(
        _name,
        _pair_infer,
        inputs="X Y",
        outputs="Z",
        loop=_loop,
        flops=lambda call: 2 * call.type(0).size,
        doc=_doc,
    )
    op(
        f"{_name}Gradient",
        _gradient_infer,
        inputs="X Y dZ",
        outputs="dX dY",
        loop=_backward,
        doc=f"The gradients of {_name}.",
    )


def _padded(call: Call) -> Dim:
    """Number of rows of X and Y; fails unless their rows fit one another."""
    x, y = require(call, 0, FLOAT), require(call, 1, FLOAT)
    if x.shape is None or y.shape is None:
        return UNKNOWN
    if len(x.shape) != len(y.shape) or not x.shape:
        call.fail(f"X has {len(x.shape)} dimensions and Y {len(y.shape)}", "give both the same number, at least 1")
    if not dims_agree(x.shape[0], y.shape[0]):
        call.fail(f"X has {x.shape[0]} rows and Y {y.shape[0]}")
    return 0 if product(x.shape) == 0 else x.shape[0]


def _padded_infer(call: Call) -> list[TensorType]:
    """Z: one element for each row."""
    return [TensorType(DType.FLOAT, (_padded(call),))]


def _padded_loop(x: Any, y: Any, z: Any, pad_value: Any, replicate: Any) -> None:
    nx, ny = x.size // max(z.size, 1), y.size // max(z.size, 1)
    short = min(nx, ny)
    last = max(nx, ny)
    if replicate:  # what is left of the longer row does not count
        last -= last % max(short, 1) if short else last
    for r in range(z.size):
        total = np.float64(0)
        for i in range(last):
            if i < short:
                total += x.flat[r * nx + i] * y.flat[r * ny + i]
            elif replicate:
                total += x.flat[r * nx + i % nx] * y.flat[r * ny + i % ny]
            elif nx > ny:
                total += x.flat[r * nx + i] * pad_value
            else:
                total += y.flat[r * ny + i] * pad_value
        z[r] = total


def _padded_gradient_infer(call: Call) -> list[TensorType]:
    """dX and dY have the types of X and Y; dZ has an element for each row."""
    rows = _padded(call)
    require(call, 2, FLOAT)
    shape = require_rank(call, 2, 1)
    if shape is not None:
        agree(call, shape[0], rows, "length of dZ")
    sizes = [product((call.type(i).shape or (UNKNOWN,))[1:]) for i in range(2)]
    if call.arg("replicate") and all(isinstance(n, int) for n in sizes):
        short, long = sorted(n for n in sizes if isinstance(n, int))
        if not short or long % short:
            call.fail(f"rows of {long} elements are no multiple of rows of {short}", "remove replicate")
    return [call.type(0), call.type(1)]


def _padded_gradient(x: Any, y: Any, dz: Any, dx: Any, dy: Any, pad_value: Any, replicate: Any) -> None:
    nx, ny = x.size // max(dz.size, 1), y.size // max(dz.size, 1)
    short = min(nx, ny)
    for r in range(dz.size):
        for i in range(max(nx, ny)):
            if i < short or replicate:
                p, q = r * nx + i % max(nx, 1), r * ny + i % max(ny, 1)
                dx.flat[p] += y.flat[q] * dz[r]
                dy.flat[q] += x.flat[p] * dz[r]
            elif nx > ny:
                dx.flat[r * nx + i] = np.float32(pad_value) * dz[r]
            else:
                dy.flat[r * ny + i] = np.float32(pad_value) * dz[r]


_PADDING_ARGS = (
    Arg("pad_value", "float", 0.0, "what the shorter row is filled up with"),
    Arg("replicate", "int", 0, "the shorter row is repeated instead"),
)
op(
    "DotProductWithPadding",
    _padded_infer,
    inputs="X Y",
    outputs="Z",
    args=_PADDING_ARGS,
    loop=_padded_loop,
    doc="Sum of the products of two rows, the shorter filled up to the length of the longer.",
)
op(
    "DotProductWithPaddingGradient",
    _padded_gradient_infer,
    inputs="X Y dZ",
    outputs="dX dY",
    args=_PADDING_ARGS,
    loop=_padded_gradient,
    doc="The gradients of DotProductWithPadding.",
)
