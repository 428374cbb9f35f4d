"""Graph -> text: the one text format. ``parser.py`` is the inverse; ``docs/ir.md`` has the grammar.

Names are made unique here and only here: the second value called ``x`` prints as ``%x#1``, and the parser takes the
suffix off again, so that a graph keeps its hints through text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from graphc.ir.attrs import Attr, format_scalar, quote
from graphc.ir.dense import format_dense, is_small
from graphc.ir.graph import Constant, Graph, Node, Value
from graphc.ir.location import Location
from graphc.ir.types import TensorType

BARE_NAME = r"[A-Za-z0-9_./-]+"
"""Names that need no quotes in text; most blob names are such."""
_BARE = re.compile(BARE_NAME)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_UNKNOWN_TYPE = TensorType()


def print_graph(graph: Graph) -> str:
    """The text of a graph; ``parse`` gives an equal graph back, given the arrays of ``constant_arrays``."""
    return "\n".join(text for _, text in graph_lines(graph))


def graph_lines(graph: Graph) -> list[tuple[Node | None, str]]:
    """The lines of ``print_graph``, each with the node it starts (None for other lines)."""
    return list(_Printer(ConstantKeys(graph)).lines(graph))


def constant_arrays(graph: Graph) -> dict[str, np.ndarray]:
    """The arrays that text only names, by the names that it uses; what ``parse`` takes as ``constants``."""
    suffixes = ConstantKeys(graph).suffixes
    return {constant_key(c.name, n): c.data for c, n in suffixes.items() if c.data is not None and not is_small(c)}


def value_text(name: str, suffix: int = 0) -> str:
    """``%x``, ``%x#1``, ``%"odd name"``; a value without a name is ``%#0``, ``%#1``, ..."""
    bare = name if not name or _BARE.fullmatch(name) else quote(name)
    return f"%{bare}#{suffix}" if suffix or not name else f"%{bare}"


def constant_text(name: str, suffix: int = 0) -> str:
    """``@conv1_w``, ``@conv1_w#1`` or ``@"odd name"``."""
    bare = name if _BARE.fullmatch(name) else quote(name)
    return f"@{bare}#{suffix}" if suffix else f"@{bare}"


def constant_key(name: str, suffix: int) -> str:
    """The key of a weight's array in ``constants``: its name, with the suffix where it has one."""
    return f"{name}#{suffix}" if suffix else name


def type_suffix(type: TensorType) -> str:
    """`` : float[1,3]``; nothing for a type of which nothing is known."""
    return "" if type == _UNKNOWN_TYPE else f" : {type}"


class ConstantKeys:
    """Gives each weight of a graph and its sub-graphs a suffix, so that no two are called the same in text."""

    def __init__(self, graph: Graph) -> None:
        self.suffixes: dict[Constant, int] = {}
        self._taken: set[str] = set()
        self._collect(graph)

    def _collect(self, graph: Graph) -> None:
        for v in graph.constants:
            if v.constant is not None and v.constant not in self.suffixes:
                self._name(v.constant)
        for node in graph.nodes:
            for inner in node.subgraphs():
                self._collect(inner)

    def _name(self, constant: Constant) -> None:
        n = 0
        while constant_key(constant.name, n) in self._taken:
            n += 1
        self._taken.add(constant_key(constant.name, n))
        self.suffixes[constant] = n


class ValueNames:
    """Gives values their names in text, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._names: dict[Value, str] = {}
        self._count: dict[str, int] = {}

    def __call__(self, value: Value) -> str:
        """The value's text, e.g. ``%conv1#1``."""
        text = self._names.get(value)
        if text is None:
            n = self._count.get(value.name, 0)
            self._count[value.name] = n + 1
            text = self._names[value] = value_text(value.name, n)
        return text


class _Printer:
    """Prints one graph and, with a scope of value names for each, the graphs inside it."""

    def __init__(self, constants: ConstantKeys) -> None:
        self.constants = constants

    def lines(self, graph: Graph) -> Iterator[tuple[Node | None, str]]:
        names = ValueNames()
        yield None, f"graph {quote(graph.name)} stage={graph.stage} {{"
        for v in graph.inputs:
            yield None, f"  input {names(v)}{type_suffix(v.type)}"
        for v in graph.constants:
            yield None, f"  constant {names(v)}{type_suffix(v.type)} = {self.constant(v)}"
        for note in graph.notes:
            yield None, f"  note {quote(note)}"
        for node in graph.nodes:
            first, *rest = self.node(node, names).split("\n")
            yield node, f"  {first}"
            for line in rest:
                yield None, f"  {line}"
        for v, name in zip(graph.outputs, graph.output_names):
            yield None, f"  output {names(v)}" + ("" if name == v.name else f" as {quote(name)}")
        yield None, "}"

    def constant(self, value: Value) -> str:
        """``@name``; small weights in full, with their name only where the value has another."""
        constant = value.constant
        if constant is None:
            return "@?"  # the verifier refuses it, and prints the graph to say where
        suffix = self.constants.suffixes[constant]
        reference = constant_text(constant.name, suffix)
        if not is_small(constant):
            return reference
        dense = format_dense(constant)
        return dense if constant.name == value.name and not suffix else f"{reference} {dense}"

    def node(self, node: Node, names: ValueNames) -> str:
        operands = ", ".join("_" if v is None else names(v) for v in node.operands)
        results = ", ".join(names(r) + type_suffix(r.type) for r in node.results)
        op = node.op if _IDENTIFIER.fullmatch(node.op) else quote(node.op)
        text = f"{results} = {op}({operands})" if node.results else f"{op}({operands})"
        if node.attrs:
            text += " {" + ", ".join(f"{attr_name(k)}={self.attr(v)}" for k, v in node.attrs.items()) + "}"
        if node.engine:
            text += f" engine={quote(node.engine)}"
        if node.device:
            text += f" device={quote(node.device)}"
        return text + location_suffix(node.location)

    def attr(self, value: Attr) -> str:
        if isinstance(value, tuple):
            return "[" + ", ".join(self.attr(v) for v in value) + "]"
        if isinstance(value, Graph):
            return "\n".join(text for _, text in self.lines(value))
        return format_scalar(value)


def attr_name(name: str) -> str:
    """The name of an argument, quoted unless it is an identifier."""
    return name if _IDENTIFIER.fullmatch(name) else quote(name)


def location_suffix(location: Location) -> str:
    """`` loc("net":3:"Conv":"name", ...)``; nothing for an unknown location."""
    if not location.origins:
        return ""
    origins = (
        f"{quote(o.net)}:{o.index}:{quote(o.op_type)}" + (f":{quote(o.name)}" if o.name else "")
        for o in location.origins
    )
    return f" loc({', '.join(origins)})"
