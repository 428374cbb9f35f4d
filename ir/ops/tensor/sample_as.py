"""Operators that cut a tensor to what another one names: SampleAs, SpatialNarrowAs, and their gradients.

Caffe2 has them on CUDA alone; the meaning is that of its kernels (``modules/detectron``).
"""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Call, op
from graphc.ir.ops._rules import agree, merge_shapes, require, require_rank, vector
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

FLOAT = (DType.FLOAT,)
INT = (DType.INT32,)


def _sampled(call: Call) -> TensorType:
    """Type of X, which has a label a row."""
    x = require(call, 0, FLOAT)
    require(call, 1, INT)
    if x.shape is not None and not x.shape:
        call.fail("X has no dimensions, at least one is needed")
    vector(call, 1, UNKNOWN if x.shape is None else x.shape[0], "number of labels")
    return x


def _sample_type(call: Call) -> list[TensorType]:
    """Y: the rows of X whose label is positive."""
    x = _sampled(call)
    return [x if x.shape is None else x.with_shape((UNKNOWN, *x.shape[1:]))]


def _count_positive(labels: np.ndarray) -> int:
    count = 0
    for i in range(labels.shape[0]):
        count += 1 if labels[i] > 0 else 0
    return count


def _sample_sizes(x: np.ndarray, labels: np.ndarray, dims: np.ndarray) -> int:
    dims[0] = _count_positive(labels)
    return 0


def _sample_loop(x: np.ndarray, labels: np.ndarray, y: np.ndarray) -> int:
    n, row = x.size // max(x.shape[0], 1), 0
    for i in range(x.shape[0]):
        if labels[i] > 0:
            for j in range(n):
                y.flat[row * n + j] = x.flat[i * n + j]
            row += 1
    return 0


op(
    "SampleAs",
    _sample_type,
    inputs="X labels",
    outputs="Y",
    loop=_sample_loop,
    sizes=_sample_sizes,
    doc="the rows of X whose label is above 0",
)


def _sample_gradient_type(call: Call) -> list[TensorType]:
    """dX has the type of X; dY has the positive rows."""
    x, dy = _sampled(call), require(call, 2, FLOAT).shape
    if x.shape is not None and dy is not None:
        merge_shapes(call, dy[1:], x.shape[1:], "the rows of dY have not the shape of those of X")
    return [x]


def _sample_gradient_loop(x: np.ndarray, labels: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> int:
    if _count_positive(labels) != dy.shape[0]:
        return 1
    n, row = x.size // max(x.shape[0], 1), 0
    for i in range(x.shape[0]):
        if labels[i] > 0:
            for j in range(n):
                dx.flat[i * n + j] = dy.flat[row * n + j]
            row += 1
    return 0


op(
    "SampleAsGradient",
    _sample_gradient_type,
    inputs="X labels dY",
    outputs="dX",
    loop=_sample_gradient_loop,
    errors=("dY has not as many rows as there are positive labels",),
    doc="gradient of SampleAs",
)


def _narrowed(call: Call) -> TensorType:
    """A (N, C, H, W) cut to the height and width of B, (N, C, h, w) or (N, h, w)."""
    a = require(call, 0, (DType.FLOAT, DType.INT32))
    shape, like = require_rank(call, 0, 4), require_rank(call, 1, 3, 4)
    if shape is None or like is None:
        return a.with_shape(None)
    agree(call, like[0], shape[0], "first dimension of B")
    if len(like) == 4:
        agree(call, like[1], shape[1], "channels of B")
    image: tuple[Dim, ...] = like[-2:]
    for got, limit in zip(image, shape[2:]):
        if isinstance(got, int) and isinstance(limit, int) and got > limit:
            call.fail(f"B has {got} pixels in a direction in which A has {limit}", "B may not be larger than A")
    return a.with_shape((*shape[:2], *image))


def _narrow_type(call: Call) -> list[TensorType]:
    """C: A cut to the height and width of B."""
    return [_narrowed(call)]


def _narrow_loop(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    for i in range(c.shape[0]):
        for k in range(c.shape[1]):
            for y in range(c.shape[2]):
                for x in range(c.shape[3]):
                    c[i, k, y, x] = a[i, k, y, x]


op(
    "SpatialNarrowAs",
    _narrow_type,
    inputs="A B",
    outputs="C",
    loop=_narrow_loop,
    doc="the upper left part of A that is as large as B",
)


def _narrow_gradient_type(call: Call) -> list[TensorType]:
    """dA has the type of A; dC has the shape of the part."""
    part = _narrowed(call)
    merge_shapes(call, require(call, 2, (part.dtype,) if part.dtype else FLOAT + INT).shape, part.shape, "dC")
    return [call.type(0)]


def _narrow_gradient_loop(a: np.ndarray, b: np.ndarray, dc: np.ndarray, da: np.ndarray) -> None:
    for i in range(dc.shape[0]):
        for k in range(dc.shape[1]):
            for y in range(dc.shape[2]):
                for x in range(dc.shape[3]):
                    da[i, k, y, x] = dc[i, k, y, x]


op(
    "SpatialNarrowAsGradient",
    _narrow_gradient_type,
    inputs="A B dC",
    outputs="dA",
    loop=_narrow_gradient_loop,
    doc="gradient of SpatialNarrowAs",
)
