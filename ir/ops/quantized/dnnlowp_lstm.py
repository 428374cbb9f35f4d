"""LSTMUnit of the engine DNNLOWP: one step of an LSTM on quantised states; see ``_dnnlowp.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call
from graphc.ir.ops._rules import agree, product, require, vector
from graphc.ir.ops.quantized._dnnlowp import (
    HIGH,
    ONE_127TH,
    TANH,
    check_quant_args,
    chosen,
    either_input,
    input_numbers,
    number,
    parameters,
    quantised_dtype,
    real,
    requantised,
)
from graphc.ir.ops.quantized._fixed_point import clamped, half_even
from graphc.ir.ops.quantized.dnnlowp import dnnlowp, store, tanh_of
from graphc.ir.types import OPEN_QUANT, DType, Quant, TensorType

SIGMOID_OUT = float(np.float32(0.5 / 127))
SIGMOID_IN = float(np.float32(2 * 3.0 / 127.0))


def _static(call: Call, prefix: str) -> Quant | None:
    scale = call.arg(f"{prefix}_scale")
    return None if scale is None else Quant(float(np.float32(scale)), call.arg(f"{prefix}_zero_point"))


def _type(call: Call) -> list[TensorType]:
    """hidden and cell: (1, batch, width), as the states before; the gates are four times as wide."""
    check_quant_args(call)
    shapes = [either_input(call, i).shape for i in range(3)]
    for i, shape in enumerate(shapes):
        if shape is not None and len(shape) != 3:
            call.fail(f"input {i} ({call.input_name(i)}) has {len(shape)} dimensions, (1, batch, width) is needed")
        if shape is not None:
            agree(call, shape[0], 1, f"time steps of input {i}")
    h, c, g = shapes
    if c is not None:
        vector(call, 3, c[1], "sequences of the state and of seq_lengths differ")
        for i, (other, times) in enumerate(((h, 1), (g, 4))):
            if other is not None:
                agree(call, other[1], c[1], f"rows of input {2 * i} and of the cell differ")
                agree(call, other[2], c[2] * times, f"columns of input {2 * i}")
    require(call, 3, (DType.INT32,))
    step = require(call, 4, (DType.INT32,)).shape
    if step is not None:
        agree(call, product(step), 1, "elements of timestep")
    if call.arg("dequantize_output"):
        return [TensorType(DType.FLOAT, c)] * 2
    quants = (_static(call, "Y") or OPEN_QUANT, _static(call, "Y2") or OPEN_QUANT)
    return [TensorType(quantised_dtype(call), c, quant=q) for q in quants]


def _unit(x: float) -> Any:
    """The logistic function in float32, each operation rounded: a range may lie on the edge of two zero points."""
    if x >= 0:
        return np.float32(1.0) / (np.float32(1.0) + np.float32(math.exp(-x)))
    e = np.float32(math.exp(x))
    return e / (np.float32(1.0) + e)


def _tanh(x: float) -> Any:
    return np.float32(2.0) * _unit(np.float32(2.0) * x) - np.float32(1.0)


def _ranges(
    hidden: np.ndarray,
    cell: np.ndarray,
    gates: np.ndarray,
    lengths: np.ndarray,
    step: np.ndarray,
    bias: float,
    drop_states: int,
    width: int,
    h_scale: float,
    h_zero: int,
    c_scale: float,
    c_zero: int,
    given: int,
    g_scale: float,
    g_zero: int,
    sparse: int,
) -> tuple[float, int, float, int]:
    """Scales and zero points of both results for what float32 inputs would give."""
    h_low = h_high = c_low = c_high = np.float32(0.0)
    for k in range(cell.size):
        n, d = k // width, k % width
        h = real(hidden, k, h_scale > 0.0, h_scale, h_zero)
        c = real(cell, k, c_scale > 0.0, c_scale, c_zero)
        at = n * 4 * width + d
        if np.int64(step.flat[0]) < np.int64(lengths.flat[n]):
            i, f = real(gates, at, given > 0, g_scale, g_zero), real(gates, at + width, given > 0, g_scale, g_zero)
            o, g = _gates(gates, at + 2 * width, width, given, g_scale, g_zero)
            c = _unit(f + np.float32(bias)) * c + _unit(i) * _tanh(g)
            h = _unit(o) * _tanh(c)
        elif drop_states:
            h, c = np.float32(0.0), np.float32(0.0)
        h_low, h_high = (h, h) if k == 0 else (min(h_low, h), max(h_high, h))
        c_low, c_high = (c, c) if k == 0 else (min(c_low, c), max(c_high, c))
    new_h, new_h_zero = chosen(h_low, h_high, sparse)
    new_c, new_c_zero = chosen(c_low, c_high, sparse)
    return new_h, new_h_zero, new_c, new_c_zero


def _gates(x: np.ndarray, at: int, width: int, given: int, scale: float, zero: int) -> tuple[float, float]:
    return real(x, at, given > 0, scale, zero), real(x, at + width, given > 0, scale, zero)


def _sizes(
    hidden: np.ndarray,
    cell: np.ndarray,
    gates: np.ndarray,
    lengths: np.ndarray,
    step: np.ndarray,
    dims: np.ndarray,
    bias: float,
    drop_states: int,
    width: int,
    h_scale: float,
    h_zero: int,
    c_scale: float,
    c_zero: int,
    given: int,
    g_scale: float,
    g_zero: int,
    new_h_scale: float,
    new_h_zero: int,
    new_c_scale: float,
    new_c_zero: int,
    sparse: int,
    as_float: int,
) -> None:
    h, hz, c, cz = _ranges(
        hidden,
        cell,
        gates,
        lengths,
        step,
        bias,
        drop_states,
        width,
        h_scale,
        h_zero,
        c_scale,
        c_zero,
        given,
        g_scale,
        g_zero,
        sparse,
    )
    k = 0
    if not new_h_scale > 0.0 and dims.shape[0] > 1:
        dims[0], dims[1] = np.int64(np.float32(h).view(np.int32)), hz
        k = 2
    if not new_c_scale > 0.0 and dims.shape[0] > k + 1:
        dims[k], dims[k + 1] = np.int64(np.float32(c).view(np.int32)), cz


def _times(a: float, b: float, c: float) -> Any:
    return np.float32(np.float32(a) * np.float32(b)) / np.float32(c)


def _cell(
    hidden: np.ndarray,
    cell: np.ndarray,
    gates: np.ndarray,
    lengths: np.ndarray,
    step: np.ndarray,
    new_hidden: np.ndarray,
    new_cell: np.ndarray,
    bias: float,
    drop_states: int,
    width: int,
    h_scale: float,
    h_zero: int,
    c_scale: float,
    c_zero: int,
    given: int,
    g_scale: float,
    g_zero: int,
    new_h_scale: float,
    new_h_zero: int,
    new_c_scale: float,
    new_c_zero: int,
    sparse: int,
    as_float: int,
) -> None:
    """Whatever the scale of quantised gates, they count as numbers in the range of Sigmoid."""
    if not new_h_scale > 0.0 or not new_c_scale > 0.0:
        h, hz, c, cz = _ranges(
            hidden,
            cell,
            gates,
            lengths,
            step,
            bias,
            drop_states,
            width,
            h_scale,
            h_zero,
            c_scale,
            c_zero,
            given,
            g_scale,
            g_zero,
            sparse,
        )
        if not new_h_scale > 0.0:
            new_h_scale, new_h_zero = h, hz
        if not new_c_scale > 0.0:
            new_c_scale, new_c_zero = c, cz
    h_given, c_given = h_scale > 0.0, c_scale > 0.0
    h_scale, h_zero = parameters(hidden, h_scale, h_zero, sparse)
    c_scale, c_zero = parameters(cell, c_scale, c_zero, sparse)
    x_scale, x_zero = chosen(np.float32(-128 * SIGMOID_IN), np.float32(127 * SIGMOID_IN), sparse)
    inverse = np.float32(1.0) / np.float32(x_scale)
    forget = clamped(half_even(np.float32(x_zero) + np.float32(bias) * inverse), -128, 127)
    to_sigmoid, to_tanh = np.float32(x_scale) / np.float32(SIGMOID_IN), np.float32(x_scale) / np.float32(TANH)
    c_unit = np.float32(c_scale) / np.float32(ONE_127TH)
    for k in range(cell.size):
        n, d = k // width, k % width
        if np.int64(step.flat[0]) < np.int64(lengths.flat[n]):
            at = n * 4 * width + d
            i = number(gates, at, given > 0, x_scale, x_zero) - x_zero
            f = number(gates, at + width, given > 0, x_scale, x_zero) + forget - 2 * x_zero
            o = number(gates, at + 2 * width, given > 0, x_scale, x_zero) - x_zero
            g = number(gates, at + 3 * width, given > 0, x_scale, x_zero) - x_zero
            i = tanh_of(requantised(i, to_sigmoid, 128, 0, HIGH)) - 1
            f = tanh_of(requantised(f, to_sigmoid, 128, 0, HIGH)) - 1
            o = tanh_of(requantised(o, to_sigmoid, 128, 0, HIGH)) - 1
            g = tanh_of(requantised(g, to_tanh, 128, 0, HIGH)) - 128
            kept = f * (number(cell, k, c_given, c_scale, c_zero) - c_zero)
            total = half_even(np.float32(kept) * c_unit) + i * g
            c_new = requantised(total, _times(SIGMOID_OUT, ONE_127TH, new_c_scale), new_c_zero, 0, HIGH)
            inner = tanh_of(requantised(total, _times(SIGMOID_OUT, ONE_127TH, TANH), 128, 0, HIGH)) - 128
            h_new = requantised(o * inner, _times(SIGMOID_OUT, ONE_127TH, new_h_scale), new_h_zero, 0, HIGH)
        elif drop_states:
            h_new, c_new = new_h_zero, new_c_zero
        else:
            p, q = number(hidden, k, h_given, h_scale, h_zero), number(cell, k, c_given, c_scale, c_zero)
            h_new = requantised(p - h_zero, np.float32(h_scale) / np.float32(new_h_scale), new_h_zero, 0, HIGH)
            c_new = requantised(q - c_zero, np.float32(c_scale) / np.float32(new_c_scale), new_c_zero, 0, HIGH)
        store(new_hidden, k, h_new, new_h_scale, new_h_zero, as_float)
        store(new_cell, k, c_new, new_c_scale, new_c_zero, as_float)


def _constants(call: Call) -> Sequence[float]:
    h, c = _static(call, "Y"), _static(call, "Y2")
    g_scale, g_zero = input_numbers(call, 2)
    return (
        call.arg("forget_bias"),
        int(call.arg("drop_states")),
        call.type(1).static_shape[-1],
        *input_numbers(call, 0),
        *input_numbers(call, 1),
        int(g_scale > 0.0),
        g_scale,
        g_zero,
        *((h.scale, h.zero_point) if h else (0.0, 0)),
        *((c.scale, c.zero_point) if c else (0.0, 0)),
        int(call.arg("preserve_activation_sparsity")),
        int(call.arg("dequantize_output")),
    )


dnnlowp(
    "LSTMUnit",
    "Int8LSTMUnit",
    infer=_type,
    inputs="hidden_prev cell_prev gates seq_lengths timestep",
    outputs="hidden cell",
    args=(
        Arg("forget_bias", "float", 0.0, "added to the forget gate"),
        Arg("sequence_lengths", "int", 1, "not read: the lengths are an input"),
        Arg("drop_states", "int", 0, "states of sequences that have ended become 0 instead of staying"),
        Arg("axis", "int", None, "not read"),
        Arg("Y2_scale", "float", None, "scale of the cell; Y_scale is the hidden state's"),
        Arg("Y2_zero_point", "int", 0, "its zero point"),
    ),
    loop=_cell,
    sizes=_sizes,
    constants=_constants,
    doc="one step of an LSTM in fixed point",
)
