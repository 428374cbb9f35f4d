"""Operators that graphc makes itself: a fused pointwise graph, changes of precision and layout, copies to devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphc.ir.errors import VerifyError
from graphc.ir.graph import Graph, Value
from graphc.ir.infer import infer_subgraph
from graphc.ir.opdef import Arg, Call, Trait, aligned_shape, op
from graphc.ir.reference import run_graph
from graphc.ir.scalar import Expr, ScalarOps
from graphc.ir.types import Dim, Layout, TensorType


def apply_body(o: ScalarOps, body: Graph, xs: Sequence[Expr]) -> Expr:
    """The scalar meaning of a graph of pointwise operators: output 0 from expressions of its inputs.

    Serves the ``body`` of ``g.pointwise`` and the ``epilogue`` of other operators. Constants inside have one element.
    Raises ``VerifyError`` for an operator that is not pointwise.
    """
    env: dict[Value, Expr] = dict(zip(body.inputs, xs))
    for v in body.constants:
        if v.data is None or v.data.size != 1:
            raise VerifyError(f"'{v.name}' inside a fused graph is no constant of one element", "make it an operand")
        env[v] = o.const(float(v.data.reshape(())))
    for node in body.nodes:
        if node.opdef.scalar is None:
            Call(node).fail("it is inside a fused graph but not pointwise")
        env[node.results[0]] = node.opdef.scalar(o, Call(node), *(None if v is None else env[v] for v in node.operands))
    return env[body.outputs[0]]


def _body(call: Call) -> Graph:
    body = call.node.attrs.get("body")
    if not isinstance(body, Graph):
        call.fail("argument 'body' is missing, or is no graph")
    return body


def _infer_pointwise(call: Call) -> list[TensorType]:
    return infer_subgraph(_body(call), [call.type(i) for i in range(call.n_inputs)])[:1]


def _reference_pointwise(call: Call, *arrays: np.ndarray) -> list[np.ndarray]:
    return run_graph(_body(call), arrays)[:1]


def _scalar_pointwise(o: ScalarOps, call: Call, *xs: Expr) -> Expr:
    return apply_body(o, _body(call), xs)


def _align_pointwise(call: Call, i: int) -> tuple[Dim, ...] | None:
    """How the operator inside that reads operand ``i`` aligns it; all of them have to agree."""
    operand = _body(call).inputs[i]
    shapes = {aligned_shape(Call(node), slot) for node, slot in operand.uses}
    if len(shapes) > 1:
        call.fail(f"'{operand.name}' is broadcast in {len(shapes)} ways inside the fused graph", "pass it twice")
    return shapes.pop() if shapes else operand.type.shape


def _infer_reorder(call: Call) -> list[TensorType]:
    return [replace(call.type(0), layout=Layout.parse(call.arg("layout")))]


op(
    "g.pointwise",
    _infer_pointwise,
    inputs="X*",
    outputs="Y",
    args=(Arg("body", "graph", doc="its inputs are the operands, its one output is the result"),),
    scalar=_scalar_pointwise,
    align=_align_pointwise,
    reference=_reference_pointwise,
    traits=Trait.INTERNAL | Trait.POINTWISE | Trait.BLOCKED,
    doc="several pointwise operators in one pass over the elements",
)

op(
    "g.convert",
    lambda call: [call.type(0)],
    inputs="X",
    outputs="Y",
    scalar=lambda o, call, x: x,
    traits=Trait.INTERNAL | Trait.POINTWISE | Trait.BLOCKED,
    doc="the same numbers in another precision, which the attribute ``precision`` says",
)

op(
    "g.reorder",
    _infer_reorder,
    inputs="X",
    outputs="Y",
    args=(Arg("layout", "string", b"plain", "plain or nchw<block>c"),),
    reference=lambda call, x: [x],
    traits=Trait.INTERNAL | Trait.BLOCKED,
    doc="the same elements in another layout",
)

for _name, _doc in (
    ("g.copy_to_card", "the same elements in the memory of a card"),
    ("g.copy_to_host", "the same elements in the memory of the process"),
):
    op(
        _name,
        lambda call: [call.type(0)],
        inputs="X",
        outputs="Y",
        reference=lambda call, x: [x],
        traits=Trait.INTERNAL,
        doc=_doc,
    )
