"""Convolutions: Conv (1-D, 2-D, 3-D) and ConvTranspose, in NCHW and NHWC order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._products import add_product, span
from graphc.ir.ops._rules import agree, nhwc, require, vector
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
    NO_INPUT_GRADIENT,
    WINDOW_ARGS,
    Window,
    batch_and_channels,
    join_shape,
    output_image,
    padded,
    spatial,
    taps,
    transposed_image,
    transposed_window,
    window,
)
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

GROUP = Arg("group", "int", 1, "channels are divided into so many independent groups")
NO_BIAS = Arg("no_bias", "int", 0, "a bias is refused")
ENGINE_ARGS = tuple(
    Arg(name, "any", None, "a preference of an engine, never changes the answer")
    for name in ("algo", "kts", "convolution_transform_strategy")
)


def _groups(call: Call, channels: Dim, what: str) -> int:
    group = int(call.arg("group"))
    if group < 1 or (isinstance(channels, int) and channels % group):
        call.fail(f"{channels} {what} cannot be divided into {group} groups", "use a group that divides the channels")
    return group


def _check_bias(call: Call, maps: Dim) -> Dim:
    if call.has(2):
        if call.arg("no_bias"):
            call.fail("a bias is given although no_bias is set", "remove the bias or no_bias")
        require(call, 2)
        return vector(call, 2, maps, "length of the bias")
    return maps


def _check_kernel(call: Call, w: Window) -> None:
    filters = call.type(1).shape
    if filters is None:
        return
    if len(filters) != len(w.kernel) + 2:
        call.fail(f"the weight has {len(filters)} dimensions, {len(w.kernel) + 2} are needed")
    for got, want in zip(spatial(call, filters), w.kernel):
        agree(call, got, want, "size of the weight against the kernel", "make kernel and weight agree")


def _conv_infer(call: Call) -> list[TensorType]:
    """Y: (N, M, *image) float from X (N, C, *image), W (M, C / group, *kernel), b (M)."""
    return [_with_bias(call, conv_type(call))]


def _with_bias(call: Call, y: TensorType) -> TensorType:
    if y.shape is None:
        _check_bias(call, UNKNOWN)
        return y
    n, maps = batch_and_channels(call, y.shape)
    return y.with_shape(join_shape(call, n, _check_bias(call, maps), spatial(call, y.shape)))


def conv_type(call: Call) -> TensorType:
    """The type of the output of a convolution, from its input and weight."""
    x, filters = require(call, 0), require(call, 1)
    size = output_image(call)
    n, c = batch_and_channels(call, x.shape) if x.shape else (UNKNOWN, UNKNOWN)
    maps: Dim = UNKNOWN
    group = _groups(call, c, "input channels")
    if filters.shape is not None:
        _check_filter_rank(call, x)
        maps, per_group = batch_and_channels(call, filters.shape)
        _groups(call, maps, "output channels")
        if isinstance(per_group, int):
            agree(call, c, per_group * group, "input channels", "the weight wants as many as its own times group")
    return x.with_shape(None if size is None else join_shape(call, n, maps, size))


def _check_filter_rank(call: Call, x: TensorType) -> None:
    if call.arg("global_pooling"):
        call.fail("global_pooling does not go with a convolution", "give the kernel")
    filters = call.type(1).shape
    if x.rank is not None and filters is not None and len(filters) != x.rank:
        call.fail(f"the weight has {len(filters)} dimensions, the input {x.rank}")
    if x.shape is None or call.arg("legacy_pad") in (0, 1) or x.is_static:
        _check_kernel(call, window(call))


def _channels_first(a: np.ndarray, last: bool) -> np.ndarray:
    return np.moveaxis(a, -1, 1) if last else a


def _tap(filters: np.ndarray, tap: tuple[int, ...]) -> np.ndarray:
    """The matrices of one element of the window; the window's dimensions are the last."""
    return np.asarray(
        filters.reshape(*filters.shape[: -len(tap)], math.prod(filters.shape[-len(tap) :]))[
            ..., np.ravel_multi_index(tap, filters.shape[-len(tap) :])
        ]
    )


def _conv_reference(call: Call, x: np.ndarray, filters: np.ndarray, *bias: np.ndarray | None) -> Sequence[np.ndarray]:
    w, last = window(call), nhwc(call)
    out = tuple(d for d in output_image(call) or () if isinstance(d, int))
    xs, fs = padded(_channels_first(x, last), w, 0), _channels_first(filters, last)
    n, c, maps = x.shape[0], xs.shape[1], fs.shape[0]
    acc = np.zeros((n, w.group, maps // w.group, math.prod(out)), x.dtype)
    grouped = fs.reshape(w.group, maps // w.group, c // w.group, *w.kernel)
    for tap, view in taps(xs, w, out):
        columns = view.reshape(n, w.group, c // w.group, math.prod(out))
        acc += _tap(grouped, tap) @ columns
    y = acc.reshape(n, maps, *out)
    return [np.ascontiguousarray(np.moveaxis(_add_bias(y, bias), 1, -1) if last else _add_bias(y, bias))]


def _add_bias(y: np.ndarray, bias: Sequence[np.ndarray | None]) -> np.ndarray:
    if not bias or bias[0] is None:
        return y
    return np.asarray(y + bias[0].reshape(-1, *(1,) * (y.ndim - 2)))


def _conv_flops(call: Call) -> int:
    """Two for each element of the weight and output pixel, plus the bias."""
    (y,) = _conv_infer(call)
    weight = call.type(1).static_shape
    return y.size * (2 * math.prod(weight) // max(weight[0], 1) + call.has(2))


def turn_filters(filters: np.ndarray, turned: np.ndarray, maps: int, depth: int) -> None:
    """Copy every group of ``maps`` filters with ``depth`` elements each to its transpose."""
    for i in range(filters.size):
        g, m, k = i // (depth * maps), i // depth % maps, i % depth
        turned.flat[(g * depth + k) * maps + m] = filters.flat[i]


def fill_bias(y: np.ndarray, bias: np.ndarray, last: int) -> None:
    """Set every channel to its bias, or to zero where there is none."""
    maps = channels(y.shape, last)
    plane = 1 if last else span(y.shape, 2, len(y.shape))
    for i in range(y.size):
        y.flat[i] = bias.flat[i // plane % maps] if bias.size > 0 else np.float32(0)


def _conv_loop(
    x: np.ndarray,
    filters: np.ndarray,
    bias: np.ndarray,
    y: np.ndarray,
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
    rectify: int,
) -> None:
    """For every image and group the product of the filters and the columns under the window."""
    inside, out = image(x.shape, n, last), image(y.shape, n, last)
    start = heads_of(mode, heads, inside, out, stride, kernel)
    c, m, p, q = channels(x.shape, last), channels(y.shape, last), span(out, 0, 3), span(inside, 0, 3)
    size, cg, mg = span(kernel, 0, 3), c // group, m // group
    depth = cg * size
    fill_bias(y, bias, last)
    if last:
        turn_filters(filters, turned, mg, depth)
    for i in range(x.shape[0] * group):
        item, g = i // group, i % group
        if last:
            gather(
                x, item * q * c + g * cg, columns, 0, cg, 1, c, 1, cg, depth,
                inside, out, kernel, stride, dilation, start,
            )  # fmt: skip
            add_product(columns, 0, depth, 1, turned, g * depth * mg, mg, y, item * p * m + g * mg, m, p, depth, mg)
        else:
            gather(
                x, (item * c + g * cg) * q, columns, 0, cg, q, 1, size * p, p, 1,
                inside, out, kernel, stride, dilation, start,
            )  # fmt: skip
            add_product(filters, g * mg * depth, depth, 1, columns, 0, p, y, (item * m + g * mg) * p, p, mg, depth, p)
    if rectify:
        for i in range(y.size):
            y.flat[i] = max(y.flat[i], np.float32(0))


def _conv_scratch(call: Call) -> Sequence[TensorType]:
    """Columns of a group of an image; in NHWC order the transposed filters."""
    pixels = math.prod(d for d in output_image(call) or () if isinstance(d, int))
    size = call.type(1).size if nhwc(call) else 0
    return [columns_type(call.type(1), pixels), TensorType(DType.FLOAT, (size,))]


def _conv_constants(call: Call) -> Sequence[Any]:
    return [*sweep_constants(call), call.arg("group"), int(call.opdef.name == "ConvRelu")]


def _conv_traits(call: Call) -> Trait:
    """Kernels with an epilogue and for channel blocks are for images alone."""
    return Trait.EPILOGUE | Trait.BLOCKED if call.type(0).rank in (None, 4) else Trait.NONE


def _conv_relu_reference(
    call: Call, x: np.ndarray, filters: np.ndarray, *bias: np.ndarray | None
) -> Sequence[np.ndarray]:
    return [np.maximum(y, 0) for y in _conv_reference(call, x, filters, *bias)]


op(
    "ConvRelu",
    _conv_infer,
    inputs="X filter bias?",
    outputs="Y",
    args=(*WINDOW_ARGS, GROUP, NO_BIAS, NO_INPUT_GRADIENT),
    loop=_conv_loop,
    scratch=_conv_scratch,
    constants=_conv_constants,
    reference=_conv_relu_reference,
    flops=_conv_flops,
    doc="Convolution, then max(x, 0).",
)

for _name in ("Conv", "Conv1D", "Conv2D", "Conv3D"):
    op(
        _name,
        _conv_infer,
        inputs="X filter bias?",
        outputs="Y",
        args=(*WINDOW_ARGS, GROUP, NO_BIAS, NO_INPUT_GRADIENT, *ENGINE_ARGS),
        loop=_conv_loop,
        scratch=_conv_scratch,
        constants=_conv_constants,
        reference=_conv_reference,
        call_traits=_conv_traits,
        flops=_conv_flops,
        doc="Convolution: Y[n, m] = sum over channels and window of X * filter[m], plus bias[m].",
    )


def _transpose_infer(call: Call) -> list[TensorType]:
    """Y: (N, M, *image) float from X (N, C, *image), filter (C, M / group, *kernel), bias (M)."""
    return [_with_bias(call, transposed_type(call))]


def transposed_type(call: Call) -> TensorType:
    """The type of the output of a transposed convolution, from its input and weight."""
    x, filters = require(call, 0), require(call, 1)
    size = transposed_image(call)
    n, c = batch_and_channels(call, x.shape) if x.shape else (UNKNOWN, UNKNOWN)
    group = _groups(call, c, "input channels")
    maps: Dim = UNKNOWN
    if filters.shape is not None:
        _check_kernel(call, transposed_window(call))
        agree(call, c, filters.shape[0], "input channels", "the weight's first dimension counts them")
        maps = batch_and_channels(call, filters.shape)[1] * group
    return x.with_shape(None if size is None else join_shape(call, n, maps, size))


def _transpose_reference(
    call: Call, x: np.ndarray, filters: np.ndarray, *bias: np.ndarray | None
) -> Sequence[np.ndarray]:
    w, last = transposed_window(call), nhwc(call)
    out = tuple(d for d in transposed_image(call) or () if isinstance(d, int))
    xs, fs = _channels_first(x, last), _channels_first(filters, last)
    n, c, per_group, size = x.shape[0], xs.shape[1], fs.shape[1], xs.shape[2:]
    full = tuple(o + h + t for o, h, t in zip(out, w.heads, w.tails))
    y = np.zeros((n, w.group * per_group, *full), x.dtype)
    columns = xs.reshape(n, w.group, c // w.group, math.prod(size))
    grouped = fs.reshape(w.group, c // w.group, per_group, *w.kernel)
    for tap, view in taps(y, w, size):
        part = _tap(grouped, tap).swapaxes(1, 2) @ columns
        view += part.reshape(view.shape)
    inside = [slice(None)] * 2 + [slice(h, h + o) for h, o in zip(w.heads, out)]
    y = y[tuple(inside)]
    y = _add_bias(y, bias)
    return [np.ascontiguousarray(np.moveaxis(y, 1, -1) if last else y)]


def _transpose_loop(
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
    """For every image and group the columns that the filters make of its pixels, added up."""
    inside, out = image(y.shape, n, last), image(x.shape, n, last)
    c, m, p, q = channels(x.shape, last), channels(y.shape, last), span(out, 0, 3), span(inside, 0, 3)
    size, cg, mg = span(kernel, 0, 3), c // group, m // group
    depth = mg * size
    fill_bias(y, bias, last)
    for i in range(x.shape[0] * group):
        item, g = i // group, i % group
        for j in range(columns.size):
            columns.flat[j] = np.float32(0)
        if last:
            add_product(x, item * p * c + g * cg, c, 1, filters, g * cg * depth, depth, columns, 0, depth, p, cg, depth)
            scatter(
                columns, 0, y, item * q * m + g * mg, mg, 1, m, 1, mg, depth,
                inside, out, kernel, stride, dilation, heads,
            )  # fmt: skip
        else:
            add_product(filters, g * cg * depth, 1, depth, x, (item * c + g * cg) * p, p, columns, 0, p, depth, cg, p)
            scatter(
                columns, 0, y, (item * m + g * mg) * q, mg, q, 1, size * p, p, 1,
                inside, out, kernel, stride, dilation, heads,
            )  # fmt: skip


def _transpose_scratch(call: Call) -> Sequence[TensorType]:
    """Columns of a group of an image."""
    pixels = math.prod(d for d in spatial(call, call.type(0).static_shape) if isinstance(d, int))
    return [columns_type(call.type(1), pixels)]


def _transpose_constants(call: Call) -> Sequence[Any]:
    return [*explicit_constants(call, transposed_window(call)), call.arg("group")]


def _transpose_flops(call: Call) -> int:
    """Two for each input element and weight element that it meets, plus the bias."""
    (y,) = _transpose_infer(call)
    weight = call.type(1).static_shape
    return 2 * call.type(0).size * (math.prod(weight) // max(weight[0], 1)) + call.has(2) * y.size


op(
    "ConvTranspose",
    _transpose_infer,
    inputs="X filter bias?",
    outputs="Y",
    args=(*(a for a in WINDOW_ARGS if a.name != "global_pooling"), *ADJ_ARGS, GROUP, NO_BIAS, NO_INPUT_GRADIENT),
    loop=_transpose_loop,
    scratch=_transpose_scratch,
    constants=_transpose_constants,
    reference=_transpose_reference,
    call_traits=lambda call: Trait.EPILOGUE if call.type(0).rank in (None, 4) else Trait.NONE,
    flops=_transpose_flops,
    doc="Transposed convolution: every input pixel adds its multiple of filter[c] to the output, stride apart.",
)
