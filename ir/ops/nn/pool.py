"""Pooling: MaxPool, AveragePool (1-D, 2-D, 3-D) and LpPool, in NCHW and NHWC order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import nhwc, require
from graphc.ir.ops._sweep import sweep_constants
from graphc.ir.ops._window import (
    WINDOW_ARGS,
    Window,
    batch_and_channels,
    join_shape,
    output_image,
    padded,
    taps,
    window,
)
from graphc.ir.ops.nn._pooling import LOWEST, MAX, POWER, SUM, divide, sweep
from graphc.ir.types import TensorType


def _pool_infer(call: Call) -> list[TensorType]:
    """Y: (N, C, *image) float from X (N, C, *image); ``output_image`` has the rule of the size."""
    return [pool_type(call)]


def pool_type(call: Call) -> TensorType:
    """The type of the output of pooling, from its input."""
    x = require(call, 0)
    image = output_image(call)
    if x.shape is None or image is None:
        return x
    if x.is_static:
        _check(call, window(call))
    n, c = batch_and_channels(call, x.shape)
    return x.with_shape(join_shape(call, n, c, image))


def _check(call: Call, w: Window) -> None:
    if set(w.dilation) != {1}:
        call.fail("pooling with dilation is not defined", "remove the dilation")
    if call.arg("legacy_pad") == 0 and any(p >= k for p, k in zip(w.pads, w.kernel * 2)):
        call.fail(f"the padding {w.pads} is not smaller than the kernel {w.kernel}", "use less padding")


def _views(call: Call, x: np.ndarray, w: Window, fill: float) -> list[np.ndarray]:
    out = tuple(d for d in output_image(call) or () if isinstance(d, int))
    first = 1 if nhwc(call) else 2
    return [view for _, view in taps(padded(x, w, fill, first), w, out, first)]


def _max_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    lowest = float(np.finfo(x.dtype).min)
    views = _views(call, x, window(call), lowest)
    y = np.full(views[0].shape, lowest, x.dtype)
    for view in views:
        np.maximum(y, view, out=y)
    return [y]


def _average_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    w = window(call)
    total = sum(_views(call, x, w, 0.0), np.zeros((), x.dtype))
    if call.arg("count_include_pad"):
        return [(total / math.prod(w.kernel)).astype(x.dtype)]
    count = sum(_views(call, np.ones_like(x), w, 0.0), np.zeros((), x.dtype))
    return [(total / count).astype(x.dtype)]


def pool_constants(call: Call) -> Sequence[Any]:
    """The constants of the window without dilation, then what further arguments there are."""
    n, last, mode, kernel, stride, _, heads = sweep_constants(call)
    further = [call.arg(name) for name in ("count_include_pad", "p") if call.opdef.has_arg(name)]
    return [n, last, mode, kernel, stride, heads, *further]


def _max_loop(
    x: np.ndarray,
    y: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    heads: tuple[int, int, int],
) -> None:
    for i in range(y.size):
        y.flat[i] = np.float32(LOWEST)
    sweep(MAX, x, y, y, y, 0.0, n, last, mode, kernel, stride, heads)


def _average_loop(
    x: np.ndarray,
    y: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    heads: tuple[int, int, int],
    with_border: int,
) -> None:
    sweep(SUM, x, y, y, y, 0.0, n, last, mode, kernel, stride, heads)
    divide(x, y, n, last, mode, kernel, stride, heads, with_border)


def _lp_loop(
    x: np.ndarray,
    y: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    heads: tuple[int, int, int],
    p: float,
) -> None:
    sweep(POWER, x, y, y, y, p, n, last, mode, kernel, stride, heads)
    for i in range(y.size):
        y.flat[i] = np.float32(y.flat[i] ** (1.0 / p))


def _pool_flops(call: Call) -> int:
    """One for each element of the output and of its window."""
    return _pool_infer(call)[0].size * math.prod(window(call).kernel)


COUNT_PAD = Arg("count_include_pad", "int", 0, "divide by the whole window, not by its part inside the image")

POWER_ARG = Arg("p", "float", 2.0, "the norm")

for _suffix in ("", "1D", "2D", "3D"):
    op(
        f"MaxPool{_suffix}",
        _pool_infer,
        inputs="X",
        outputs="Y",
        args=WINDOW_ARGS,
        loop=_max_loop,
        constants=pool_constants,
        reference=_max_reference,
        call_traits=lambda call: Trait.BLOCKED if call.type(0).rank in (None, 4) else Trait.NONE,
        flops=_pool_flops,
        doc="Maximum over the window; the border never wins.",
    )
    op(
        f"AveragePool{_suffix}",
        _pool_infer,
        inputs="X",
        outputs="Y",
        args=(*WINDOW_ARGS, COUNT_PAD),
        loop=_average_loop,
        constants=pool_constants,
        reference=_average_reference,
        call_traits=lambda call: Trait.BLOCKED if call.type(0).rank in (None, 4) else Trait.NONE,
        flops=_pool_flops,
        doc="Mean over the part of the window that lies in the image.",
    )

op(
    "LpPool",
    _pool_infer,
    inputs="X",
    outputs="Y",
    args=(*WINDOW_ARGS, POWER_ARG),
    loop=_lp_loop,
    constants=pool_constants,
    flops=_pool_flops,
    doc="The p-norm of the window: (sum |x|**p)**(1/p).",
)
