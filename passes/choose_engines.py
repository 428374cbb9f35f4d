"""Choose the engines of an optimised graph's operators, as a user asks for them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Protocol

from graphc.ir import Call, Graph, GraphcError, LoweringError, Node
from graphc.ir.device import wants_host
from graphc.ir.engine import CHOSEN, CUDNN, DEFAULT, prefers
from graphc.ir.schedule import Choice
from graphc.passes.assume_sizes import assume_sizes, types_restored

ALL = "*"
NET = "net"
"""Ask for what the NetDef's own words name."""
SERVED = (
    "cuDNN and cublasLt are asked for Conv of images with weights of the net, FC, MatMul and BatchMatMul, of one "
    "element type; in halves with nothing but a bias and a Relu behind, and behind a Conv no Relu without a bias"
)


class Kernels(Protocol):
    """What is asked of a card's library (``backends/library.py``)."""

    def choose(self, call: Call) -> Choice:
        """Some kernel, or call of a library; raises ``LoweringError`` where there is none."""


def choose_engines(graph: Graph, card: Kernels, requests: Mapping[str, str]) -> None:
    """Give nodes the attribute ``chosen_engine`` where an engine is asked for and does them, in place.

    requests: by the blob that an operator computes, ``CUDNN`` or ``default``; under ``*`` for all others, where
    ``net`` asks for what the NetDef names. What the engine does not do keeps its generated kernel, unless it was asked
    for by its blob. Raises ``GraphcError`` for a request that names no operator, ``LoweringError`` for one that the
    engine does not do.
    """
    _require_known(graph, requests)
    with types_restored(graph):
        assume_sizes(graph)
        for node in graph.nodes:
            name = next((r.name for r in node.results if r.name in requests), ALL)
            if _is_wanted(node, requests.get(name, DEFAULT)) and not _take(node, card) and name != ALL:
                raise LoweringError(f"{node.location}: the engine {CUDNN} does not do '{name}'", SERVED)


def _is_wanted(node: Node, request: str) -> bool:
    return request == CUDNN or (request == NET and prefers(node, CUDNN))


def _take(node: Node, card: Kernels) -> bool:
    """Choose the engine for a node if it does it."""
    node.attrs[CHOSEN] = CUDNN.encode()
    static = all(v is None or v.type.is_static for v in (*node.operands, *node.results))
    if static and not wants_host(node) and _is_served(node, card):
        return True
    del node.attrs[CHOSEN]
    return False


def _is_served(node: Node, card: Kernels) -> bool:
    try:
        spec = card.choose(Call(node)).spec
    except LoweringError:
        return False
    return spec is not None and bool(spec.library)


def _require_known(graph: Graph, requests: Mapping[str, str]) -> None:
    names = set(_names(graph))
    for name in requests:
        if name != ALL and name not in names:
            near = difflib.get_close_matches(name, names, 3)
            raise GraphcError(
                f"an engine is requested for '{name}', which no operator computes",
                f"near names: {', '.join(near)}" if near else "graphc dump --stage optimised lists the blobs",
            )


def _names(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        yield from (r.name for r in node.results)
