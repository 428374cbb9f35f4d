"""Windows laid out as columns (Im2Col, Col2Im), and convolution with weights of their own for every pixel (LC)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.graph import Node, Value
from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._products import add_scaled, dot, span
from graphc.ir.ops._rules import agree, merge_shapes, product, require
from graphc.ir.ops._sweep import channels, gather, heads_of, image, scatter, sweep_constants, window_of
from graphc.ir.ops._window import (
    NO_INPUT_GRADIENT,
    WINDOW_ARGS,
    batch_and_channels,
    join_shape,
    output_image,
    spatial,
    window,
)
from graphc.ir.types import DType, TensorType


def _columns_type(call: Call, x: TensorType) -> TensorType:
    """(N, C * window, *image), or (N, *image, window * C) in NHWC order."""
    size = output_image(call)
    if x.shape is None or size is None:
        return x.with_shape(None)
    n, c = batch_and_channels(call, x.shape)
    return x.with_shape(join_shape(call, n, c * math.prod(window(call).kernel), size))


def _columns_infer(call: Call) -> list[TensorType]:
    """Y: (N, C * window, *image), or (N, *image, window * C) in NHWC order."""
    return [_columns_type(call, require(call, 0, (DType.FLOAT,)))]


def _columns_loop(
    x: np.ndarray,
    y: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    dilation: tuple[int, int, int],
    heads: tuple[int, int, int],
) -> None:
    inside, out = image(x.shape, n, last), image(y.shape, n, last)
    size = window_of(mode, kernel, inside)
    start = heads_of(mode, heads, inside, out, stride, size)
    c, taps, p, q = channels(x.shape, last), span(size, 0, 3), span(out, 0, 3), span(inside, 0, 3)
    xc, xp = (1, c) if last else (q, 1)
    cc, ct, cp = (1, c, taps * c) if last else (taps * p, p, 1)
    for i in range(x.shape[0]):
        gather(x, i * c * q, y, i * c * taps * p, c, xc, xp, cc, ct, cp, inside, out, size, stride, dilation, start)


op(
    "Im2Col",
    _columns_infer,
    inputs="X",
    outputs="Y",
    args=WINDOW_ARGS,
    loop=_columns_loop,
    constants=sweep_constants,
    doc="The elements under the window, for every place of it, as channels.",
)


def _image_infer(call: Call) -> list[TensorType]:
    """Y has the shape of the second input, the image, whose columns have the shape of the first."""
    columns, like = require(call, 0, (DType.FLOAT,)), require(call, 1, (DType.FLOAT,))
    if like.shape is not None and like.is_static:
        turned = Call(_turned(call))
        merge_shapes(call, columns.shape, _columns_type(turned, like).shape, "the columns do not fit the image")
    return [columns.with_shape(like.shape)]


def _turned(call: Call) -> Node:
    """The call with the image as its first input, as the rules of windows want it."""
    node = call.node
    return Node(node.op, [Value(call.type(1)), Value(call.type(0))], [], dict(node.attrs), node.location)


def _image_loop(
    columns: np.ndarray,
    like: np.ndarray,
    y: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    dilation: tuple[int, int, int],
    heads: tuple[int, int, int],
) -> None:
    inside, out = image(y.shape, n, last), image(columns.shape, n, last)
    size = window_of(mode, kernel, inside)
    start = heads_of(mode, heads, inside, out, stride, size)
    c, taps, p, q = channels(y.shape, last), span(size, 0, 3), span(out, 0, 3), span(inside, 0, 3)
    yc, yp = (1, c) if last else (q, 1)
    cc, ct, cp = (1, c, taps * c) if last else (taps * p, p, 1)
    for i in range(y.shape[0]):
        at = i * c * taps * p
        scatter(columns, at, y, i * c * q, c, yc, yp, cc, ct, cp, inside, out, size, stride, dilation, start)


op(
    "Col2Im",
    _image_infer,
    inputs="X like",
    outputs="Y",
    args=WINDOW_ARGS,
    loop=_image_loop,
    constants=sweep_constants,
    doc="Undoes Im2Col; elements that several windows share are added up.",
)

GROUP = Arg("group", "int", 1, "channels are divided into so many independent groups")
NO_BIAS = Arg("no_bias", "int", 0, "there is no bias")


def _local_type(call: Call) -> TensorType:
    """(N, M, *image) of X (N, C, *) and the filter (*image, M, C / group, *kernel)."""
    x, filters, size = require(call, 0, (DType.FLOAT,)), require(call, 1, (DType.FLOAT,)), output_image(call)
    if x.shape is None or filters.shape is None or size is None:
        return x.with_shape(None)
    n, c = batch_and_channels(call, x.shape)
    k = len(size)
    if len(filters.shape) != 2 * k + 2:
        call.fail(f"the weight has {len(filters.shape)} dimensions, {2 * k + 2} are needed")
    for got, want in zip(filters.shape[:k], size):
        agree(call, got, want, "pixels of the weight against those of the output")
    maps, per_group = batch_and_channels(call, filters.shape[k:])
    for got, side in zip(spatial(call, filters.shape[k:]), window(call).kernel):
        agree(call, got, side, "size of the weight against the kernel")
    agree(call, c, product((per_group, call.arg("group"))), "input channels")
    if call.arg("group") < 1 or (isinstance(maps, int) and maps % call.arg("group")):
        call.fail(f"{maps} filters cannot be divided into {call.arg('group')} groups")
    return x.with_shape(join_shape(call, n, maps, size))


def _local_infer(call: Call) -> list[TensorType]:
    """Y: (N, M, *image); filter (*image, M, C / group, *kernel), bias (*image, M)."""
    y = _local_type(call)
    if call.has(2):
        if call.arg("no_bias"):
            call.fail("a bias is given although no_bias is set", "remove the bias or no_bias")
        bias, filters = require(call, 2, (DType.FLOAT,)), call.type(1).shape
        wanted = None if filters is None or y.rank is None else filters[: y.rank - 1]
        merge_shapes(call, bias.shape, wanted, "the bias has not the shape of an output image")
    return [y]


def _local_loop(
    x: np.ndarray,
    filters: np.ndarray,
    bias: np.ndarray,
    y: np.ndarray,
    columns: np.ndarray,
    n: int,
    last: int,
    mode: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    dilation: tuple[int, int, int],
    heads: tuple[int, int, int],
    group: int,
) -> None:
    """For every image, group and place: the products of the place's filters with the elements under the window."""
    inside, out = image(x.shape, n, last), image(y.shape, n, last)
    start = heads_of(mode, heads, inside, out, stride, kernel)
    c, m, p, q = channels(x.shape, last), channels(y.shape, last), span(out, 0, 3), span(inside, 0, 3)
    taps, cg, mg = span(kernel, 0, 3), c // group, m // group
    depth = cg * taps
    xc, xp, yc, yp, cc, ct = (1, c, 1, m, 1, cg) if last else (q, 1, p, 1, taps, 1)
    for i in range(x.shape[0] * group):
        item, g = i // group, i % group
        x_at = item * c * q + g * cg * xc
        gather(x, x_at, columns, 0, cg, xc, xp, cc, ct, depth, inside, out, kernel, stride, dilation, start)
        for j in range(p * mg):
            place, k = j // mg, g * mg + j % mg
            total = dot(filters, (place * m + k) * depth, columns, place * depth, depth)
            if bias.size > 0:
                total += bias.flat[place * m + k]
            y.flat[item * m * p + k * yc + place * yp] = np.float32(total)


def _local_scratch(call: Call) -> Sequence[TensorType]:
    """The elements under the window for every place, of a group of an image."""
    filters, k = call.type(1).static_shape, len(output_image(call) or ())
    maps = batch_and_channels(call, filters[k:])[0]
    size = math.prod(filters) // maps if isinstance(maps, int) and maps else 0
    return [TensorType(DType.FLOAT, (size,))]


def _local_constants(call: Call) -> Sequence[Any]:
    return [*sweep_constants(call), call.arg("group")]


for _name in ("LC", "LC1D", "LC2D", "LC3D"):
    op(
        _name,
        _local_infer,
        inputs="X filter bias?",
        outputs="Y",
        args=(*WINDOW_ARGS, GROUP, NO_BIAS, NO_INPUT_GRADIENT),
        loop=_local_loop,
        scratch=_local_scratch,
        constants=_local_constants,
        doc="Convolution with a weight of its own for every pixel of the output.",
    )


def _local_gradient_types(call: Call) -> list[TensorType]:
    """dfilter, dbias unless ``no_bias``, and dX where it is named; dY has the shape of the output."""
    y, filters = _local_type(call), call.type(1)
    merge_shapes(call, require(call, 2, (DType.FLOAT,)).shape, y.shape, "dY has not the shape of the output")
    bias = None if filters.shape is None or y.rank is None else filters.shape[: y.rank - 1]
    types = [filters, filters.with_shape(bias), call.type(0)]
    if call.arg("no_bias"):
        del types[1]
    if call.n_outputs > len(types):
        call.fail("dbias is asked for although no_bias is set", "remove an output, or no_bias")
    return types[: call.n_outputs]


def _local_gradient_loop(
    x: np.ndarray,
    filters: np.ndarray,
    dy: np.ndarray,
    d_filters: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    columns: np.ndarray,
    spread: np.ndarray,
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
    """Every place's gradient goes to its filters times the elements under the window, and the other way round."""
    inside, out = image(x.shape, n, last), image(dy.shape, n, last)
    start = heads_of(mode, heads, inside, out, stride, kernel)
    c, m, p, q = channels(x.shape, last), channels(dy.shape, last), span(out, 0, 3), span(inside, 0, 3)
    taps, cg, mg = span(kernel, 0, 3), c // group, m // group
    depth = cg * taps
    xc, xp, yc, yp, cc, ct = (1, c, 1, m, 1, cg) if last else (q, 1, p, 1, taps, 1)
    for i in range(x.shape[0] * group):
        item, g = i // group, i % group
        x_at = item * c * q + g * cg * xc
        gather(x, x_at, columns, 0, cg, xc, xp, cc, ct, depth, inside, out, kernel, stride, dilation, start)
        for j in range(spread.size):
            spread.flat[j] = np.float32(0)
        for j in range(p * mg):
            place, k = j // mg, g * mg + j % mg
            slope = dy.flat[item * m * p + k * yc + place * yp]
            if not no_bias:
                second.flat[place * m + k] += slope
            add_scaled(slope, columns, place * depth, d_filters, (place * m + k) * depth, depth)
            add_scaled(slope, filters, (place * m + k) * depth, spread, place * depth, depth)
        if no_bias and second.size > 0:
            scatter(spread, 0, second, x_at, cg, xc, xp, cc, ct, depth, inside, out, kernel, stride, dilation, start)
        if not no_bias and third.size > 0:
            scatter(spread, 0, third, x_at, cg, xc, xp, cc, ct, depth, inside, out, kernel, stride, dilation, start)


for _name in ("LC", "LC1D", "LC2D", "LC3D"):
    op(
        f"{_name}Gradient",
        _local_gradient_types,
        inputs="X filter dY",
        outputs="dfilter dbias? dX?",
        args=(*WINDOW_ARGS, GROUP, NO_BIAS, NO_INPUT_GRADIENT),
        loop=_local_gradient_loop,
        scratch=lambda call: [*_local_scratch(call), *_local_scratch(call)],
        constants=lambda call: [*_local_constants(call), int(bool(call.arg("no_bias")))],
        doc=f"gradients of {_name}: filter, bias (unless no_bias), input where asked for",
    )
