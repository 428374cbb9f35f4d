"""Choose the engines of an optimised graph's operators, as a user asks for them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from graphc.ir import Call, Graph, GraphcError, LoweringError, Node
from graphc.ir.device import COPIES, wants_host
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

MOVES = ("g.reorder", "g.convert", *COPIES)
"""What stands behind an operator under the name of its result: the same numbers elsewhere. Nobody asks for these."""


class Kernels(Protocol):
    """What is asked of a card's library (``backends/library.py``)."""

    def choose(self, call: Call) -> Choice:
        """Some kernel, or call of a library; raises ``LoweringError`` where there is none."""

    def why_no_library(self, call: Call) -> str:
        """Why no library does a call that one is asked for."""


@dataclass(frozen=True)
class Asked:
    """A node that a library is asked for. library: that does it; empty where none does, for this reason."""

    node: Node
    library: str
    reason: str = ""


def choose_engines(graph: Graph, card: Kernels, requests: Mapping[str, str]) -> list[Asked]:
    """Give nodes the attribute ``chosen_engine`` where an engine is asked for and does them, in place.

    All nodes that it is asked for, with what does them, or why nothing does.

    requests: by the blob that an operator computes, ``CUDNN`` or ``default``; under ``*`` for all others, where
    ``net`` asks for what the NetDef names. What the engine does not do keeps its generated kernel, unless it was asked
    for by its blob. Raises ``GraphcError`` for a request that names no operator, ``LoweringError`` for one that the
    engine does not do.
    """
    _require_known(graph, requests)
    found = []
    with types_restored(graph):
        assume_sizes(graph)
        for node in _operators(graph):
            name = next((r.name for r in node.results if r.name in requests), ALL)
            if _is_wanted(node, requests.get(name, DEFAULT)):
                found.append(_ask(node, card))
                if found[-1].reason and name != ALL:
                    raise LoweringError(
                        f"{node.location}: the engine {CUDNN} does not do '{name}': {found[-1].reason}", SERVED
                    )
    return found


def _is_wanted(node: Node, request: str) -> bool:
    return request == CUDNN or (request == NET and prefers(node, CUDNN))


def _ask(node: Node, card: Kernels) -> Asked:
    """Choose the engine for a node if it does it."""
    if wants_host(node):
        return Asked(node, "", "it is on the CPU")
    if not all(v is None or v.type.is_static for v in (*node.operands, *node.results)):
        return Asked(node, "", "its sizes are not known")
    node.attrs[CHOSEN] = CUDNN.encode()
    library = _library_of(node, card)
    if library:
        return Asked(node, library)
    del node.attrs[CHOSEN]
    return Asked(node, "", card.why_no_library(Call(node)))


def _library_of(node: Node, card: Kernels) -> str:
    try:
        spec = card.choose(Call(node)).spec
    except LoweringError:
        return ""
    return "" if spec is None else spec.library


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
    for node in _operators(graph):
        yield from (r.name for r in node.results)


def _operators(graph: Graph) -> Iterator[Node]:
    return (node for node in graph.nodes if node.op not in MOVES)
