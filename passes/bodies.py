"""Fused graphs: the ``body`` of g.pointwise and the ``epilogue`` of heavy operators, and how a node moves into one."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.ir import UNKNOWN, Graph, Node, Trait, Value
from graphc.passes.matching import is_float, is_output, traits_of


def is_fusable(node: Node) -> bool:
    """A pointwise operator on float32 with one result of known shape, whose operands are all present."""
    result = node.results[0] if len(node.results) == 1 else None
    return (
        result is not None
        and Trait.POINTWISE in traits_of(node)
        and is_float(result)
        and result.type.shape is not None
        and UNKNOWN not in result.type.shape
        and all(is_float(v) for v in node.operands)
    )


def inline(node: Node, into: Graph, env: Mapping[Value, Value]) -> Value:
    """Copy a pointwise node, or the nodes of a g.pointwise, to the end of ``into``; gives the copy's result.

    env: what each operand of the node is inside ``into``. Constants inside a body (single elements) go along.
    """
    body = node.attrs.get("body")
    if not isinstance(body, Graph):
        return _copy(node, into, env)
    inner = dict(zip(body.inputs, (env[v] for v in node.operands if v is not None)))
    for c in body.constants:
        assert c.constant is not None
        inner[c] = into.add_constant(c.name, c.constant.data, c.type)
    for n in body.nodes:
        inner[n.results[0]] = _copy(n, into, inner)
    return inner[body.outputs[0]]


def _copy(node: Node, into: Graph, env: Mapping[Value, Value]) -> Value:
    result = Value(node.results[0].type, node.results[0].name)
    operands = [None if v is None else env[v] for v in node.operands]
    into.append(Node(node.op, operands, [result], dict(node.attrs), node.location, node.engine, node.device))
    return result


def size(node: Node) -> int:
    """How many operators a fusable node stands for."""
    body = node.attrs.get("body")
    return len(body.nodes) if isinstance(body, Graph) else 1


def escapes(graph: Graph, value: Value, group: set[Node]) -> bool:
    """Somebody outside ``group`` reads the value."""
    return is_output(graph, value) or any(n not in group for n, _ in value.uses)
