"""half: convolutions, products, pools and what is pointwise around them in half precision."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from graphc.ir import PLAIN, Call, DType, Graph, GraphcError, Node, TensorType, Trait, Value, infer_node
from graphc.ir.opdef import n_epilogue_operands
from graphc.ir.precision import HALVES, PRECISION, rounded
from graphc.passes.base import Pass, nets
from graphc.passes.matching import broadcast_kind, traits_of, unused_but_first

CONVOLUTIONS = ("Conv", "Conv2D")
PRODUCTS = ("FC", "FCTransposed")
POOLS = ("MaxPool", "AveragePool", "MaxPool1D", "AveragePool1D", "MaxPool2D", "AveragePool2D")
JOINS = ("Concat", "DepthConcat")
FEW_RESULTS = 4
"""Convolutions and products of so many maps stay float32: they take no time, and mostly give what a net answers."""
RULE = "Conv (blocked, constant weights, more than 4 maps), FC, and behind them pools, pointwise operators, Concat"


@dataclass(frozen=True)
class Half(Pass):
    """Give operators the attribute ``precision`` (``ir/precision.py``): weights and activations in half precision.

    precision: ``float16`` or ``bfloat16`` for all that the rule names, ``float`` for those alone that are requested.
    requests: ``name:precision;...`` by the blob that an operator computes, or its name; ``float`` keeps one out.
    Handles Conv with constant weights and a blocked result, FC with constant weights, both of more than 4 maps; pools,
    pointwise operators and views that read the result of such a one, Concat of nothing else. Refuses everything else
    (softmax, losses, normalisation that is not folded, LRN, resizing), which stays float32; so do biases, inputs and
    outputs. ``g.convert`` stands where precisions meet, unless the operator before can write the other one itself.
    Raises ``GraphcError`` for a request that names no operator, or one that the rule does not cover.
    """

    precision: str = "bfloat16"
    requests: str = ""

    def run(self, graph: Graph) -> bool:
        wanted = _Wanted(self.precision, self.requests)
        changed = [_Assignment(net, wanted).run() for net in nets(graph)]
        wanted.require_met(graph)
        if any(changed):
            graph.stage = "optimised"
        return any(changed)


class _Wanted:
    """What was asked for. met: the requests that an operator has taken, or has already."""

    def __init__(self, precision: str, requests: str) -> None:
        self.default = _dtype(precision)
        pairs = [r.rpartition(":") for r in requests.split(";") if r]
        self.requests = {name: _dtype(kind) for name, _, kind in pairs}
        self.met: set[str] = set()

    def precision(self, node: Node) -> DType:
        """That of a node which the rule covers."""
        for name in _names(node):
            if name in self.requests:
                self.met.add(name)
                return self.requests[name]
        return self.default

    def require_met(self, graph: Graph) -> None:
        """Raise ``GraphcError`` for the first request that no operator has taken."""
        names = {name: node for node in graph.walk() for name in _names(node)}
        for name, dtype in self.requests.items():
            node = names.get(name)
            if node is None:
                near = difflib.get_close_matches(name, names, 3)
                raise GraphcError(
                    f"a precision is requested for '{name}', which no operator computes",
                    f"near names: {', '.join(near)}" if near else "graphc dump lists the blobs",
                )
            if name not in self.met and dtype is not DType.FLOAT and PRECISION not in node.attrs:
                raise GraphcError(f"{node.location}: {node.op} has no form in {dtype.text}", f"there is one of {RULE}")


def _dtype(text: str) -> DType:
    known = {d.text: d for d in (*HALVES, DType.FLOAT)}
    if text not in known:
        raise GraphcError(f"'{text}' is no precision", f"precisions: {', '.join(known)}")
    return known[text]


def _names(node: Node) -> Iterator[str]:
    """The blobs that a node computes, and the names of the operators of the net that it stands for."""
    yield from (r.name for r in node.results)
    yield from (origin.name for origin in node.location.origins if origin.name)


@dataclass
class _Assignment:
    """One net. chosen: precisions of the nodes that the rule covers. forms: values in other precisions, once made."""

    graph: Graph
    wanted: _Wanted
    chosen: dict[Node, DType] = field(default_factory=dict)
    forms: dict[tuple[Value, DType], Value] = field(default_factory=dict)

    def run(self) -> bool:
        """True iff any node got a precision."""
        for node in self.graph.nodes:
            if PRECISION not in node.attrs and self.covers(node):
                dtype = self.wanted.precision(node)
                if dtype is not DType.FLOAT:
                    self.chosen[node] = dtype
        for node in reversed(self.graph.nodes):
            if node in self.chosen and _moves(node) and not self.is_read(node):
                del self.chosen[node]
        for node in list(self.graph.nodes):
            if node in self.chosen:
                self.assign(node)
            elif PRECISION not in node.attrs:
                self.read_floats(node)
        self.graph.outputs = [self.form(v, DType.FLOAT, None) for v in self.graph.outputs]
        return bool(self.chosen)

    # ---- the rule ----------------------------------------------------------------------------------------------------

    def covers(self, node: Node) -> bool:
        """The rule covers a node, given what is chosen before it."""
        floats = [v for v in node.operands if v is not None and v.type.dtype is DType.FLOAT]
        result = node.results[0].type if node.results else TensorType()
        if not floats or result.dtype is not DType.FLOAT or not unused_but_first(self.graph, node):
            return False
        if node.op in CONVOLUTIONS:
            return _has_weights(node) and result.layout != PLAIN and _maps(result) > FEW_RESULTS
        if node.op in PRODUCTS:
            return _has_weights(node) and _maps(result) > FEW_RESULTS
        behind = [self.is_half(v) for v in floats if not v.is_constant]
        if node.op in JOINS:
            return bool(behind) and all(behind)
        if node.op in POOLS:
            return any(behind) and (floats[0].type.rank or 5) <= 4
        traits = traits_of(node)
        if Trait.VIEW in traits:
            return self.is_half(node.operands[0])
        return Trait.POINTWISE in traits and any(behind) and len(floats) == len(node.operands) and _is_simple(node)

    def is_half(self, value: Value | None) -> bool:
        """The value comes from an operator that is chosen."""
        return value is not None and value.producer in self.chosen

    def is_read(self, node: Node) -> bool:
        """An operator that is chosen reads the result in half precision."""
        return any(user in self.chosen for user in node.results[0].users)

    # ---- rewriting ---------------------------------------------------------------------------------------------------

    def assign(self, node: Node) -> None:
        """Operands and result of a node that is chosen."""
        dtype = self.chosen[node]
        direct = node.op in CONVOLUTIONS and node.operands[0] is not None and node.operands[0].type.layout == PLAIN
        first = len(node.operands) - n_epilogue_operands(node)
        for i, value in enumerate(node.operands):
            if value is None or value.type.dtype not in (DType.FLOAT, *HALVES):
                continue
            if i == 0 and direct:
                node.set_operand(i, self.form(value, DType.FLOAT, node))
            elif _moves(node) or (i == 0 and node.op in (*CONVOLUTIONS, *PRODUCTS)):
                node.set_operand(i, self.form(value, dtype, node))
            elif i == 1 and node.op in (*CONVOLUTIONS, *PRODUCTS):
                node.set_operand(i, value if direct else self.weight(value, dtype))
            elif i >= first and value.type.shape != node.results[0].type.shape:
                node.set_operand(i, self.form(value, DType.FLOAT, node))
        writes_half = _moves(node) or self.is_read(node)
        node.attrs[PRECISION] = (dtype if writes_half else DType.FLOAT).text.encode()
        infer_node(node)

    def read_floats(self, node: Node) -> None:
        for i, value in enumerate(node.operands):
            if value is not None and value.type.dtype in HALVES and value.producer in self.chosen:
                node.set_operand(i, self.form(value, DType.FLOAT, node))

    def form(self, value: Value, dtype: DType, before: Node | None) -> Value:
        """The value in a precision: itself, or the g.convert of it in front of its first reader (None: at the end)."""
        if value.type.dtype is dtype or value.type.dtype not in (DType.FLOAT, *HALVES):
            return value
        if (value, dtype) not in self.forms:
            result = Value(replace(value.type, dtype=dtype), value.name)
            node = Node("g.convert", [value], [result], {PRECISION: dtype.text.encode()})
            node.location = value.producer.location if value.producer else node.location
            self.graph.append(node) if before is None else self.graph.insert_before(before, node)
            self.forms[value, dtype] = result
        return self.forms[value, dtype]

    def weight(self, value: Value, dtype: DType) -> Value:
        """The weight rounded to a precision."""
        if (value, dtype) not in self.forms:
            assert value.data is not None
            taken, name = {c.name for c in self.graph.constants}, f"{value.name}_{dtype.text}"
            unique = next(n for n in (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
            data = rounded(value.data, dtype)
            self.forms[value, dtype] = self.graph.add_constant(unique, data, replace(value.type, dtype=dtype))
        return self.forms[value, dtype]


def _moves(node: Node) -> bool:
    """The node moves elements, whose type stays."""
    return node.op in JOINS or Trait.VIEW in traits_of(node)


def _maps(result: TensorType) -> int:
    """Results a pixel or a row; 0 where that is not known."""
    count = (result.shape or (0, 0))[-1 if result.rank != 4 else 1]
    return count if isinstance(count, int) else 0


def _has_weights(node: Node) -> bool:
    """Operand 1 is a float32 weight with elements, the bias a weight if there is one."""
    weight, bias = node.operands[1], node.operands[2] if Call(node).has(2) else None
    known = weight is not None and weight.data is not None and weight.type.dtype is DType.FLOAT
    return known and (bias is None or bias.is_constant)


def _is_simple(node: Node) -> bool:
    """Operands have the result's shape, one element, or one a channel."""
    call, shape = Call(node), node.results[0].type.shape
    return shape is not None and all(
        broadcast_kind(call, i, shape, 1 if len(shape) > 1 else 0) != "other" for i in range(call.n_inputs)
    )
