"""infer_types: give every value its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Graph
from graphc.ir.infer import infer_types
from graphc.passes.base import Pass


@dataclass(frozen=True)
class InferTypes(Pass):
    """Infer all types from the inputs and constants, in nets inside the graph too; the stage becomes ``typed``.

    Handles every operator with a record. Raises ``VerifyError`` naming the operator whose call is wrong.
    """

    requires: ClassVar[str] = "imported"

    def run(self, graph: Graph) -> bool:
        before = graph.stage, [str(v.type) for v in graph.values()]
        infer_types(graph)
        if graph.stage == "imported":
            graph.stage = "typed"
        return before != (graph.stage, [str(v.type) for v in graph.values()])
