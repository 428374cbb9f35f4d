"""Operators of the engine DNNLOWP with any number of inputs, and those that move values; see ``_dnnlowp.py``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call
from graphc.ir.ops._rules import Shape, agree, axis_of, merge_shapes, require
from graphc.ir.ops._window import WINDOW_ARGS, batch_and_channels
from graphc.ir.ops.quantized._dnnlowp import (
    ELTWISE_HIGH,
    HIGH,
    check_quant_args,
    chosen,
    chosen_of,
    either_input,
    input_numbers,
    number,
    output_numbers,
    output_type,
    parameters,
    quantised,
    quantised_dtype,
    range_parameters,
    real,
    report,
    requantised,
    static_quant,
)
from graphc.ir.ops.quantized.dnnlowp import add_quantised, dnnlowp, greatest, least, store, wide
from graphc.ir.types import OPEN_QUANT, UNKNOWN, DType, TensorType


def _same_kind(call: Call) -> None:
    """All inputs are quantised, or all are float32, and there is one."""
    if not call.n_inputs:
        call.fail("there is no input, at least 1 is needed")
    for i in range(call.n_inputs):
        if either_input(call, i).dtype is not call.type(0).dtype:
            call.fail("some inputs are quantised, others are not", "quantise all of them")


def _all_numbers(call: Call) -> tuple[list[float], list[int]]:
    """The scales of all inputs and their zero points."""
    pairs = [input_numbers(call, i) for i in range(call.n_inputs)]
    return [p[0] for p in pairs], [p[1] for p in pairs]


def _sum_type(relu: bool) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        """All inputs have one shape."""
        _same_kind(call)
        shape: Shape | None = None
        for i in range(call.n_inputs):
            shape = merge_shapes(call, shape, call.type(i).shape, "the inputs differ")
        return [output_type(call, shape, relu)]

    return infer


def _sum_range(
    xs: tuple[np.ndarray, ...], scales: Sequence[float], zeros: Sequence[int], positive: int, sparse: int
) -> tuple[float, int]:
    low = high = np.float32(0.0)
    for i in range(xs[0].size):
        value = real(xs[0], i, scales[0] > 0.0, scales[0], zeros[0])
        for k in range(1, len(xs)):
            value += real(xs[k], i, scales[k] > 0.0, scales[k], zeros[k])
        low, high = (value, value) if i == 0 else (min(low, value), max(high, value))
    return range_parameters(low, high, positive, sparse)


def _sum_sizes(
    xs: tuple[np.ndarray, ...],
    dims: np.ndarray,
    scales: Sequence[float],
    zeros: Sequence[int],
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _sum_range(xs, scales, zeros, positive, sparse)
    report(dims, found, found_zero)


def _sum(
    xs: tuple[np.ndarray, ...],
    y: np.ndarray,
    scales: Sequence[float],
    zeros: Sequence[int],
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    """In floating point for two quantised inputs, else in 16-bit fixed point; positive: Relu is a part of it."""
    relu = positive >= 2
    if not scale > 0.0:
        scale, zero = _sum_range(xs, scales, zeros, positive, sparse)
    low = zero if relu else 0
    if len(xs) == 2 and scales[0] > 0.0:
        add_quantised(xs[0], xs[1], y, scales[0], zeros[0], scales[1], zeros[1], scale, zero, low, as_float)
        return
    bottom = top = np.float32(0.0)
    for k in range(len(xs)):
        p_scale, p_zero = parameters(xs[k], scales[k], zeros[k], sparse)
        a, b = least(p_scale, p_zero), greatest(p_scale, p_zero)
        bottom, top = (a, b) if k == 0 else (min(bottom, a), max(top, b))
    mid, mid_zero = chosen_of(bottom, top, sparse, ELTWISE_HIGH)
    unit = np.float32(mid) / np.float32(scale)
    for i in range(y.size):
        total = -mid_zero * len(xs)
        for k in range(len(xs)):
            total += wide(xs[k], i, scales[0] > 0.0, scales[k], zeros[k], mid, mid_zero, 32767)
        if relu:
            total = max(total, 0)
        store(y, i, requantised(total, unit, zero, 0, HIGH), scale, zero, as_float)


def _sum_constants(relu: bool) -> Callable[[Call], Sequence[float | Sequence[float]]]:
    def constants(call: Call) -> Sequence[float | Sequence[float]]:
        scale, zero, positive, sparse, as_float = output_numbers(call, relu)
        return (*_all_numbers(call), scale, zero, 2 if relu else positive, sparse, as_float)

    return constants


for _relu in (False, True):
    _tail = "Relu" if _relu else ""
    dnnlowp(
        f"Sum{_tail}",
        f"Int8Sum{_tail}",
        infer=_sum_type(_relu),
        more=f"Sum{_tail}_16",
        inputs="X*",
        outputs="Y",
        args=(Arg("order", "string", b"NCHW", "not read"),),
        loop=_sum,
        sizes=_sum_sizes,
        constants=_sum_constants(_relu),
        inplace=((0, 0), (1, 0)),
        doc="sum in fixed point" + (", then Relu" if _relu else ""),
    )

# ---- moves -----------------------------------------------------------------------------------------------------------


def _join_axis(call: Call, rank: int) -> int:
    if call.given("axis"):
        return axis_of(call, call.arg("axis"), rank)
    return axis_of(call, 3 if call.arg("order") == "NHWC" else 1, rank)


def _concat_type(call: Call) -> list[TensorType]:
    """The inputs along ``axis`` (``add_axis``: a new one), and their sizes there."""
    _same_kind(call)
    sizes = TensorType(DType.INT32, (call.n_inputs,))
    shapes = [s for s in (call.type(i).shape for i in range(call.n_inputs)) if s is not None]
    if not shapes:
        return [output_type(call, None), sizes]
    added = bool(call.given("axis") and call.arg("add_axis"))
    axis = _join_axis(call, len(shapes[0]) + added)
    out, total = list(shapes[0]), UNKNOWN if len(shapes) < call.n_inputs else 0
    for shape in shapes:
        if len(shape) != len(out):
            call.fail(f"the inputs have {len(out)} and {len(shape)} dimensions")
        for i, d in enumerate(shape):
            if added or i != axis:
                out[i] = agree(call, d, out[i], f"dimension {i} of the inputs")
        total = total if added else shape[axis] + total
    joined = (*out[:axis], call.n_inputs, *out[axis:]) if added else (*out[:axis], total, *out[axis + 1 :])
    return [output_type(call, joined), sizes]


def _concat_range(
    xs: tuple[np.ndarray, ...], scales: Sequence[float], zeros: Sequence[int], positive: int, sparse: int
) -> tuple[float, int]:
    low = high = np.float32(0.0)
    first = True
    for k in range(len(xs)):
        for i in range(xs[k].size):
            value = real(xs[k], i, scales[k] > 0.0, scales[k], zeros[k])
            low, high = (value, value) if first else (min(low, value), max(high, value))
            first = False
    return range_parameters(low, high, positive, sparse)


def _concat_sizes(
    xs: tuple[np.ndarray, ...],
    dims: np.ndarray,
    rows: int,
    axis: int,
    scales: Sequence[float],
    zeros: Sequence[int],
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _concat_range(xs, scales, zeros, positive, sparse)
    report(dims, found, found_zero)


def _concat(
    xs: tuple[np.ndarray, ...],
    y: np.ndarray,
    sizes: np.ndarray,
    rows: int,
    axis: int,
    scales: Sequence[float],
    zeros: Sequence[int],
    scale: float,
    zero: int,
    positive: int,
    sparse: int,
    as_float: int,
) -> None:
    if not scale > 0.0:
        scale, zero = _concat_range(xs, scales, zeros, positive, sparse)
    first, width = 0, y.size // max(rows, 1)
    for k in range(len(xs)):
        part, unit = xs[k].size // max(rows, 1), np.float32(scales[k]) / np.float32(scale)
        for i in range(rows):
            for j in range(part):
                if scales[k] > 0.0:
                    q = requantised(np.int64(xs[k].flat[i * part + j]) - zeros[k], unit, zero, 0, HIGH)
                else:
                    q = quantised(np.float32(xs[k].flat[i * part + j]), scale, zero)
                store(y, i * width + first + j, q, scale, zero, as_float)
        first += part
        if sizes.shape[0]:
            sizes[k] = xs[k].shape[axis] if axis >= 0 else 1


def _concat_constants(call: Call) -> Sequence[float | Sequence[float]]:
    shape = call.type(0).static_shape
    added = bool(call.given("axis") and call.arg("add_axis"))
    axis = _join_axis(call, len(shape) + added)
    return (math.prod(shape[:axis]), -1 if added else axis, *_all_numbers(call), *output_numbers(call))


dnnlowp(
    "Concat",
    "Int8Concat",
    infer=_concat_type,
    inputs="X*",
    outputs="concat_result split_info?",
    args=(
        Arg("axis", "int", None, "the dimension to join; default: that of the channels in ``order``"),
        Arg("add_axis", "int", 0, "stack along a new dimension; with axis"),
        Arg("order", "string", b"NCHW", "NCHW or NHWC"),
    ),
    loop=_concat,
    sizes=_concat_sizes,
    constants=_concat_constants,
    doc="Concat, all in the scale of the result",
)


def _gather_type(call: Call) -> list[TensorType]:
    """indices' dimensions, then those of DATA but the first; with ``dequantize_output`` everything is float32.

    Rows of float32 are quantised by a scale that the arguments give, or that follows from the rows.
    """
    check_quant_args(call)
    data = require(call, 0, (DType.FLOAT,)) if call.arg("dequantize_output") else either_input(call, 0)
    indices = require(call, 1, (DType.INT32, DType.INT64))
    dtype, quant = data.dtype, data.quant
    if not call.arg("dequantize_output") and dtype is DType.FLOAT:
        dtype, quant = quantised_dtype(call), static_quant(call) or OPEN_QUANT
    if data.shape is None or indices.shape is None:
        return [TensorType(dtype, None, quant=quant)]
    if not data.shape:
        call.fail("DATA has no dimensions, at least 1 is needed")
    return [TensorType(dtype, (*indices.shape, *data.shape[1:]), quant=quant)]


def _gathered_parameters(
    data: np.ndarray, indices: np.ndarray, block: int, scale: float, zero: int, sparse: int
) -> tuple[float, int]:
    """Scale and zero point: those given, or (scale 0) by the least and greatest element of the rows."""
    if scale > 0.0:
        return np.float32(scale), zero
    low, high, first = np.float32(0.0), np.float32(0.0), True
    for i in range(indices.size):
        row = np.int64(indices.flat[i])
        if 0 <= row < data.shape[0]:
            for j in range(block):
                value = np.float32(data.flat[row * block + j])
                low, high = (value, value) if first else (min(low, value), max(high, value))
                first = False
    return chosen(low, high, sparse)


def _gather_sizes(
    data: np.ndarray,
    indices: np.ndarray,
    dims: np.ndarray,
    block: int,
    given: int,
    scale: float,
    zero: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = _gathered_parameters(data, indices, block, scale, zero, sparse)
    report(dims, found, found_zero)


def _gather(
    data: np.ndarray,
    indices: np.ndarray,
    y: np.ndarray,
    block: int,
    given: int,
    scale: float,
    zero: int,
    sparse: int,
    as_float: int,
) -> int:
    if not given and not as_float:
        scale, zero = _gathered_parameters(data, indices, block, scale, zero, sparse)
    for i in range(indices.size):
        row = np.int64(indices.flat[i])
        if row < 0 or row >= data.shape[0]:
            return 1
        for j in range(block):
            at = row * block + j
            if as_float:
                y.flat[i * block + j] = np.float32(data.flat[at])
            else:
                y.flat[i * block + j] = number(data, at, given != 0, scale, zero)
    return 0


def _gather_constants(call: Call) -> tuple[float, ...]:
    """Elements of a row; whether they are quantised; the scale and zero point that they get where they are known."""
    given = call.type(0).dtype is not DType.FLOAT
    quant = static_quant(call)
    numbers = input_numbers(call, 0) if given else (quant.scale, quant.zero_point) if quant else (0.0, 0)
    flags = (int(call.arg("preserve_activation_sparsity")), int(call.arg("dequantize_output")))
    return (math.prod(call.type(0).static_shape[1:]), int(given), *numbers, *flags)


dnnlowp(
    "Gather",
    "Int8Gather",
    infer=_gather_type,
    inputs="DATA INDICES",
    outputs="OUTPUT",
    loop=_gather,
    sizes=_gather_sizes,
    constants=_gather_constants,
    errors=("INDICES has an index outside of the rows of DATA",),
    doc="rows of DATA; scale and zero point stay, rows of float32 are quantised",
)


def _kept_or_open(call: Call, shape: Shape | None) -> TensorType:
    """The result of an operator that keeps its input's scale, or the one that quantising it gives."""
    check_quant_args(call)
    x = either_input(call, 0)
    if call.arg("dequantize_output"):
        return TensorType(DType.FLOAT, shape)
    quant = OPEN_QUANT if x.dtype is DType.FLOAT else x.quant
    return TensorType(quantised_dtype(call), shape, quant=quant)


def _kept_numbers(call: Call) -> tuple[float, ...]:
    flags = (int(call.arg("preserve_activation_sparsity")), int(call.arg("dequantize_output")))
    return (*input_numbers(call, 0), *flags)


def _shuffle_type(call: Call) -> list[TensorType]:
    """Y has the shape of X; ``group`` divides its channels."""
    shape, group = either_input(call, 0).shape, call.arg("group")
    if group < 1:
        call.fail(f"group is {group}, a positive number is needed")
    if shape is not None:
        if len(shape) < 2:
            call.fail(f"the input has {len(shape)} dimensions, at least 2 are needed")
        c = batch_and_channels(call, shape)[1]
        if isinstance(c, int) and c % group:
            call.fail(f"{c} channels cannot be divided into {group} groups", "use a group that divides the channels")
    return [_kept_or_open(call, shape)]


def _shuffle_sizes(
    x: np.ndarray,
    dims: np.ndarray,
    before: int,
    group: int,
    depth: int,
    after: int,
    scale: float,
    zero: int,
    sparse: int,
    as_float: int,
) -> None:
    found, found_zero = parameters(x, scale, zero, sparse)
    report(dims, found, found_zero)


def _shuffle(
    x: np.ndarray,
    y: np.ndarray,
    before: int,
    group: int,
    depth: int,
    after: int,
    scale: float,
    zero: int,
    sparse: int,
    as_float: int,
) -> None:
    given = scale > 0.0
    scale, zero = parameters(x, scale, zero, sparse)
    k = 0
    for i in range(before):
        for d in range(depth):
            for g in range(group):
                for j in range(after):
                    q = number(x, ((i * group + g) * depth + d) * after + j, given, scale, zero)
                    store(y, k, q, scale, zero, as_float)
                    k += 1


def _shuffle_constants(call: Call) -> Sequence[float]:
    shape, group = call.type(0).static_shape, call.arg("group")
    axis = len(shape) - 1 if call.arg("order") == "NHWC" else 1
    sizes = (math.prod(shape[:axis]), group, shape[axis] // group, math.prod(shape[axis + 1 :]))
    return (*sizes, *_kept_numbers(call))


dnnlowp(
    "ChannelShuffle",
    "Int8ChannelShuffle",
    infer=_shuffle_type,
    more="ChannelShuffle_16",
    inputs="X",
    outputs="Y",
    args=(*WINDOW_ARGS, Arg("group", "int", 1, "groups whose channels are interleaved")),
    loop=_shuffle,
    sizes=_shuffle_sizes,
    constants=_shuffle_constants,
    doc="channels of the groups dealt out in turn; scale and zero point stay",
)
