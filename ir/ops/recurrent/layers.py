"""InferenceLSTM, an LSTM of several layers and directions; the operators that RecurrentNetwork's nets run on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, require, require_rank
from graphc.ir.ops.recurrent.cells import tanh_of, unit_of
from graphc.ir.types import Dim, DType, TensorType


def _layout(call: Call) -> tuple[int, int, int]:
    """Layers, directions, tensors of parameters of one of them: w_ih, w_hh and, with biases, b_ih, b_hh."""
    layers, directions = call.arg("num_layers"), 2 if call.arg("bidirectional") else 1
    each = 4 if call.arg("has_biases") else 2
    if layers < 1:
        call.fail(f"num_layers is {layers}, a positive number is needed")
    if call.n_inputs != 3 + layers * directions * each:
        call.fail(
            f"{call.n_inputs} inputs, {layers} layers in {directions} directions need {3 + layers * directions * each}",
            "give the input, both states, then w_ih, w_hh (and b_ih, b_hh) of every layer and direction",
        )
    return layers, directions, each


def _check_parameters(call: Call, width: Dim, hidden: Dim) -> None:
    """w_ih (4 * hidden, width), w_hh (4 * hidden, hidden), biases (4 * hidden); later layers read all directions."""
    layers, directions, each = _layout(call)
    for k in range(layers * directions):
        columns = (width if k < directions else hidden * directions, hidden)
        for j in range(each):
            i = 3 + k * each + j
            require(call, i, (DType.FLOAT,))
            shape = require_rank(call, i, 2 if j < 2 else 1)
            if shape is not None:
                agree(call, shape[0], hidden * 4, f"rows of input {i}, four times the hidden state's width")
                if j < 2:
                    agree(call, shape[1], columns[j], f"columns of input {i}")


def _lstm_types(call: Call) -> list[TensorType]:
    """output: (steps, batch, directions * hidden), or batch first; hidden, cell: as the states before."""
    layers, directions, _ = _layout(call)
    for i in range(3):
        require(call, i, (DType.FLOAT,))
    x, h, c = (require_rank(call, i, 3) for i in range(3))
    if x is None or h is None:
        return [TensorType(DType.FLOAT, None), TensorType(DType.FLOAT, h), TensorType(DType.FLOAT, h)]
    batch = x[0] if call.arg("batch_first") else x[1]
    agree(call, h[0], layers * directions, "states of hidden_0, one for each layer and direction")
    agree(call, h[1], batch, "sequences of the input and of the states differ")
    for a, b in zip(c or h, h):
        agree(call, a, b, "hidden_0 and hidden_1 differ")
    _check_parameters(call, x[2], h[2])
    return [TensorType(DType.FLOAT, (*x[:2], h[2] * directions)), *[TensorType(DType.FLOAT, h)] * 2]


def _gate(
    x: np.ndarray, first: int, width: int, hidden: np.ndarray, state: int, size: int, params: Any, at: int, j: int
) -> Any:
    """The sum of one gate without biases: row ``j`` of both matrices."""
    w, u = params[at], params[at + 1]
    left = right = np.float32(0.0)
    for k in range(width):
        left += x[first + k] * w.flat[j * width + k]
    for k in range(size):
        right += hidden.flat[state + k] * u.flat[j * size + k]
    return left + right


def _inference_lstm(
    x: np.ndarray,
    h0: np.ndarray,
    c0: np.ndarray,
    params: tuple[np.ndarray, ...],
    y: np.ndarray,
    hidden: np.ndarray,
    cell: np.ndarray,
    work: np.ndarray,
    gates: np.ndarray,
    steps: int,
    batch: int,
    width: int,
    size: int,
    layers: int,
    directions: int,
    each: int,
    batch_first: int,
) -> None:
    """work: the sequences that a layer reads and, in the other half, those that it writes."""
    half = work.shape[0] // 2
    for t in range(steps):
        for n in range(batch):
            row = n * steps + t if batch_first else t * batch + n
            for k in range(width):
                work[(t * batch + n) * width + k] = x.flat[row * width + k]
    for i in range(h0.size):
        hidden.flat[i], cell.flat[i] = h0.flat[i], c0.flat[i]
    read, out = 0, directions * size
    for layer in range(layers):
        write = half - read
        for d in range(directions):
            number = layer * directions + d
            at = number * each
            for s in range(steps):
                t = s if d == 0 else steps - 1 - s
                for n in range(batch):
                    state, row = (number * batch + n) * size, t * batch + n
                    for j in range(4 * size):
                        total = _gate(work, read + row * width, width, hidden, state, size, params, at, j)
                        if each == 4:
                            total += params[at + each - 2].flat[j] + params[at + each - 1].flat[j]
                        gates[j] = total
                    for j in range(size):
                        kept = unit_of(gates[size + j]) * cell.flat[state + j]
                        value = kept + unit_of(gates[j]) * tanh_of(gates[2 * size + j])
                        cell.flat[state + j] = value
                        hidden.flat[state + j] = unit_of(gates[3 * size + j]) * tanh_of(value)
                        work[write + row * out + d * size + j] = hidden.flat[state + j]
        read, width = write, out
    for t in range(steps):
        for n in range(batch):
            row = n * steps + t if batch_first else t * batch + n
            for k in range(out):
                y.flat[row * out + k] = work[read + (t * batch + n) * out + k]


def _lstm_sizes(call: Call) -> tuple[int, int, int, int]:
    """Steps, batch, columns of the input and of a state."""
    x, h = call.type(0).static_shape, call.type(1).static_shape
    steps, batch = (x[1], x[0]) if call.arg("batch_first") else (x[0], x[1])
    return steps, batch, x[2], h[2]


def _lstm_scratch(call: Call) -> Sequence[TensorType]:
    steps, batch, width, size = _lstm_sizes(call)
    widest = max(width, size * _layout(call)[1])
    return [TensorType(DType.FLOAT, (2 * steps * batch * widest,)), TensorType(DType.FLOAT, (4 * size,))]


op(
    "InferenceLSTM",
    _lstm_types,
    inputs="inputs hidden_0 hidden_1 params*",
    outputs="output hidden cell",
    args=(
        Arg("num_layers", "int", 1, "layers, each of which reads what the one before gives"),
        Arg("has_biases", "int", 1, "each layer has two biases"),
        Arg("batch_first", "int", 0, "input and output are (batch, steps, columns)"),
        Arg("bidirectional", "int", 0, "each layer runs in both directions"),
    ),
    loop=_inference_lstm,
    scratch=_lstm_scratch,
    constants=lambda call: (*_lstm_sizes(call), *_layout(call), int(call.arg("batch_first"))),
    flops=lambda call: 8 * math.prod(_lstm_sizes(call)) * _layout(call)[0] * _layout(call)[1],
    doc="an LSTM of several layers and directions (gates: input, forget, candidate, output)",
)


def _timed(call: Call) -> int:
    """The argument ``offset``; fails where it is missing."""
    require(call, 0, (DType.INT32,))
    offset = call.arg("offset")
    if offset < 0:
        call.fail(f"argument 'offset' is {offset}", "give the time step, 0 or more")
    return int(offset)


def _accumulate_type(call: Call) -> list[TensorType]:
    """The gradient over all time steps, with that of one step added."""
    _timed(call)
    require(call, 1, (DType.FLOAT,))
    return [require(call, 2, (DType.FLOAT,))]


def _accumulate(step: np.ndarray, given: np.ndarray, before: np.ndarray, after: np.ndarray, offset: int) -> int:
    if step.size < 1 or before.shape[0] < 1:
        return 1
    t, size = np.int64(step.flat[0]), before.size // before.shape[0]
    if t < 0 or (t + offset + 1) * size > before.size or (t + 1) * size > given.size:
        return 1
    for i in range(before.size):
        after.flat[i] = before.flat[i]
    for i in range(size):
        after.flat[(t + offset) * size + i] += given.flat[t * size + i]
    return 0


op(
    "rnn_internal_accumulate_gradient_input",
    _accumulate_type,
    inputs="timestep outer_gradient gradient",
    outputs="gradient",
    args=(Arg("offset", "int", -1, "time step of the result for step 0"),),
    loop=_accumulate,
    errors=("timestep lies outside of the gradients",),
    inplace=((2, 0),),
    doc="adds one time step of a gradient to a time step of another",
)


def _link_types(call: Call) -> list[TensorType]:
    """``window`` time steps of the outer blob, and that blob."""
    _timed(call)
    outer, window = require(call, 1, (DType.FLOAT,)), call.arg("window")
    if window < 0:
        call.fail(f"argument 'window' is {window}", "give a number of time steps")
    inner = None if outer.shape is None else (window, *outer.shape[1:])
    return [TensorType(DType.FLOAT, inner), outer]


def _link(step: np.ndarray, outer: np.ndarray, inner: np.ndarray, same: np.ndarray, offset: int, window: int) -> int:
    if step.size < 1 or outer.shape[0] < 1:
        return 1
    first, size = np.int64(step.flat[0]) + offset, outer.size // outer.shape[0]
    if first < 0 or first + window > outer.shape[0]:
        return 1
    for i in range(window * size):
        inner.flat[i] = outer.flat[first * size + i]
    for i in range(same.size):
        same.flat[i] = outer.flat[i]
    return 0


op(
    "rnn_internal_apply_link",
    _link_types,
    inputs="timestep external",
    outputs="internal external",
    args=(Arg("offset", "int", -1, "first time step at step 0"), Arg("window", "int", -1, "time steps")),
    loop=_link,
    errors=("timestep lies outside of the outer blob",),
    enforced=((1, 1),),
    doc="cuts the time steps that a step net sees out of a blob over all of them",
)
