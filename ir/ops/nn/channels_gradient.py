"""Gradients of operators with a parameter a channel, a row or a column, and of those that repeat or pair elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import (
    NUMERIC,
    ORDER,
    agree,
    axis_of,
    channel_axis,
    constant_ints,
    merge_shapes,
    product,
    require,
    vector,
)
from graphc.ir.types import UNKNOWN, DType, TensorType

FLOAT = (DType.FLOAT,)


def channel_sizes(call: Call, i: int = 0) -> list[int]:
    """Input ``i`` as a block of images (or pixels), channels, and elements of a channel side by side."""
    shape = call.type(i).static_shape
    axis = channel_axis(call, len(shape))
    return [_count(shape[:axis]), shape[axis], _count(shape[axis + 1 :])]


def _count(dims: Sequence[int]) -> int:
    size = product(dims)
    assert isinstance(size, int)
    return size


def _prelu_infer(call: Call) -> list[TensorType]:
    """dX has the type of Y, dSlope that of Slope: one element, or one for each channel."""
    shape = require(call, 0, FLOAT).shape
    for i in (1, 2):
        shape = merge_shapes(call, shape, require(call, i, FLOAT).shape, f"the shapes of inputs 0 and {i} differ")
    slope = require(call, 3, FLOAT)
    if shape is not None:
        if len(shape) < 2:
            call.fail(f"X has {len(shape)} dimensions, a dimension of channels is needed")
        channels = shape[channel_axis(call, len(shape))]
        if slope.shape is not None and product(slope.shape) != 1:
            agree(call, product(slope.shape), channels, "number of slopes")
    return [TensorType(DType.FLOAT, shape), slope]


def _prelu_loop(
    y: Any, dy: Any, x: Any, slope: Any, dx: Any, dslope: Any, total: Any, images: Any, channels: Any, size: Any
) -> None:
    for n in range(images):
        for c in range(channels):
            k = 0 if slope.size == 1 else c
            start = (n * channels + c) * size
            factor = slope.flat[k]
            for i in range(start, start + size):
                dx.flat[i] = dy.flat[i] if x.flat[i] > 0 else dy.flat[i] * factor
            found = np.float64(0)
            for i in range(start, start + size):
                found += dy.flat[i] * min(x.flat[i], np.float32(0))
            total[k] += found
    for k in range(slope.size):
        dslope.flat[k] = total[k]


op(
    "PReluGradient",
    _prelu_infer,
    inputs="Y dY X Slope",
    outputs="dX dSlope",
    args=(ORDER,),
    loop=_prelu_loop,
    scratch=lambda call: [TensorType(DType.DOUBLE, (call.type(3).size,))],
    constants=channel_sizes,
    doc="dX: dY, times the slope where X <= 0; dSlope: the sum of dY * X there.",
)


def _affine_infer(call: Call) -> list[TensorType]:
    """dX has the type of dY; with ``is_learnable`` X is input 1, and dscale and dbias have the type of scale."""
    dy = require(call, 0, FLOAT)
    learnable = bool(call.arg("is_learnable"))
    if call.n_inputs != 2 + learnable:
        call.fail(f"{call.n_inputs} inputs", f"is_learnable={int(learnable)} wants dY{', X' * learnable} and scale")
    if call.n_outputs != 1 + 2 * learnable:
        wanted = f"is_learnable={int(learnable)} gives dX{', dscale and dbias' * learnable}"
        call.fail(f"{call.n_outputs} outputs", wanted)
    if learnable:
        dy = dy.with_shape(merge_shapes(call, dy.shape, require(call, 1, FLOAT).shape, "the shapes of dY and X differ"))
    scale = require(call, 1 + learnable, FLOAT)
    if dy.shape is not None:
        if len(dy.shape) < 2:
            call.fail(f"dY has {len(dy.shape)} dimensions, a dimension of channels is needed")
        vector(call, 1 + learnable, dy.shape[channel_axis(call, len(dy.shape))], "length of scale")
    return [dy, *[scale] * (2 * learnable)]


def _affine_loop(
    dy: Any,
    x: Any,
    scale: Any,
    dx: Any,
    dscale: Any,
    dbias: Any,
    sums: Any,
    images: Any,
    channels: Any,
    size: Any,
    learnable: Any,
) -> None:
    for n in range(images):
        for c in range(channels):
            start = (n * channels + c) * size
            factor = scale.flat[c] if learnable else x.flat[c]
            for i in range(start, start + size):
                dx.flat[i] = dy.flat[i] * factor
            if learnable:
                products, total = np.float64(0), np.float64(0)
                for i in range(start, start + size):
                    products += dy.flat[i] * x.flat[i]
                    total += dy.flat[i]
                sums[0, c] += products
                sums[1, c] += total
    if learnable:
        for c in range(channels):
            dscale.flat[c] = sums[0, c]
            dbias.flat[c] = sums[1, c]


op(
    "AffineChannelGradient",
    _affine_infer,
    inputs="dY X scale?",
    outputs="dX dscale? dbias?",
    args=(ORDER, Arg("is_learnable", "int", 0, "gradients of scale and bias are wanted")),
    loop=_affine_loop,
    scratch=lambda call: [TensorType(DType.DOUBLE, (2, channel_sizes(call)[1]))],
    constants=lambda call: [*channel_sizes(call), int(bool(call.arg("is_learnable")))],
    doc="scale * dY; with is_learnable also the sums of dY * X and of dY for each channel, else input 1 is scale.",
)


def _linear_infer(call: Call) -> list[TensorType]:
    """dX has the type of X; dw and db have that of w."""
    shape = merge_shapes(call, require(call, 0, FLOAT).shape, require(call, 1, FLOAT).shape, "dY and X differ")
    w = require(call, 2, FLOAT)
    if shape is not None:
        row = product(shape[axis_of(call, call.arg("axis"), len(shape)) :])
        vector(call, 2, row, "length of w")
    return [TensorType(DType.FLOAT, shape), w, w]


def _linear_loop(dy: Any, x: Any, w: Any, dx: Any, dw: Any, db: Any, sums: Any, axis: Any) -> None:
    columns = w.shape[0]
    for r in range(dy.size // max(columns, 1)):
        for c in range(columns):
            g = dy.flat[r * columns + c]
            dx.flat[r * columns + c] = g * w[c]
            sums[0, c] += g * x.flat[r * columns + c]
            sums[1, c] += g
    for c in range(columns):
        dw[c] = sums[0, c]
        db[c] = sums[1, c]


op(
    "ElementwiseLinearGradient",
    _linear_infer,
    inputs="dY X w",
    outputs="dX dw db",
    args=(Arg("axis", "int", 1, "X is flattened to a matrix before this dimension"),),
    loop=_linear_loop,
    scratch=lambda call: [TensorType(DType.DOUBLE, (2, call.type(2).size))],
    doc="dY * w; the sums over the rows of dY * X; those of dY.",
)


def _tile_numbers(call: Call) -> tuple[int, int] | None:
    """tiles and axis, from inputs 1 and 2 where they are given; None while their elements are not known."""
    values = [call.arg("tiles"), call.arg("axis")]
    for k in range(2):
        if call.has(k + 1):
            require(call, k + 1, (DType.INT32, DType.INT64))
            data = constant_ints(call, k + 1)
            if data is None:
                return None
            if len(data) != 1:
                call.fail(f"{call.input_name(k + 1)} has {len(data)} elements, 1 is needed")
            values[k] = data[0]
    if values[0] < 1:
        call.fail(f"tiles is {values[0]}", "give tiles a value from 1 on")
    return values[0], values[1]


def _tile_infer(call: Call) -> list[TensorType]:
    """dX: dY with the dimension ``axis`` divided by ``tiles``."""
    dy, numbers = require(call, 0, NUMERIC), _tile_numbers(call)
    if dy.shape is None:
        return [dy]
    if numbers is None:
        return [dy.with_shape((UNKNOWN,) * len(dy.shape))]
    tiles, axis = numbers[0], axis_of(call, numbers[1], len(dy.shape))
    size = dy.shape[axis]
    if isinstance(size, int) and size % tiles:
        call.fail(f"dimension {axis} has {size} elements, which {tiles} tiles do not share")
    return [dy.with_shape((*dy.shape[:axis], size // tiles, *dy.shape[axis + 1 :]))]


def _tile_constants(call: Call) -> Sequence[int]:
    """Blocks before the axis, tiles, and elements of one tile side by side; zeros while they are not known."""
    shape, numbers = call.type(0).static_shape, _tile_numbers(call)
    if numbers is None:
        return [0, 0, 0]
    axis = axis_of(call, numbers[1], len(shape))
    return [_count(shape[:axis]), numbers[0], _count(shape[axis:]) // numbers[0]]


def _tile_loop(dy: Any, tiles: Any, axis: Any, dx: Any, blocks: Any, n: Any, size: Any) -> None:
    for b in range(blocks):
        for t in range(n):
            start = (b * n + t) * size
            for i in range(size):
                dx.flat[b * size + i] += dy.flat[start + i]


op(
    "TileGradient",
    _tile_infer,
    inputs="dY tiles? axis?",
    outputs="dX",
    args=(Arg("tiles", "int", 1, "how often X was repeated"), Arg("axis", "int", 0, "along which dimension")),
    loop=_tile_loop,
    constants=_tile_constants,
    shape_inputs=(1, 2),
    doc="The sum of the tiles of dY.",
)


def _two_class_infer(call: Call) -> list[TensorType]:
    """dX: dY without its last dimension, which has two elements."""
    dy = require(call, 0, FLOAT)
    if dy.shape is None:
        return [dy]
    if not dy.shape:
        call.fail("dY has no dimensions, at least 1 is needed")
    agree(call, dy.shape[-1], 2, "last dimension of dY")
    return [dy.with_shape(dy.shape[:-1])]


def _two_class_loop(dy: Any, dx: Any) -> None:
    for i in range(dx.size):
        dx.flat[i] = dy.flat[2 * i + 1] - dy.flat[2 * i]


op(
    "MakeTwoClassGradient",
    _two_class_infer,
    inputs="dY",
    outputs="dX",
    loop=_two_class_loop,
    doc="The second element of each pair less the first.",
)
