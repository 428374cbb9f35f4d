"""The rewrite driver: fixpoint, sub-graphs, limit, report."""

from __future__ import annotations

import pytest

from graphc.ir import Graph, Node, Rule, VerifyError, parse, rewrite_greedily, walk_graphs

TEXT = """graph "g" {
  input %x
  %a = Relu(%x)
  %b = Relu(%a)
  %c = Relu(%b)
  %d = If(%c) {then_net=graph "then" {
    input %y
    %e = Relu(%y)
    %f = Relu(%e)
    output %f
  }}
  output %d
}"""


def drop_double_relu(graph: Graph, node: Node) -> bool:
    producer = node.operands[0].producer if node.operands[0] else None
    if node.op != "Relu" or producer is None or producer.op != "Relu":
        return False
    graph.replace(node.results[0], producer.results[0])
    graph.erase(node)
    return True


DROP = Rule("drop-double-relu", drop_double_relu)


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.walk()]


def test_rewrites_until_nothing_changes_in_sub_graphs_too() -> None:
    graph = parse(TEXT)
    changes = rewrite_greedily(graph, [DROP])
    assert ops(graph) == ["Relu", "If", "Relu"]
    assert changes
    assert changes.counts == {"drop-double-relu": 3}
    assert str(changes) == "drop-double-relu x 3 (2 sweeps)"


def test_sub_graphs_can_be_left_out() -> None:
    graph = parse(TEXT)
    rewrite_greedily(graph, [DROP], subgraphs=False)
    assert ops(graph) == ["Relu", "If", "Relu", "Relu"]


def test_nothing_to_do_is_reported_and_leaves_the_text() -> None:
    graph = parse('graph "g" { input %x %y = Relu(%x) output %y }')
    before = str(graph)
    changes = rewrite_greedily(graph, [DROP])
    assert not changes
    assert str(changes) == "nothing changed (1 sweeps)"
    assert str(graph) == before


def test_patterns_that_undo_each_other_are_named() -> None:
    def rename(to: str) -> Rule:
        def function(graph: Graph, node: Node) -> bool:
            changed, node.op = node.op != to, to
            return changed

        return Rule(f"to-{to}", function)

    with pytest.raises(VerifyError, match="does not end after 7 sweeps: to-Relu, to-Tanh still change it"):
        rewrite_greedily(parse(TEXT), [rename("Relu"), rename("Tanh")], limit=7)


def test_walk_graphs_gives_outer_before_inner() -> None:
    assert [g.name for g in walk_graphs(parse(TEXT))] == ["g", "then"]
