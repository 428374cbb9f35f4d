"""Gradients of the convolutions. Each has the arguments of the forward operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._products import add_product, span
from graphc.ir.ops._rules import merge_shapes, nhwc, require
from graphc.ir.ops._sweep import (
    channels,
    columns_type,
    explicit_constants,
    gather,
    heads_of,
    image,
    scatter,
    sweep_constants,
)
from graphc.ir.ops._window import (
    ADJ_ARGS,
    WINDOW_ARGS,
    Window,
    batch_and_channels,
    output_image,
    padded,
    spatial,
    taps,
    transposed_window,
    window,
)
from graphc.ir.ops.nn.conv import ENGINE_ARGS, GROUP, conv_type, transposed_type, turn_filters
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

NO_BIAS = Arg("no_bias", "int", 0, "there is no gradient of the bias")


def gradient_types(call: Call, y: TensorType) -> list[TensorType]:
    """dfilter, dbias unless ``no_bias``, and dX where it is named; dY (input 2) has the shape of Y.

    With ``no_bias`` the outputs are dfilter and dX, so that dX is the second.
    """
    merge_shapes(call, require(call, 2, (DType.FLOAT,)).shape, y.shape, "dY has not the shape of the output")
    for i in (0, 1):
        require(call, i, (DType.FLOAT,))
    maps: Dim = UNKNOWN if y.shape is None else batch_and_channels(call, y.shape)[1]
    types = [call.type(1), TensorType(DType.FLOAT, (maps,)), call.type(0)]
    if call.arg("no_bias"):
        del types[1]
    if call.n_outputs > len(types):
        call.fail("dbias is asked for although no_bias is set", "remove an output, or no_bias")
    return types[: call.n_outputs]


def _conv_types(call: Call) -> list[TensorType]:
    """Types of the gradients of Conv."""
    return gradient_types(call, conv_type(call))


def _first(x: np.ndarray, last: bool) -> np.ndarray:
    """Channels second, whatever the order."""
    return np.moveaxis(x, -1, 1) if last else x


def _restored(x: np.ndarray, last: bool) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1) if last else x)


def _inner(grown: np.ndarray, w: Window, size: tuple[int, ...]) -> np.ndarray:
    """The image inside its border; channels second."""
    place = (slice(None), slice(None), *(slice(max(h, 0), max(h, 0) + n) for h, n in zip(w.heads, size)))
    return np.asarray(grown[place])


# Beside the loop: nets in training are also evaluated with NumPy, where a loop over pixels would take hours.
def _conv_reference(call: Call, x: np.ndarray, filters: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    w, last = window(call), nhwc(call)
    out = tuple(d for d in output_image(call) or () if isinstance(d, int))
    inside, weight = _first(x, last), _first(filters, last)
    grown = padded(inside, w, 0.0)
    d_grown, d_weight = np.zeros_like(grown), np.zeros_like(weight)
    n, maps, depth = len(x), len(weight), weight.shape[1]
    d = _first(dy, last).reshape(n, w.group, maps // w.group, math.prod(out))
    for (tap, values), (_, sums) in zip(taps(grown, w, out), taps(d_grown, w, out)):
        columns = values.reshape(n, w.group, depth, math.prod(out))
        at: tuple[slice | int, ...] = (slice(None), slice(None), *tap)
        d_weight[at] = np.einsum("ngmp,ngcp->gmc", d, columns, optimize=True).reshape(maps, depth)
        grouped = weight[at].reshape(w.group, maps // w.group, depth)
        sums += np.einsum("gmc,ngmp->ngcp", grouped, d, optimize=True).reshape(sums.shape)
    dx = _restored(_inner(d_grown, w, inside.shape[2:]), last)
    results = [_restored(d_weight, last), d.sum(axis=(0, 3)).reshape(-1), dx]
    return [results[0], dx] if call.arg("no_bias") else results


def add_bias_gradient(dy: np.ndarray, d_bias: np.ndarray, last: int) -> None:
    """Add the elements of every channel to its bias."""
    maps = channels(dy.shape, last)
    plane = 1 if last else span(dy.shape, 2, len(dy.shape))
    for i in range(dy.size // max(maps * plane, 1)):
        for k in range(maps):
            at = (i * maps + k) * plane
            for j in range(plane):
                d_bias.flat[k] += dy.flat[at + j]


def _conv_loop(
    x: np.ndarray,
    filters: np.ndarray,
    dy: np.ndarray,
    d_filters: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    columns: np.ndarray,
    spread: np.ndarray,
    turned: np.ndarray,
    d_turned: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    dilation: tuple[int, int, int],
    heads: tuple[int, int, int],
    group: int,
    no_bias: int,
) -> None:
    """For every image and group: dfilter += dY * columns of X; dX += filter * dY, put back from columns.

    In NCHW order the places of a column lie side by side, as in X, and dfilter is summed up transposed: columns * dY^T.
    """
    inside, out = image(x.shape, n, last), image(dy.shape, n, last)
    start = heads_of(mode, heads, inside, out, stride, kernel)
    c, m, p, q = channels(x.shape, last), channels(dy.shape, last), span(out, 0, 3), span(inside, 0, 3)
    size, cg, mg = span(kernel, 0, 3), c // group, m // group
    depth = cg * size
    if not no_bias:
        add_bias_gradient(dy, second, last)
    # Distances of channels and pixels in X, of channels in dY, and of channels, window elements and places in columns.
    xc, xp, yc, cc, ct, cp = (1, c, 1, 1, cg, depth) if last else (q, 1, p, size * p, p, 1)
    for i in range(x.shape[0] * group):
        item, g = i // group, i % group
        x_at, y_at, f_at = item * c * q + g * cg * xc, item * m * p + g * mg * yc, g * mg * depth
        gather(x, x_at, columns, 0, cg, xc, xp, cc, ct, cp, inside, out, kernel, stride, dilation, start)
        if last:
            add_product(dy, y_at, 1, m, columns, 0, depth, d_filters, f_at, depth, mg, p, depth)
        else:
            _turn(dy, y_at, mg, p, turned, 0)
            add_product(columns, 0, p, 1, turned, 0, mg, d_turned, f_at, mg, depth, p, mg)
        if second.size == 0 or (not no_bias and third.size == 0):
            continue
        for j in range(spread.size):
            spread.flat[j] = np.float32(0)
        if last:
            add_product(dy, y_at, m, 1, filters, f_at, depth, spread, 0, depth, p, mg, depth)
        else:
            add_product(filters, f_at, 1, depth, dy, y_at, p, spread, 0, p, depth, mg, p)
        if no_bias:
            scatter(spread, 0, second, x_at, cg, xc, xp, cc, ct, cp, inside, out, kernel, stride, dilation, start)
        else:
            scatter(spread, 0, third, x_at, cg, xc, xp, cc, ct, cp, inside, out, kernel, stride, dilation, start)
    for g in range(0 if last else group):
        _turn(d_turned, g * mg * depth, depth, mg, d_filters, g * mg * depth)


def _turn(x: np.ndarray, at: int, rows: int, columns: int, y: np.ndarray, to: int) -> None:
    """Copy the transpose of a matrix that lies in x from ``at`` on to y from ``to`` on."""
    for j in range(columns):
        for i in range(rows):
            y.flat[to + j * rows + i] = x.flat[at + i * columns + j]


def _conv_scratch(call: Call) -> Sequence[TensorType]:
    """Of a group of an image the columns of X, of dX where it is asked for, and dY transposed; dfilter transposed."""
    pixels = math.prod(d for d in output_image(call) or () if isinstance(d, int))
    filters, columns = call.type(1), columns_type(call.type(1), pixels)
    wanted = call.n_outputs > (1 if call.arg("no_bias") else 2)
    sizes = (0, 0) if nhwc(call) else (filters.static_shape[0] // call.arg("group") * pixels, filters.size)
    spread = columns if wanted else TensorType(DType.FLOAT, (0,))
    return [columns, spread, *(TensorType(DType.FLOAT, (size,)) for size in sizes)]


def _conv_constants(call: Call) -> Sequence[Any]:
    return [*sweep_constants(call), call.arg("group"), int(bool(call.arg("no_bias")))]


def _conv_flops(call: Call) -> int:
    """Those of the convolution for each of the gradients of filter and input, plus the bias."""
    filters, dy = call.type(1).static_shape, call.type(2)
    biased = not call.arg("no_bias")
    return dy.size * (2 * math.prod(filters) // max(filters[0], 1) * (call.n_outputs - biased) + biased)


for _suffix in ("", "1D", "2D", "3D"):
    op(
        f"Conv{_suffix}Gradient",
        _conv_types,
        inputs="X filter dY",
        outputs="dfilter dbias? dX?",
        args=(*WINDOW_ARGS, GROUP, NO_BIAS, *ENGINE_ARGS),
        loop=_conv_loop,
        scratch=_conv_scratch,
        constants=_conv_constants,
        reference=_conv_reference,
        flops=_conv_flops,
        doc="gradients of Conv: filter, bias (unless no_bias), input where asked for",
    )


def _transpose_types(call: Call) -> list[TensorType]:
    """Types of the gradients of ConvTranspose."""
    return gradient_types(call, transposed_type(call))


def _transpose_loop(
    x: np.ndarray,
    filters: np.ndarray,
    dy: np.ndarray,
    d_filters: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    columns: np.ndarray,
    turned: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    dilation: tuple[int, int, int],
    heads: tuple[int, int, int],
    group: int,
    no_bias: int,
) -> None:
    """For every image and group: dfilter += X * columns of dY; dX += filter * columns of dY."""
    inside, out = image(dy.shape, n, last), image(x.shape, n, last)
    c, m, p, q = channels(x.shape, last), channels(dy.shape, last), span(out, 0, 3), span(inside, 0, 3)
    size, cg, mg = span(kernel, 0, 3), c // group, m // group
    depth = mg * size
    if not no_bias:
        add_bias_gradient(dy, second, last)
    if last:
        turn_filters(filters, turned, cg, depth)
    xc, xp, yc, yp, cc, ct = (1, c, 1, m, 1, mg) if last else (p, 1, q, 1, size, 1)
    for i in range(x.shape[0] * group):
        item, g = i // group, i % group
        x_at, y_at, f_at = item * c * p + g * cg * xc, item * m * q + g * mg * yc, g * cg * depth
        gather(dy, y_at, columns, 0, mg, yc, yp, cc, ct, depth, inside, out, kernel, stride, dilation, heads)
        add_product(x, x_at, xc, xp, columns, 0, depth, d_filters, f_at, depth, cg, p, depth)
        if not last:
            gather(dy, y_at, turned, 0, mg, yc, yp, size * p, p, 1, inside, out, kernel, stride, dilation, heads)
        if no_bias and second.size > 0:
            _add_input_gradient(filters, columns, turned, f_at, second, x_at, c, cg, p, depth, last)
        if not no_bias and third.size > 0:
            _add_input_gradient(filters, columns, turned, f_at, third, x_at, c, cg, p, depth, last)


def _add_input_gradient(
    filters: np.ndarray,
    columns: np.ndarray,
    turned: np.ndarray,
    f_at: int,
    dx: np.ndarray,
    x_at: int,
    c: int,
    cg: int,
    p: int,
    depth: int,
    last: int,
) -> None:
    """dX += columns * filters; ``turned`` holds the transpose of the filters, in NCHW order that of the columns."""
    if last:
        add_product(columns, 0, depth, 1, turned, f_at, cg, dx, x_at, c, p, depth, cg)
    else:
        add_product(filters, f_at, depth, 1, turned, 0, p, dx, x_at, p, cg, depth, p)


def _transpose_scratch(call: Call) -> Sequence[TensorType]:
    """Columns of dY of a group of an image; their transpose, in NHWC order that of the filters."""
    pixels = math.prod(d for d in spatial(call, call.type(0).static_shape) if isinstance(d, int))
    columns = columns_type(call.type(1), pixels)
    return [columns, TensorType(DType.FLOAT, call.type(1).shape) if nhwc(call) else columns]


def _transpose_constants(call: Call) -> Sequence[Any]:
    constants = explicit_constants(call, transposed_window(call))
    return [*constants, call.arg("group"), int(bool(call.arg("no_bias")))]


op(
    "ConvTransposeGradient",
    _transpose_types,
    inputs="X filter dY",
    outputs="dfilter dbias? dX?",
    args=(*(a for a in WINDOW_ARGS if a.name != "global_pooling"), *ADJ_ARGS, GROUP, NO_BIAS),
    loop=_transpose_loop,
    scratch=_transpose_scratch,
    constants=_transpose_constants,
    doc="gradients of ConvTranspose: filter, bias (unless no_bias), input where asked for",
)
