"""Graph -> DOT, the language of Graphviz; and what one box of a drawing says."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.ir.graph import Graph, Node, Value
from graphc.ir.types import TensorType

_LONGEST = 40


def graph_dot(graph: Graph) -> str:
    """The graph as a Graphviz ``digraph``: a box for each operator, weights named inside it, sub-graphs as clusters."""
    body = "\n".join(f"  {line}" for line in _Dot().graph(graph))
    style = '  node [shape=box, style="rounded,filled", fillcolor="#eef3fa", fontname="Helvetica", fontsize=10];'
    return f'digraph {_quoted(graph.name)} {{\n{style}\n  edge [fontname="Helvetica", fontsize=9];\n{body}\n}}'


def node_label(node: Node) -> list[str]:
    """The lines of an operator's box: what it does, the name of its first result, that result's shape, its weights."""
    label = [operation(node)]
    if node.results:
        label += [shorten(node.results[0].name), shape_text(node.results[0].type)]
    label += [f"{shorten(v.name)} {shape_text(v.type)}" for v in node.operands if v is not None and v.is_constant]
    return [line for line in label if line]


def operation(node: Node) -> str:
    """The operator with those fused into it: ``Conv + Relu``, ``g.pointwise: Mul, Relu``."""
    epilogue, body = (node.attrs.get(name) for name in ("epilogue", "body"))
    if isinstance(epilogue, Graph):
        return " + ".join([node.op, *(n.op for n in epilogue.nodes)])
    if node.op == "g.pointwise" and isinstance(body, Graph):
        return f"{node.op}: {', '.join(n.op for n in body.nodes)}"
    return node.op


def shape_text(type: TensorType) -> str:
    """``1 x 64 x 56 x 56``, with the element type where it is not float; nothing for an unknown type."""
    if type.shape is None:
        return ""
    dims = " x ".join(map(str, type.shape)) or "scalar"
    dtype = type.dtype.text if type.dtype else "?"
    return dims if dtype == "float" else f"{dtype} {dims}"


def shorten(name: str) -> str:
    """A name that fits a box: the end says more than the beginning."""
    return name if len(name) <= _LONGEST else "..." + name[3 - _LONGEST :]


class _Dot:
    """Numbers the boxes of a graph and of the graphs inside it."""

    def __init__(self) -> None:
        self.ids: dict[Value | Node, str] = {}

    def graph(self, graph: Graph) -> Iterator[str]:
        for x in graph.inputs:
            yield f'{self.new(x)} [label={_label([x.name, shape_text(x.type)])}, shape=ellipse, fillcolor="#dff0d8"];'
        for node in graph.nodes:
            yield f"{self.new(node)} [label={_label(node_label(node))}];"
            for v in node.operands:
                if v is not None and not v.is_constant:
                    yield f"{self.ids[v.producer or v]} -> {self.ids[node]} [label={_quoted(shorten(v.name))}];"
            for inner in node.subgraphs():
                yield from self.cluster(node, inner)
        for y, name in zip(graph.outputs, graph.output_names):
            sink = self.new(Value(y.type, name))
            yield f'{sink} [label={_quoted(name)}, shape=ellipse, fillcolor="#fcf0d0"];'
            if not y.is_constant:
                yield f"{self.ids[y.producer or y]} -> {sink};"

    def cluster(self, node: Node, inner: Graph) -> Iterator[str]:
        yield f"subgraph cluster_{len(self.ids)} {{"
        yield f"  label={_quoted(f'{inner.name} of {node.op}')};"
        first = f"n{len(self.ids)}"
        yield from (f"  {line}" for line in self.graph(inner))
        yield "}"
        if first in self.ids.values():
            yield f"{self.ids[node]} -> {first} [style=dashed];"

    def new(self, item: Value | Node) -> str:
        return self.ids.setdefault(item, f"n{len(self.ids)}")


def _label(lines: list[str]) -> str:
    return _quoted("\n".join(line for line in lines if line))


def _quoted(text: str) -> str:
    plain = text.encode("utf-8", "replace").decode()
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
