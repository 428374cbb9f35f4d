"""Recurrent cells: one step of an LSTM or a GRU from the sums of its gates, and their gradients.

Shapes and rules as in Caffe2's ``lstm_unit_op.h`` and ``gru_unit_op.h``: states (1, batch, width), gates (1, batch,
4 or 3 times width).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, product, require
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

ARGS = (
    Arg("forget_bias", "float", 0.0, "added to the forget gate"),
    Arg("sequence_lengths", "int", 1, "an input holds the length of every sequence"),
    Arg("drop_states", "int", 0, "states of sequences that have ended become 0 instead of staying"),
    Arg("axis", "int", None, "not read"),
)


def unit_of(x: float) -> Any:
    """The logistic function; exp never overflows."""
    e = np.float32(math.exp(-abs(x)))
    one = np.float32(1.0)
    return one / (one + e) if x >= 0 else e / (one + e)


def tanh_of(x: float) -> Any:
    """tanh as a float32 number."""
    return np.float32(math.tanh(x))


def _check(call: Call, state: int, gates: int, times: int) -> TensorType:
    """Type of the state; fails unless the gates have its rows and ``times`` its columns."""
    narrow, wide = require(call, state, (DType.FLOAT,)), require(call, gates, (DType.FLOAT,))
    for type, i in ((narrow, state), (wide, gates)):
        if type.shape is not None and len(type.shape) not in (2, 3):
            call.fail(f"input {i} ({call.input_name(i)}) has {len(type.shape)} dimensions, (1, batch, width) is needed")
    if narrow.shape is not None and wide.shape is not None:
        agree(call, wide.shape[-1], narrow.shape[-1] * times, f"columns of the gates, {times} times those of the state")
        agree(call, product(wide.shape[:-1]), product(narrow.shape[:-1]), "rows of the gates and the state differ")
    return narrow


def _check_steps(call: Call, first: int, state: TensorType) -> None:
    """Inputs from ``first`` on: the sequences' lengths, if the argument says so, and the number of the step."""
    if call.arg("sequence_lengths"):
        batch: Dim = UNKNOWN if state.shape is None else product(state.shape[:-1])
        lengths = require(call, first, (DType.INT32,)).shape
        if lengths is not None:
            agree(call, product(lengths), batch, "sequences of the state and of seq_lengths differ")
        first += 1
    step = require(call, first, (DType.INT32,)).shape
    if step is not None:
        agree(call, product(step), 1, "elements of timestep")


def _check_alike(call: Call, i: int, state: TensorType) -> None:
    other = require(call, i, (DType.FLOAT,)).shape
    if other is not None and state.shape is not None:
        agree(call, product(other), product(state.shape), f"elements of input {i} and of the state differ")


def _lstm_types(call: Call) -> list[TensorType]:
    state = _check(call, 1, 2, 4)
    _check_alike(call, 0, state)
    _check_steps(call, 3, state)
    return [TensorType(DType.FLOAT, state.shape)] * 2


def _lstm(
    hidden: np.ndarray,
    cell: np.ndarray,
    gates: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    new_hidden: np.ndarray,
    new_cell: np.ndarray,
    forget_bias: float,
    sequence_lengths: int,
    drop_states: int,
    width: int,
) -> None:
    bias, k = np.float32(forget_bias), 0
    for n in range(cell.size // max(width, 1)):
        runs = True
        if sequence_lengths:
            runs = np.int64(second.flat[0]) < np.int64(first.flat[n])
        g = 4 * k
        for d in range(width):
            if runs:
                kept = unit_of(gates.flat[g + width + d] + bias) * cell.flat[k + d]
                value = kept + unit_of(gates.flat[g + d]) * tanh_of(gates.flat[g + 3 * width + d])
                new_cell.flat[k + d] = value
                new_hidden.flat[k + d] = unit_of(gates.flat[g + 2 * width + d]) * tanh_of(value)
            elif not drop_states:
                new_cell.flat[k + d] = cell.flat[k + d]
                new_hidden.flat[k + d] = hidden.flat[k + d]
        k += width


def _cell_constants(call: Call) -> Sequence[float]:
    """The arguments, and the width of the state."""
    state = 1 if call.node.op.startswith("LSTM") else 0
    flags = (int(call.arg("sequence_lengths")), int(call.arg("drop_states")))
    return (call.arg("forget_bias"), *flags, call.type(state).static_shape[-1])


op(
    "LSTMUnit",
    _lstm_types,
    inputs="hidden_prev cell_prev gates seq_lengths_or_timestep timestep?",
    outputs="hidden cell",
    args=ARGS,
    loop=_lstm,
    constants=_cell_constants,
    doc="one step of an LSTM from the sums of its gates (input, forget, output, candidate)",
)


def _lstm_gradient_types(call: Call) -> list[TensorType]:
    state = _check(call, 1, 2, 4)
    _check_steps(call, 3, state)
    expected = 9 if call.arg("sequence_lengths") else 8
    if call.n_inputs != expected:
        call.fail(f"{call.n_inputs} inputs, {expected} are needed")
    for i in (0, *range(expected - 4, expected)):
        _check_alike(call, i, state)
    return [TensorType(DType.FLOAT, call.type(i).shape) for i in range(3)]


def _lstm_gradient(
    hidden: np.ndarray,
    cell: np.ndarray,
    gates: np.ndarray,
    rest: tuple[np.ndarray, ...],
    d_hidden_prev: np.ndarray,
    d_cell_prev: np.ndarray,
    d_gates: np.ndarray,
    forget_bias: float,
    sequence_lengths: int,
    drop_states: int,
    width: int,
) -> None:
    lengths, step, new_cell, dh, dc = rest[0], rest[-5], rest[-3], rest[-2], rest[-1]
    bias, one, k = np.float32(forget_bias), np.float32(1.0), 0
    for n in range(cell.size // max(width, 1)):
        runs = True
        if sequence_lengths:
            runs = np.int64(step.flat[0]) < np.int64(lengths.flat[n])
        g = 4 * k
        for d in range(width):
            if runs:
                i, f = unit_of(gates.flat[g + d]), unit_of(gates.flat[g + width + d] + bias)
                o, c = unit_of(gates.flat[g + 2 * width + d]), tanh_of(gates.flat[g + 3 * width + d])
                t = tanh_of(new_cell.flat[k + d])
                d_cell = dc.flat[k + d] + dh.flat[k + d] * o * (one - t * t)
                d_cell_prev.flat[k + d] = d_cell * f
                d_gates.flat[g + d] = d_cell * c * i * (one - i)
                d_gates.flat[g + width + d] = d_cell * cell.flat[k + d] * f * (one - f)
                d_gates.flat[g + 2 * width + d] = dh.flat[k + d] * t * o * (one - o)
                d_gates.flat[g + 3 * width + d] = d_cell * i * (one - c * c)
            elif not drop_states:
                d_hidden_prev.flat[k + d] = dh.flat[k + d]
                d_cell_prev.flat[k + d] = dc.flat[k + d]
        k += width


op(
    "LSTMUnitGradient",
    _lstm_gradient_types,
    inputs="hidden_prev cell_prev gates rest*",
    outputs="d_hidden_prev d_cell_prev d_gates",
    args=ARGS,
    loop=_lstm_gradient,
    constants=_cell_constants,
    doc="gradient of LSTMUnit; after its inputs: hidden, cell, d_hidden, d_cell",
)


def _gru_types(call: Call) -> list[TensorType]:
    state = _check(call, 0, 1, 3)
    _check_steps(call, 2, state)
    return [TensorType(DType.FLOAT, state.shape)]


def _gru(
    hidden: np.ndarray,
    gates: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    new_hidden: np.ndarray,
    forget_bias: float,
    sequence_lengths: int,
    drop_states: int,
    width: int,
) -> None:
    k = 0
    for n in range(hidden.size // max(width, 1)):
        runs = True
        if sequence_lengths:
            runs = np.int64(second.flat[0]) < np.int64(first.flat[n])
        g = 3 * k
        for d in range(width):
            if runs:
                z = unit_of(gates.flat[g + width + d])
                new = tanh_of(gates.flat[g + 2 * width + d])
                new_hidden.flat[k + d] = hidden.flat[k + d] * z + new * (np.float32(1.0) - z)
            elif not drop_states:
                new_hidden.flat[k + d] = hidden.flat[k + d]
        k += width


op(
    "GRUUnit",
    _gru_types,
    inputs="hidden_prev gates seq_lengths_or_timestep timestep?",
    outputs="hidden",
    args=ARGS,
    loop=_gru,
    constants=_cell_constants,
    doc="one step of a GRU from the sums of its gates (reset, update, output)",
)


def _gru_gradient_types(call: Call) -> list[TensorType]:
    state = _check(call, 0, 1, 3)
    _check_steps(call, 2, state)
    expected = 6 if call.arg("sequence_lengths") else 5
    if call.n_inputs != expected:
        call.fail(f"{call.n_inputs} inputs, {expected} are needed")
    for i in (expected - 2, expected - 1):
        _check_alike(call, i, state)
    return [TensorType(DType.FLOAT, call.type(i).shape) for i in range(2)]


def _gru_gradient(
    hidden: np.ndarray,
    gates: np.ndarray,
    rest: tuple[np.ndarray, ...],
    d_hidden_prev: np.ndarray,
    d_gates: np.ndarray,
    forget_bias: float,
    sequence_lengths: int,
    drop_states: int,
    width: int,
) -> None:
    """The reset gate is used before the sums, so its gradient here is 0."""
    lengths, step, dh = rest[0], rest[-3], rest[-1]
    one, k = np.float32(1.0), 0
    for n in range(hidden.size // max(width, 1)):
        runs = True
        if sequence_lengths:
            runs = np.int64(step.flat[0]) < np.int64(lengths.flat[n])
        g = 3 * k
        for d in range(width):
            if runs:
                z, new = unit_of(gates.flat[g + width + d]), tanh_of(gates.flat[g + 2 * width + d])
                slope = dh.flat[k + d]
                d_hidden_prev.flat[k + d] = slope * z
                d_gates.flat[g + width + d] = slope * (hidden.flat[k + d] - new) * z * (one - z)
                d_gates.flat[g + 2 * width + d] = slope * (one - z) * (one - new * new)
            elif not drop_states:
                d_hidden_prev.flat[k + d] = dh.flat[k + d]
        k += width


op(
    "GRUUnitGradient",
    _gru_gradient_types,
    inputs="hidden_prev gates rest*",
    outputs="d_hidden_prev d_gates",
    args=ARGS,
    loop=_gru_gradient,
    constants=_cell_constants,
    doc="gradient of GRUUnit; after its inputs: hidden, d_hidden",
)
