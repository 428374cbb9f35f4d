"""fold_constants: compute at compile time what does not depend on the inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.ir import Graph, Node, Trait
from graphc.ir.reference import evaluate_node
from graphc.passes.base import Pass, at_each_node
from graphc.passes.matching import fresh_constant, traits_of


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace operators whose operands are all constants, and Shape of a static type, by constants.

    Handles fills and what is left of init nets (Copy, Cast, arithmetic on weights) through the reference interpreter.
    Refuses randomness, effects, control flow, constants without storage, and results that need more bytes than
    ``limit`` and than the operands and arguments have together (a ConstantFill of a large shape is smaller as it is).
    """

    limit: int = 1 << 16

    def run(self, graph: Graph) -> bool:
        return at_each_node(graph, self._fold)

    def _fold(self, graph: Graph, node: Node) -> bool:
        shape = _static_shape(node)
        if shape is not None:
            return _replace(graph, node, [shape])
        if not _is_pure(node) or not all(v is None or v.data is not None for v in node.operands):
            return False
        budget = max(self.limit, _source_bytes(node))
        if sum(r.type.nbytes for r in node.results if r.type.is_static) > budget:
            return False
        results = evaluate_node(node, [v.data if v is not None else None for v in node.operands])
        return sum(r.nbytes for r in results) <= budget and _replace(graph, node, results)


def _static_shape(node: Node) -> np.ndarray | None:
    """What ``Shape`` gives for an operand whose type is static."""
    x = node.operands[0] if node.op == "Shape" else None
    if x is None or not x.type.is_static:
        return None
    axes = node.attrs.get("axes") or ()
    dims = x.type.static_shape
    picked = [dims[a] for a in axes if isinstance(a, int)] if isinstance(axes, tuple) and axes else dims
    return np.array(picked, np.int64)


def _is_pure(node: Node) -> bool:
    record = node.opdef
    has_meaning = record.scalar or record.loop or record.reference
    return bool(has_meaning) and not traits_of(node) & (Trait.EFFECT | Trait.RANDOM) and not node.subgraphs()


def _source_bytes(node: Node) -> int:
    operands = sum(v.data.nbytes for v in node.operands if v is not None and v.data is not None)
    return operands + sum(4 * len(a) if isinstance(a, (tuple, bytes)) else 4 for a in node.attrs.values())


def _replace(graph: Graph, node: Node, arrays: list[np.ndarray]) -> bool:
    for old, data in zip(node.results, arrays):
        graph.replace(old, fresh_constant(graph, old.name or node.op, np.ascontiguousarray(data).reshape(data.shape)))
    graph.erase(node)
    return True
