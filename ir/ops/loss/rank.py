"""Losses of pairs and of ranked lists, the divergence of two Bernoulli distributions, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, product, require, require_rank, vector
from graphc.ir.ops.loss.loss import FLOAT, LOG_THRESHOLD
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

INT = (DType.INT32,)
LENGTH_ERROR = ("the lengths are negative or do not add up to the number of elements",)


def sum_of_lengths(lengths: np.ndarray) -> int:
    """The sum of the lengths, -1 if one is negative."""
    total = 0
    for i in range(lengths.size):
        if lengths.flat[i] < 0:
            return -1
        total += lengths.flat[i]
    return total


def _elements(call: Call, i: int, count: Dim, dtypes: Sequence[DType] = FLOAT) -> Dim:
    shape = require(call, i, dtypes).shape
    return count if shape is None else agree(call, product(shape), count, f"elements of {call.input_name(i)}")


def _scores(call: Call) -> Dim:
    """Number of scores: X has as many rows as elements; the label is a vector or a column of as many."""
    n: Dim = UNKNOWN
    for i in (0, 1):
        require(call, i, FLOAT)
        shape = call.type(0).shape if i == 0 else require_rank(call, i, 1, 2)
        if shape is not None and shape:
            n = agree(call, shape[0], n, f"rows of {call.input_name(i)}")
            agree(call, product(shape[1:]), 1, f"columns of {call.input_name(i)}")
    return n


def _sessions(call: Call, i: int) -> Dim:
    if not call.has(i):
        return 1
    require(call, i, INT)
    return vector(call, i, UNKNOWN, "number of lengths")


def _pair_type(call: Call) -> list[TensorType]:
    """Y: float, one element a session; none where X has none."""
    n, sessions = _scores(call), _sessions(call, 2)
    if n == 0:
        return [TensorType(DType.FLOAT, (0,))]
    return [TensorType(DType.FLOAT, (sessions if isinstance(n, int) else UNKNOWN,))]


def _log_logit(x: float) -> float:
    """log(1 + exp(x))."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


EQUAL = 1.1920929e-07
"""Labels nearer to each other than the epsilon of float are equal."""


def _pair_loop(x: np.ndarray, label: np.ndarray, lengths: np.ndarray, y: np.ndarray, given: int) -> int:
    if y.size == 0:
        return 0
    if given and sum_of_lengths(lengths) != x.size:
        return 1
    first = 0
    for k in range(y.size):
        end = first + int(lengths.flat[k]) if given else x.size
        total, pairs = 0.0, 0
        for i in range(first, end):
            for j in range(first, i):
                away = label.flat[i] - label.flat[j]
                if abs(away) >= EQUAL:
                    pairs += 1
                    apart = float(x.flat[j]) - float(x.flat[i])
                    total += _log_logit(apart if away > 0 else -apart)
        y.flat[k] = np.float32(total / max(pairs, 1))
        first = end
    return 0


op(
    "PairWiseLoss",
    _pair_type,
    inputs="X label lengths?",
    outputs="Y",
    loop=_pair_loop,
    constants=lambda call: [int(call.has(2))],
    errors=LENGTH_ERROR,
    doc="mean of log(1 + exp(x_j - x_i)) over the pairs of a session whose label_i is above label_j",
)


def _pair_gradient_type(call: Call) -> list[TensorType]:
    """dX has the type of X; dY has an element a session."""
    n, sessions = _scores(call), _sessions(call, 3)
    require(call, 2, FLOAT)
    if isinstance(n, int) and n > 0:
        vector(call, 2, sessions, "length of dY")
    return [call.type(0)]


def _pair_gradient_loop(
    x: np.ndarray, label: np.ndarray, dy: np.ndarray, lengths: np.ndarray, dx: np.ndarray, given: int
) -> int:
    if x.size == 0:
        return 0
    if given and sum_of_lengths(lengths) != x.size:
        return 1
    first = 0
    for k in range(dy.size):
        end = first + int(lengths.flat[k]) if given else x.size
        pairs = 0
        for i in range(first, end):
            for j in range(first, i):
                away = label.flat[i] - label.flat[j]
                if abs(away) >= EQUAL:
                    pairs += 1
                    sign = 1.0 if away > 0 else -1.0
                    slope = sign * dy.flat[k] / (1.0 + math.exp(min(-sign * (x.flat[j] - x.flat[i]), 700.0)))
                    dx.flat[i] -= np.float32(slope)
                    dx.flat[j] += np.float32(slope)
        for i in range(first, end):
            dx.flat[i] = np.float32(dx.flat[i] / max(pairs, 1))
        first = end
    return 0


op(
    "PairWiseLossGradient",
    _pair_gradient_type,
    inputs="X label dY lengths?",
    outputs="dX",
    loop=_pair_gradient_loop,
    constants=lambda call: [int(call.has(3))],
    errors=LENGTH_ERROR,
    doc="gradient of PairWiseLoss",
)


def _same(call: Call, floats: Sequence[int], i: int) -> TensorType:
    """Type of input 0; the others have as many elements, input ``i`` ints."""
    x = require(call, floats[0], FLOAT)
    for k in floats[1:]:
        _elements(call, k, product(x.shape) if x.shape is not None else UNKNOWN)
    _elements(call, i, product(x.shape) if x.shape is not None else UNKNOWN, INT)
    return x


def _margin_type(call: Call) -> list[TensorType]:
    """loss has the type of X1; X2 and Y have as many elements."""
    return [_same(call, (0, 1), 2)]


def _margin_loop(a: np.ndarray, b: np.ndarray, y: np.ndarray, loss: np.ndarray, margin: float) -> None:
    for i in range(a.size):
        v = np.float32(-y.flat[i]) * (a.flat[i] - b.flat[i]) + np.float32(margin)
        loss.flat[i] = max(v, np.float32(0))


_MARGIN = Arg("margin", "float", 1.0, "scores further apart cost nothing")

op(
    "MarginRankingCriterion",
    _margin_type,
    inputs="X1 X2 Y",
    outputs="loss",
    args=(_MARGIN,),
    loop=_margin_loop,
    doc="max(0, margin - Y * (X1 - X2)); Y is 1 or -1",
)


def _margin_gradient_types(call: Call) -> list[TensorType]:
    """dX1 and dX2 have the types of X1 and X2."""
    return [_same(call, (0, 1, 3), 2), call.type(1)]


def _margin_gradient_loop(
    a: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    d_loss: np.ndarray,
    da: np.ndarray,
    db: np.ndarray,
    margin: float,
) -> None:
    for i in range(a.size):
        v = np.float32(-y.flat[i]) * (a.flat[i] - b.flat[i]) + np.float32(margin)
        if v >= 0:
            da.flat[i] = np.float32(-y.flat[i]) * d_loss.flat[i]
            db.flat[i] = np.float32(y.flat[i]) * d_loss.flat[i]


op(
    "MarginRankingCriterionGradient",
    _margin_gradient_types,
    inputs="X1 X2 Y d_loss",
    outputs="dX1 dX2",
    args=(_MARGIN,),
    loop=_margin_gradient_loop,
    doc="gradients of MarginRankingCriterion",
)


def _cosine_type(call: Call) -> list[TensorType]:
    """The output has the type of S; Y has as many elements."""
    return [_same(call, (0, *range(2, call.n_inputs)), 1)]


def _cosine_loop(s: np.ndarray, y: np.ndarray, loss: np.ndarray, margin: float) -> None:
    for i in range(s.size):
        if y.flat[i] == 1:
            loss.flat[i] = np.float32(1) - s.flat[i]
        else:
            loss.flat[i] = max(s.flat[i] - np.float32(margin), np.float32(0))


_COSINE_MARGIN = Arg("margin", "float", 0.0, "smaller similarities of different things cost nothing")

op(
    "CosineEmbeddingCriterion",
    _cosine_type,
    inputs="S Y",
    outputs="loss",
    args=(_COSINE_MARGIN,),
    loop=_cosine_loop,
    doc="1 - S where Y is 1, max(0, S - margin) elsewhere",
)


def _cosine_gradient_loop(s: np.ndarray, y: np.ndarray, d_loss: np.ndarray, ds: np.ndarray, margin: float) -> None:
    for i in range(s.size):
        if y.flat[i] == 1:
            ds.flat[i] = -d_loss.flat[i]
        elif s.flat[i] >= np.float32(margin):
            ds.flat[i] = d_loss.flat[i]


op(
    "CosineEmbeddingCriterionGradient",
    _cosine_type,
    inputs="S Y d_loss",
    outputs="dS",
    args=(_COSINE_MARGIN,),
    loop=_cosine_gradient_loop,
    doc="gradient of CosineEmbeddingCriterion",
)


def _lambda_types(call: Call) -> list[TensorType]:
    """loss: one element a session; dy: one a score."""
    require(call, 0, FLOAT)
    n = vector(call, 0, UNKNOWN, "number of scores")
    n = _elements(call, 1, n)
    sessions = _elements(call, 2, UNKNOWN, INT)
    return [TensorType(DType.FLOAT, (sessions,)), TensorType(DType.FLOAT, (n,))]


def _rank(values: np.ndarray, first: int, n: int, i: int) -> int:
    """How many of n values from ``first`` on come before value i: greater ones, and equal ones further in front."""
    rank, mine = 0, values.flat[first + i]
    for j in range(n):
        other = values.flat[first + j]
        rank += 1 if other > mine or (other == mine and j < i) else 0
    return rank


def _lambda_session(
    y: np.ndarray,
    r: np.ndarray,
    dy: np.ndarray,
    gain: np.ndarray,
    discount: np.ndarray,
    first: int,
    n: int,
    as_loss: int,
    normalize: int,
    exp_gain: int,
) -> float:
    """The loss of n scores from ``first`` on; dy receives its gradient."""
    total = 0.0
    for i in range(n):
        total += abs(r.flat[first + i])
    if total < 1e-6:
        return 0.0
    ideal, found = 0.0, 0.0
    for i in range(n):
        gain[i] = r.flat[first + i] if as_loss and not exp_gain else np.exp(r.flat[first + i] * math.log(2.0))
        discount[i] = math.log(2.0) / math.log(2.0 + _rank(y, first, n, i))
        ideal += gain[i] * math.log(2.0) / math.log(2.0 + _rank(r, first, n, i))
        found += gain[i] * discount[i]
    loss = 0.0
    for i in range(n):
        slope = 0.0
        for j in range(n):
            weight = abs((discount[i] - discount[j]) * (gain[i] - gain[j]))
            sign = 1.0 if r.flat[first + i] > r.flat[first + j] else -1.0
            apart = sign * (float(y.flat[first + i]) - float(y.flat[first + j]))
            slope -= weight * sign / (1.0 + math.exp(min(apart, 700.0)))
            if apart <= 100.0:
                loss += weight * (_log_logit(-apart) if apart >= -100.0 else -apart)
        dy.flat[first + i] = np.float32(slope)
    loss = ideal - found if as_loss else loss
    if not normalize:
        return loss
    for i in range(n):
        dy.flat[first + i] = np.float32(dy.flat[first + i] / max(ideal, 1e-5))
    return loss / max(ideal, 1e-5)


def _lambda_loop(
    y: np.ndarray,
    r: np.ndarray,
    lengths: np.ndarray,
    loss: np.ndarray,
    dy: np.ndarray,
    gain: np.ndarray,
    discount: np.ndarray,
    as_loss: int,
    normalize: int,
    exp_gain: int,
) -> int:
    if sum_of_lengths(lengths) != y.size:
        return 1
    first = 0
    for k in range(lengths.size):
        n = int(lengths.flat[k])
        loss.flat[k] = np.float32(_lambda_session(y, r, dy, gain, discount, first, n, as_loss, normalize, exp_gain))
        first += n
    return 0


_LAMBDA_ARGS = (
    Arg("use_ndcg_as_loss", "int", 0, "the loss is the gain that is missing, not the sum over pairs"),
    Arg("use_idcg_normalization", "int", 1, "divide by the gain of the ideal order"),
    Arg("use_exp_gain", "int", 1, "the gain is 2**relevance, also where the missing gain is the loss"),
)


def _lambda_constants(call: Call) -> Sequence[Any]:
    return [int(bool(call.arg(a.name))) for a in _LAMBDA_ARGS]


def _lambda_scratch(call: Call) -> Sequence[TensorType]:
    """Gain and discount of the scores of a session."""
    return [TensorType(DType.DOUBLE, call.type(0).shape)] * 2


op(
    "LambdaRankNdcg",
    _lambda_types,
    inputs="y r session_lengths",
    outputs="loss dy",
    args=_LAMBDA_ARGS,
    loop=_lambda_loop,
    scratch=_lambda_scratch,
    constants=_lambda_constants,
    errors=LENGTH_ERROR,
    doc="LambdaRank's loss of scores y with relevances r, and its gradient for the backward operator",
)


def _lambda_gradient_type(call: Call) -> list[TensorType]:
    """The gradient has the type of y."""
    require(call, 0, FLOAT)
    n = vector(call, 0, UNKNOWN, "number of scores")
    sessions = _elements(call, 1, UNKNOWN, INT)
    n = _elements(call, 2, n)
    _elements(call, 3, sessions)
    return [TensorType(DType.FLOAT, (n,))]


def _lambda_gradient_loop(
    y: np.ndarray, lengths: np.ndarray, cache: np.ndarray, d_loss: np.ndarray, dy: np.ndarray
) -> int:
    if sum_of_lengths(lengths) != y.size:
        return 1
    first = 0
    for k in range(lengths.size):
        for i in range(first, first + int(lengths.flat[k])):
            dy.flat[i] = d_loss.flat[k] * cache.flat[i]
        first += int(lengths.flat[k])
    return 0


op(
    "LambdaRankNdcgGradient",
    _lambda_gradient_type,
    inputs="y session_lengths dy_cache d_loss",
    outputs="dy",
    args=_LAMBDA_ARGS,
    loop=_lambda_gradient_loop,
    constants=lambda call: [],
    errors=LENGTH_ERROR,
    doc="gradient of LambdaRankNdcg",
)


def _jsd_type(call: Call) -> list[TensorType]:
    """A vector of as many elements as X; T has as many."""
    n: Dim = UNKNOWN
    for i in range(call.n_inputs):
        n = _elements(call, i, n)
    return [TensorType(DType.FLOAT, (n,))]


def _entropy(p: float) -> float:
    if p < LOG_THRESHOLD or 1.0 - p < LOG_THRESHOLD:
        return 0.0
    return -p * math.log(p) - (1.0 - p) * math.log(1.0 - p)


def _jsd_loop(x: np.ndarray, t: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        p, q = float(x.flat[i]), float(t.flat[i])
        y.flat[i] = np.float32(_entropy((p + q) / 2.0) - (_entropy(p) + _entropy(q)) / 2.0)


op(
    "BernoulliJSD",
    _jsd_type,
    inputs="X T",
    outputs="L",
    loop=_jsd_loop,
    doc="Jensen-Shannon divergence of two Bernoulli distributions, each given by a probability",
)


def _logit(p: float) -> float:
    """log(p / (1 - p)); infinite beyond the probabilities next to 1, as in Caffe2, whose 1 - 1e-20 is 1."""
    return -math.log(1.0 / max(p, LOG_THRESHOLD) - 1.0) if p < 1.0 else math.inf


def _jsd_gradient_loop(g: np.ndarray, x: np.ndarray, t: np.ndarray, dx: np.ndarray) -> None:
    for i in range(x.size):
        p, q = float(x.flat[i]), float(t.flat[i])
        dx.flat[i] = np.float32(g.flat[i] * (_logit(p) - _logit((p + q) / 2.0)) / 2.0)


op(
    "BernoulliJSDGradient",
    _jsd_type,
    inputs="g X T",
    outputs="dX",
    loop=_jsd_gradient_loop,
    doc="gradient of BernoulliJSD",
)
