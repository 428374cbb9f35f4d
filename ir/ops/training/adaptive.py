"""Parameter updates whose step adapts: Adadelta, DecayAdagrad, Ftrl, GFtrl, Wngrad, Storm.

Rules: ``caffe2/sgd/*.h``; what these compute in float32 is float32 here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree
from graphc.ir.ops._updates import between, blend, count, equal_counts, floats, iteration, one_element, root
from graphc.ir.types import TensorType

EPSILON = Arg("epsilon", "float", 1e-5, "keeps the divisor from 0")


def adadelta_domain(call: Call) -> None:
    """The bounds of Adadelta's arguments."""
    between(call, "epsilon", 0)
    between(call, "decay", 0, 1, open=True)


def _adadelta_types(call: Call) -> list[TensorType]:
    """param, moment, moment_delta: as the inputs."""
    floats(call, 0, 1, 2, 3)
    one_element(call, 4)
    equal_counts(call, 3, 0, 1, 2)
    adadelta_domain(call)
    return [call.type(0), call.type(1), call.type(2)]


def adadelta_direction(g: Any, h: Any, d: Any, epsilon: Any) -> Any:
    """Part of a loop: the gradient by the ratio of the roots of ``d`` and ``h``."""
    e = np.float32(epsilon)
    return root(d + e) / root(h + e) * g


ADADELTA_ARGS = (EPSILON, Arg("decay", "float", 0.95, "what stays of the means"))


def _adadelta(
    param: np.ndarray,
    moment: np.ndarray,
    delta: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    new: np.ndarray,
    new_moment: np.ndarray,
    new_delta: np.ndarray,
    epsilon: float,
    decay: float,
) -> None:
    rate = lr.flat[0]
    for i in range(param.size):
        g, d = grad.flat[i], delta.flat[i]
        h = blend(moment.flat[i], g * g, decay)
        direction = adadelta_direction(g, h, d, epsilon)
        new_moment.flat[i] = h
        new.flat[i] = param.flat[i] + rate * direction
        new_delta.flat[i] = blend(d, direction * direction, decay)


op(
    "Adadelta",
    _adadelta_types,
    inputs="param moment moment_delta grad lr",
    outputs="param moment moment_delta",
    args=ADADELTA_ARGS,
    loop=_adadelta,
    inplace=((0, 0), (1, 1), (2, 2)),
    doc="param + lr * grad * sqrt(moment_delta) / sqrt(moment), both running means of squares",
)


def _decay_adagrad_types(call: Call) -> list[TensorType]:
    """param, moment_1, moment_2: as the inputs."""
    floats(call, 0, 1, 2, 3)
    one_element(call, 4)
    iteration(call, 5)
    equal_counts(call, 3, 0, 1, 2)
    return [call.type(0), call.type(1), call.type(2)]


def _decay_adagrad(
    param: np.ndarray,
    moment_1: np.ndarray,
    moment_2: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    counter: np.ndarray,
    new: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    correct: int,
) -> None:
    rate, c = lr.flat[0], np.float32(1)
    if correct:
        c = np.float32(1.0 - np.float64(beta1) ** (np.float64(counter.flat[0]) + 1.0))
    for i in range(param.size):
        g, w = grad.flat[i], param.flat[i]
        m = blend(moment_1.flat[i], g, beta1)
        v = moment_2.flat[i] + g * g
        first.flat[i] = m
        second.flat[i] = v
        new.flat[i] = w + rate * (m / c / (root(v) + np.float32(epsilon)) + np.float32(weight_decay) * w)


op(
    "DecayAdagrad",
    _decay_adagrad_types,
    inputs="param moment_1 moment_2 grad lr iter",
    outputs="param moment_1 moment_2",
    args=(
        Arg("beta1", "float", 0.9, "what stays of the mean"),
        Arg("beta2", "float", 0.999, "not used by Caffe2 either"),
        EPSILON,
        Arg("weight_decay", "float", 0.0),
        Arg("bias_correction_first", "int", 1, "the mean is corrected for having begun with 0"),
    ),
    loop=_decay_adagrad,
    inplace=((0, 0), (1, 1), (2, 2)),
    doc="Adagrad on a running mean of the gradient, with decay of the parameter",
)

FTRL_ARGS = (
    Arg("alpha", "float", 0.005, "the rate, where it is no input"),
    Arg("beta", "float", 1.0),
    Arg("lambda1", "float", 0.001, "weight of the absolute values"),
    Arg("lambda2", "float", 0.001, "weight of the squares"),
)


def ftrl_state(call: Call, alpha: int) -> None:
    """n_z has two numbers for each element of the parameter; the rate, if it is an input, is one number."""
    floats(call, 0, 1)
    what = f"elements of input 1 ({call.input_name(1)}), two for each of the parameter"
    agree(call, count(call, 1), 2 * count(call, 0), what)
    if call.has(alpha):
        one_element(call, alpha)


def _ftrl_types(call: Call) -> list[TensorType]:
    """var, n_z: as the inputs."""
    ftrl_state(call, 3)
    floats(call, 2)
    equal_counts(call, 2, 0)
    return [call.type(0), call.type(1)]


def inverse_rate(alpha_input: np.ndarray, alpha: Any) -> Any:
    """Part of a loop: 1 / alpha, of the input where there is one."""
    return np.float32(1) / alpha_input.flat[0] if alpha_input.size else np.float32(1) / np.float32(alpha)


def ftrl_weight(z: Any, n: Any, rate: Any, threshold: Any, beta: Any, lambda2: Any) -> Any:
    """Part of a loop: the weight of one coordinate, 0 where ``|z|`` does not pass the threshold."""
    if not abs(z) > threshold:
        return np.float32(0)
    signed = threshold if z > 0 else -threshold
    return (signed - z) / ((np.float32(beta) + root(n)) * rate + np.float32(lambda2))


def ftrl_z(z: Any, g: Any, n: Any, w: Any, rate: Any) -> Any:
    """Part of a loop: the next z of one coordinate."""
    return z + g - (root(n + g * g) - root(n)) * rate * w


def _ftrl(
    var: np.ndarray,
    n_z: np.ndarray,
    grad: np.ndarray,
    alpha_input: np.ndarray,
    new: np.ndarray,
    new_n_z: np.ndarray,
    alpha: float,
    beta: float,
    lambda1: float,
    lambda2: float,
) -> None:
    rate = inverse_rate(alpha_input, alpha)
    for i in range(var.size):
        g, n = grad.flat[i], n_z.flat[2 * i]
        z = ftrl_z(n_z.flat[2 * i + 1], g, n, var.flat[i], rate)
        new_n_z.flat[2 * i] = n + g * g
        new_n_z.flat[2 * i + 1] = z
        new.flat[i] = ftrl_weight(z, n + g * g, rate, np.float32(lambda1), beta, lambda2)


op(
    "Ftrl",
    _ftrl_types,
    inputs="var n_z grad alpha?",
    outputs="var n_z",
    args=FTRL_ARGS,
    loop=_ftrl,
    inplace=((0, 0), (1, 1)),
    doc="follow the regularised leader: weights of small gradients stay 0",
)


def _gftrl_types(call: Call) -> list[TensorType]:
    """var, n_z: as the inputs; the first dimension of grad is that of the output nodes."""
    types = _ftrl_types(call)
    shape = call.type(2).shape
    if shape is not None and (not shape or shape[0] == 0):
        call.fail("the gradient has no rows", "its first dimension is that of the output nodes")
    return types


def _gftrl(
    var: np.ndarray,
    n_z: np.ndarray,
    grad: np.ndarray,
    alpha_input: np.ndarray,
    new: np.ndarray,
    new_n_z: np.ndarray,
    alpha: float,
    beta: float,
    lambda1: float,
    lambda2: float,
) -> None:
    """As Ftrl, but a whole column of ``grad`` passes the threshold by its norm."""
    rows = grad.shape[0]
    columns = grad.size // rows
    rate = inverse_rate(alpha_input, alpha)
    threshold = np.float32(lambda1) * root(rows)
    for j in range(columns):
        norm = np.float32(0)
        for k in range(rows):
            i = k * columns + j
            g, n = grad.flat[i], n_z.flat[2 * i]
            z = ftrl_z(n_z.flat[2 * i + 1], g, n, var.flat[i], rate)
            new_n_z.flat[2 * i] = n + g * g
            new_n_z.flat[2 * i + 1] = z
            norm += z * z
        norm = root(norm)
        for k in range(rows):
            i = k * columns + j
            if norm > threshold:
                scale = (np.float32(beta) + root(new_n_z.flat[2 * i])) * rate + np.float32(lambda2)
                new.flat[i] = new_n_z.flat[2 * i + 1] * (threshold / norm - np.float32(1)) / scale


op(
    "GFtrl",
    _gftrl_types,
    inputs="var n_z grad alpha?",
    outputs="var n_z",
    args=FTRL_ARGS,
    loop=_gftrl,
    inplace=((0, 0), (1, 1)),
    doc="Ftrl on groups: all weights that leave an input are 0 or none",
)


def square_sum(x: np.ndarray) -> Any:
    """Part of a loop: the sum of the squares in float32."""
    total = np.float32(0)
    for i in range(x.size):
        total += x.flat[i] * x.flat[i]
    return total


def _wngrad_types(call: Call) -> list[TensorType]:
    """param, seq_b as the inputs; effective_lr as seq_b, update as the gradient."""
    floats(call, 0, 2)
    one_element(call, 1, 3)
    equal_counts(call, 2, 0)
    types = [call.type(0), call.type(1), call.type(1), call.type(2)]
    return types[: max(2, call.n_outputs)]


def _wngrad(
    param: np.ndarray,
    seq_b: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    new: np.ndarray,
    new_b: np.ndarray,
    effective: np.ndarray,
    update: np.ndarray,
    epsilon: float,
) -> None:
    divisor = seq_b.flat[0] + np.float32(epsilon)
    rate = lr.flat[0] / divisor
    for i in range(param.size):
        new.flat[i] = param.flat[i] + rate * grad.flat[i]
        if update.size:
            update.flat[i] = rate * grad.flat[i]
    if effective.size:
        effective.flat[0] = rate
    new_b.flat[0] = seq_b.flat[0] + square_sum(grad) / divisor


op(
    "Wngrad",
    _wngrad_types,
    inputs="param seq_b grad lr",
    outputs="param seq_b effective_lr? update?",
    args=(EPSILON,),
    loop=_wngrad,
    inplace=((0, 0), (1, 1)),
    doc="param + lr * grad / seq_b; seq_b grows by the squared norm of the gradient over itself",
)

STORM_ARGS = (Arg("momentum", "float", 10.0), Arg("beta", "float", 0.1, "what the sum of squares begins with"))


def _storm_types(call: Call) -> list[TensorType]:
    """param, moment, grad_sq_sum: as the inputs."""
    floats(call, 0, 1, 3)
    one_element(call, 2, 4)
    equal_counts(call, 3, 0, 1)
    return [call.type(0), call.type(1), call.type(2)]


def storm_rate(lr: Any, beta: Any, total: Any) -> Any:
    """Part of a loop: lr over the cube root of the sum of squares."""
    return np.float32(lr * np.float64(np.float32(beta) + total) ** (-1.0 / 3.0))


def storm_moment(g: Any, m: Any, rate: Any, momentum: Any) -> Any:
    """Part of a loop: the next moment of an element."""
    alpha = np.float32(momentum) * rate * rate
    return np.float32(g + (1.0 - np.float64(alpha)) * (m - g))


def _storm(
    param: np.ndarray,
    moment: np.ndarray,
    squares: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    new: np.ndarray,
    new_moment: np.ndarray,
    new_squares: np.ndarray,
    momentum: float,
    beta: float,
) -> None:
    total = squares.flat[0] + square_sum(grad)
    new_squares.flat[0] = total
    rate = storm_rate(lr.flat[0], beta, total)
    for i in range(param.size):
        m = storm_moment(grad.flat[i], moment.flat[i], rate, momentum)
        new_moment.flat[i] = m
        new.flat[i] = param.flat[i] + rate * m


op(
    "Storm",
    _storm_types,
    inputs="param moment grad_sq_sum grad lr",
    outputs="param moment grad_sq_sum",
    args=STORM_ARGS,
    loop=_storm,
    inplace=((0, 0), (1, 1), (2, 2)),
    doc="momentum whose weight falls with the sum of all squared gradients",
)
