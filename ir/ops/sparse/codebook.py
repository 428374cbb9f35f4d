"""Numbers that codes choose from a codebook, and the codebook's gradient. Rules from Caffe2's quant_decode_op.h."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Call, op
from graphc.ir.ops._half import flat_bits
from graphc.ir.ops._rules import agree, product, require
from graphc.ir.ops._segments import FLOAT
from graphc.ir.types import DType, TensorType

CODES = (DType.UINT8, DType.UINT16, DType.INT32)

Array = np.ndarray


def code_at(codes: Array, i: Any, count: Any) -> Any:
    """Code ``i`` of ``count`` in a vector of bytes; a negative one is large."""
    size = codes.shape[0] // count
    return flat_bits(codes, i * size, size)


def _decode(codebook: Array, codes: tuple[Array, ...], ys: tuple[Array, ...]) -> Any:
    for k in range(len(codes)):
        y = ys[k].view(np.float32)
        for i in range(y.shape[0]):
            code = code_at(codes[k], i, y.shape[0])
            if code >= codebook.size:
                return 1
            y[i] = codebook.flat[code]
    return 0


def _decode_infer(call: Call) -> list[TensorType]:
    """decoded: float, like the codes, which are uint8, uint16 or int32."""
    require(call, 0, FLOAT)
    if call.n_inputs < 2 or call.n_outputs != call.n_inputs - 1:
        call.fail(f"{call.n_inputs} inputs have {call.n_outputs} outputs, give a codebook and codes for every output")
    return [TensorType(DType.FLOAT, require(call, i, CODES).shape) for i in range(1, call.n_inputs)]


def _gradient(codebook: Array, rest: tuple[Array, ...], y: Array) -> Any:
    half = len(rest) // 2
    for k in range(half):
        grads = rest[k + half].view(np.float32)
        for i in range(grads.shape[0]):
            code = code_at(rest[k], i, grads.shape[0])
            if code >= y.size:
                return 1
            y.flat[code] += grads[i]
    return 0


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
    inputs="codebook codes*#",
    outputs="decoded*#",
    loop=_decode,
    errors=_ERRORS,
    doc="The numbers that codes stand for.",
)
op(
    "QuantDecodeGradient",
    _gradient_infer,
    inputs="codebook codes_and_grads*#",
    outputs="codebook_grad",
    loop=_gradient,
    errors=_ERRORS,
    doc="Gradient of QuantDecode with respect to the codebook.",
)
