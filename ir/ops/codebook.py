"""Numbers that codes choose from a codebook, and the codebook's gradient. Rules from Caffe2's quant_decode_op.h."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Call, op
from graphc.ir.ops._rules import agree, product, require
from graphc.ir.ops._segments import FLOAT
from graphc.ir.types import DType, TensorType

CODES = (DType.UINT8, DType.UINT16, DType.INT32)

Array = np.ndarray


def decode(codebook: Array, codes: tuple[Array, ...], ys: tuple[Array, ...]) -> Any:
    """The numbers of all tensors of codes; 1 for a code without number."""
    if len(codes) == 0:
        return 0
    code, y = codes[0], ys[0]
    for i in range(code.size):
        if code.flat[i] < 0 or code.flat[i] >= codebook.size:
            return 1
        y.flat[i] = codebook.flat[np.int64(code.flat[i])]
    return decode(codebook, codes[1:], ys[1:])


def _decode(codebook: Array, codes: tuple[Array, ...], ys: tuple[Array, ...]) -> Any:
    return decode(codebook, codes, ys)


def _decode_infer(call: Call) -> list[TensorType]:
    """decoded: float, like the codes, which are uint8, uint16 or int32."""
    require(call, 0, FLOAT)
    if call.n_inputs < 2 or call.n_outputs != call.n_inputs - 1:
        call.fail(f"{call.n_inputs} inputs have {call.n_outputs} outputs, give a codebook and codes for every output")
    return [TensorType(DType.FLOAT, require(call, i, CODES).shape) for i in range(1, call.n_inputs)]


def add_gradient(code: Array, grads: tuple[Array, ...], skipped: Any, y: Array) -> Any:
    """Add to ``y`` the gradients of one tensor of codes, which come after ``skipped`` others."""
    if len(grads) == 0:
        return 0
    if skipped > 0:
        return add_gradient(code, grads[1:], skipped - 1, y)
    grad = grads[0]
    for i in range(code.size):
        if code.flat[i] < 0 or code.flat[i] >= y.size:
            return 1
        y.flat[np.int64(code.flat[i])] += grad.flat[i]
    return 0


def add_gradients(rest: tuple[Array, ...], place: Any, count: Any, everything: tuple[Array, ...], y: Array) -> Any:
    """Add to ``y`` the gradients of all ``count`` tensors of codes from ``place`` on."""
    if len(rest) == 0:
        return 0
    if place >= count:
        return 0
    if add_gradient(rest[0], everything, count + place, y):
        return 1
    return add_gradients(rest[1:], place + 1, count, everything, y)


def _gradient(codebook: Array, codes: tuple[Array, ...], y: Array) -> Any:
    return add_gradients(codes, 0, len(codes) // 2, codes, y)


def _gradient_infer(call: Call) -> list[TensorType]:
    """codebook_grad: float, like the codebook; after it all codes, then as many gradients."""
    codebook, count = require(call, 0, FLOAT), (call.n_inputs - 1) // 2
    if call.n_inputs < 3 or call.n_inputs % 2 == 0:
        call.fail(f"there are {call.n_inputs} inputs", "give a codebook, then codes, then as many gradients")
    for i in range(1, count + 1):
        codes, grads = require(call, i, CODES).shape, require(call, i + count, FLOAT).shape
        if codes is not None and grads is not None:
            agree(call, product(grads), product(codes), f"number of gradients of codes {i}")
    return [codebook]


_ERRORS = ("codes: a code is negative, or not below the number of elements of the codebook",)
op(
    "QuantDecode",
    _decode_infer,
    inputs="codebook codes*",
    outputs="decoded*",
    loop=_decode,
    errors=_ERRORS,
    doc="The numbers that codes stand for.",
)
op(
    "QuantDecodeGradient",
    _gradient_infer,
    inputs="codebook codes_and_grads*",
    outputs="codebook_grad",
    loop=_gradient,
    errors=_ERRORS,
    doc="Gradient of QuantDecode with respect to the codebook.",
)
