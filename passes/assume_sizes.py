"""Sizes that depend on data, taken as some number while kernels are chosen ahead of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from graphc.ir import Graph, GraphcError, LoweringError, Quant, Value
from graphc.ir.infer import infer_node
from graphc.ir.types import OPEN_QUANT

SOME_SIZE = 16
"""What stands for a dimension that depends on data."""

SOME_QUANT = Quant(1.0, 0)
"""What stands for a scale that depends on data."""


def assume_sizes(graph: Graph) -> bool:
    """Give every unknown dimension a size, in order; False where a rank stays unknown or the sizes contradict."""
    try:
        _close(graph.inputs)
        for node in graph.nodes:
            infer_node(node)
            _close(node.results)
    except GraphcError:
        return False
    return True


def _close(values: Sequence[Value]) -> None:
    for v in values:
        shape = v.type.shape
        if shape is None:
            raise LoweringError(f"the rank of '{v.name}' is not known")
        quant = SOME_QUANT if v.type.quant == OPEN_QUANT else v.type.quant
        v.type = replace(v.type, shape=tuple(d if isinstance(d, int) else SOME_SIZE for d in shape), quant=quant)


@contextmanager
def types_restored(graph: Graph) -> Iterator[None]:
    """Give the values of the graph the types back that they had."""
    saved = {v: v.type for v in graph.values()}
    try:
        yield
    finally:
        for v, type in saved.items():
            v.type = type
