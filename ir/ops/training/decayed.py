"""Momentum with weight decay in one update: FP16MomentumSGDUpdate, FP32MomentumSGDUpdate.

Rules: the CUDA kernels of ``caffe2/sgd/fp16_momentum_sgd_op`` and ``fp32_momentum_sgd_op``; Caffe2 has no others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._half import float_of, float_to_half, half_to_float
from graphc.ir.ops._rules import require
from graphc.ir.ops._updates import equal_counts, one_element
from graphc.ir.types import DType, TensorType

_ARGS = (
    Arg("momentum", "float", 0.0, "what stays of the last step"),
    Arg("weight_decay", "float", 0.0, "how much of the parameter is added to its gradient"),
    Arg("nesterov", "int", 0, "the gradient is taken ahead of the parameter"),
)


def _types(call: Call) -> list[TensorType]:
    """grad, momentum, param: as the inputs, float in the one operator, float16 in the other; lr: one float."""
    dtype = DType.FLOAT16 if call.opdef.name.startswith("FP16") else DType.FLOAT
    for i in (0, 1, 3):
        require(call, i, (dtype,))
    one_element(call, 2)
    equal_counts(call, 0, 1, 3)
    return [call.type(0), call.type(1), call.type(3)]


def _nearest(value: Any, halves: int) -> Any:
    """The float32 or half number nearest to a float64 number, as float64.

    A half number by way of the float32 number that is cut off and, unless it is exact, odd: rounding that once more is
    rounding once.
    """
    single = np.float32(value)
    if halves == 0:
        return np.float64(single)
    if np.float64(single) != value:
        bits = np.int32(single.view(np.int32))
        if abs(np.float64(single)) > abs(value):
            bits = np.int32(bits - 1)
        single = np.int32(bits | 1).view(np.float32)
    return np.float64(half_to_float(float_to_half(single)))


def _put(y: np.ndarray, i: int, value: Any) -> None:
    y.flat[i] = float_to_half(value) if y.itemsize == 2 else np.float32(value)


def _update(
    grad: np.ndarray,
    velocity: np.ndarray,
    lr: np.ndarray,
    param: np.ndarray,
    adjusted: np.ndarray,
    moved: np.ndarray,
    new: np.ndarray,
    momentum: float,
    weight_decay: float,
    nesterov: int,
    halves: int,
) -> None:
    """halves: every step of the calculation is rounded to a half number, else to float32; products are not."""
    mu = _nearest(np.float64(np.float32(momentum)), halves)
    decay = _nearest(np.float64(np.float32(weight_decay)), halves)
    rate = _nearest(np.float64(lr.flat[0]), halves)
    for i in range(param.size):
        p, v = np.float64(float_of(param, i)), np.float64(float_of(velocity, i))
        g = _nearest(decay * p + np.float64(float_of(grad, i)), halves)
        kept = _nearest(mu * v, halves)
        step = _nearest(rate * g + kept, halves)
        _put(moved, i, step)
        if nesterov:
            step = _nearest(_nearest(step * mu + step, halves) - kept, halves)
        _put(adjusted, i, step)
        _put(new, i, _nearest(p - step, halves))


def _constants(call: Call) -> list[Any]:
    halves = call.opdef.has_arg("fp32_update") and not call.arg("fp32_update")
    return [*(call.arg(a.name) for a in _ARGS), int(halves)]


for _name, _args, _what in (
    ("FP16MomentumSGDUpdate", (*_ARGS, Arg("fp32_update", "int", 0, "calculate in float32")), "half numbers"),
    ("FP32MomentumSGDUpdate", _ARGS, "float32 numbers"),
):
    op(
        _name,
        _types,
        inputs="grad momentum lr param",
        outputs="adjusted_grad momentum param",
        args=_args,
        loop=_update,
        constants=_constants,
        inplace=((0, 0), (1, 1), (3, 2)),
        doc=f"weight decay, momentum, and param minus the result, of {_what}",
    )
