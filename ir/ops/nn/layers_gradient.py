"""Gradients of the layers, as saved training nets spell them out. Each has the arguments of the forward operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._products import add_product, span
from graphc.ir.ops._rules import HINTS, ORDER, agree, axis_of, merge_shapes, product, require
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

FLOAT = (DType.FLOAT,)


def _softmax_type(call: Call) -> list[TensorType]:
    """dX has the type of Y, dY its shape."""
    y, dy = require(call, 0, FLOAT), require(call, 1, FLOAT)
    shape = merge_shapes(call, y.shape, dy.shape, "dY has not the shape of Y")
    if shape is not None:
        axis_of(call, call.arg("axis"), len(shape))
    return [y.with_shape(shape)]


def _softmax_loop(y: np.ndarray, dy: np.ndarray, dx: np.ndarray, axis: int) -> None:
    rows, n = span(y.shape, 0, axis), span(y.shape, axis, len(y.shape))
    for i in range(rows):
        total = 0.0
        for j in range(n):
            total += y.flat[i * n + j] * dy.flat[i * n + j]
        mean = np.float32(total)
        for j in range(n):
            dx.flat[i * n + j] = (dy.flat[i * n + j] - mean) * y.flat[i * n + j]


op(
    "SoftmaxGradient",
    _softmax_type,
    inputs="Y dY",
    outputs="dX",
    args=(Arg("axis", "int", 1, "the dimensions from here on are the classes"), ORDER, *HINTS),
    loop=_softmax_loop,
    constants=lambda call: [axis_of(call, call.arg("axis"), call.type(0).rank or 0)],
    inplace=((1, 0),),
    doc="(dY - sum(Y * dY)) * Y for each row",
)


def _flat(call: Call, i: int, name: str) -> tuple[Dim, Dim]:
    """Rows and columns of input ``i``, flattened at an axis argument."""
    shape = require(call, i, FLOAT).shape
    if shape is None:
        return UNKNOWN, UNKNOWN
    axis = axis_of(call, call.arg(name), len(shape), name)
    return product(shape[:axis]), product(shape[axis:])


def _is_transposed(call: Call) -> bool:
    return call.opdef.name == "FCTransposedGradient"


def _fc_types(call: Call) -> list[TensorType]:
    """dW and dX, where it is named, have the types of W and X; db has N elements; dY has M * N."""
    m, k = _flat(call, 0, "axis")
    rows, columns = _flat(call, 1, "axis_w")
    n, depth = (columns, rows) if _is_transposed(call) else (rows, columns)
    agree(call, depth, k, "elements of a row of W against those of X")
    dy = require(call, 2, FLOAT).shape
    if dy is not None:
        agree(call, product(dy), product((m, n)), "elements of dY")
    return [call.type(1), TensorType(DType.FLOAT, (n,)), call.type(0)][: call.n_outputs]


# Beside the loop: nets in training are also evaluated with NumPy, where a loop over large weights would take hours.
def _fc_reference(call: Call, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    axis, axis_w = call.arg("axis") % x.ndim, call.arg("axis_w") % w.ndim
    rows = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    matrix = w.reshape(math.prod(w.shape[:axis_w]), math.prod(w.shape[axis_w:]))
    out = dy.reshape(len(rows), matrix.shape[1 if _is_transposed(call) else 0])
    if _is_transposed(call):
        dw, dx = rows.T @ out, out @ matrix.T
    else:
        dw, dx = out.T @ rows, out @ matrix
    return [dw.reshape(w.shape), out.sum(axis=0), dx.reshape(x.shape)][: call.n_outputs]


def _fc_loop(
    x: np.ndarray,
    w: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray,
    dx: np.ndarray,
    turned: np.ndarray,
    axis: int,
    axis_w: int,
    transposed: int,
) -> None:
    m, k = span(x.shape, 0, axis), span(x.shape, axis, len(x.shape))
    n = span(w.shape, axis_w, len(w.shape)) if transposed else span(w.shape, 0, axis_w)
    for i in range(m):
        for j in range(n):
            db.flat[j] += dy.flat[i * n + j]
    if transposed:
        add_product(x, 0, 1, k, dy, 0, n, dw, 0, n, k, m, n)
    else:
        add_product(dy, 0, 1, n, x, 0, k, dw, 0, k, n, m, k)
    if dx.size == 0:
        return
    if transposed:
        for i in range(w.size):
            turned.flat[i % n * k + i // n] = w.flat[i]
        add_product(dy, 0, n, 1, turned, 0, k, dx, 0, k, m, n, k)
    else:
        add_product(dy, 0, n, 1, w, 0, k, dx, 0, k, m, n, k)


def _fc_scratch(call: Call) -> Sequence[TensorType]:
    """The transpose of W, where the product with it needs one."""
    return [TensorType(DType.FLOAT, (call.type(1).size if _is_transposed(call) else 0,))]


def _fc_constants(call: Call) -> Sequence[Any]:
    axes = [axis_of(call, call.arg(name), call.type(i).rank or 0, name) for i, name in enumerate(("axis", "axis_w"))]
    return [*axes, int(_is_transposed(call))]


_FC_ARGS = (
    Arg("axis", "int", 1, "X is flattened to a matrix before this dimension"),
    Arg("axis_w", "int", 1, "W is flattened to a matrix before this dimension"),
    Arg("float16_compute", "int", 0, "a preference of CUDA"),
    Arg("freeze_bias", "int", 0, "of Caffe2's model helper, without effect"),
    ORDER,
    *HINTS,
)


def _fc_flops(call: Call) -> int:
    """Two for each element of W and row of X for each of their gradients, plus the bias."""
    dy = call.type(2)
    return dy.size * (2 * call.type(1).size // max(dy.static_shape[-1], 1) * (call.n_outputs - 1) + 1)


for _name in ("FCGradient", "FCTransposedGradient"):
    op(
        _name,
        _fc_types,
        inputs="X W dY",
        outputs="dW db dX?",
        args=_FC_ARGS,
        loop=_fc_loop,
        scratch=_fc_scratch,
        constants=_fc_constants,
        reference=_fc_reference,
        flops=_fc_flops,
        doc=f"gradients of {_name[: -len('Gradient')]}",
    )
