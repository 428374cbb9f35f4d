"""Type inference: symbols, declarations, epilogues, sub-graphs, errors."""

from __future__ import annotations

import pytest

from graphc.ir import DType, Graph, Node, Sym, TensorType, Value, VerifyError, infer_types, parse, verify


def inferred(body: str, stage: str = "imported") -> Graph:
    graph = parse(f'graph "g" stage={stage} {{\n{body}\n}}')
    infer_types(graph)
    return graph


def result_types(graph: Graph) -> list[str]:
    return [str(r.type) for node in graph.nodes for r in node.results]


def test_types_follow_from_the_inputs_and_the_graph_becomes_typed() -> None:
    graph = inferred("input %x : float[N,3] %y = Relu(%x) %z = Tanh(%y)")
    assert result_types(graph) == ["float[N,3]"] * 2
    assert graph.stage == "typed"
    verify(graph)


@pytest.mark.parametrize("type", ["", ": ?[*]", ": float[*]", ": float[?,3]", ": float[N,C*2]"])
def test_unknown_inputs_work(type: str) -> None:
    graph = inferred(f"input %x {type} %y = Relu(%x) %z = g.reorder(%y)")
    assert graph.nodes[-1].results[0].type == graph.inputs[0].type


def test_a_declaration_fills_in_what_inference_does_not_know() -> None:
    graph = inferred("input %x : float[N,?] %y : float[2,7] = Relu(%x) %z = Relu(%y)")
    assert result_types(graph) == ["float[2,7]"] * 2


@pytest.mark.parametrize("declared", ["int32[2,3]", "float[2,4]", "float[2,3,1]"])
def test_a_contradicted_declaration_is_an_error_that_names_the_operator(declared: str) -> None:
    with pytest.raises(VerifyError, match=r"Relu .*'y' is declared .*, but is float\[2,3\]") as error:
        inferred(f"input %x : float[2,3] %y : {declared} = Relu(%x)")
    assert "^^^" in error.value.excerpt


def test_new_input_shapes_replace_the_old_answer() -> None:
    graph = inferred("input %x : float[1,3] %y = Relu(%x)")
    graph.inputs[0].type = TensorType(DType.FLOAT, (Sym("N"), 5))
    infer_types(graph)
    assert result_types(graph) == ["float[N,5]"]


def test_layouts_that_a_pass_chose_stay() -> None:
    body = "input %x : float[1,16,4,4]{nchw16c} %y : float[1,16,4,4]{nchw16c} = Relu(%x) %z : float[9] = g.reorder(%y)"
    graph = inferred(body, "optimised")
    assert result_types(graph) == ["float[1,16,4,4]{nchw16c}", "float[1,16,4,4]"]


def test_inference_again_leaves_an_optimised_graph_as_it_is() -> None:
    """The epilogue of a node that reads a plain layout and writes a blocked one sees the blocked one."""
    text = """graph "g" stage=optimised {
  input %x : float[1,3,8,8]
  constant %w : float[16,3,1,1] = @w
  %y : float[1,16,8,8]{nchw16c} = Conv(%x, %w) {kernel=1, epilogue=graph "e" stage=typed {
    input %y : float[1,16,8,8]{nchw16c}
    %z : float[1,16,8,8]{nchw16c} = Relu(%y)
    output %z
  }}
  output %y
}"""
    graph = parse(text)
    infer_types(graph)
    assert str(graph) == text
    verify(graph)


def test_the_epilogue_decides_the_type_of_the_result() -> None:
    epilogue = 'graph "e" { input %r input %extra %s = Relu(%r) %t = g.pointwise(%s, %extra) {body=%BODY} output %t }'
    body = 'graph "b" { input %a input %b %c = Add(%a, %b) output %c }'
    call = f"%y = Relu(%x, %b) {{epilogue={epilogue.replace('%BODY', body)}}}"
    graph = inferred(f"input %x : float[N,3] input %b : float[3] {call}", "optimised")
    assert result_types(graph) == ["float[N,3]"]
    inner = graph.nodes[0].subgraphs()[0]
    assert [str(v.type) for v in inner.inputs] == ["float[N,3]", "float[3]"]
    assert inner.stage == "typed"


def test_a_rule_that_trips_names_the_operator() -> None:
    with pytest.raises(VerifyError, match=r"Relu .*input 0 \(X\) is missing"):
        inferred("%y = Relu()")


def test_an_unknown_operator_is_an_error_with_near_names() -> None:
    with pytest.raises(VerifyError, match="'Relv' is unknown") as error:
        inferred("input %x %y = Relv(%x)")
    assert "Relu" in error.value.help


def test_more_results_than_the_rule_knows_are_an_error() -> None:
    graph = Graph("g")
    x = graph.add_input(TensorType(), "x")
    graph.append(Node("Relu", [x], [Value(TensorType(), "y"), Value(TensorType(), "z")]))
    with pytest.raises(VerifyError, match="has 1 outputs, not 2"):
        infer_types(graph)
