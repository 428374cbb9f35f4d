"""The gradients that records name, against the gradient operators that real Caffe2 makes for recorded calls."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import operator_cases
import pytest

from graphc.ir import GraphcError
from graphc.ir.attrs import as_float32
from graphc.ir.gradient import NO_GRADIENT, NamedCall, gradient_of, link_operators
from graphc.ir.graph import Node, Value
from graphc.ir.opdef import registry
from graphc.ir.ops._links import LINKS
from graphc.ir.types import TensorType


def _call(text: str) -> NamedCall:
    """A serialised OperatorDef."""
    data = base64.b64decode(text)
    op = operator_cases.operator(data)
    blobs = {number: [v.decode() for n, _, v in operator_cases.fields(data) if n == number] for number in (1, 2)}
    return NamedCall(op.type, tuple(blobs[1]), tuple(blobs[2]), op.args, op.engine)


def _same(got: NamedCall, want: NamedCall) -> bool:
    """Equal calls; Caffe2 writes an empty list where graphc has an empty tuple."""
    args = [{k: _plain(v) for k, v in call.args.items()} for call in (got, want)]
    blobs = (got.type, got.inputs, got.outputs, got.engine) == (want.type, want.inputs, want.outputs, want.engine)
    return blobs and args[0] == args[1]


def _plain(value: Any) -> Any:
    return as_float32(value) if isinstance(value, float) else value or 0


def _mistake(case: dict[str, Any]) -> str:
    """What is wrong with the gradient of one recorded call; empty where it is Caffe2's."""
    call = _call(case["op_b64"])
    try:
        operators, d_inputs = gradient_of(call, case.get("g_output") or [f"{o}_grad" for o in call.outputs])
    except GraphcError as error:
        return "" if "error" in case else f"refused: {error}"
    if "error" in case:
        return "not refused"
    wanted = [_call(text) for text in case["ops"]]
    if len(operators) != len(wanted) or not all(map(_same, operators, wanted)):
        return f"{operators} instead of {wanted}"
    given = [list(d) if isinstance(d, tuple) else d for d in d_inputs]
    return "" if given == case["g_input"] else f"gradients {given} instead of {case['g_input']}"


def test_caffe2_makes_the_same(shared: Path) -> None:
    cases = json.loads((shared / "golden" / "golden_gradient_defs.json").read_text())
    print(f"\n{sum(map(len, cases.values()))} calls of {len(cases)} operators")
    wrong = {name: m for name, calls in cases.items() for case in calls if (m := _mistake(case))}
    assert not wrong, "\n".join(f"{name}: {m}" for name, m in wrong.items())


def test_links_name_operators_that_exist() -> None:
    """Every operator of a gradient has a record."""
    records = registry()
    missing = {
        op
        for name, link in LINKS.items()
        if name in records and isinstance(link, str) and link != NO_GRADIENT
        for op in link_operators(link)
        if op not in records
    }
    assert not missing, sorted(missing)


def _node(op: str, inputs: list[str], outputs: list[str], **args: Any) -> Node:
    return Node(op, [Value(TensorType(), n) for n in inputs], [Value(TensorType(), n) for n in outputs], args)


def test_forms() -> None:
    """Copied arguments, several operators, a gradient that is passed on, a sparse one, none."""
    operators, d_inputs = gradient_of(_node("Conv", ["x", "w"], ["y"], kernel=3), ["dy"])
    assert [(o.type, o.inputs, o.outputs, dict(o.args)) for o in operators] == [
        ("ConvGradient", ("x", "w", "dy"), ("w_grad", "x_grad"), {"kernel": 3, "no_bias": 1})
    ]
    assert d_inputs == ["x_grad", "w_grad"]
    operators, d_inputs = gradient_of(_node("Sqr", ["x"], ["y"]), ["dy"])
    assert [o.type for o in operators] == ["Scale", "Mul"]
    assert operators[0].outputs == ("dy",)
    assert gradient_of(_node("Sum", ["a", "b"], ["y"]), ["dy"]) == ([], ["dy", "dy"])
    assert gradient_of(_node("Gather", ["table", "rows"], ["y"]), ["dy"]) == ([], [("rows", "dy"), None])
    assert gradient_of(_node("ConstantFill", [], ["y"]), ["dy"]) == ([], [])


@pytest.mark.parametrize(
    ("node", "d_output", "words"),
    [
        (_node("Ceil", ["x"], ["y"]), "dy", ["Ceil", "x", "no gradient"]),
        (_node("Relu", ["x"], ["y"]), None, ["Relu", "'y'", "not given"]),
        (_node("Relu", ["x"], ["y"]), ("i", "v"), ["Relu", "sparse"]),
        (_node("Mul", ["x", "y"], ["x"]), "dx", ["Mul", "in place"]),
        (_node("Cast", ["x"], ["y"], to=1), "dy", ["Cast", "from_type"]),
    ],
)
def test_refused(node: Node, d_output: Any, words: list[str]) -> None:
    with pytest.raises(GraphcError) as caught:
        gradient_of(node, [d_output])
    assert all(word in str(caught.value) for word in words)
