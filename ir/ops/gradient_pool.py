"""Gradients of pooling. Each has the arguments of the forward operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Call, op
from graphc.ir.ops._pooling import MAX_BACK, POWER_BACK, SUM_BACK, divide, sweep
from graphc.ir.ops._rules import merge_shapes, nhwc, require
from graphc.ir.ops._window import WINDOW_ARGS, Window, output_image, padded, taps, window
from graphc.ir.ops.pool import COUNT_PAD, POWER_ARG, pool_constants, pool_type
from graphc.ir.types import DType, TensorType


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
