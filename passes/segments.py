"""Cut a graph into segments: parts whose sizes are all known once their inputs are, and operators that run in Python.

A part is for one device; the copies between devices are in the parts of the card.

A plan runs its segments one after another. Most nets are one segment; a detection net is three or four: each begins
where a size or a shape has become known that depends on data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from graphc.ir import Call, DType, Graph, Node, Trait, Value
from graphc.ir.device import wants_card
from graphc.ir.graph import clone_attr
from graphc.ir.opdef import shape_operands
from graphc.ir.types import OPEN_QUANT

CONSTANT = -1
"""In place of the slot of an output that is a constant of the graph."""

NATIVE, PYTHON, BESIDE = range(3)
"""What runs a node: kernels of the target, Python, kernels of the CPU in a plan for a card."""
KINDS = 3


@dataclass(frozen=True)
class Segment:
    """A part of a graph. sources: the slot of each of its inputs; slots are the inputs of the whole graph, then the
    outputs of each segment in order. shape_inputs: those of its inputs whose elements its shapes depend on.
    host: it is one operator that runs in Python. beside: it runs on the CPU, in a plan for a card.
    """

    graph: Graph
    sources: tuple[int, ...]
    shape_inputs: tuple[int, ...]
    host: bool
    beside: bool = False


@dataclass(frozen=True)
class Segments:
    """All of a graph, and the slots of its outputs, ``CONSTANT`` for one that is a constant.

    No slots: the only segment is the graph itself.
    """

    parts: tuple[Segment, ...]
    results: tuple[int, ...]


def cut_segments(graph: Graph, devices: bool = False) -> Segments:
    """The segments of an optimised graph after ``split_sizes``; they share its weights.

    devices: the target is a card, and ``place_devices`` has said which nodes run beside it.
    """
    kinds = {node: _kind(node, devices) for node in graph.nodes}
    groups = _groups(graph, _phases(graph, kinds))
    strings = any(v.is_constant and v.type.dtype is DType.STRING for v in graph.outputs)
    alone = len(groups) == 1 and kinds[groups[0][0]] == NATIVE
    if alone and not _shape_inputs(graph) and not strings:
        return Segments((Segment(graph, tuple(range(len(graph.inputs))), (), False),), ())
    slots: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
    parts = []
    for nodes in groups:
        part, outside, made = part_of(graph, nodes)
        kind, sources = kinds[nodes[0]], tuple(slots[v] for v in outside)
        shapes = () if kind == PYTHON else _shape_inputs(part)
        parts.append(Segment(part, sources, shapes, kind == PYTHON, kind == BESIDE))
        slots |= {v: len(slots) + k for k, v in enumerate(made)}
    return Segments(tuple(parts), tuple(CONSTANT if v.is_constant else slots[v] for v in graph.outputs))


def resident_outputs(cut: Segments, n_inputs: int, results: bool) -> list[frozenset[int]]:
    """Of each segment, the outputs that nothing outside a card reads; a scale that depends on data is read there.

    n_inputs: of the whole graph. results: those of the graph stay on the card, too.
    """
    starts = list(accumulate((len(part.graph.outputs) for part in cut.parts), initial=n_inputs))
    read: set[int] = set() if results else set(cut.results or range(n_inputs, starts[-1]))
    for part in cut.parts:
        outside = part.host or part.beside
        read |= {slot for i, slot in enumerate(part.sources) if outside or i in part.shape_inputs}
    return [
        frozenset(
            k
            for k, v in enumerate(part.graph.outputs)
            if not (part.host or part.beside or start + k in read or v.type.quant == OPEN_QUANT)
        )
        for part, start in zip(cut.parts, starts)
    ]


def is_host(node: Node) -> bool:
    """The operator runs in Python."""
    return Trait.HOST in node.opdef.traits_of(Call(node))


def _kind(node: Node, devices: bool) -> int:
    if is_host(node):
        return PYTHON
    return BESIDE if devices and not wants_card(node) else NATIVE


def _phases(graph: Graph, kinds: Mapping[Node, int]) -> dict[Node, int]:
    """When a node can run; the kind of what runs in a phase is the phase modulo ``KINDS``. Effects stay in order.

    What needs nothing of the target and is computed from inputs alone comes before all else, in phases below 0.
    """
    phase: dict[Node, int] = {}
    effect = -KINDS
    for node in graph.nodes:
        kind, shapes = kinds[node], shape_operands(node)
        after = [_after(phase[v.producer], kind, i in shapes) for i, v in enumerate(node.operands) if v and v.producer]
        at = max(after, default=0 if kind == NATIVE else -KINDS)
        is_effect = Trait.EFFECT in node.opdef.traits_of(Call(node))
        at = max(at, effect) if is_effect else at
        phase[node] = at + (kind - at) % KINDS
        effect = phase[node] if is_effect else effect
    return phase


def _after(producer: int, kind: int, elements: bool) -> int:
    """The first phase from which a node can read what phase ``producer`` makes; elements: its shape depends on it."""
    return producer + 1 if elements and kind != PYTHON else producer


def _groups(graph: Graph, phases: Mapping[Node, int]) -> list[list[Node]]:
    """The nodes of each native phase together, those of a Python phase one by one, in order."""
    native: dict[int, list[Node]] = {}
    found: list[tuple[int, list[Node]]] = []
    for node in graph.nodes:
        at = phases[node]
        if at % KINDS == PYTHON or at not in native:
            found.append((at, [node]))
            native.setdefault(at, found[-1][1])
        else:
            native[at].append(node)
    return [nodes for _, nodes in sorted(found, key=lambda pair: pair[0])]


def _shape_inputs(graph: Graph) -> tuple[int, ...]:
    """The inputs of a graph that are shape operands of one of its nodes."""
    read = {
        v for node in graph.nodes for i in shape_operands(node) if i < len(node.operands) and (v := node.operands[i])
    }
    return tuple(i for i, v in enumerate(graph.inputs) if v in read)


def part_of(graph: Graph, nodes: Sequence[Node]) -> tuple[Graph, list[Value], list[Value]]:
    """A graph of copies of some nodes; the values that it reads from outside, and those that it gives to others."""
    part = Graph(graph.name, graph.stage)
    part.notes = list(graph.notes)
    inside = {r for node in nodes for r in node.results}
    read = dict.fromkeys(v for node in nodes for v in node.operands if v is not None and v not in inside)
    outside = [v for v in read if not v.is_constant]
    mine = set(nodes)
    twins: dict[Value | None, Value | None] = {None: None}
    for v in read:
        twins[v] = Value(v.type, v.name, v.constant)
        (part.constants if v.is_constant else part.inputs).append(twins[v])  # type: ignore[arg-type]
    for node in nodes:
        results = [Value(r.type, r.name) for r in node.results]
        attrs = {name: clone_attr(a) for name, a in node.attrs.items()}
        operands = [twins[v] for v in node.operands]
        part.append(Node(node.op, operands, results, attrs, node.location, node.engine, node.device))
        twins |= dict(zip(node.results, results))
    made = [r for node in nodes for r in node.results if r in graph.outputs or any(u not in mine for u, _ in r.uses)]
    for k, v in enumerate(made):
        part.add_output(twins[v], f"{v.name}#{k}")  # type: ignore[arg-type]
    return part, outside, made
