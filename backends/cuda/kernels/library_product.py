"""FC, MatMul and BatchMatMul that cublasLt does, where a user asks for cuDNN (``ir/engine.py``), with bias and Relu."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.library_ending import (
    FIRST,
    NOTHING,
    RELU,
    bare_bytes,
    bare_result,
    emit,
    ending_refused,
    finish,
    is_asked,
)
from graphc.backends.cuda.kernels.typed import TF32, code_of, multiplied, stored
from graphc.backends.cuda.rules import Rule, Template
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.products import OPERATORS, product_of
from graphc.backends.weights import elements
from graphc.ir.library_call import ALIGNMENT, PRODUCT, LibraryCall, Operand, library_spec
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, Needs, Step, View

ROOM = 32 << 20
"""Bytes of workspace: what NVIDIA advises for cards of sm_90."""
KNOWN = (NOTHING, RELU)


def refused(call: Call) -> str:
    """Why cublasLt does not do a product; nothing where it does.

    A result in float32 of operands in halves is what it does, too. It reads a bias in the result's type: one of another
    type has to be a weight, which is stored in it.
    """
    reason = ending_refused(call, KNOWN)
    if reason:
        return reason
    values = [v for v in (*call.node.operands, *call.node.results) if v is not None]
    if any(v.type.layout.block > 1 for v in values):
        return "a value lies in blocks of channels"
    if not all(v.type.size for v in values):
        return "a value has no elements"
    a, b, y = (code_of(t) for t in (call.type(0), call.type(1), call.node.results[0].type))
    if a != b or y not in (a, "f4"):
        return "its operands are of different element types, or the result is of another one"
    if _has_bias(call) and code_of(call.type(2)) != y and elements(call, 2) is None:
        return "its bias is computed, in another element type than the result"
    return "" if product_of(call).regular else "its matrices lie at no constant distances"


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_asked(call) or refused(call):
        return None
    relu = Epilogue.of_call(call).text == RELU
    spec = library_spec(PRODUCT, ",".join(_kinds(call)), bias=_has_bias(call), relu=relu)
    choice = Choice("library_product", spec, {}, FIRST)
    if multiplied(call) == TF32 and (weights := elements(call, 1)) is not None:
        choice.packed[1] = stored(weights, TF32)
    if _has_bias(call) and (bias := elements(call, 2)) is not None:
        choice.packed[2] = stored(bias, _kinds(call)[-1])
    return choice


def _kinds(call: Call) -> list[str]:
    """Codes of both operands, of the bias if there is one, and of the result; both of a pair are one."""
    y = code_of(call.node.results[0].type)
    return [*[multiplied(call)] * 2, *([y] if _has_bias(call) else []), y]


def _has_bias(call: Call) -> bool:
    return call.node.op.startswith("FC") and call.has(2)


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    workspace = bare_bytes(call, KNOWN) + ROOM + ALIGNMENT
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=workspace)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    (x, w), y, g = ins[:2], outs[0], product_of(call)
    assert choice.spec is not None
    assert g.regular is not None
    assert x is not None
    assert w is not None
    (kind, *_, last), count = str(choice.spec["kinds"]).split(","), len(g.batches)
    (x_batch, w_batch), bare = g.regular, bare_bytes(call, KNOWN)
    behind = []
    if bare:
        y = bare_result(outs[0], workspace)
        behind = finish(call, y, ins, outs[0])
    bias = [Operand(last, (g.columns,), (1,), v.address) for v in ins[2:3] if v is not None and _has_bias(call)]
    made = LibraryCall(
        PRODUCT,
        Operand(kind, (count, g.rows, g.inner), (x_batch, g.a_row, g.a_step), x.address),
        Operand(kind, (count, g.inner, g.columns), (w_batch, g.b_row, g.b_column), w.address),
        bias[0] if bias else None,
        Operand(last, (count, g.rows, g.columns), (g.rows * g.columns, g.columns, 1), y.address),
        bool(choice.spec.int("relu")),
        (),
        workspace.plus(bare),
        ROOM + ALIGNMENT,
    )
    flops = 2 * count * g.rows * g.inner * g.columns
    traffic = x.type.nbytes + w.type.nbytes + y.type.nbytes
    return [(made.task(call.node.results[0].name, flops, traffic),), *behind]


RULES = (Rule("library_product", OPERATORS, _choose, _needs, _bind, half=True),)
TEMPLATES = (Template(PRODUCT, emit),)
