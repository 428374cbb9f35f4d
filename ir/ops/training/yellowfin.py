"""YellowFin: momentum SGD that tunes its rate and momentum (``caffe2/sgd/yellowfin_op.h``; arXiv 1706.03471)."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree
from graphc.ir.ops._updates import between, blend, count, equal_counts, floats, iteration, one_element, root
from graphc.ir.ops.training.optimizer import momentum_step
from graphc.ir.types import TensorType

NORM, SQUARE, LEAST, MOST, DISTANCE = range(5)
"""Places in ``scalars_memory``: running means of norm, squared norm, least and greatest curvature, distance."""


def _types(call: Call) -> list[TensorType]:
    """All outputs: as the inputs of the same places."""
    floats(call, *range(9))
    one_element(call, 2, 3)
    iteration(call, 9)
    equal_counts(call, 0, 1, 5, 6, 8)
    between(call, "curv_win_width", 1, 2**31 - 1)
    for i, n in ((4, call.arg("curv_win_width")), (7, 5)):
        agree(call, count(call, i), n, f"elements of input {i} ({call.input_name(i)})")
    return [call.type(i) for i in range(8)]


def _tuned(memory: np.ndarray, factor: Any, variance: Any, epsilon: Any) -> Any:
    """(momentum, rate) that the running means ask for, by the cubic of the paper."""
    least = max(np.exp(memory.flat[LEAST] * factor), epsilon)
    most = max(np.exp(memory.flat[MOST] * factor), epsilon)
    ratio = root(most / least)
    limit = (ratio - np.float32(1)) / (ratio + np.float32(1))
    reach = memory.flat[DISTANCE] * factor * least
    p = reach * reach / (np.float32(2) * variance)
    w3 = (-root(p * p + np.float32(4.0 / 27.0) * p * p * p) - p) / np.float32(2)
    third = np.float32(1.0 / 3.0)
    w = w3**third if w3 > 0 else -(abs(w3) ** third)
    edge = w - p / np.float32(3) / w + np.float32(1)
    mu = max(edge * edge, limit * limit)
    slack = np.float32(1) - root(mu)
    return mu, slack * slack / least


def _gradient_means(
    grad: np.ndarray, g_avg: np.ndarray, g2_avg: np.ndarray, new_g: np.ndarray, new_g2: np.ndarray, beta: Any, deb: Any
) -> Any:
    """(squared norm of the gradient, of its mean); the running means of the gradient and its square are written."""
    square, mean = np.float32(0), np.float32(0)
    for i in range(grad.size):
        g = grad.flat[i]
        a = blend(g_avg.flat[i], g, beta)
        new_g.flat[i] = a
        new_g2.flat[i] = blend(g2_avg.flat[i], g * g, beta)
        square += g * g
        mean += a * deb * (a * deb)
    return square, mean


def _window(curve: np.ndarray, new_curve: np.ndarray, at: int, valid: int, value: Any) -> Any:
    """(least, greatest) of the window after ``value`` is put in."""
    for i in range(curve.size):
        new_curve.flat[i] = curve.flat[i]
    new_curve.flat[at] = value
    least, most = new_curve.flat[0], new_curve.flat[0]
    for i in range(valid):
        least, most = min(least, new_curve.flat[i]), max(most, new_curve.flat[i])
    return least, most


def _yellowfin(
    param: np.ndarray,
    moment: np.ndarray,
    lr: np.ndarray,
    mu: np.ndarray,
    curve: np.ndarray,
    g_avg: np.ndarray,
    g2_avg: np.ndarray,
    memory: np.ndarray,
    grad: np.ndarray,
    counter: np.ndarray,
    new: np.ndarray,
    new_moment: np.ndarray,
    new_lr: np.ndarray,
    new_mu: np.ndarray,
    new_curve: np.ndarray,
    new_g: np.ndarray,
    new_g2: np.ndarray,
    new_memory: np.ndarray,
    beta: float,
    width: int,
    epsilon: float,
    nesterov: int,
    zero_debias: int,
) -> int:
    t, eps, deb = int(counter.flat[0]), np.float32(epsilon), np.float32(1)
    if t < 1:
        return 1
    if zero_debias:
        deb = np.float32(1.0 / (1.0 - np.float64(np.float32(beta)) ** t))
    for i in range(param.size):
        m = mu.flat[0] * moment.flat[i] + lr.flat[0] * grad.flat[i]
        new_moment.flat[i] = m
        new.flat[i] = param.flat[i] - momentum_step(moment.flat[i], m, mu.flat[0], nesterov)
    new_lr.flat[0] = lr.flat[0]
    new_mu.flat[0] = mu.flat[0]
    square, mean = _gradient_means(grad, g_avg, g2_avg, new_g, new_g2, beta, deb)
    square = max(square, eps)
    least, most = _window(curve, new_curve, (t - 1) % width, min(width, t), np.log(square))
    new_memory.flat[SQUARE] = blend(memory.flat[SQUARE], square, beta)
    new_memory.flat[NORM] = blend(memory.flat[NORM], root(square), beta)
    new_memory.flat[LEAST] = blend(memory.flat[LEAST], least, beta)
    new_memory.flat[MOST] = blend(memory.flat[MOST], most, beta)
    distance = new_memory.flat[NORM] / new_memory.flat[SQUARE]
    new_memory.flat[DISTANCE] = blend(memory.flat[DISTANCE], distance, beta)
    if t > 1:
        variance = max(new_memory.flat[SQUARE] * deb - mean, eps)
        tuned_mu, tuned_lr = _tuned(new_memory, deb, variance, eps)
        new_mu.flat[0] = blend(mu.flat[0], tuned_mu, beta)
        new_lr.flat[0] = blend(lr.flat[0], tuned_lr, beta)
    return 0


op(
    "YellowFin",
    _types,
    inputs="param moment lr mu curv_win g_avg g2_avg scalars_memory grad iter",
    outputs="param moment lr mu curv_win g_avg g2_avg scalars_memory",
    args=(
        Arg("beta", "float", 0.999, "what stays of the running means"),
        Arg("curv_win_width", "int", 20, "iterations over which the range of curvatures is taken"),
        Arg("epsilon", "float", 1e-6, "least of norms and variance"),
        Arg("nesterov", "int", 0),
        Arg("zero_debias", "int", 1, "running means are corrected for having begun with 0"),
    ),
    loop=_yellowfin,
    errors=("the number of the iteration is below 1",),
    inplace=tuple((i, i) for i in range(8)),
    doc="momentum SGD; rate and momentum follow from running means of the gradient and its norm",
)
