"""Graph -> plain data for JSON: nodes, types, bytes, operations. For tools and pages that draw or count."""

from __future__ import annotations

import math
from typing import Any

from graphc.ir.attrs import Attr
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.opdef import Call, registry
from graphc.ir.printer import ValueNames
from graphc.ir.types import TensorType

Json = dict[str, Any]


def graph_json(graph: Graph) -> Json:
    """What a graph is, as data that ``json.dumps`` takes.

    Values are called as in the text format, without ``%``. ``bytes`` and ``flops`` (multiply-adds count twice) are None
    where shapes are not known; ``weight_bytes`` and ``total_flops`` leave such out. Sub-graphs nest in ``attrs``.
    """
    names = ValueNames()
    inputs, weights = ([_value(v, names) for v in vs] for vs in (graph.inputs, graph.constants))
    nodes = [_node(node, names) for node in graph.nodes]
    outputs = [{"name": n, "value": names(v)[1:]} for n, v in zip(graph.output_names, graph.outputs)]
    return {
        "name": graph.name,
        "stage": graph.stage,
        "inputs": inputs,
        "weights": weights,
        "nodes": nodes,
        "outputs": outputs,
        "notes": list(graph.notes),
        "weight_bytes": sum(v["bytes"] or 0 for v in weights),
        "total_flops": sum(n["flops"] or 0 for n in nodes),
    }


def type_bytes(type: TensorType) -> int | None:
    """Bytes of the elements, None where the shape is not known."""
    return type.nbytes if type.is_static else None


def node_flops(node: Node) -> int | None:
    """Operations of one call, None where a shape is not known or the record does not count them."""
    known = all(v is None or v.type.is_static for v in (*node.operands, *node.results))
    record = registry().get(node.op)
    return record.flops(Call(node)) if known and record and record.flops else None


def _value(v: Value, names: ValueNames) -> Json:
    return {"name": names(v)[1:], "type": str(v.type), "bytes": type_bytes(v.type)}


def _node(node: Node, names: ValueNames) -> Json:
    return {
        "op": node.op,
        "inputs": [None if v is None else names(v)[1:] for v in node.operands],
        "outputs": [_value(r, names) for r in node.results],
        "attrs": {name: _attr(value) for name, value in node.attrs.items()},
        "engine": node.engine,
        "device": node.device,
        "location": [
            {"net": o.net, "index": o.index, "type": o.op_type, "name": o.name} for o in node.location.origins
        ],
        "flops": node_flops(node),
    }


def _attr(value: Attr) -> Any:
    """JSON has neither bytes nor non-finite numbers: they become text."""
    if isinstance(value, tuple):
        return [_attr(v) for v in value]
    if isinstance(value, Graph):
        return graph_json(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if math.isfinite(value) else str(value)
