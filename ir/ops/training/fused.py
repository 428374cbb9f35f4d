"""Adagrad fused with the gradient of SparseLengthsSum, Mean and WeightedSum: a gradient row stands for a segment.

Rules: ``caffe2/sgd/adagrad_fused.h`` and ``rowwise_adagrad_fused.h``. The Approx forms of Sum and Mean differ from
the others in memory traffic alone; that of WeightedSum takes the gradient of a weight from rows already updated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, product, require, require_rank, vector
from graphc.ir.ops._updates import (
    BAD_ROW,
    INTS,
    copy_all,
    count,
    equal_counts,
    floats,
    one_element,
    outside,
    row_counts,
)
from graphc.ir.ops.training.sparse import (
    ADAGRAD_ARGS,
    adagrad_constants,
    adagrad_row,
    no_decay,
    row_adagrad_row,
    row_size,
)
from graphc.ir.types import DType, TensorType

ERRORS = (
    BAD_ROW,
    "LENGTHS has a negative length, or the lengths do not add up to the number of INDICES",
    "a segment is longer than AUX_PARAM, which has the weights of the positions",
)


def _state(call: Call, indices: int) -> None:
    """Parameter, moment, rows of the gradient, rate and lengths fit together; ``indices``: which input these are."""
    by_row = call.opdef.name.startswith("RowWise")
    floats(call, 0, 1, indices + 1)
    require(call, indices, INTS)
    require_rank(call, indices, 1)
    one_element(call, indices + 2)
    require(call, indices + 3, (DType.INT32,))
    param, grad = call.type(0).shape, call.type(indices + 1).shape
    if param is not None and not param:
        call.fail("the parameter is a scalar, it needs rows")
    if by_row:
        row_counts(call, 0, 1)
    else:
        equal_counts(call, 0, 1)
    if grad is None:
        return
    if not grad:
        call.fail("the gradient is a scalar, it needs a row for every segment")
    vector(call, indices + 3, grad[0], "number of lengths, one for every row of the gradient")
    if param is not None:
        agree(call, product(grad[1:]), product(param[1:]), "size of a row of the gradient")
    no_decay(call)


def _types(call: Call) -> list[TensorType]:
    """param, moment: as the inputs."""
    _state(call, 2)
    return [call.type(0), call.type(1)]


def _bad_lengths(lengths: np.ndarray, n: int) -> int:
    total = 0
    for s in range(lengths.size):
        if lengths.flat[s] < 0:
            return 1
        total += int(lengths.flat[s])
    return 0 if total == n else 1


def _fused(
    param: np.ndarray,
    moment: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    lengths: np.ndarray,
    new: np.ndarray,
    moved: np.ndarray,
    epsilon: float,
    weight_decay: float,
    mean: int,
    by_row: int,
) -> int:
    if outside(indices, param.shape[0]):
        return 1
    if _bad_lengths(lengths, indices.size):
        return 2
    copy_all(param, new)
    copy_all(moment, moved)
    n, rate, eps, decay = row_size(param), lr.flat[0], np.float32(epsilon), np.float32(weight_decay)
    k = 0
    for s in range(lengths.size if n > 0 else 0):
        length = int(lengths.flat[s])
        scale = np.float32(1)
        if mean and length > 0:
            scale = np.float32(1) / np.float32(length)
        for _position in range(length):
            row = int(indices.flat[k])
            if by_row:
                row_adagrad_row(new, moved, row, grad, s * n, n, rate, eps, decay, scale)
            else:
                adagrad_row(new, moved, row, grad, s * n, n, rate, eps, decay, scale)
            k += 1
    return 0


def _weighted_types(call: Call) -> list[TensorType]:
    """param, moment: as the inputs; aux_grad: the gradient of the weight of each index."""
    _state(call, 3)
    floats(call, 2)
    return [call.type(0), call.type(1), TensorType(DType.FLOAT, (count(call, 3),))]


def _dot_row(grad: np.ndarray, at: int, param: np.ndarray, start: int, n: int) -> Any:
    total = np.float32(0)
    for j in range(n):
        total += grad.flat[at + j] * param.flat[start + j]
    return total


def _weighted(
    param: np.ndarray,
    moment: np.ndarray,
    weights: np.ndarray,
    indices: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    lengths: np.ndarray,
    new: np.ndarray,
    moved: np.ndarray,
    aux: np.ndarray,
    epsilon: float,
    weight_decay: float,
    by_row: int,
    fresh: int,
) -> int:
    """fresh: the gradient of a weight is that at the parameter as it has become."""
    if outside(indices, param.shape[0]):
        return 1
    if _bad_lengths(lengths, indices.size):
        return 2
    copy_all(param, new)
    copy_all(moment, moved)
    n, rate, eps, decay = row_size(param), lr.flat[0], np.float32(epsilon), np.float32(weight_decay)
    k = 0
    for s in range(lengths.size):
        if lengths.flat[s] > weights.size:
            return 3
        for position in range(int(lengths.flat[s]) if n > 0 else 0):
            row = int(indices.flat[k])
            if fresh:
                aux.flat[k] = _dot_row(grad, s * n, new, row * n, n)
            else:
                aux.flat[k] = _dot_row(grad, s * n, param, row * n, n)
            if by_row:
                row_adagrad_row(new, moved, row, grad, s * n, n, rate, eps, decay, weights.flat[position])
            else:
                adagrad_row(new, moved, row, grad, s * n, n, rate, eps, decay, weights.flat[position])
            k += 1
    return 0


_ROUND = Arg("round_option", "int", 0, "how half-precision parameters are rounded; these are float32")


def _constants(*flags: int) -> Callable[[Call], list[Any]]:
    return lambda call: [*adagrad_constants(call), *flags]


for _form, _by_row in (("SparseAdagrad", 0), ("RowWiseSparseAdagrad", 1)):
    for _approx in (0, 1):
        for _kind in ("Sum", "Mean", "WeightedSum"):
            _is_weighted = _kind == "WeightedSum"
            op(
                f"{_form}FusedWithSparseLengths{_kind}Gradient{'Approx' * _approx}",
                _weighted_types if _is_weighted else _types,
                inputs="param moment aux_param indices grad lr lengths"
                if _is_weighted
                else "param moment indices grad lr lengths",
                outputs="param moment aux_grad" if _is_weighted else "param moment",
                args=(*ADAGRAD_ARGS, _ROUND),
                loop=_weighted if _is_weighted else _fused,
                constants=_constants(_by_row, _approx) if _is_weighted else _constants(int(_kind == "Mean"), _by_row),
                errors=ERRORS,
                enforced=((0, 0), (1, 1)),
                doc=f"the gradient of SparseLengths{_kind}, and {_form} by it",
            )
