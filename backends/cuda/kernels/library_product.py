"""FC, MatMul and BatchMatMul that cublasLt does, where a user asks for cuDNN (``ir/engine.py``), with bias and Relu."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.library_conv import ALIGNMENT, FIRST, RELU, emit, ending, of_one_kind
from graphc.backends.cuda.kernels.typed import elements, stored
from graphc.backends.cuda.rules import Rule, Template
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.products import OPERATORS, product_of
from graphc.ir.library_call import PRODUCT, LibraryCall, Operand, library_spec
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, Needs, Step, View

ROOM = 32 << 20
"""Bytes of workspace: what NVIDIA advises for cards of sm_90."""


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    text = ending(call)
    values = [v for v in (*call.node.operands, *call.node.results) if v is not None]
    kind = of_one_kind(call) if text and all(v.type.layout.block == 1 for v in values) else None
    if kind is None or any(not v.type.size for v in values) or product_of(call).regular is None:
        return None
    has_bias = _has_bias(call)
    kinds = ",".join([kind] * (4 if has_bias else 3))
    choice = Choice("library_product", library_spec(PRODUCT, kinds, bias=has_bias, relu=text == RELU), {}, FIRST)
    if kind != "f4" and has_bias:
        bias = elements(call, 2)
        if not call.is_weight(2):
            return None
        if bias is not None:
            choice.packed[2] = stored(bias, kind)
    return choice


def _has_bias(call: Call) -> bool:
    return call.node.op.startswith("FC") and call.has(2)


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=ROOM + ALIGNMENT)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    (x, w), y, g = ins[:2], outs[0], product_of(call)
    assert choice.spec is not None
    assert g.regular is not None
    assert x is not None
    assert w is not None
    kind, count, (x_batch, w_batch) = str(choice.spec["kinds"])[:2], len(g.batches), g.regular
    bias = [Operand(kind, (g.columns,), (1,), v.address) for v in ins[2:3] if v is not None and _has_bias(call)]
    made = LibraryCall(
        PRODUCT,
        Operand(kind, (count, g.rows, g.inner), (x_batch, g.a_row, g.a_step), x.address),
        Operand(kind, (count, g.inner, g.columns), (w_batch, g.b_row, g.b_column), w.address),
        bias[0] if bias else None,
        Operand(kind, (count, g.rows, g.columns), (g.rows * g.columns, g.columns, 1), y.address),
        bool(choice.spec.int("relu")),
        (),
        workspace,
        ROOM + ALIGNMENT,
    )
    flops = 2 * count * g.rows * g.inner * g.columns
    traffic = x.type.nbytes + w.type.nbytes + y.type.nbytes
    return [(made.task(call.node.results[0].name, flops, traffic),)]


RULES = (Rule("library_product", OPERATORS, _choose, _needs, _bind, half=True),)
TEMPLATES = (Template(PRODUCT, emit),)
