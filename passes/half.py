"""half: convolutions, products, pools and what is pointwise around them in half precision."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from graphc.ir import Attr, DType, Graph, GraphcError, Layout, Node, TensorType, Value, infer_node
from graphc.ir.opdef import n_epilogue_operands
from graphc.ir.precision import HALVES, PRECISION, rounded
from graphc.passes.base import Pass, nets
from graphc.passes.half_rule import (
    Row,
    has_weights,
    is_small,
    reads_and_writes_floats,
    row_for_tensor_cores,
    row_of,
)
from graphc.passes.half_weights import bfloat16_weights
from graphc.passes.matching import unused_but_first
from graphc.passes.precision_requests import Requests

RULE = (
    "Conv (blocked, constant weights, 16 maps or more), FC, on cards MatMul and BatchMatMul of large computed "
    "matrices, and behind them pools, pointwise operators, Concat"
)


@dataclass(frozen=True)
class Half(Pass):
    """Give operators the attribute ``precision`` (``ir/precision.py``): weights and activations in half precision.

    precision: ``float16`` or ``bfloat16`` for all that the rule names, ``float`` for those alone that are requested.
    requests: ``name:precision;...`` by the blob that an operator computes, or its name; ``float`` keeps one out.
    tensor_cores: the target has some. So MatMul and BatchMatMul of two computed operands are in half precision, too,
    and a Conv that reads a plain image in long sums has that made halves, in blocks, by one ``g.reorder``.
    Handles what the table of ``passes/half_rule.py`` covers: Conv with constant weights and a blocked result, FC with
    constant weights, both of 16 maps or more; products of computed matrices that are halves or large; pools,
    pointwise operators and views that read the result of such a one, Concat of nothing else. A Conv or FC with few
    weights whose result nobody of these reads stays float32 unless it is requested: errors made last are the largest
    part of an answer's. Refuses everything else (softmax, losses, normalisation that is not folded, LRN, resizing),
    which stays float32; so do biases, inputs and outputs.
    ``g.convert`` stands where precisions meet, unless the operator before can write the other one itself. Weights in
    bfloat16 are rounded so that the errors of a map cancel (``passes/half_weights.py``).
    Raises ``GraphcError`` for a request that names no operator, or one that the rule does not cover.
    """

    precision: str = "bfloat16"
    requests: str = ""
    tensor_cores: bool = False

    def run(self, graph: Graph) -> bool:
        wanted = Requests(self.precision, self.requests, KINDS)
        changed = [_Assignment(net, wanted, self.tensor_cores).run() for net in nets(graph)]
        wanted.require_met(graph, _refusal)
        if any(changed):
            graph.stage = "optimised"
        return any(changed)


KINDS = tuple(d.text for d in (*HALVES, DType.FLOAT))


def _refusal(node: Node, name: str, kind: str) -> GraphcError | None:
    if PRECISION in node.attrs:
        return None
    return GraphcError(f"{node.location}: {node.op} has no form in {kind}", f"there is one of {RULE}")


@dataclass
class _Assignment:
    """One net. chosen: precisions of the nodes that the rule covers. forms: values in other precisions, once made."""

    graph: Graph
    wanted: Requests
    tensor_cores: bool
    chosen: dict[Node, DType] = field(default_factory=dict)
    forms: dict[tuple[Value, TensorType], Value] = field(default_factory=dict)

    def run(self) -> bool:
        """True iff any node got a precision."""
        self.choose()
        for node in list(self.graph.nodes):
            row = self.row(node)
            if row:
                self.assign(node, row)
            elif PRECISION not in node.attrs:
                self.read_floats(node)
        self.graph.outputs = [self.form(v, DType.FLOAT, None) for v in self.graph.outputs]
        return bool(self.chosen)

    # ---- the rule ----------------------------------------------------------------------------------------------------

    def choose(self) -> None:
        """Fill ``chosen``: what the rule covers, less what is small and last."""
        self.cover(frozenset())
        last = self.small_and_last()
        if last:
            self.cover(last)

    def cover(self, without: frozenset[Node]) -> None:
        """Choose what the rule covers, without these nodes, and without those that would move values for nobody."""
        self.chosen.clear()
        for node in self.graph.nodes:
            if PRECISION in node.attrs or node in without:
                continue
            row = row_of(node)
            fits = row and reads_and_writes_floats(node) and unused_but_first(self.graph, node)
            if row and fits and (self.tensor_cores or not row.matrices) and row.covers(node, self.is_half):
                dtype = DType.parse(self.wanted.take(node))
                if dtype is not DType.FLOAT:
                    self.chosen[node] = dtype
        for node in reversed(self.graph.nodes):
            row = self.row(node)
            if row and row.moves and not self.is_read(node):
                del self.chosen[node]

    def small_and_last(self) -> frozenset[Node]:
        """The chosen operators with few weights behind which no other one with weights is chosen."""
        last, before = set[Node](), set[Node]()
        for node in reversed(self.graph.nodes):
            users = {user for result in node.results for user in result.users}
            if any(user in before or (user in self.chosen and has_weights(user)) for user in users):
                before.add(node)
            elif node in self.chosen and is_small(node) and not self.wanted.names(node):
                last.add(node)
        return frozenset(last)

    def row(self, node: Node) -> Row | None:
        """What the rule says of a node that is chosen; None for others."""
        if node not in self.chosen:
            return None
        return (row_for_tensor_cores if self.tensor_cores else row_of)(node)

    def is_half(self, value: Value) -> bool:
        """The value comes from an operator that is chosen."""
        return value.producer in self.chosen

    def is_read(self, node: Node) -> bool:
        """An operator that is chosen reads the result in half precision."""
        return any(user in self.chosen for user in node.results[0].users)

    # ---- rewriting ---------------------------------------------------------------------------------------------------

    def assign(self, node: Node, row: Row) -> None:
        """Operands and result of a node that is chosen."""
        dtype = self.chosen[node]
        epilogue = len(node.operands) - n_epilogue_operands(node)
        for i, value in enumerate(node.operands):
            if value is None or value.type.dtype not in (DType.FLOAT, *HALVES):
                continue
            if row.inputs != "any" and (i == 0 or row.moves or (i == 1 and row.matrices)):
                layout = node.results[0].type.layout if row.blocks else None
                node.set_operand(i, self.form(value, dtype if row.inputs == "half" else DType.FLOAT, node, layout))
            elif i == 1 and row.weights:
                node.set_operand(i, self.weight(value, dtype, maps_last=node.op == "FCTransposed"))
            elif i >= epilogue and value.type.shape != node.results[0].type.shape:
                node.set_operand(i, self.form(value, DType.FLOAT, node))
        writes_half = row.moves or self.is_read(node)
        node.attrs[PRECISION] = (dtype if writes_half else DType.FLOAT).text.encode()
        infer_node(node)

    def read_floats(self, node: Node) -> None:
        for i, value in enumerate(node.operands):
            if value is not None and value.type.dtype in HALVES and value.producer in self.chosen:
                node.set_operand(i, self.form(value, DType.FLOAT, node))

    def form(self, value: Value, dtype: DType, before: Node | None, layout: Layout | None = None) -> Value:
        """The value in a precision, and a layout where one is given: itself, or the g.convert or g.reorder of it in
        front of its first reader (None: at the end)."""
        old, type = value.type, replace(value.type, dtype=dtype, layout=layout or value.type.layout)
        if type == old or old.dtype not in (DType.FLOAT, *HALVES):
            return value
        if (value, type) not in self.forms:
            result = Value(type, value.name)
            attrs: dict[str, Attr] = {PRECISION: dtype.text.encode()}
            if type.layout != old.layout:
                attrs["layout"] = type.layout.text.encode()
            node = Node("g.reorder" if "layout" in attrs else "g.convert", [value], [result], attrs)
            node.location = value.producer.location if value.producer else node.location
            self.graph.append(node) if before is None else self.graph.insert_before(before, node)
            self.forms[value, type] = result
        return self.forms[value, type]

    def weight(self, value: Value, dtype: DType, maps_last: bool) -> Value:
        """The weight rounded to a precision."""
        type = replace(value.type, dtype=dtype)
        if (value, type) not in self.forms:
            assert value.data is not None
            taken, name = {c.name for c in self.graph.constants}, f"{value.name}_{dtype.text}"
            unique = next(n for n in (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
            is_brain = dtype is DType.BFLOAT16
            data = bfloat16_weights(value.data, maps_last) if is_brain else rounded(value.data, dtype)
            self.forms[value, type] = self.graph.add_constant(unique, data, type)
        return self.forms[value, type]
