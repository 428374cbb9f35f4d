"""Preparation: the float graph as quantisation wants it, in order NCHW, with batch norms folded and unique names."""

from __future__ import annotations

from graphc.ir import Graph
from graphc.passes.base import Pipeline
from graphc.passes.canonicalize import Canonicalize
from graphc.passes.cse import Cse
from graphc.passes.dce import Dce
from graphc.passes.fold_batch_norm import FoldBatchNorm
from graphc.passes.fold_constants import FoldConstants
from graphc.passes.infer_types import InferTypes
from graphc.passes.manager import run_pipeline
from graphc.passes.nhwc_to_nchw import NhwcToNchw

PREPARE: Pipeline = (
    # The beginning of O1, with the same reasons for the order; nothing is fused: Caffe2 has to know the operators.
    InferTypes(),
    NhwcToNchw(),
    Canonicalize(),
    FoldConstants(),
    Canonicalize(),
    Cse(),
    Dce(),
    FoldBatchNorm(),
    Dce(),
)


def prepare(graph: Graph) -> None:
    """Bring an imported graph, whose inputs have static types, into the form that quantisation works on; in place."""
    run_pipeline(graph, PREPARE)
    name_values(graph)


def name_values(graph: Graph) -> None:
    """Give every value a name of its own; inputs, outputs and the last value of each blob keep theirs."""
    taken = {v.name for v in graph.blobs().values()} | set(graph.output_names)
    kept = {id(v) for v in (*graph.blobs().values(), *graph.constants)}
    for value, name in zip(graph.outputs, graph.output_names):
        if value.producer is not None:
            value.name = name
    for node in graph.nodes:
        for i, value in enumerate(node.results):
            if not value.name or id(value) not in kept:
                value.name = _fresh(value.name or f"{node.op}_{i}", taken)
                taken.add(value.name)


def _fresh(name: str, taken: set[str]) -> str:
    k = 1
    while f"{name}.{k}" in taken:
        k += 1
    return f"{name}.{k}"
