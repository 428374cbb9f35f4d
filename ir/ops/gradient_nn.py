"""Gradients of the layers, as saved training nets spell them out. Each has the arguments of the forward operator."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import HINTS, ORDER, product
from graphc.ir.types import UNKNOWN, DType, TensorType


def _type_of(i: int, call: Call) -> TensorType:
    """Float of the shape of input ``i``."""
    return TensorType(DType.FLOAT, call.type(i).shape)


def _like_first(call: Call) -> list[TensorType]:
    return [_type_of(0, call)]


def _softmax_gradient(call: Call, y: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    axis = call.arg("axis") % max(y.ndim, 1)
    rows = (math.prod(y.shape[:axis]), math.prod(y.shape[axis:]))
    p, d = y.reshape(rows), dy.reshape(rows)
    return [((d - (p * d).sum(axis=1, keepdims=True)) * p).reshape(y.shape)]


op(
    "SoftmaxGradient",
    _like_first,
    inputs="Y dY",
    outputs="dX",
    args=(Arg("axis", "int", 1, "the dimensions from here on are the classes"), ORDER, *HINTS),
    reference=_softmax_gradient,
    inplace=((1, 0),),
    doc="(dY - sum(Y * dY)) * Y for each row",
)


def _fc_gradient_types(call: Call) -> list[TensorType]:
    w = call.type(1).shape
    axis = call.arg("axis_w")
    lead = None if w is None else (w[axis:] if _is_transposed(call) else w[:axis])
    bias = TensorType(DType.FLOAT, (UNKNOWN if lead is None else product(lead),))
    return [_type_of(1, call), bias, _type_of(0, call)][: max(2, call.n_outputs)]


def _is_transposed(call: Call) -> bool:
    return call.node.op == "FCTransposedGradient"


def _fc_gradient(call: Call, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    axis, axis_w = call.arg("axis") % x.ndim, call.arg("axis_w") % w.ndim
    rows = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    matrix = w.reshape(math.prod(w.shape[:axis_w]), math.prod(w.shape[axis_w:]))
    out = dy.reshape(len(rows), math.prod(dy.shape) // max(len(rows), 1) if len(rows) else 0)
    if _is_transposed(call):
        dw, dx = rows.T @ out, out @ matrix.T
    else:
        dw, dx = out.T @ rows, out @ matrix
    return [dw.reshape(w.shape), out.sum(axis=0), dx.reshape(x.shape)]


_FC_ARGS = (
    Arg("axis", "int", 1, "X is flattened to a matrix before this dimension"),
    Arg("axis_w", "int", 1, "W is flattened to a matrix before this dimension"),
    Arg("float16_compute", "int", 0, "a preference of CUDA"),
    Arg("freeze_bias", "int", 0, "of Caffe2's model helper, without effect"),
    ORDER,
    *HINTS,
)

for _name in ("FCGradient", "FCTransposedGradient"):
    op(
        _name,
        _fc_gradient_types,
        inputs="X W dY",
        outputs="dW db dX?",
        args=_FC_ARGS,
        reference=_fc_gradient,
        doc=f"gradients of {_name[: -len('Gradient')]}",
    )
