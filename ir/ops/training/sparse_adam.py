"""Adam of the rows of a parameter that indices name: SparseAdam, RowWiseSparseAdam, SmartDecaySparseAdam.

Rules: ``caffe2/sgd/adam_op.h``; see ``sparse.py`` for indices.
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
    iteration,
    one_element,
    outside,
    root,
    row_counts,
    rows_of,
)
from graphc.ir.ops.training.optimizer import ADAM_ARGS, adam_constants, adam_correction
from graphc.ir.ops.training.sparse import mean_square, row_size
from graphc.ir.types import DType, TensorType


def _types(call: Call) -> list[TensorType]:
    """param, moment_1, moment_2: as the inputs; grad: as the gradient. One moment_2 a row in the row-wise form."""
    rows_of(call, 0, 3, 4)
    floats(call, 1, 2)
    one_element(call, 5)
    iteration(call, 6)
    equal_counts(call, 0, 1)
    if call.opdef.name == "RowWiseSparseAdam":
        row_counts(call, 0, 2)
    else:
        equal_counts(call, 0, 2)
    return [call.type(0), call.type(1), call.type(2), call.type(4)][: max(3, call.n_outputs)]


def _rectified(t: Any, beta1: Any, beta2: Any, correction: Any) -> Any:
    """Factor of the moment in RAdam: of moment over root where the variance is known well, negative: of moment alone.

    The bound of 5 and the roundings are Caffe2's.
    """
    b2 = np.float32(beta2)
    longest = np.float32(2) / (np.float32(1) - b2) - np.float32(1)
    past = np.float64(b2) ** t
    length = np.float64(longest) - 2.0 * t * past / (1.0 - past)
    if not length >= 5.0:
        return np.float32(-1.0 / (1.0 - np.float64(np.float32(beta1)) ** t))
    whole = root(longest / ((longest - np.float32(4)) * (longest - np.float32(2))))
    return np.float32(np.sqrt((length - 4.0) * (length - 2.0) / length)) * whole * correction


def _sparse_adam(
    param: np.ndarray,
    moment_1: np.ndarray,
    moment_2: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    counter: np.ndarray,
    new: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    adjusted: np.ndarray,
    beta1: float,
    beta2: float,
    epsilon: float,
    rectify: int,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    copy_all(param, new)
    copy_all(moment_1, first)
    copy_all(moment_2, second)
    t, n = counter.flat[0] + 1, row_size(param)
    factor = adam_correction(t, beta1, beta2)
    if rectify:
        factor = _rectified(t, beta1, beta2, factor)
    for k in range(indices.size):
        for j in range(n):
            i, g = int(indices.flat[k]) * n + j, grad.flat[k * n + j]
            m = blend(first.flat[i], g, beta1)
            v = blend(second.flat[i], g * g, beta2)
            first.flat[i] = m
            second.flat[i] = v
            direction = -factor * m
            if factor >= 0:
                direction = factor * m / (root(v) + np.float32(epsilon))
            new.flat[i] += lr.flat[0] * direction
            if adjusted.size:
                adjusted.flat[k * n + j] = direction
    return 0


op(
    "SparseAdam",
    _types,
    inputs="param moment_1 moment_2 indices grad lr iter",
    outputs="param moment_1 moment_2 grad?",
    args=(*ADAM_ARGS, Arg("enableRAdam", "int", 0, "the step is rectified while the mean square is not known well")),
    loop=_sparse_adam,
    constants=lambda call: [*adam_constants(call), call.arg("enableRAdam")],
    errors=(BAD_ROW,),
    enforced=((0, 0), (1, 1), (2, 2)),
    doc="Adam of the rows at indices",
)


def _row_adam(
    param: np.ndarray,
    moment_1: np.ndarray,
    moment_2: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    counter: np.ndarray,
    new: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    adjusted: np.ndarray,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    copy_all(param, new)
    copy_all(moment_1, first)
    copy_all(moment_2, second)
    n, correction = row_size(param), adam_correction(np.float64(counter.flat[0]) + 1.0, beta1, beta2)
    for k in range(indices.size if n > 0 else 0):
        row = int(indices.flat[k])
        square = mean_square(grad, k * n, new, row * n, n, np.float32(1), np.float32(0))
        v = blend(second.flat[row], square, beta2)
        second.flat[row] = v
        for j in range(n):
            i = row * n + j
            m = blend(first.flat[i], grad.flat[k * n + j], beta1)
            first.flat[i] = m
            direction = correction * m / (root(v) + np.float32(epsilon))
            new.flat[i] += lr.flat[0] * direction
            if adjusted.size:
                adjusted.flat[k * n + j] = direction
    return 0


op(
    "RowWiseSparseAdam",
    _types,
    inputs="param moment_1 moment_2 indices grad lr iter",
    outputs="param moment_1 moment_2 grad?",
    args=ADAM_ARGS,
    loop=_row_adam,
    errors=(BAD_ROW,),
    enforced=((0, 0), (1, 1), (2, 2)),
    doc="Adam of the rows at indices with one second moment for a row",
)


def _smart_types(call: Call) -> list[TensorType]:
    """param, moment_1, moment_2, last_seen: as the inputs."""
    rows_of(call, 0, 4, 5)
    floats(call, 1, 2)
    require(call, 3, (DType.INT64,))
    one_element(call, 6)
    iteration(call, 7)
    equal_counts(call, 0, 1, 2)
    row_counts(call, 0, 3)
    return [call.type(i) for i in range(4)]


def _smart_row(
    new: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    start: int,
    grad: np.ndarray,
    at: int,
    n: int,
    k: Any,
    rate: Any,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """Part of a loop: the update of a row that was last seen ``k`` iterations ago, and the steps that it missed."""
    b1, b2, one = np.float32(beta1), np.float32(beta2), np.float32(1)
    decayed_1, decayed_2, missed = b1**k, b2**k, np.float32(0)
    if k > one:
        missed = b1 * (one - b1 ** (k - one)) / (one - b1)
    for j in range(n):
        i, g = start + j, grad.flat[at + j]
        late = first.flat[i] * missed
        m = first.flat[i] * decayed_1 + g * (one - b1)
        v = second.flat[i] * decayed_2 + g * g * (one - b2)
        first.flat[i] = m
        second.flat[i] = v
        new.flat[i] += rate * (m + late) / (root(v) + np.float32(epsilon))


def _smart_adam(
    param: np.ndarray,
    moment_1: np.ndarray,
    moment_2: np.ndarray,
    last_seen: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    counter: np.ndarray,
    new: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    seen: np.ndarray,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    copy_all(param, new)
    copy_all(moment_1, first)
    copy_all(moment_2, second)
    copy_all(last_seen, seen)
    t, n = counter.flat[0] + 1, row_size(param)
    for k in range(indices.size):
        row = int(indices.flat[k])
        since = np.float32(t - seen.flat[row])
        seen.flat[row] = t
        _smart_row(new, first, second, row * n, grad, k * n, n, since, lr.flat[0], beta1, beta2, epsilon)
    return 0


op(
    "SmartDecaySparseAdam",
    _smart_types,
    inputs="param moment_1 moment_2 last_seen indices grad lr iter",
    outputs="param moment_1 moment_2 last_seen",
    args=ADAM_ARGS,
    loop=_smart_adam,
    errors=(BAD_ROW,),
    enforced=((0, 0), (1, 1), (2, 2), (3, 3)),
    doc="Adam of the rows at indices, whose moments decay for the iterations in which they were not seen",
)
