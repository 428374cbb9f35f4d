"""Nets and plans as graphs in DOT."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from graphc.caffe2.net_drawer.dot import Dot, Edge, Node
from graphc.caffe2.net_drawer.painting import paint_png
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message

logger = logging.getLogger(__name__)

OP_STYLE = {"shape": "box", "color": "#0F9D58", "style": "filled", "fontcolor": "#FFFFFF"}
BLOB_STYLE = {"shape": "octagon"}
MOST_PARALLEL_STEPS = 3
"""Steps that run at once which are drawn; the others are counted."""

NodeProducer = Callable[..., Any]


def GetOpNodeProducer(append_output: bool, **kwargs: Any) -> NodeProducer:
    """A function that makes the node of an operator from it and its number; kwargs: attributes of the node.

    append_output: the label has the names of the outputs, too.
    """

    def make(op: Message, op_id: int) -> Node:
        name = f"{op.name}/{op.type} (op#{op_id})" if op.name else f"{op.type} (op#{op_id})"
        return Node("\n".join([name, *(op.output if append_output else ())]), **kwargs)

    return make


def GetBlobNodeProducer(**kwargs: Any) -> NodeProducer:
    """A function that makes the node of a blob from a name and a label; kwargs: attributes of the node."""

    def make(node_name: str, label: str) -> Node:
        return Node(node_name, label=label, **kwargs)

    return make


def _operators_and_name(operators_or_net: Any, name: str | None) -> tuple[Sequence[Message], str]:
    proto = operators_or_net.Proto() if hasattr(operators_or_net, "Proto") else operators_or_net
    if isinstance(proto, caffe2_pb2.NetDef):
        return proto.op, proto.name if name is None else name
    if hasattr(operators_or_net, "Proto"):
        raise RuntimeError(f"Expecting NetDef, but got {type(proto).__name__}; help: plans are drawn by GetPlanGraph")
    return list(operators_or_net), "unnamed" if name is None else name


def _versions(
    operators: Sequence[Message],
) -> Iterator[tuple[int, Message, list[tuple[str, int]], list[tuple[str, int]]]]:
    """Number, operator, inputs and outputs; a blob that is written once more is another one."""
    seen: dict[str, int] = {}
    for op_id, op in enumerate(operators):
        inputs = [(str(name), seen.setdefault(name, 0)) for name in op.input]
        for name in op.output:
            seen[name] = seen[name] + 1 if name in seen else 0
        yield op_id, op, inputs, [(str(name), seen[name]) for name in op.output]


def GetPydotGraph(
    operators_or_net: Any,
    name: str | None = None,
    rankdir: str = "LR",
    op_node_producer: NodeProducer | None = None,
    blob_node_producer: NodeProducer | None = None,
) -> Dot:
    """The graph of a net: a node for each operator and for each value that a blob takes.

    operators_or_net: a Net, a NetDef or a list of operators. rankdir: ``LR`` or ``TB``, how it flows.
    """
    op_node = op_node_producer or GetOpNodeProducer(False, **OP_STYLE)
    blob_node = blob_node_producer or GetBlobNodeProducer(**BLOB_STYLE)
    operators, name = _operators_and_name(operators_or_net, name)
    graph, blobs = Dot(name, rankdir=rankdir), {}

    def blob(value: tuple[str, int]) -> Any:
        if value not in blobs:
            blobs[value] = blob_node(json.dumps(f"{value[0]}{value[1]}"), label=json.dumps(value[0]))
            graph.add_node(blobs[value])
        return blobs[value]

    for op_id, op, inputs, outputs in _versions(operators):
        node = op_node(op, op_id)
        graph.add_node(node)
        for value in inputs:
            graph.add_edge(Edge(blob(value), node))
        for value in outputs:
            graph.add_edge(Edge(node, blob(value)))
    return graph


def GetPydotGraphMinimal(
    operators_or_net: Any,
    name: str | None = None,
    rankdir: str = "LR",
    minimal_dependency: bool = False,
    op_node_producer: NodeProducer | None = None,
) -> Dot:
    """The graph of a net's operators alone.

    minimal_dependency: without edges that others imply, a to c where there are a to b and b to c.
    """
    op_node = op_node_producer or GetOpNodeProducer(False, **OP_STYLE)
    operators, name = _operators_and_name(operators_or_net, name)
    graph, nodes = Dot(name, rankdir=rankdir), []
    makers: dict[str, int] = {}
    ancestors: list[set[int]] = []
    for op_id, op in enumerate(operators):
        nodes.append(op_node(op, op_id))
        graph.add_node(nodes[-1])
        parents = list(dict.fromkeys(makers[b] for b in op.input if b in makers))
        ancestors.append(set(parents).union(*(ancestors[p] for p in parents)))
        for parent in parents:
            if not minimal_dependency or not any(parent in ancestors[other] for other in parents):
                graph.add_edge(Edge(nodes[parent], nodes[-1]))
        makers.update(dict.fromkeys(op.output, op_id))
    return graph


def GetOperatorMapForPlan(plan_def: Message) -> dict[str, Any]:
    """The operators of a plan's nets by ``<plan>_<net>``."""
    return {
        f"{plan_def.name}_{net.name}" if net.HasField("name") else f"{plan_def.name}_network_{i}": net.op
        for i, net in enumerate(plan_def.network)
    }


def GetPlanGraph(plan_def: Any, name: str | None = None, rankdir: str = "TB") -> Dot:
    """The graph of a plan's steps and the nets that they run; raises ``ValueError`` for a step without either."""
    proto = plan_def.Proto() if hasattr(plan_def, "Proto") else plan_def
    graph = Dot(proto.name if name is None else name, rankdir=rankdir)
    _draw_steps(proto.execution_step, graph, chained=True)
    return graph


def _new_node(graph: Dot, label: str, **attributes: Any) -> Node:
    node = Node(f"n{len(graph.get_nodes())}", label=json.dumps(label), **attributes)
    graph.add_node(node)
    return node


def _chain(graph: Dot, nodes: Sequence[Node]) -> None:
    for before, after in pairwise(nodes):
        graph.add_edge(Edge(before, after))


def _draw_steps(steps: Sequence[Message], graph: Dot, chained: bool) -> list[Node]:
    nodes = [_new_node(graph, _step_label(step), **OP_STYLE) for step in steps]
    if chained:
        _chain(graph, nodes)
    for node, step in zip(nodes, steps):
        for inner in _draw_parts(step, graph):
            graph.add_edge(Edge(node, inner, arrowhead="dot", style="dashed"))
    return nodes


def _draw_parts(step: Message, graph: Dot) -> list[Node]:
    """Nodes of a step's nets or steps; those to which an edge leads from it."""
    if step.network:
        nets = [_new_node(graph, net) for net in step.network]
        _chain(graph, nets)
        return nets[:1]
    if not step.substep:
        raise ValueError(f"invalid step: '{step.name}' has neither nets nor steps")
    if not step.concurrent_substeps:
        return _draw_steps(step.substep, graph, chained=True)[:1]
    nodes = _draw_steps(step.substep[:MOST_PARALLEL_STEPS], graph, chained=False)
    more = len(step.substep) - MOST_PARALLEL_STEPS
    return [*nodes, _new_node(graph, f"{more} more steps", **OP_STYLE)] if more > 0 else nodes


def _step_label(step: Message) -> str:
    notes = [f"Reporter: {step.report_net}"] if step.report_net else []
    notes += [f"Stopper: {step.should_stop_blob}"] if step.should_stop_blob else []
    notes += ["Concurrent"] if step.concurrent_substeps else []
    notes += ["Once"] if step.only_once else []
    return "\n".join([step.name, *notes])


def GetGraphInJson(operators_or_net: Any, output_filepath: str) -> None:
    """Write a net's graph as JSON: ``nodes`` with id, label, type (op, blob) and op_id, ``edges`` with their ids."""
    operators, _ = _operators_and_name(operators_or_net, None)
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, int]] = []
    ids: dict[tuple[str, int], int] = {}

    def blob(value: tuple[str, int]) -> int:
        if value not in ids:
            ids[value] = len(nodes)
            nodes.append({"id": len(nodes), "label": value[0], "type": "blob"})
        return ids[value]

    for op_id, op, inputs, outputs in _versions(operators):
        node = len(nodes)
        label = f"{op.name}/{op.type}" if op.name else op.type
        nodes.append({"id": node, "label": label, "op_id": op_id, "type": "op"})
        edges += [{"source": blob(value), "target": node} for value in inputs]
        edges += [{"source": node, "target": blob(value)} for value in outputs]
    Path(output_filepath).write_text(json.dumps({"nodes": nodes, "edges": edges}), encoding="utf-8")


def GetGraphPngSafe(func: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    """The PNG file of the graph that ``func(*args, **kwargs)`` makes; that of one white pixel if anything fails."""
    try:
        png: bytes = func(*args, **kwargs).create_png()
    except Exception as error:
        logger.error("Failed to draw graph: %s", error)
        png = paint_png(Dot("blank"))
    return png
