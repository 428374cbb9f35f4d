"""Operators of graphc's own: scalar meaning of a fused graph, how its operands broadcast, changes of layout."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir import Call, Graph, VerifyError, aligned_shape, evaluate, infer_types, parse
from graphc.ir.ops.tensor.internal import apply_body
from graphc.ir.scalar import NUMPY

FUSED = """graph "g" stage=optimised {
  input %x : float[2,3,4,4]
  input %scale : float[3]
  %y = g.pointwise(%x, %scale) {body=graph "body" {
    input %x
    input %scale
    constant %half : float[] = dense<0.5>
    %a = Mul(%x, %scale) {broadcast=1, axis=1}
    %b = Mul(%a, %half) {broadcast=1}
    %c = Relu(%b)
    output %c
  }}
  output %y
}"""


def fused() -> Graph:
    graph = parse(FUSED)
    infer_types(graph)
    return graph


def test_the_scalar_meaning_of_a_fused_graph_is_that_of_its_operators() -> None:
    body = fused().nodes[0].subgraphs()[0]
    assert apply_body(NUMPY, body, [np.float32(3), np.float32(2)]) == 3
    assert apply_body(NUMPY, body, [np.float32(-3), np.float32(2)]) == 0


def test_operands_broadcast_as_the_operator_inside_says() -> None:
    graph = fused()
    call = Call(graph.nodes[0])
    assert aligned_shape(call, 0) == (2, 3, 4, 4)
    scale = aligned_shape(call, 1)
    assert scale is not None
    assert np.broadcast_shapes((2, 3, 4, 4), tuple(d for d in scale if isinstance(d, int))) == (2, 3, 4, 4)
    assert scale[-3] == 3
    assert str(graph.nodes[0].results[0].type) == "float[2,3,4,4]"


def test_the_scalar_form_and_the_reference_agree() -> None:
    graph = fused()
    rng = np.random.default_rng(0)
    x, scale = rng.standard_normal((2, 3, 4, 4), np.float32), rng.standard_normal(3, np.float32)
    answer = evaluate(graph, {"x": x, "scale": scale})["y"]
    body = graph.nodes[0].subgraphs()[0]
    np.testing.assert_array_equal(answer, apply_body(NUMPY, body, [x, scale.reshape(3, 1, 1)]))
    np.testing.assert_allclose(answer, np.maximum(x * scale[:, None, None] * 0.5, 0), rtol=1e-6)


def test_what_is_not_pointwise_cannot_be_fused() -> None:
    body = parse('graph "b" { input %x %y = Transpose(%x) output %y }')
    with pytest.raises(VerifyError, match=r"Transpose .*is inside a fused graph but not pointwise"):
        apply_body(NUMPY, body, [np.float32(1)])


def test_a_vector_constant_cannot_stand_inside() -> None:
    body = parse('graph "b" { input %x constant %c : float[2] = dense<[1.0, 2.0]> %y = Add(%x, %c) output %y }')
    with pytest.raises(VerifyError, match="'c' inside a fused graph is no constant of one element"):
        apply_body(NUMPY, body, [np.float32(1)])


def test_reorder_has_the_layout_of_its_argument() -> None:
    graph = parse(
        'graph "g" stage=optimised { input %x : float[1,3,2,2] %y = g.reorder(%x) {layout="nchw8c"} output %y }'
    )
    infer_types(graph)
    assert str(graph.outputs[0].type) == "float[1,3,2,2]{nchw8c}"
    with pytest.raises(VerifyError, match="unknown layout 'nhwc'"):
        infer_types(parse('graph "g" { input %x : float[1,3,2,2] %y = g.reorder(%x) {layout="nhwc"} }'))
