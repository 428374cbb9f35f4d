"""Gradients of pooling. Each has the arguments of the forward operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Call, op
from graphc.ir.ops._rules import merge_shapes, nhwc, product, require, require_rank
from graphc.ir.ops._sweep import heads_of, image, window_of
from graphc.ir.ops._window import WINDOW_ARGS, Window, output_image, padded, taps, window
from graphc.ir.ops.nn._pooling import LOWEST, MAX_BACK, POWER_BACK, SUM_BACK, divide, sweep
from graphc.ir.ops.nn.pool import COUNT_PAD, POWER_ARG, pool_constants, pool_type
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType


def _gradient_types(call: Call) -> list[TensorType]:
    """dX has the type of X; Y and dY have the shape that pooling of X has."""
    y = pool_type(call).shape
    for i in (1, 2):
        y = merge_shapes(call, y, require(call, i, (DType.FLOAT,)).shape, f"{call.input_name(i)} has another shape")
    return [require(call, 0, (DType.FLOAT,))]


def _image(call: Call) -> tuple[int, ...]:
    return tuple(d for d in output_image(call) or () if isinstance(d, int))


def _first(x: np.ndarray, last: bool) -> np.ndarray:
    """Channels second, whatever the order."""
    return np.moveaxis(x, -1, 1) if last else x


def _inner(grown: np.ndarray, w: Window, size: tuple[int, ...], last: bool) -> np.ndarray:
    """The image inside its border, in its own order."""
    place = (slice(None), slice(None), *(slice(max(h, 0), max(h, 0) + n) for h, n in zip(w.heads, size)))
    inside = grown[place]
    return np.ascontiguousarray(np.moveaxis(inside, 1, -1) if last else inside)


# Beside the loops: nets in training are also evaluated with NumPy, where a loop over pixels would take hours.
def _max_reference(call: Call, x: np.ndarray, y: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """Every element equal to the maximum of its window gets the window's gradient, as on Caffe2's CPU."""
    w, last, out = window(call), nhwc(call), _image(call)
    inside = _first(x, last)
    grown = padded(inside, w, -np.inf)
    grad = np.zeros_like(grown)
    top, d = _first(y, last), _first(dy, last)
    for (_, values), (_, sums) in zip(taps(grown, w, out), taps(grad, w, out)):
        sums += np.where(values == top, d, 0)
    return [_inner(grad, w, inside.shape[2:], last)]


def _average_reference(call: Call, x: np.ndarray, y: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    w, last, out = window(call), nhwc(call), _image(call)
    inside = _first(x, last)
    grad = padded(np.zeros_like(inside), w, 0.0)
    ones = padded(np.ones_like(inside), w, float(call.arg("count_include_pad")))
    share = _first(dy, last) / sum(view for _, view in taps(ones, w, out))
    for _, sums in taps(grad, w, out):
        sums += share
    return [_inner(grad, w, inside.shape[2:], last)]


def _max_loop(
    x: np.ndarray,
    y: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    heads: tuple[int, int, int],
) -> None:
    sweep(MAX_BACK, x, y, dy, dx, 0.0, n, last, mode, kernel, stride, heads)


def _average_loop(
    x: np.ndarray,
    y: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    share: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    heads: tuple[int, int, int],
    with_border: int,
) -> None:
    for i in range(dy.size):
        share.flat[i] = dy.flat[i]
    divide(x, share, n, last, mode, kernel, stride, heads, with_border)
    sweep(SUM_BACK, x, share, share, dx, 0.0, n, last, mode, kernel, stride, heads)


def _share(call: Call) -> Sequence[TensorType]:
    """What a window gives to each of its elements."""
    return [call.type(2)]


for _suffix in ("", "1D", "2D", "3D"):
    op(
        f"MaxPool{_suffix}Gradient",
        _gradient_types,
        inputs="X Y dY",
        outputs="dX",
        args=WINDOW_ARGS,
        loop=_max_loop,
        constants=pool_constants,
        reference=_max_reference,
        doc="gradient of MaxPool",
    )
    op(
        f"AveragePool{_suffix}Gradient",
        _gradient_types,
        inputs="X Y dY",
        outputs="dX",
        args=(*WINDOW_ARGS, COUNT_PAD),
        loop=_average_loop,
        scratch=_share,
        constants=pool_constants,
        reference=_average_reference,
        doc="gradient of AveragePool",
    )


def _lp_loop(
    x: np.ndarray,
    y: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    heads: tuple[int, int, int],
    p: float,
) -> None:
    sweep(POWER_BACK, x, y, dy, dx, p, n, last, mode, kernel, stride, heads)


op(
    "LpPoolGradient",
    _gradient_types,
    inputs="X Y dY",
    outputs="dX",
    args=(*WINDOW_ARGS, POWER_ARG),
    loop=_lp_loop,
    constants=pool_constants,
    doc="gradient of LpPool: dY * X * |X|**(p - 2) / Y**(p - 1), added up over the windows of an element",
)


def _index_types(call: Call) -> list[TensorType]:
    """Y as of MaxPool; Index: int32, one for every element of Y, flat."""
    y, shape = pool_type(call), require_rank(call, 0, 4)
    require(call, 0, (DType.FLOAT,))
    if nhwc(call):
        call.fail("order NHWC is not defined for this operator", "insert NHWC2NCHW")
    count: Dim = UNKNOWN if shape is None or y.shape is None else product(y.shape)
    return [y, TensorType(DType.INT32, (count,))]


def _index_loop(
    x: np.ndarray,
    y: np.ndarray,
    index: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    heads: tuple[int, int, int],
) -> None:
    inside, out = image(x.shape, n, last), image(y.shape, n, last)
    size = window_of(mode, kernel, inside)
    start = heads_of(mode, heads, inside, out, stride, size)
    for i in range(y.size):
        plane = i // (out[1] * out[2]) * inside[1] * inside[2]
        top, left = i // out[2] % out[1] * stride[1] - start[1], i % out[2] * stride[2] - start[2]
        best, found = np.float32(LOWEST), -1
        for h in range(max(top, 0), min(top + size[1], inside[1])):
            for w in range(max(left, 0), min(left + size[2], inside[2])):
                if x.flat[plane + h * inside[2] + w] > best:
                    best, found = x.flat[plane + h * inside[2] + w], h * inside[2] + w
        y.flat[i], index[i] = best, found


op(
    "MaxPoolWithIndex",
    _index_types,
    inputs="X",
    outputs="Y Index",
    args=WINDOW_ARGS,
    loop=_index_loop,
    constants=pool_constants,
    doc="MaxPool, and the place of each maximum in its plane; Caffe2 has it on CUDA alone",
)


def _index_gradient_type(call: Call) -> list[TensorType]:
    """dX has the type of X; dY has the shape of the pooled image, Index as many elements."""
    y, index = _index_types(call)
    merge_shapes(call, require(call, 1, (DType.FLOAT,)).shape, y.shape, "dY has not the shape of the output")
    require(call, 2, (DType.INT32,))
    merge_shapes(call, call.type(2).shape, index.shape, "Index has another number of elements than dY")
    return [call.type(0)]


def _index_gradient_loop(x: np.ndarray, dy: np.ndarray, index: np.ndarray, dx: np.ndarray) -> int:
    plane, size = dy.shape[2] * dy.shape[3], x.shape[2] * x.shape[3]
    for i in range(dy.size):
        if index[i] < -1 or index[i] >= size:
            return 1
        if index[i] >= 0:
            dx.flat[i // plane * size + index[i]] += dy.flat[i]
    return 0


op(
    "MaxPoolWithIndexGradient",
    _index_gradient_type,
    inputs="X dY Index",
    outputs="dX",
    args=WINDOW_ARGS,
    loop=_index_gradient_loop,
    constants=lambda call: [],
    errors=("Index has a place outside of the plane",),
    doc="gradient of MaxPoolWithIndex",
)
