"""Windows in loops: which pixels meet, and the elements under a window as columns of a matrix and back.

One, two and three spatial dimensions are treated as three, the missing ones in front with one pixel. What a loop needs
of a call's window are ``sweep_constants``: none depends on the size of the image, which the loop reads off its arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.ops._rules import nhwc
from graphc.ir.ops._window import SAME, Window, given_window
from graphc.ir.types import DType, TensorType

WHOLE = -1
"""Mode of a window that is the whole image."""


def sweep_constants(call: Call) -> Sequence[Any]:
    """(spatial dimensions, order is NHWC, mode, kernel, stride, dilation, heads), the last four as triples."""
    w, whole, legacy_pad = given_window(call)
    mode = WHOLE if whole else SAME if legacy_pad == SAME else 0
    return explicit_constants(call, w, mode)


def explicit_constants(call: Call, w: Window, mode: int = 0) -> Sequence[Any]:
    """The constants of a window that is known; fails for elements that a loop does not compute with."""
    if call.type(0).dtype is DType.FLOAT16:
        call.fail("it is not computed in half precision", "insert HalfToFloat before and FloatToHalf behind it")
    n = len(w.kernel)
    parts = ((1, w.kernel), (1, w.stride), (1, w.dilation), (0, w.heads))
    return [n, int(nhwc(call)), mode, *((fill,) * (3 - n) + part for fill, part in parts)]


def columns_type(filters: TensorType, places: int) -> TensorType:
    """Type of an array for the columns of one group of an image: all elements of a filter for all places."""
    shape = filters.static_shape
    per_filter = math.prod(shape[1:])
    return TensorType(DType.FLOAT, (per_filter * places,))


def pixels(shape: tuple[int, ...], n: int, last: int, j: int) -> int:
    """Dimension j of 3 of an image with n spatial dimensions."""
    return 1 if j < 3 - n else shape[(1 if last else 2) + j - 3 + n]


def image(shape: tuple[int, ...], n: int, last: int) -> tuple[int, int, int]:
    """The spatial dimensions, three of them."""
    return pixels(shape, n, last, 0), pixels(shape, n, last, 1), pixels(shape, n, last, 2)


def channels(shape: tuple[int, ...], last: int) -> int:
    """Number of channels of an image."""
    return shape[len(shape) - 1] if last else shape[1]


def window_of(mode: int, kernel: tuple[int, int, int], inside: tuple[int, int, int]) -> tuple[int, int, int]:
    """The size of the window: that of the image where the mode is WHOLE."""
    return inside if mode == WHOLE else kernel


def _head(mode: int, head: int, size: int, out: int, stride: int, kernel: int) -> int:
    """Pixels before the image; for SAME half of what the windows need beyond it, cut off."""
    return int(((out - 1) * stride + kernel - size) / 2) if mode == SAME else head


def heads_of(
    mode: int,
    heads: tuple[int, int, int],
    inside: tuple[int, int, int],
    out: tuple[int, int, int],
    stride: tuple[int, int, int],
    kernel: tuple[int, int, int],
) -> tuple[int, int, int]:
    """Pixels before the image in each direction."""
    return (
        _head(mode, heads[0], inside[0], out[0], stride[0], kernel[0]),
        _head(mode, heads[1], inside[1], out[1], stride[1], kernel[1]),
        _head(mode, heads[2], inside[2], out[2], stride[2], kernel[2]),
    )


def first_inside(shift: int, stride: int) -> int:
    """The first output pixel whose input pixel ``i * stride + shift`` is not before the image."""
    return 0 if shift >= 0 else (stride - 1 - shift) // stride


def end_inside(shift: int, stride: int, size: int, out: int) -> int:
    """One more than the last output pixel whose input pixel ``i * stride + shift`` is not behind the image."""
    return min(out, (size - 1 - shift) // stride + 1) if size > shift else 0


def gather(
    x: np.ndarray,
    x_at: int,
    columns: np.ndarray,
    at: int,
    depth: int,
    x_channel: int,
    x_pixel: int,
    channel: int,
    tap: int,
    pixel: int,
    inside: tuple[int, int, int],
    out: tuple[int, int, int],
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    dilation: tuple[int, int, int],
    heads: tuple[int, int, int],
) -> None:
    """Copy ``depth`` channels of an image to columns: for each place of the window the elements under it.

    x_channel, x_pixel: distances in the image. channel, tap, pixel: distances in the columns of channels, elements of
    the window, and its places. Elements outside of the image are left as they are.
    """
    for a in range(kernel[0] * kernel[1] * kernel[2]):
        kw, kh, kd = a % kernel[2], a // kernel[2] % kernel[1], a // (kernel[2] * kernel[1])
        shift = kw * dilation[2] - heads[2]
        low, high = first_inside(shift, stride[2]), end_inside(shift, stride[2], inside[2], out[2])
        for row in range(out[0] * out[1] if low < high else 0):
            d = row // out[1] * stride[0] + kd * dilation[0] - heads[0]
            h = row % out[1] * stride[1] + kh * dilation[1] - heads[1]
            if d < 0 or d >= inside[0] or h < 0 or h >= inside[1]:
                continue
            source = x_at + ((d * inside[1] + h) * inside[2] + low * stride[2] + shift) * x_pixel
            target = at + a * tap + (row * out[2] + low) * pixel
            if x_channel == 1 and channel == 1:
                for i in range(high - low):
                    for c in range(depth):
                        columns.flat[target + i * pixel + c] = x.flat[source + i * stride[2] * x_pixel + c]
            else:
                for c in range(depth):
                    _copy(
                        x, source + c * x_channel, stride[2] * x_pixel, columns, target + c * channel, pixel, high - low
                    )


def _copy(x: np.ndarray, x_at: int, x_step: int, y: np.ndarray, y_at: int, y_step: int, n: int) -> None:
    if x_step == 1 and y_step == 1:
        for i in range(n):
            y.flat[y_at + i] = x.flat[x_at + i]
    else:
        for i in range(n):
            y.flat[y_at + i * y_step] = x.flat[x_at + i * x_step]


def scatter(
    columns: np.ndarray,
    at: int,
    x: np.ndarray,
    x_at: int,
    depth: int,
    x_channel: int,
    x_pixel: int,
    channel: int,
    tap: int,
    pixel: int,
    inside: tuple[int, int, int],
    out: tuple[int, int, int],
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    dilation: tuple[int, int, int],
    heads: tuple[int, int, int],
) -> None:
    """Add columns to the image that ``gather`` would take them from."""
    for a in range(kernel[0] * kernel[1] * kernel[2]):
        kw, kh, kd = a % kernel[2], a // kernel[2] % kernel[1], a // (kernel[2] * kernel[1])
        shift = kw * dilation[2] - heads[2]
        low, high = first_inside(shift, stride[2]), end_inside(shift, stride[2], inside[2], out[2])
        for row in range(out[0] * out[1] if low < high else 0):
            d = row // out[1] * stride[0] + kd * dilation[0] - heads[0]
            h = row % out[1] * stride[1] + kh * dilation[1] - heads[1]
            if d < 0 or d >= inside[0] or h < 0 or h >= inside[1]:
                continue
            target = x_at + ((d * inside[1] + h) * inside[2] + low * stride[2] + shift) * x_pixel
            source = at + a * tap + (row * out[2] + low) * pixel
            if x_channel == 1 and channel == 1:
                for i in range(high - low):
                    for c in range(depth):
                        x.flat[target + i * stride[2] * x_pixel + c] += columns.flat[source + i * pixel + c]
            else:
                for c in range(depth):
                    _add(
                        columns, source + c * channel, pixel, x, target + c * x_channel, stride[2] * x_pixel, high - low
                    )


def _add(y: np.ndarray, y_at: int, y_step: int, x: np.ndarray, x_at: int, x_step: int, n: int) -> None:
    if x_step == 1 and y_step == 1:
        for i in range(n):
            x.flat[x_at + i] += y.flat[y_at + i]
    else:
        for i in range(n):
            x.flat[x_at + i * x_step] += y.flat[y_at + i * y_step]
