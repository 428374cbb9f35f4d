"""Gradients of the layers, as saved training nets spell them out. Each has the arguments of the forward operator."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import HINTS, ORDER, nhwc, product
from graphc.ir.ops._window import WINDOW_ARGS, Window, output_image, padded, taps, window
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


def _image(call: Call) -> tuple[int, ...]:
    return tuple(d for d in output_image(call) or () if isinstance(d, int))


def _first(x: np.ndarray, last: bool) -> np.ndarray:
    """Channels second, whatever the order."""
    return np.moveaxis(x, -1, 1) if last else x


def _inner(grown: np.ndarray, w: Window, size: tuple[int, ...]) -> np.ndarray:
    """The image inside its border; channels second."""
    image = (slice(max(h, 0), max(h, 0) + n) for h, n in zip(w.heads, size))
    place = (slice(None), slice(None), *image)
    return np.asarray(grown[place])


def _restored(x: np.ndarray, last: bool) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1) if last else x)


def _max_pool_gradient(call: Call, x: np.ndarray, y: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """Every element equal to the maximum of its window gets the window's gradient, as on Caffe2's CPU."""
    w, last, out = window(call), nhwc(call), _image(call)
    image = _first(x, last)
    grown = padded(image, w, -np.inf)
    grad = np.zeros_like(grown)
    top, d = _first(y, last), _first(dy, last)
    for (_, values), (_, sums) in zip(taps(grown, w, out), taps(grad, w, out)):
        sums += np.where(values == top, d, 0)
    return [_restored(_inner(grad, w, image.shape[2:]), last)]


def _average_pool_gradient(call: Call, x: np.ndarray, y: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    w, last, out = window(call), nhwc(call), _image(call)
    image = _first(x, last)
    grad = padded(np.zeros_like(image), w, 0.0)
    ones = padded(np.ones_like(image), w, float(call.arg("count_include_pad")))
    share = _first(dy, last) / sum(view for _, view in taps(ones, w, out))
    for _, sums in taps(grad, w, out):
        sums += share
    return [_restored(_inner(grad, w, image.shape[2:]), last)]


for _suffix in ("", "1D", "2D", "3D"):
    op(
        f"MaxPool{_suffix}Gradient",
        _like_first,
        inputs="X Y dY",
        outputs="dX",
        args=WINDOW_ARGS,
        reference=_max_pool_gradient,
        doc="gradient of MaxPool",
    )
    op(
        f"AveragePool{_suffix}Gradient",
        _like_first,
        inputs="X Y dY",
        outputs="dX",
        args=(*WINDOW_ARGS, Arg("count_include_pad", "int", 0, "the border counts in the divisor")),
        reference=_average_pool_gradient,
        doc="gradient of AveragePool",
    )


def _conv_gradient_types(call: Call) -> list[TensorType]:
    w = call.type(1).shape
    bias = TensorType(DType.FLOAT, (UNKNOWN if w is None else w[0],))
    types = [_type_of(1, call), _type_of(0, call)]
    return types if call.arg("no_bias") else [types[0], bias, types[1]]


def _conv_gradient(call: Call, x: np.ndarray, filters: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    w, last, out = window(call), nhwc(call), _image(call)
    image, weight = _first(x, last), _first(filters, last)
    grown = padded(image, w, 0.0)
    d_grown, d_weight = np.zeros_like(grown), np.zeros_like(weight)
    n, maps, depth = len(x), len(weight), weight.shape[1]
    d = _first(dy, last).reshape(n, w.group, maps // w.group, math.prod(out))
    for (tap, values), (_, sums) in zip(taps(grown, w, out), taps(d_grown, w, out)):
        columns = values.reshape(n, w.group, depth, math.prod(out))
        at: tuple[slice | int, ...] = (slice(None), slice(None), *tap)
        d_weight[at] = np.einsum("ngmp,ngcp->gmc", d, columns, optimize=True).reshape(maps, depth)
        grouped = weight[at].reshape(w.group, maps // w.group, depth)
        sums += np.einsum("gmc,ngmp->ngcp", grouped, d, optimize=True).reshape(sums.shape)
    dx = _restored(_inner(d_grown, w, image.shape[2:]), last)
    dw = _restored(d_weight, last)
    return [dw, dx] if call.arg("no_bias") else [dw, d.sum(axis=(0, 3)).reshape(-1), dx]


for _suffix in ("", "1D", "2D", "3D"):
    op(
        f"Conv{_suffix}Gradient",
        _conv_gradient_types,
        inputs="X filter dY",
        outputs="dfilter dbias? dX?",
        args=(*WINDOW_ARGS, Arg("group", "int", 1, "groups of channels"), Arg("no_bias", "int", 0, "without dbias")),
        reference=_conv_gradient,
        doc="gradients of Conv: filter, bias (unless no_bias), input where asked for",
    )
