"""Gradients of resizing, borders and shuffled channels. Each has the arguments of the forward operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import ORDER, agree, bounded, nhwc, require, require_rank, vector
from graphc.ir.ops._window import batch_and_channels, explicit_pads, join_shape, spatial
from graphc.ir.ops.image._images import pad_image, resize_bilinear, resize_nearest, shuffle_channels
from graphc.ir.ops.image.image import PAD_ARGS, PAD_MODES, SCALES_2D, SCALES_3D, SHUFFLE_ARGS, pad_constants, scale_args
from graphc.ir.ops.image.image import shuffle_infer as _shuffle_type
from graphc.ir.types import Dim, DType, TensorType

FLOAT = (DType.FLOAT,)


def _names(call: Call) -> tuple[str, ...]:
    return SCALES_3D if call.opdef.has_arg("temporal_scale") else SCALES_2D


def _resize_type(call: Call) -> list[TensorType]:
    """dX has the type of X, with the images and channels of dY; scales, where given, one for each direction."""
    require(call, 0, FLOAT)
    x, rank = require(call, 1, FLOAT), len(_names(call)) + 2
    dy, shape = require_rank(call, 0, rank), require_rank(call, 1, rank)
    if call.has(2):
        require(call, 2, FLOAT)
        vector(call, 2, len(_names(call)), "number of scales")
    for name in _names(call):
        if not 0 < call.arg(name) < np.inf:
            call.fail(f"{name} is {call.arg(name)}", "use scales above 0")
    if dy is not None and shape is not None:
        for got, want, what in zip(
            batch_and_channels(call, dy), batch_and_channels(call, shape), ("images", "channels")
        ):
            agree(call, got, want, f"{what} of dY")
        if any(d == 0 for d in spatial(call, shape)) and all(d != 0 for d in spatial(call, dy)):
            call.fail("X has no pixels, but dY has some")
    return [x]


def _resize_constants(call: Call) -> Sequence[Any]:
    names = _names(call)
    return [len(names), int(nhwc(call)), *(1.0,) * (3 - len(names)), *(call.arg(n) for n in names)]


SCALE_ERROR = ("a scale is not above 0",)


def _nearest_loop(
    dy: np.ndarray,
    x: np.ndarray,
    scales: np.ndarray,
    dx: np.ndarray,
    n: int,
    last: int,
    depth: float,
    height: float,
    width: float,
) -> int:
    if scales.size == 2:
        height, width = float(scales.flat[0]), float(scales.flat[1])
    if not (height > 0 and width > 0):
        return 1
    resize_nearest(dx, dy, n, last, depth, height, width, 1)
    return 0


op(
    "ResizeNearestGradient",
    _resize_type,
    inputs="dY X scales?",
    outputs="dX",
    args=(*scale_args(SCALES_2D), ORDER),
    loop=_nearest_loop,
    constants=_resize_constants,
    errors=SCALE_ERROR,
    doc="gradient of ResizeNearest",
)


def _volume_loop(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, n: int, last: int, depth: float, height: float, width: float
) -> None:
    resize_nearest(dx, dy, n, last, depth, height, width, 1)


op(
    "ResizeNearest3DGradient",
    _resize_type,
    inputs="dY X",
    outputs="dX",
    args=(*scale_args(SCALES_3D), ORDER),
    loop=_volume_loop,
    constants=_resize_constants,
    doc="gradient of ResizeNearest3D",
)


def _bilinear_loop(
    dy: np.ndarray,
    x: np.ndarray,
    scales: np.ndarray,
    dx: np.ndarray,
    n: int,
    last: int,
    depth: float,
    height: float,
    width: float,
) -> None:
    resize_bilinear(dx, dy, last, 1)


op(
    "UpsampleBilinearGradient",
    _resize_type,
    inputs="dY X scales?",
    outputs="dX",
    args=(*scale_args(SCALES_2D), ORDER),
    loop=_bilinear_loop,
    constants=_resize_constants,
    doc="gradient of UpsampleBilinear; it follows from the sizes alone",
)


def _upsample_type(call: Call) -> list[TensorType]:
    """dX has the type of X; dY has ``scale`` times its rows and columns."""
    x, scale = require(call, 0, FLOAT), bounded(call, call.arg("scale"), 1, "scale")
    dy = require(call, 1, FLOAT).shape
    if x.shape is not None and len(x.shape) < 3:
        call.fail(f"the input has {len(x.shape)} dimensions, at least 3 are needed")
    if x.shape is not None and dy is not None:
        wanted = (*x.shape[:-2], x.shape[-2] * scale, x.shape[-1] * scale)
        if len(dy) != len(wanted):
            call.fail(f"dY has {len(dy)} dimensions, X has {len(wanted)}")
        for got, want in zip(dy, wanted):
            agree(call, got, want, "dimension of dY")
    return [x]


def _upsample_loop(x: np.ndarray, dy: np.ndarray, dx: np.ndarray, scale: int) -> None:
    width = dy.shape[len(dy.shape) - 1]
    for i in range(dy.size):
        row, column = i // width, i % width
        height = dy.shape[len(dy.shape) - 2]
        source = (row // height * (height // scale) + row % height // scale) * (width // scale)
        dx.flat[source + column // scale] += dy.flat[i]


op(
    "UpsampleNearestGradient",
    _upsample_type,
    inputs="X dY",
    outputs="dX",
    args=(Arg("scale", "int", 2, "output size / input size"),),
    loop=_upsample_loop,
    doc="gradient of UpsampleNearest; Caffe2 has it on CUDA alone",
)


def _pad_type(call: Call) -> list[TensorType]:
    """dX: dY without its border, which reflects no pixel twice in mode reflect."""
    dy, mode = require(call, 0, FLOAT), call.arg("mode")
    if mode not in PAD_MODES:
        call.fail(f"mode '{mode}' is not known", "use constant, reflect or edge")
    if call.arg("legacy_pad"):
        call.fail("legacy_pad does not go with PadImageGradient", "give explicit pads")
    shape, pads = require_rank(call, 0, 4), explicit_pads(call, 2)
    if shape is None:
        return [dy]
    size: list[Dim] = []
    for grown, head, tail in zip(spatial(call, shape), pads[:2], pads[2:]):
        left = grown + -(head + tail)
        least = max(head, tail, 0) + 1 if mode == "reflect" else (mode == "edge")
        if isinstance(left, int) and left < least:
            call.fail(f"dY has {grown} pixels in a direction, too few for a border of {head} and {tail}")
        size.append(left)
    return [dy.with_shape(join_shape(call, *batch_and_channels(call, shape), tuple(size)))]


def _pad_loop(dy: np.ndarray, dx: np.ndarray, last: int, kind: int, top: int, left: int, value: float) -> None:
    pad_image(dx, dy, last, kind, top, left, value, 1)


op(
    "PadImageGradient",
    _pad_type,
    inputs="dY",
    outputs="dX",
    args=PAD_ARGS,
    loop=_pad_loop,
    constants=pad_constants,
    doc="gradient of PadImage",
)


def _shuffle_loop(dy: np.ndarray, dx: np.ndarray, last: int, group: int) -> None:
    shuffle_channels(dy, dx, last, group)


def _shuffle_constants(call: Call) -> Sequence[Any]:
    """(order is NHWC, groups that undo the shuffle)."""
    shape = call.type(0).static_shape
    return [int(nhwc(call)), max(shape[-1 if nhwc(call) else 1] // call.arg("group"), 1)]


op(
    "ChannelShuffleGradient",
    _shuffle_type,
    inputs="dY",
    outputs="dX",
    args=SHUFFLE_ARGS,
    loop=_shuffle_loop,
    constants=_shuffle_constants,
    doc="gradient of ChannelShuffle: the channels back in their places",
)
