"""fold_constants: compute at compile time what does not depend on the inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from graphc.ir import Call, Dim, DType, Graph, Node, TensorType, Trait, Value, infer_node
from graphc.ir.graph import FIXED_SIZES, Constant
from graphc.ir.ops.tensor.parts import join_axis
from graphc.ir.quant_array import array_quant
from graphc.ir.reference import evaluate_node
from graphc.passes.base import Pass, at_each_node
from graphc.passes.matching import fresh_constant, is_output, traits_of
from graphc.passes.variants import Variants

Shape = tuple[Dim, ...]
WIDER = 4
"""Bytes of float32 for one byte of an operand."""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace operators whose operands are all constants, and sizes of static types that are read, by constants.

    Handles fills and what is left of init nets (Copy, Cast, arithmetic on weights) through the reference interpreter;
    Shape, Size, Reshape's old_shape and Concat's split_info. A size that other input sizes would change binds the graph
    to the sizes at hand: a note that starts with ``FIXED_SIZES`` says so, as it does for operators whose expression
    holds sizes (``Trait.SIZED``). Types that folding makes known are inferred.
    Refuses randomness, effects, control flow, constants without storage, and results that need more bytes than
    ``limit`` and than four times what the operands and arguments have together: weights held as bytes or halves are
    widened, but a ConstantFill of a large shape is smaller as it is.
    """

    limit: int = 1 << 16

    def run(self, graph: Graph) -> bool:
        return at_each_node(graph, _Folding(graph, self.limit).at_node)


@dataclass
class _Folding:
    """One run over a graph. touched: values that became constants or better known in this run."""

    graph: Graph
    limit: int
    touched: set[Value] = field(default_factory=set)

    @cached_property
    def open_sizes(self) -> dict[Value, TensorType]:
        """Types by value of the graph as it is at first need, whatever the sizes of its inputs."""
        return Variants(self.graph).open_types()

    def at_node(self, net: Graph, node: Node) -> bool:
        """Fold one node of the graph or of a net inside it."""
        self._infer_again(node)
        if Trait.SIZED in traits_of(node):
            self._note_sizes(node)
        if node.op in _SIZES and self._fold_sizes(net, node):
            return True
        if not _is_pure(node) or not all(v is None or v.data is not None for v in node.operands):
            return False
        budget = max(self.limit, WIDER * _source_bytes(node))
        if sum(r.type.nbytes for r in node.results if r.type.is_static) > budget:
            return False
        results = evaluate_node(node, [v.data if v is not None else None for v in node.operands])
        if sum(r.nbytes for r in results) > budget:
            return False
        for old, data in zip(node.results, results):
            self._replace(net, old, data)
        net.erase(node)
        return True

    def _infer_again(self, node: Node) -> None:
        if self.touched.isdisjoint(v for v in node.operands if v is not None):
            return
        before = [r.type for r in node.results]
        infer_node(node)
        self.touched.update(r for r, old in zip(node.results, before) if r.type != old)

    def _fold_sizes(self, net: Graph, node: Node) -> bool:
        """Replace the result of a node that tells sizes, where these are known and somebody reads it."""
        found = told_sizes(node)
        if found is None or not (found[0].uses or is_output(net, found[0])):
            return False
        (result, sizes), rule = found, _SIZES[node.op][1]
        if not _are_known(_told(node, rule, lambda v: v.type if v.is_constant else self.open_sizes.get(v))):
            self.graph.notes.append(f"{FIXED_SIZES}'{result.name}' ({node.op}) holds sizes of the inputs compiled for")
        self._replace(net, result, sizes)
        if len(node.results) == 1:
            net.erase(node)
        return True

    def _note_sizes(self, node: Node) -> None:
        """Note that the graph is bound to its sizes, unless those of the operands are the same for all inputs."""
        types = (v.type if v.is_constant else self.open_sizes.get(v) for v in node.operands if v is not None)
        note = f"{FIXED_SIZES}'{node.results[0].name}' ({node.op}) divides by a size of the inputs compiled for"
        if note not in self.graph.notes and not all(t is not None and t.is_static for t in types):
            self.graph.notes.append(note)

    def _replace(self, net: Graph, old: Value, data: np.ndarray) -> None:
        new = fresh_constant(net, old.name or "constant", np.ascontiguousarray(data).reshape(data.shape))
        if quant := array_quant(data) or old.type.quant:
            new.type = replace(new.type, quant=quant)
            new.constant = Constant(new.name, new.type, new.data)
        net.replace(old, new)
        self.touched.add(new)


Rule = Callable[[Call, Sequence[Shape]], "list[Dim] | Dim"]


def _joined(call: Call, shapes: Sequence[Shape]) -> list[Dim]:
    if call.arg("add_axis"):
        return [1] * len(shapes)
    axis = join_axis(call, len(shapes[0]))
    return [shape[axis] for shape in shapes]


def _elements(call: Call, shapes: Sequence[Shape]) -> Dim:
    total: Dim = 1
    for d in shapes[0]:
        total = d * total
    return total


_SIZES: dict[str, tuple[int, Rule]] = {
    "Shape": (0, lambda call, shapes: [shapes[0][a] for a in call.arg("axes") or range(len(shapes[0]))]),
    "Size": (0, _elements),
    "Reshape": (1, lambda call, shapes: list(shapes[0])),
    "Concat": (1, _joined),
    "DepthConcat": (1, _joined),
}
"""Operators that tell sizes of their operands, the result that does, and what it holds by the operands' shapes."""


def told_sizes(node: Node) -> tuple[Value, np.ndarray] | None:
    """The result of a typed node that tells sizes of its operands, where these are known, and what it holds."""
    index, rule = _SIZES.get(node.op, (0, None))
    if rule is None or index >= len(node.results):
        return None
    result, sizes = node.results[index], _told(node, rule, lambda v: v.type)
    if not _are_known(sizes) or result.type.dtype is None:
        return None
    return result, np.array(sizes, result.type.dtype.numpy)


def _told(node: Node, rule: Rule, type_of: Callable[[Value], TensorType | None]) -> list[Dim] | Dim | None:
    """What the rule gives for the operands' types; None where the rank of one is not known."""
    operands = node.operands[:1] if node.op == "Reshape" else node.operands
    types = [type_of(v) if v is not None else None for v in operands]
    shapes = [t.shape for t in types if t is not None and t.shape is not None]
    return rule(Call(node), shapes) if len(shapes) == len(operands) and shapes else None


def _are_known(sizes: list[Dim] | Dim | None) -> bool:
    return all(isinstance(d, int) for d in (sizes if isinstance(sizes, list) else [sizes]))


def _is_pure(node: Node) -> bool:
    record = node.opdef
    has_meaning = record.scalar or record.loop or record.reference
    strings = any(r.type.dtype is DType.STRING for r in node.results)  # objects, which no machine code can hold
    impure = traits_of(node) & (Trait.EFFECT | Trait.RANDOM) or node.subgraphs()
    return bool(has_meaning) and not strings and not impure


def _source_bytes(node: Node) -> int:
    operands = sum(v.data.nbytes for v in node.operands if v is not None and v.data is not None)
    return operands + sum(4 * len(a) if isinstance(a, (tuple, bytes)) else 4 for a in node.attrs.values())
