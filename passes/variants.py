"""The same graph under other input sizes. A plan runs sizes that it was not compiled for: a pass that makes use of two
dimensions being equal, or of one being 1, has to know that they stay so."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial

from graphc.ir import Call, Dim, Graph, GraphcError, Node, Sym, TensorType, Value
from graphc.ir.infer import infer_node
from graphc.passes.matching import broadcast_kind, known_shape, same_shape

_SCALED = ((0,), (2, 3, 4), (1, 2))
"""Dimensions of inputs that change together: the batch; an image in NCHW order; one in NHWC order, or a sequence."""


Pairs = tuple[dict[Value, Value], dict[Node, Node]]


class Variants:
    """Twins of a graph whose inputs have other sizes, as far as the net allows any.

    They are made when first asked for, of the graph as it is then. Symbolic dimensions vary by themselves. Sizes that
    the net refuses, because its weights or arguments fix them, say nothing about others and are left out.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def twins(self) -> list[Pairs]:
        """For each other size what stands for each value and node."""
        return [_pairs(self.graph, twin) for twin in map(partial(_twin, self.graph), _other_inputs(self.graph)) if twin]

    def same_shape(self, a: Value, b: Value) -> bool:
        """The shapes are known and equal whatever the input sizes; False for values made since."""
        if not same_shape(a.type, b.type):
            return False
        return all(a in t and b in t and same_shape(t[a].type, t[b].type) for t, _ in self.twins)

    def shapes(self, value: Value) -> list[tuple[Dim, ...] | None]:
        """The known shape of a value now and in each twin; None where it is not known, or the value made since."""
        others = [known_shape(t[value].type) if value in t else None for t, _ in self.twins]
        return [known_shape(value.type), *others]

    def open_types(self) -> dict[Value, TensorType]:
        """What is known of each value's type whatever the sizes of the inputs; nothing where that cannot be inferred.

        Every dimension of every input is a symbol, so that an int in a shape is an int for all sizes.
        """
        twin = _twin(self.graph, [_opened(v.type, f"d{i}") for i, v in enumerate(self.graph.inputs)])
        return {v: t.type for v, t in _pairs(self.graph, twin)[0].items()} if twin is not None else {}

    def operand_kinds(self, node: Node, axis: int) -> list[str]:
        """``broadcast_kind`` of each operand of a pointwise node, ``other`` where it depends on the input sizes."""
        kinds = [_kind(node, i, axis) for i in range(len(node.operands))]
        return [self._held(node, i, axis, k) for i, k in enumerate(kinds)]

    def _held(self, node: Node, i: int, axis: int, kind: str) -> str:
        """``kind`` if it holds for all sizes: sure for an only operand and for a constant that is not full."""
        operand = node.operands[i]
        certain = len(node.operands) == 1 or (operand is not None and operand.is_constant and kind != "full")
        if kind == "other" or certain:
            return kind
        return kind if all(node in t and _kind(t[node], i, axis) == kind for _, t in self.twins) else "other"


def _twin(graph: Graph, types: list[TensorType]) -> Graph | None:
    """The graph for other types of its inputs, None where it refuses them."""
    twin = graph.clone()
    for v, type in zip(twin.inputs, types):
        v.type = type
    try:
        for node in twin.nodes:
            infer_node(node)
    except GraphcError:
        return None
    return twin


def _pairs(graph: Graph, twin: Graph) -> Pairs:
    values, nodes = dict(zip(graph.values(), twin.values())), dict(zip(graph.nodes, twin.nodes))
    for node, other in list(nodes.items()):
        for inner, inner_twin in zip(node.subgraphs(), other.subgraphs()):
            more_values, more_nodes = _pairs(inner, inner_twin)
            values |= more_values
            nodes |= more_nodes
    return values, nodes


def _other_inputs(graph: Graph) -> Iterator[list[TensorType]]:
    for dims in _SCALED:
        types = [_scaled(v.type, dims) for v in graph.inputs]
        if any(t != v.type for t, v in zip(types, graph.inputs)):
            yield types


def _scaled(type: TensorType, dims: tuple[int, ...]) -> TensorType:
    if type.shape is None:
        return type
    return type.with_shape(tuple(2 * d if i in dims and isinstance(d, int) else d for i, d in enumerate(type.shape)))


def _opened(type: TensorType, name: str) -> TensorType:
    """The type with a symbol of its own for each dimension."""
    return type.with_shape(type.shape and tuple(Sym(f"{name}_{k}") for k in range(len(type.shape))))


def _kind(node: Node, i: int, axis: int) -> str:
    return broadcast_kind(Call(node), i, node.results[0].type.shape or (), axis)
