"""Sums over the rectangles of an image, and the regions of regional maximum activations (RMAC)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import LARGEST, agree, require, require_rank
from graphc.ir.types import UNKNOWN, DType, TensorType

FLOAT = (DType.FLOAT,)


def _integral_type(call: Call) -> list[TensorType]:
    """Y: (N, C, H + 1, W + 1)."""
    x, shape = require(call, 0, FLOAT), require_rank(call, 0, 4)
    return [x if shape is None else x.with_shape((*shape[:2], shape[2] + 1, shape[3] + 1))]


def _integral_loop(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            for h in range(x.shape[2]):
                total = np.float32(0)
                for w in range(x.shape[3]):
                    total += x[i, k, h, w]
                    y[i, k, h + 1, w + 1] = total + y[i, k, h, w + 1]


op(
    "IntegralImage",
    _integral_type,
    inputs="X",
    outputs="Y",
    loop=_integral_loop,
    doc="the sum of the pixels above and to the left of each corner of a pixel",
)


def _integral_gradient_type(call: Call) -> list[TensorType]:
    """dX has the type of X; dY is a row and a column larger."""
    x, shape = require(call, 0, FLOAT), require_rank(call, 0, 4)
    require(call, 1, FLOAT)
    dy = require_rank(call, 1, 4)
    if shape is not None and dy is not None:
        for got, want in zip(dy, (*shape[:2], shape[2] + 1, shape[3] + 1)):
            agree(call, got, want, "dimension of dY")
    return [x]


def _integral_gradient_loop(x: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            for h in range(x.shape[2]):
                total = np.float32(0)
                for w in range(x.shape[3]):
                    total += dy[i, k, h, w]
                    dx[i, k, h, w] = total + (dx[i, k, h - 1, w] if h > 0 else np.float32(0))


op(
    "IntegralImageGradient",
    _integral_gradient_type,
    inputs="X dY",
    outputs="dX",
    loop=_integral_gradient_loop,
    doc="what Caffe2 gives as the gradient of IntegralImage: the sums of dY up to each pixel, from the upper left",
)

MOST_STEPS = 6


def _steps(height: int, width: int, overlap: float) -> int:
    """How many regions more the longer side has, so that neighbours overlap most nearly as wanted."""
    short, best, found = min(height, width), math.inf, 0
    for k in range(1, MOST_STEPS + 1 if height != width else 1):
        apart = (max(height, width) - short) / k
        away = abs((short * short - short * apart) / (short * short) - overlap)
        if away < best:
            best, found = away, k
    return found


def count_regions(height: int, width: int, scales: int, overlap: float) -> int:
    """How many regions an image has on all scales."""
    more, total = _steps(height, width, overlap), 0
    for level in range(1, scales + 1):
        if 2 * min(height, width) // (level + 1) == 0:
            break
        total += (level + (more if width > height else 0)) * (level + (more if height > width else 0))
    return total


def _regions_type(call: Call) -> list[TensorType]:
    """Regions: float (N * regions of an image, 5)."""
    require(call, 0)
    shape, scales = require_rank(call, 0, 4), call.arg("scales")
    if not 0 <= scales <= LARGEST:
        call.fail(f"scales is {scales}", "use a number of at least 0")
    if shape is None or not call.type(0).is_static:
        return [TensorType(DType.FLOAT, (UNKNOWN, 5))]
    n, c, height, width = call.type(0).static_shape
    per_image = count_regions(height, width, scales, call.arg("overlap")) if n * c * height * width else 0
    return [TensorType(DType.FLOAT, (n * per_image, 5))]


def _apart(size: int, region: int, steps: int) -> Any:
    """Pixels between neighbouring regions, in single precision."""
    return np.float32((size - region) / steps) if steps > 0 else np.float32(0)


def _regions_loop(x: np.ndarray, y: np.ndarray, scales: int, overlap: float) -> None:
    height, width, row = x.shape[2], x.shape[3], 0
    if y.shape[0] == 0:
        return
    more = _steps(height, width, overlap)
    wide, high = more if width > height else 0, more if height > width else 0
    for item in range(x.shape[0]):
        for level in range(1, scales + 1):
            region = 2 * min(height, width) // (level + 1)
            if region == 0:
                break
            right, down = _apart(width, region, level + wide - 1), _apart(height, region, level + high - 1)
            for i in range(level + wide):
                for j in range(level + high):
                    left = min(int(np.float32(right * np.float32(i))), width - region)
                    top = min(int(np.float32(down * np.float32(j))), height - region)
                    y[row, 0] = np.float32(item)
                    y[row, 1], y[row, 2] = np.float32(left), np.float32(top)
                    y[row, 3], y[row, 4] = np.float32(left + region - 1), np.float32(top + region - 1)
                    row += 1


op(
    "RMACRegions",
    _regions_type,
    inputs="X",
    outputs="RMAC_REGIONS",
    args=(
        Arg("scales", "int", 3, "numbers of regions along the shorter side, from 1 on"),
        Arg("overlap", "float", float(np.float32(0.4)), "share that neighbours have in common"),
    ),
    loop=_regions_loop,
    doc="square regions of several sizes of every image, rows (image, x1, y1, x2, y2)",
)
