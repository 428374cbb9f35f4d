"""tf32: convolutions and products that a card's tensor cores multiply in TF32, values and weights in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from graphc.ir import PLAIN, Call, Graph, GraphcError, Node, Trait
from graphc.ir.device import wants_host
from graphc.ir.fpmath import FPMATH, TF32
from graphc.ir.precision import PRECISION
from graphc.passes.base import Pass
from graphc.passes.half_rule import (
    CONVOLUTIONS,
    FEWEST,
    MATRICES,
    PRODUCTS,
    has_known_weights,
    has_many_channels,
    has_many_maps,
    is_blocked,
    multiplies_computed,
)
from graphc.passes.matching import is_float, traits_of
from graphc.passes.precision_requests import FLOAT, Requests

RULE = (
    f"Conv of blocked values (-O2) and FC, with constant weights and {FEWEST} maps or more, MatMul and BatchMatMul of "
    "computed matrices"
)
PIECE = 4
"""Numbers that tensor cores load at once: lines of matrices are multiples of it."""
Reason = tuple[Callable[[Node], bool], str]


@dataclass(frozen=True)
class Tf32(Pass):
    """Give operators the attribute ``fpmath`` (``ir/fpmath.py``): a card multiplies their operands rounded to TF32.

    precision: ``tf32`` for all that the rule covers, ``float`` for those alone that are requested.
    requests: ``name:tf32;...`` by the blob that an operator computes, or its name; ``float`` keeps one out.
    Handles Conv with constant weights, a blocked image and a blocked result, one group or groups of whole blocks; FC
    with constant weights; both of 16 maps or more; products of two computed matrices. Conditions are those of half
    precision (``passes/half_rule.py``), with lines of 4 numbers instead of 8 halves, and products of any size, since
    nothing is converted. Refuses what is in half precision already, and what the CPU runs.
    Raises ``GraphcError`` for a request that names no operator, or one that the rule does not cover.
    """

    precision: str = TF32
    requests: str = ""

    def run(self, graph: Graph) -> bool:
        wanted, changed = Requests(self.precision, self.requests, (TF32, FLOAT)), False
        for node in _on_card(graph):
            if FPMATH not in node.attrs and not why_not(node) and wanted.take(node) == TF32:
                node.attrs[FPMATH] = TF32.encode()
                changed = True
        wanted.require_met(graph, _refusal)
        if changed:
            graph.stage = "optimised"
        return changed


def _on_card(graph: Graph) -> Iterator[Node]:
    """The nodes that the CPU does not run, those of nets inside included, but of no fused graphs."""
    for node in graph.nodes:
        if not wants_host(node) and Trait.HOST not in traits_of(node):
            yield node
            if "body" not in node.attrs and "epilogue" not in node.attrs:
                for inner in node.subgraphs():
                    yield from _on_card(inner)


def _refusal(node: Node, name: str, kind: str) -> GraphcError | None:
    if FPMATH in node.attrs:
        return None
    reason = why_not(node) or "the CPU runs the net that it is in"
    message = f"{node.location}: {node.op} -> '{name}' cannot multiply in TF32: {reason}"
    return GraphcError(message, f"ask for float; TF32 is for {RULE}")


# ---- the rule --------------------------------------------------------------------------------------------------------


def why_not(node: Node) -> str:
    """Why the rule does not cover an operator; nothing where it does."""
    reasons = next((reasons for ops, reasons in TABLE if node.op in ops), None)
    if reasons is None:
        return "it multiplies no matrices"
    return next((reason for holds, reason in (*ANY, *reasons) if not holds(node)), "")


def _is_on_card(node: Node) -> bool:
    return not wants_host(node)


def _is_in_float(node: Node) -> bool:
    return PRECISION not in node.attrs


def _has_floats(node: Node) -> bool:
    return all(map(is_float, (*node.operands[:2], node.results[0])))


def _reads_blocks(node: Node) -> bool:
    x = node.operands[0]
    return x is not None and x.type.layout != PLAIN


def _has_whole_groups(node: Node) -> bool:
    """One group of channels, or groups that blocks do not cross."""
    weight, groups, block = node.operands[1], int(Call(node).arg("group")), node.results[0].type.layout.block
    assert weight is not None
    maps, channels = weight.type.static_shape[:2]
    return groups == 1 or channels % block == maps // groups % block == 0


def _has_whole_rows(node: Node) -> bool:
    weight, maps = node.operands[1], (node.results[0].type.shape or (0,))[-1]
    assert weight is not None
    return isinstance(maps, int) and maps > 0 and weight.type.size // maps % PIECE == 0


ANY: tuple[Reason, ...] = (
    (_is_on_card, "the CPU runs it"),
    (_is_in_float, "it is in half precision"),
    (_has_floats, "its operands or its result are not of float32"),
)
WEIGHTS: Reason = has_known_weights, "its weights are not constant"
MAPS: Reason = has_many_maps, f"it has fewer than {FEWEST} maps"

TABLE: tuple[tuple[tuple[str, ...], tuple[Reason, ...]], ...] = (
    (
        CONVOLUTIONS,
        (
            (is_blocked, "its result does not lie in blocks of channels, as those of 2-D convolutions do at -O2"),
            (_reads_blocks, "it reads an image as it is, not in blocks of channels"),
            WEIGHTS,
            MAPS,
            (has_many_channels, f"it has fewer than {FEWEST} channels"),
            (_has_whole_groups, "its groups are no whole blocks of channels"),
        ),
    ),
    (PRODUCTS, (WEIGHTS, MAPS, (_has_whole_rows, f"its sums are of no multiple of {PIECE} products"))),
    (
        MATRICES,
        (
            (
                lambda node: multiplies_computed(node, PIECE),
                f"it is not of two computed matrices of known sizes with lines that are multiples of {PIECE}, and with "
                f"{FEWEST} columns and products a sum or more",
            ),
        ),
    ),
)
"""The rule: what covers operators, in the order in which it is told that it does not."""
