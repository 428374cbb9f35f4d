"""Windows laid out as columns (Im2Col, Col2Im), and convolution with weights of their own for every pixel (LC)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, nhwc, product, require
from graphc.ir.ops._window import (
    WINDOW_ARGS,
    batch_and_channels,
    join_shape,
    output_image,
    padded,
    spatial,
    taps,
    window,
)
from graphc.ir.types import TensorType


def _out(call: Call) -> tuple[int, ...]:
    return tuple(d for d in output_image(call) or () if isinstance(d, int))


def _columns_infer(call: Call) -> list[TensorType]:
    """Y: (N, C * window, *image), or (N, *image, window * C) in NHWC order."""
    x, image = require(call, 0), output_image(call)
    if x.shape is None or image is None:
        return [x]
    n, c = batch_and_channels(call, x.shape)
    return [x.with_shape(join_shape(call, n, c * math.prod(window(call).kernel), image))]


def _columns_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    w, out, last = window(call), _out(call), nhwc(call)
    views = [view for _, view in taps(padded(x, w, 0.0, 1 if last else 2), w, out, 1 if last else 2)]
    stacked = np.stack(views, axis=-2 if last else 2)
    shape = (x.shape[0], *out, -1) if last else (x.shape[0], -1, *out)
    return [np.ascontiguousarray(stacked).reshape(shape)]


op(
    "Im2Col",
    _columns_infer,
    inputs="X",
    outputs="Y",
    args=WINDOW_ARGS,
    reference=_columns_reference,
    doc="The elements under the window, for every place of it, as channels.",
)


def _image_infer(call: Call) -> list[TensorType]:
    """Y has the shape of the second input, the image."""
    return [require(call, 0).with_shape(require(call, 1).shape)]


def _image_reference(call: Call, columns: np.ndarray, like: np.ndarray) -> Sequence[np.ndarray]:
    w, last = window(call), nhwc(call)
    first = 1 if last else 2
    total = padded(np.zeros_like(like), w, 0.0, first)
    out = columns.shape[first : first + len(w.kernel)]
    count = math.prod(w.kernel)
    if last:
        parts = np.moveaxis(columns.reshape(*columns.shape[:-1], count, like.shape[-1]), -2, 0)
    else:
        parts = np.moveaxis(columns.reshape(*like.shape[:2], count, *out), 2, 0)
    for part, (_, view) in zip(parts, taps(total, w, out, first)):
        view += part
    inside = [slice(None)] * first + [slice(h, h + like.shape[first + i]) for i, h in enumerate(w.heads)]
    return [np.ascontiguousarray(total[tuple(inside)])]


op(
    "Col2Im",
    _image_infer,
    inputs="X like",
    outputs="Y",
    args=WINDOW_ARGS,
    reference=_image_reference,
    doc="Undoes Im2Col; elements that several windows share are added up.",
)

GROUP = Arg("group", "int", 1, "channels are divided into so many independent groups")


def _local_infer(call: Call) -> list[TensorType]:
    """Y: (N, M, *image); filter (*image, M, C / group, *kernel), bias (*image, M)."""
    x, filters, image = require(call, 0), require(call, 1), output_image(call)
    if x.shape is None or filters.shape is None or image is None:
        return [x.with_shape(None)]
    n, c = batch_and_channels(call, x.shape)
    k = len(image)
    if len(filters.shape) != 2 * k + 2:
        call.fail(f"the weight has {len(filters.shape)} dimensions, {2 * k + 2} are needed")
    for got, want in zip(filters.shape[:k], image):
        agree(call, got, want, "pixels of the weight against those of the output")
    maps, per_group = batch_and_channels(call, filters.shape[k:])
    for got, size in zip(spatial(call, filters.shape[k:]), window(call).kernel):
        agree(call, got, size, "size of the weight against the kernel")
    agree(call, c, product((per_group, call.arg("group"))), "input channels")
    return [x.with_shape(join_shape(call, n, maps, image))]


def _local_reference(call: Call, x: np.ndarray, filters: np.ndarray, *bias: np.ndarray) -> Sequence[np.ndarray]:
    w, out, last = window(call), _out(call), nhwc(call)
    k = len(out)
    xs = padded(np.moveaxis(x, -1, 1) if last else x, w, 0.0)
    fs = np.moveaxis(filters, -1, k + 1) if last else filters
    pixels, maps, group = math.prod(out), fs.shape[k], w.group
    grouped = fs.reshape(pixels, group, maps // group, fs.shape[k + 1], math.prod(w.kernel))
    y = np.zeros((x.shape[0], group, maps // group, pixels), x.dtype)
    for i, (_, view) in enumerate(taps(xs, w, out)):
        y += np.einsum("ngcp,pgmc->ngmp", view.reshape(x.shape[0], group, -1, pixels), grouped[..., i])
    y = y.reshape(x.shape[0], maps, *out)
    y = y + np.moveaxis(bias[0], -1, 0) if bias else y
    return [np.ascontiguousarray(np.moveaxis(y, 1, -1) if last else y)]


for _name in ("LC", "LC1D", "LC2D", "LC3D"):
    op(
        _name,
        _local_infer,
        inputs="X filter bias?",
        outputs="Y",
        args=(*WINDOW_ARGS, GROUP),
        reference=_local_reference,
        doc="Convolution with a weight of its own for every pixel of the output.",
    )
