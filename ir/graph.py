"""Value, Node, Graph: the SSA graph. Identity is the object; names are hints, made unique only when printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from graphc.ir.attrs import Attr
from graphc.ir.errors import VerifyError
from graphc.ir.location import UNKNOWN_LOCATION, Location
from graphc.ir.types import DType, TensorType

if TYPE_CHECKING:
    from graphc.ir.opdef import OpDef


FIXED_SIZES = "the sizes are fixed: "
"""How a note in ``Graph.notes`` starts that says why the graph holds for the sizes of its inputs alone."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A weight. ``data`` references storage (often a memory map) and is never written; None: text without storage."""

    name: str
    type: TensorType
    data: np.ndarray | None = None


class Value:
    """One SSA value: the result of a node, a graph input, or a constant.

    name: hint, for a value of a NetDef the blob's name. uses: the operand slots (node, index) that read it.
    """

    __slots__ = ("constant", "index", "name", "producer", "type", "uses")

    def __init__(self, type: TensorType, name: str = "", constant: Constant | None = None) -> None:
        self.type = type
        self.name = name
        self.constant = constant
        self.producer: Node | None = None
        self.index = 0
        self.uses: dict[tuple[Node, int], None] = {}

    @property
    def is_constant(self) -> bool:
        """The value is a weight."""
        return self.constant is not None

    @property
    def data(self) -> np.ndarray | None:
        """The elements, where the value is a weight whose storage is at hand."""
        return self.constant.data if self.constant else None

    @property
    def users(self) -> list[Node]:
        """The nodes that read the value, once each, in order of first use."""
        return list(dict.fromkeys(node for node, _ in self.uses))

    def replace_uses(self, other: Value) -> None:
        """Let every operand slot that reads this value read ``other`` (graph outputs: ``Graph.replace``)."""
        for node, i in list(self.uses):
            node.set_operand(i, other)

    def __repr__(self) -> str:
        return f"<Value %{self.name} : {self.type}>"


@dataclass(eq=False)
class Node:
    """One operator call. ``operands[i]`` is None where an optional input is absent.

    attrs: only the arguments that were given; ``opdef`` has the defaults. engine, device: preferences kept from the
    NetDef; they never change an answer, but for a seed at the end of the device (``cpu:0 random_seed=7``), by which
    operators that draw random numbers draw Caffe2's.
    """

    op: str
    operands: list[Value | None]
    results: list[Value]
    attrs: dict[str, Attr] = field(default_factory=dict)
    location: Location = UNKNOWN_LOCATION
    engine: str = ""
    device: str = ""
    graph: Graph | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for i, v in enumerate(self.operands):
            if v is not None:
                v.uses[(self, i)] = None
        for i, r in enumerate(self.results):
            r.producer, r.index = self, i

    @property
    def opdef(self) -> OpDef:
        """The operator's record; raises ``VerifyError`` for an unknown operator."""
        from graphc.ir.opdef import lookup  # a node is data; the registry of records is loaded on first need

        return lookup(self.op)

    def set_operand(self, i: int, value: Value | None) -> None:
        """Let operand ``i`` be ``value``, keeping the use lists right."""
        old = self.operands[i]
        if old is not None:
            old.uses.pop((self, i), None)
        self.operands[i] = value
        if value is not None:
            value.uses[(self, i)] = None

    def set_operands(self, values: Iterable[Value | None]) -> None:
        """Replace the whole operand list."""
        for i, old in enumerate(self.operands):
            if old is not None:
                old.uses.pop((self, i), None)
        self.operands = list(values)
        for i, v in enumerate(self.operands):
            if v is not None:
                v.uses[(self, i)] = None

    def subgraphs(self) -> list[Graph]:
        """The graphs among the arguments, those in tuples included."""
        found: list[Graph] = []
        for a in self.attrs.values():
            found += [g for g in (a if isinstance(a, tuple) else (a,)) if isinstance(g, Graph)]
        return found

    def __hash__(self) -> int:
        return id(self)


class Graph:
    """A list of nodes in an order where every value is defined before it is read, with inputs, constants and outputs.

    stage: ``imported``, ``typed`` or ``optimised``; verify.py has the rules of each.
    """

    def __init__(self, name: str = "", stage: str = "imported") -> None:
        self.name = name
        self.stage = stage
        self.inputs: list[Value] = []
        self.constants: list[Value] = []
        self.outputs: list[Value] = []
        self.output_names: list[str] = []
        self.nodes: list[Node] = []
        self.notes: list[str] = []

    def add_input(self, type: TensorType, name: str) -> Value:
        """Append an input."""
        v = Value(type, name)
        self.inputs.append(v)
        return v

    def add_constant(self, name: str, data: np.ndarray | None, type: TensorType | None = None) -> Value:
        """Append a weight; its type is taken from ``data`` unless given."""
        if type is None:
            if data is None:
                raise VerifyError(f"constant '{name}' has neither data nor a type")
            type = TensorType(DType.of(data.dtype), tuple(int(d) for d in data.shape))
        v = Value(type, name, Constant(name, type, data))
        self.constants.append(v)
        return v

    def add_output(self, value: Value, name: str = "") -> None:
        """Append an output; ``name`` is what the user calls it (default: the value's name)."""
        self.outputs.append(value)
        self.output_names.append(name or value.name)

    def append(self, node: Node) -> Node:
        """Append a node."""
        node.graph = self
        self.nodes.append(node)
        return node

    def insert_before(self, anchor: Node, node: Node) -> Node:
        """Insert ``node`` before ``anchor``."""
        node.graph = self
        self.nodes.insert(self.nodes.index(anchor), node)
        return node

    def replace(self, old: Value, new: Value) -> None:
        """Let every use of ``old``, graph outputs included, be ``new``."""
        old.replace_uses(new)
        self.outputs = [new if v is old else v for v in self.outputs]

    def erase(self, node: Node) -> None:
        """Remove a node; raises ``VerifyError`` while one of its results is used."""
        for r in node.results:
            if r.uses or any(v is r for v in self.outputs):
                raise VerifyError(f"{node.op} cannot be erased: its result '{r.name}' is still used")
        node.set_operands([])
        self.nodes.remove(node)
        node.graph = None

    def values(self) -> Iterator[Value]:
        """Inputs, constants, then results in node order."""
        yield from self.inputs
        yield from self.constants
        for node in self.nodes:
            yield from node.results

    def walk(self) -> Iterator[Node]:
        """Every node, those of sub-graphs included, each before the nodes inside it."""
        for node in list(self.nodes):
            yield node
            for g in node.subgraphs():
                yield from g.walk()

    def clone(self) -> Graph:
        """A copy that shares nothing but the weights; sub-graphs are copied too."""
        copy = Graph(self.name, self.stage)
        new: dict[Value | None, Value | None] = {None: None}
        for v in self.values():
            twin = new[v] = Value(v.type, v.name, v.constant)
            if v.producer is None:
                (copy.constants if v.is_constant else copy.inputs).append(twin)
        for n in self.nodes:
            attrs = {name: clone_attr(a) for name, a in n.attrs.items()}
            results = [r for r in map(new.get, n.results) if r is not None]
            copy.append(Node(n.op, [new[v] for v in n.operands], results, attrs, n.location, n.engine, n.device))
        copy.outputs = [v for v in map(new.get, self.outputs) if v is not None]
        copy.output_names, copy.notes = list(self.output_names), list(self.notes)
        return copy

    def blobs(self) -> Mapping[str, Value]:
        """Blob name -> the last value that carried it, as ``FetchBlob`` would see it after a run."""
        return {v.name: v for v in self.values() if v.name} | dict(zip(self.output_names, self.outputs))

    def __eq__(self, other: object) -> bool:
        from graphc.ir.printer import print_graph

        return isinstance(other, Graph) and print_graph(self) == print_graph(other)

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        from graphc.ir.printer import print_graph

        return print_graph(self)

    def _repr_svg_(self) -> str:
        """The drawing that a notebook shows."""
        from graphc.ir.svg import graph_svg

        return graph_svg(self)

    def _repr_html_(self) -> str:
        """The drawing in a frame that scrolls, with the text folded away; notebooks prefer it."""
        from graphc.ir.svg import graph_html

        return graph_html(self)


def clone_attr(value: Attr) -> Attr:
    """The argument's value itself, but a copy of each graph in it."""
    if isinstance(value, Graph):
        return value.clone()
    if isinstance(value, tuple) and value and isinstance(value[0], Graph):
        return tuple(g.clone() for g in value if isinstance(g, Graph))
    return value
