"""Place the operators of an optimised graph on the card or the CPU, and put copy operators in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from graphc.ir import Call, Graph, LoweringError, Node, Trait, Value
from graphc.ir.device import put_on_card, put_on_host, wants_card, wants_host
from graphc.ir.schedule import Library
from graphc.ir.summary import type_bytes
from graphc.passes.assume_sizes import assume_sizes, types_restored
from graphc.passes.device_copies import insert_copies, remove_copies
from graphc.passes.lower import choose_kernels
from graphc.passes.matching import traits_of
from graphc.passes.plain_layout import is_blocked, make_plain
from graphc.passes.segments import part_of
from graphc.passes.unroll_recurrent import is_recurrent, unroll

CROSSING = 40_000
"""Nanoseconds that it takes to go to the card and come back, whatever the sizes: two copies, a launch, a wait."""
BUS = 16
"""Bytes a nanosecond between the memories."""
MEMORY = 10
"""Bytes a nanosecond that a CPU reads or writes. As the others a guess, good enough to tell little work from much."""


class Kernels(Library, Protocol):
    """What is asked of a card's library (``backends/library.py``)."""

    def knows(self, call: Call) -> bool:
        """There is a kernel for some types and arguments."""

    def why_not(self, call: Call) -> str:
        """Why there is none, where that is known; else nothing."""


@dataclass(frozen=True)
class Stay:
    """An operator that stays on the CPU, with the reason and what would change it."""

    node: Node
    reason: str
    remedy: str


BY_REQUEST = ("its DeviceOption says so", "give its device_option a card, or take it away")
IN_PYTHON = ("it runs in Python", "cut the net here where this takes long")
OPEN_RANK = ("its number of dimensions depends on data", "cut the net before it")
UNKNOWN = ("no kernel for cards", "none is needed: the CPU's kernel serves it")
OTHER_TYPES = ("no kernel for cards with these types and arguments", "none is needed: the CPU's kernel serves it")
LITTLE_WORK = ("it is quicker than the copies to the card and back", "give its device_option a card to have it there")


def place_devices(graph: Graph, card: Kernels) -> list[Stay]:
    """Write ``cuda:0`` or ``cpu:0`` to every node, in place, and say what stays on the CPU and why.

    On the card is what it has a kernel for, unless its DeviceOption wants it on the CPU, in a net where others want a
    card (of others the importer takes no such wishes). Groups of operators beside those of the CPU that only move
    elements or take them one by one, in less time than the copies, stay there, unless their DeviceOption says card. A
    graph that was placed before is placed again, to the same end.
    """
    remove_copies(graph)
    for node in _without_blocks(graph, card):
        make_plain(graph, node)
    with types_restored(graph):
        assume_sizes(graph)
        reasons = {node: reason for node in graph.nodes if (reason := _reason(node, card)) is not None}
        for group in list(_groups(graph, reasons)):
            if _is_little(group, reasons):
                reasons |= dict.fromkeys(group, LITTLE_WORK)
    insert_copies(graph, lambda node: node not in reasons)
    stays = []
    for node in graph.nodes:
        if node in reasons:
            put_on_host(node)
            stays.append(Stay(node, *reasons[node]))
        else:
            put_on_card(node)
    return stays


def _without_blocks(graph: Graph, card: Kernels) -> list[Node]:
    """The nodes that the card has no kernel for while their values lie in blocks of channels."""
    with types_restored(graph):
        assume_sizes(graph)
        return [node for node in graph.nodes if is_blocked(node) and _reason(node, card) is not None]


def _reason(node: Node, card: Kernels) -> tuple[str, str] | None:
    """Why a node stays on the CPU by itself."""
    if Trait.HOST in traits_of(node):
        return IN_PYTHON
    if wants_host(node):
        return BY_REQUEST
    call, recurrent = Call(node), is_recurrent(node)
    if not (recurrent or card.knows(call)):
        return UNKNOWN
    values = node.operands if recurrent else (*node.operands, *node.results)
    if not all(v is None or v.type.is_static for v in values):
        return OPEN_RANK
    try:
        _choose_steps(node, card) if recurrent else card.choose(call)
    except LoweringError:
        why = card.why_not(call)
        return (f"{UNKNOWN[0]}: {why}", UNKNOWN[1]) if why else OTHER_TYPES
    return None


def _choose_steps(node: Node, card: Kernels) -> None:
    """Choose kernels for the step net of a node; raises ``LoweringError`` where one of its operators has none."""
    assert node.graph is not None
    unrolled, first = unroll(part_of(node.graph, [node])[0])
    choose_kernels(unrolled, card, first=first)


def _groups(graph: Graph, stays: Mapping[Node, object]) -> Iterator[list[Node]]:
    """The nodes of the card that hang together without the CPU in between."""
    seen: set[Node] = set()
    for start in graph.nodes:
        if start in stays or start in seen:
            continue
        group, todo = [], [start]
        seen.add(start)
        while todo:
            group.append(node := todo.pop())
            near = [n for n in _neighbours(node) if n not in stays and n not in seen]
            seen.update(near)
            todo += dict.fromkeys(near)
        yield group


def _neighbours(node: Node) -> list[Node]:
    made = [v.producer for v in node.operands if v is not None and v.producer is not None]
    return made + [user for r in node.results for user in r.users]


def _is_little(group: Sequence[Node], stays: Mapping[Node, object]) -> bool:
    """The CPU, which works beside the group, does its work before the copies to the card and back are done."""
    beside = any(n in stays for node in group for n in _neighbours(node))
    if not beside or not all(_is_light(node) and not wants_card(node) for node in group):
        return False
    inside = {r for node in group for r in node.results}
    read = {v for node in group for v in node.operands if v is not None and v not in inside}
    given = {r for r in inside if any(n not in group for n in r.users) or not r.uses}
    moved = _bytes({v for v in read if not v.is_constant} | given)
    return _bytes(read | inside) / MEMORY < CROSSING + moved / BUS


def _is_light(node: Node) -> bool:
    """It takes elements one by one, or moves them; blocks of channels are the card's own."""
    moves = node.opdef.flops is None and not node.subgraphs()
    return not is_blocked(node) and (moves or Trait.POINTWISE in traits_of(node))


def _bytes(values: set[Value]) -> int:
    return sum(type_bytes(v.type) or 0 for v in values)
