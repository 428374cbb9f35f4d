"""Updates of the rows of a parameter that indices name: the Sparse and RowWise forms of the optimisers.

Rules: ``caffe2/sgd/*.h``. Caffe2 updates in place, so an index that occurs twice sees what its first row left; the
loops here copy the inputs and go on as Caffe2 does. Every index is checked, which Caffe2 leaves out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import require
from graphc.ir.ops._updates import (
    BAD_ROW,
    blend,
    copy_all,
    equal_counts,
    floats,
    one_element,
    outside,
    root,
    row_counts,
    rows_of,
)
from graphc.ir.ops.training.adaptive import (
    ADADELTA_ARGS,
    EPSILON,
    FTRL_ARGS,
    STORM_ARGS,
    adadelta_direction,
    adadelta_domain,
    ftrl_state,
    ftrl_weight,
    ftrl_z,
    inverse_rate,
    square_sum,
    storm_moment,
    storm_rate,
)
from graphc.ir.ops.training.optimizer import momentum_step
from graphc.ir.types import DType, TensorType


def row_size(param: np.ndarray) -> Any:
    """Part of a loop: elements in a row of the parameter."""
    return param.size // max(param.shape[0], 1)


def _momentum_types(call: Call) -> list[TensorType]:
    """grad, momentum, param: as the inputs."""
    rows_of(call, 3, 4, 0)
    floats(call, 1)
    one_element(call, 2)
    equal_counts(call, 3, 1)
    return [call.type(0), call.type(1), call.type(3)]


def _sparse_momentum(
    grad: np.ndarray,
    velocity: np.ndarray,
    lr: np.ndarray,
    param: np.ndarray,
    indices: np.ndarray,
    adjusted: np.ndarray,
    moved: np.ndarray,
    new: np.ndarray,
    momentum: float,
    nesterov: int,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    copy_all(velocity, moved)
    copy_all(param, new)
    n, rate, mu = row_size(param), lr.flat[0], np.float32(momentum)
    for k in range(indices.size):
        start = int(indices.flat[k]) * n
        for j in range(n):
            v = moved.flat[start + j]
            m = mu * v + rate * grad.flat[k * n + j]
            step = momentum_step(v, m, momentum, nesterov)
            moved.flat[start + j] = m
            adjusted.flat[k * n + j] = step
            new.flat[start + j] -= step
    return 0


op(
    "SparseMomentumSGDUpdate",
    _momentum_types,
    inputs="grad momentum lr param indices",
    outputs="adjusted_grad momentum param",
    args=(Arg("momentum", "float", 0.0), Arg("nesterov", "int", 0)),
    loop=_sparse_momentum,
    errors=(BAD_ROW,),
    inplace=((0, 0),),
    enforced=((1, 1), (3, 2)),
    doc="MomentumSGDUpdate of the rows at indices",
)


def no_decay(call: Call) -> None:
    """``decay`` must be 1, as in Caffe2."""
    if call.arg("decay") != 1.0:
        call.fail(f"argument 'decay' is {call.arg('decay'):g}, the sparse forms have none", "leave it out")


def _adagrad_types(call: Call) -> list[TensorType]:
    """param, moment: as the inputs."""
    rows_of(call, 0, 2, 3)
    floats(call, 1)
    equal_counts(call, 0, 1)
    one_element(call, 4)
    no_decay(call)
    return [call.type(0), call.type(1)]


def adagrad_row(
    new: np.ndarray,
    moved: np.ndarray,
    row: int,
    grad: np.ndarray,
    at: int,
    n: int,
    rate: Any,
    eps: Any,
    decay: Any,
    scale: Any,
) -> None:
    """Part of a loop: Adagrad of a row by ``scale`` times ``n`` elements of ``grad`` from ``at`` on."""
    for j in range(n):
        i = row * n + j
        w = new.flat[i]
        g = scale * grad.flat[at + j] + decay * w
        h = moved.flat[i] + g * g
        moved.flat[i] = h
        new.flat[i] = w + rate * g / (root(h) + eps)


def _sparse_adagrad(
    param: np.ndarray,
    moment: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    new: np.ndarray,
    moved: np.ndarray,
    epsilon: float,
    weight_decay: float,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    copy_all(param, new)
    copy_all(moment, moved)
    n, eps, decay, one = row_size(param), np.float32(epsilon), np.float32(weight_decay), np.float32(1)
    for k in range(indices.size):
        adagrad_row(new, moved, int(indices.flat[k]), grad, k * n, n, lr.flat[0], eps, decay, one)
    return 0


def adagrad_constants(call: Call) -> list[float]:
    """epsilon, weight_decay."""
    return [call.arg("epsilon"), call.arg("weight_decay")]


ADAGRAD_ARGS = (
    EPSILON,
    Arg("decay", "float", 1.0, "of the moment: none"),
    Arg("weight_decay", "float", 0.0, "of the parameter, which it adds to the gradient"),
)
op(
    "SparseAdagrad",
    _adagrad_types,
    inputs="param moment indices grad lr",
    outputs="param moment",
    args=(*ADAGRAD_ARGS, Arg("counter_halflife", "int", -1, "counts in RowWiseSparseAdagrad alone")),
    loop=_sparse_adagrad,
    constants=adagrad_constants,
    errors=(BAD_ROW,),
    enforced=((0, 0), (1, 1)),
    doc="Adagrad of the rows at indices",
)


def _row_adagrad_types(call: Call) -> list[TensorType]:
    """param, moment: as the inputs; the moment has a number for each row."""
    rows_of(call, 0, 2, 3)
    floats(call, 1)
    row_counts(call, 0, 1)
    one_element(call, 4)
    if call.arg("counter_halflife") > 0:
        require(call, 5, (DType.DOUBLE,))
        row_counts(call, 0, 5)
    return [call.type(0), call.type(1)]


def mean_square(grad: np.ndarray, at: int, new: np.ndarray, start: int, n: int, scale: Any, decay: Any) -> Any:
    """Part of a loop: the mean square of ``n`` elements of ``scale * grad + decay * new``."""
    total = np.float32(0)
    for j in range(n):
        g = scale * grad.flat[at + j] + decay * new.flat[start + j]
        total += g * g
    return total / np.float32(n)


def step_row(new: np.ndarray, start: int, grad: np.ndarray, at: int, n: int, scale: Any, step: Any, decay: Any) -> None:
    """Part of a loop: ``n`` elements of ``new`` move by ``step`` times ``scale * grad + decay * new``."""
    for j in range(n):
        w = new.flat[start + j]
        new.flat[start + j] = w + (scale * grad.flat[at + j] + decay * w) * step


def row_adagrad_row(
    new: np.ndarray,
    moved: np.ndarray,
    row: int,
    grad: np.ndarray,
    at: int,
    n: int,
    rate: Any,
    eps: Any,
    decay: Any,
    scale: Any,
) -> None:
    """Part of a loop: ``adagrad_row`` with one moment for the row."""
    h = moved.flat[row] + mean_square(grad, at, new, row * n, n, scale, decay)
    moved.flat[row] = h
    step_row(new, row * n, grad, at, n, scale, rate / (root(h) + eps), decay)


def _row_adagrad(
    param: np.ndarray,
    moment: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    counter: np.ndarray,
    new: np.ndarray,
    moved: np.ndarray,
    epsilon: float,
    weight_decay: float,
    halflife: int,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    copy_all(param, new)
    copy_all(moment, moved)
    n, one = row_size(param), np.float32(1)
    for k in range(indices.size if n > 0 else 0):
        row = int(indices.flat[k])
        rare = 1.0
        if halflife > 0 and counter.flat[row] > 0:
            rare = halflife / counter.flat[row]
        decay = np.float32(weight_decay) * np.float32(rare)
        row_adagrad_row(new, moved, row, grad, k * n, n, lr.flat[0], np.float32(epsilon), decay, one)
    return 0


op(
    "RowWiseSparseAdagrad",
    _row_adagrad_types,
    inputs="param moment indices grad lr counter?",
    outputs="param moment",
    args=(
        *ADAGRAD_ARGS,
        Arg("counter_halflife", "int", -1, "positive: decay of a row is weighted by this over the row's counter"),
    ),
    loop=_row_adagrad,
    constants=lambda call: [*adagrad_constants(call), call.arg("counter_halflife")],
    errors=(BAD_ROW,),
    enforced=((0, 0), (1, 1)),
    doc="Adagrad of the rows at indices with one moment for a row: the mean square of its gradient",
)


def _adadelta_types(call: Call) -> list[TensorType]:
    """param, moment, moment_delta: as the inputs."""
    rows_of(call, 0, 3, 4)
    floats(call, 1, 2)
    equal_counts(call, 0, 1, 2)
    one_element(call, 5)
    adadelta_domain(call)
    return [call.type(0), call.type(1), call.type(2)]


def _sparse_adadelta(
    param: np.ndarray,
    moment: np.ndarray,
    delta: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    new: np.ndarray,
    new_moment: np.ndarray,
    new_delta: np.ndarray,
    epsilon: float,
    decay: float,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    copy_all(param, new)
    copy_all(moment, new_moment)
    copy_all(delta, new_delta)
    n = row_size(param)
    for k in range(indices.size):
        for j in range(n):
            i, g = int(indices.flat[k]) * n + j, grad.flat[k * n + j]
            d = new_delta.flat[i]
            h = blend(new_moment.flat[i], g * g, decay)
            direction = adadelta_direction(g, h, d, epsilon)
            new_moment.flat[i] = h
            new.flat[i] += lr.flat[0] * direction
            new_delta.flat[i] = blend(d, direction * direction, decay)
    return 0


op(
    "SparseAdadelta",
    _adadelta_types,
    inputs="param moment moment_delta indices grad lr",
    outputs="param moment moment_delta",
    args=ADADELTA_ARGS,
    loop=_sparse_adadelta,
    errors=(BAD_ROW,),
    enforced=((0, 0), (1, 1), (2, 2)),
    doc="Adadelta of the rows at indices",
)


def _ftrl_types(call: Call) -> list[TensorType]:
    """var, n_z: as the inputs."""
    rows_of(call, 0, 2, 3)
    ftrl_state(call, 4)
    return [call.type(0), call.type(1)]


def _sparse_ftrl(
    var: np.ndarray,
    n_z: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    alpha_input: np.ndarray,
    new: np.ndarray,
    new_n_z: np.ndarray,
    alpha: float,
    beta: float,
    lambda1: float,
    lambda2: float,
) -> int:
    if outside(indices, var.shape[0]):
        return 1
    copy_all(var, new)
    copy_all(n_z, new_n_z)
    size, rate = row_size(var), inverse_rate(alpha_input, alpha)
    for k in range(indices.size):
        for j in range(size):
            i, g = int(indices.flat[k]) * size + j, grad.flat[k * size + j]
            n = new_n_z.flat[2 * i]
            z = ftrl_z(new_n_z.flat[2 * i + 1], g, n, new.flat[i], rate)
            new_n_z.flat[2 * i] = n + g * g
            new_n_z.flat[2 * i + 1] = z
            new.flat[i] = ftrl_weight(z, n + g * g, rate, np.float32(lambda1), beta, lambda2)
    return 0


op(
    "SparseFtrl",
    _ftrl_types,
    inputs="var n_z indices grad alpha?",
    outputs="var n_z",
    args=FTRL_ARGS,
    loop=_sparse_ftrl,
    errors=(BAD_ROW,),
    enforced=((0, 0), (1, 1)),
    doc="Ftrl of the rows at indices",
)


def _storm_types(call: Call) -> list[TensorType]:
    """param, moment, grad_sq_sum: as the inputs."""
    rows_of(call, 0, 4, 3)
    floats(call, 1)
    equal_counts(call, 0, 1)
    one_element(call, 2, 5)
    return [call.type(0), call.type(1), call.type(2)]


def _sparse_storm(
    param: np.ndarray,
    moment: np.ndarray,
    squares: np.ndarray,
    grad: np.ndarray,
    indices: np.ndarray,
    lr: np.ndarray,
    new: np.ndarray,
    new_moment: np.ndarray,
    new_squares: np.ndarray,
    momentum: float,
    beta: float,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    copy_all(param, new)
    copy_all(moment, new_moment)
    total = squares.flat[0] + square_sum(grad)
    new_squares.flat[0] = total
    n, rate = row_size(param), storm_rate(lr.flat[0], beta, total)
    for k in range(indices.size):
        for j in range(n):
            i = int(indices.flat[k]) * n + j
            m = storm_moment(grad.flat[k * n + j], new_moment.flat[i], rate, momentum)
            new_moment.flat[i] = m
            new.flat[i] += rate * m
    return 0


op(
    "SparseStorm",
    _storm_types,
    inputs="param moment grad_sq_sum grad indices lr",
    outputs="param moment grad_sq_sum",
    args=STORM_ARGS,
    loop=_sparse_storm,
    errors=(BAD_ROW,),
    enforced=((0, 0), (1, 1), (2, 2)),
    doc="Storm of the rows at indices",
)


def _wngrad_types(call: Call) -> list[TensorType]:
    """param, seq_b: as the inputs."""
    rows_of(call, 0, 2, 3)
    one_element(call, 1, 4)
    return [call.type(0), call.type(1)]


def _sparse_wngrad(
    param: np.ndarray,
    seq_b: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    new: np.ndarray,
    new_b: np.ndarray,
    epsilon: float,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    copy_all(param, new)
    b, n = seq_b.flat[0], row_size(param)
    for k in range(indices.size):
        for j in range(n):
            i = int(indices.flat[k]) * n + j
            new.flat[i] += lr.flat[0] * grad.flat[k * n + j] / (b + np.float32(epsilon))
    new_b.flat[0] = b + square_sum(grad) / b if indices.size else b
    return 0


op(
    "SparseWngrad",
    _wngrad_types,
    inputs="param seq_b indices grad lr",
    outputs="param seq_b",
    args=(EPSILON,),
    loop=_sparse_wngrad,
    errors=(BAD_ROW,),
    enforced=((0, 0), (1, 1)),
    doc="Wngrad of the rows at indices; seq_b grows without epsilon",
)
