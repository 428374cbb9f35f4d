"""Operators that look at elements and end the run, or change what is out of bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import agree, product, require
from graphc.ir.ops.elementwise.activation import CLIP_ARGS
from graphc.ir.types import DType, TensorType

FLOAT = (DType.FLOAT,)


def _nan_infer(call: Call) -> list[TensorType]:
    """output has the type of tensor, which is float; further inputs may be anything."""
    return [require(call, 0, FLOAT)]


def _nan_loop(tensor: Any, others: Any, output: Any) -> int:
    for i in range(tensor.size):
        if not math.isfinite(tensor.flat[i]):
            return 1
        output.flat[i] = tensor.flat[i]
    return 0


op(
    "NanCheck",
    _nan_infer,
    inputs="tensor others*",
    outputs="output",
    loop=_nan_loop,
    errors=("tensor has an element that is infinite or not a number",),
    traits=Trait.EFFECT,
    inplace=((0, 0),),
    doc="tensor itself, if all of its elements are finite; else the run ends.",
)


def _finite_infer(call: Call) -> list[TensorType]:
    """There is no output."""
    require(call, 0, (DType.FLOAT, DType.DOUBLE))
    return []


def _finite_loop(x: Any) -> int:
    for i in range(x.size):
        if not math.isfinite(x.flat[i]):
            return 1
    return 0


op(
    "EnforceFinite",
    _finite_infer,
    inputs="input",
    loop=_finite_loop,
    errors=("input has an element that is infinite or not a number",),
    traits=Trait.EFFECT,
    doc="Ends the run unless all elements are finite.",
)


def _assert_infer(call: Call) -> list[TensorType]:
    """There is no output."""
    require(call, 0, (DType.INT64, DType.INT32, DType.BOOL))
    return []


def _assert_loop(x: Any, error_msg: Any) -> int:
    for i in range(x.size):
        if not x.flat[i]:
            return 1
    return 0


op(
    "Assert",
    _assert_infer,
    inputs="X",
    args=(Arg("error_msg", "string", b"", "what the author of the net has to say", choices=("",)),),
    loop=_assert_loop,
    errors=("the assertion failed: X has an element that is zero",),
    traits=Trait.EFFECT,
    doc="Ends the run unless all elements are true, or not zero.",
)


def _clipped_infer(call: Call) -> list[TensorType]:
    """output_param has the type of param; with indices, grad has a row for each and fits param's rows."""
    param = require(call, 0, FLOAT)
    if call.has(1):
        indices = require(call, 1, (DType.INT32, DType.INT64))
        grad = require(call, 2, FLOAT)
        if param.shape == ():
            call.fail("param has no dimensions, at least 1 is needed")
        if param.shape is not None and grad.shape is not None and indices.shape is not None:
            row = product(grad.shape[len(indices.shape) :])
            agree(call, row, product(param.shape[1:]), "number of elements of a row of grad")
    return [param]


def _clipped_loop(param: Any, indices: Any, grad: Any, output: Any, low: Any, high: Any, given: Any, rows: Any) -> int:
    for i in range(param.size):
        output.flat[i] = param.flat[i] if given else min(max(param.flat[i], low), high)
    if given:
        row = param.size // max(rows, 1)
        for k in range(indices.size):
            at = indices.flat[k]
            if at < 0 or at >= rows:
                return 1
            for i in range(at * row, at * row + row):
                output.flat[i] = min(max(param.flat[i], low), high)
    return 0


op(
    "EnsureClipped",
    _clipped_infer,
    inputs="param indices? grad?",
    outputs="output_param",
    args=CLIP_ARGS,
    loop=_clipped_loop,
    constants=lambda call: [
        float(call.arg("min")),
        float(call.arg("max")),
        int(call.has(1)),
        (call.type(0).static_shape or (1,))[0],
    ],
    errors=("indices has an element outside of the rows of param",),
    inplace=((0, 0),),
    doc="param clipped to [min, max]; with indices only the rows that they name.",
)


def _scaling_infer(call: Call) -> list[TensorType]:
    """clipped has the type of input_tensor; val and additional_threshold are one element."""
    x = require(call, 0, FLOAT)
    if call.arg("threshold") <= 0:
        call.fail(f"threshold is {call.arg('threshold')}", "give a threshold above 0")
    if x.shape is not None and product(x.shape) == 0:
        call.fail("input_tensor has no elements", "feed at least one element")
    for i in (1, 2):
        if call.has(i):
            agree(
                call, product(require(call, i, FLOAT).shape or (1,)), 1, f"number of elements of {call.input_name(i)}"
            )
    return [x]


def _scaling_loop(x: Any, val: Any, additional: Any, clipped: Any, threshold: Any) -> None:
    limit = np.float32(threshold)
    if additional.size:
        limit = limit * additional.flat[0]
    factor = limit / val.flat[0] if val.flat[0] > limit else np.float32(1)
    for i in range(x.size):
        clipped.flat[i] = x.flat[i] * factor


op(
    "ClipTensorByScaling",
    _scaling_infer,
    inputs="input_tensor val additional_threshold?",
    outputs="clipped",
    args=(Arg("threshold", "float", 0.0, "the largest norm that stays as it is"),),
    loop=_scaling_loop,
    inplace=((0, 0),),
    doc="input_tensor times threshold / val where its norm val is above the threshold; input 2 multiplies that.",
)


def _accumulate_infer(call: Call) -> list[TensorType]:
    """output has the type of input."""
    return [require(call, 0, FLOAT)]


op(
    "Accumulate",
    _accumulate_infer,
    inputs="input",
    outputs="output",
    args=(Arg("gamma", "float", 1.0, "factor of what earlier runs left in the output"),),
    scalar=lambda o, call, x: x + o.const(0.0),
    traits=Trait.POINTWISE,
    doc="input plus gamma times what is in the output; a run begins with nothing there.",
)
