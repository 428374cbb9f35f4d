"""Text -> graph: a recursive-descent parser of what ``printer.py`` writes. ``docs/ir.md`` has the grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from graphc.ir.attrs import Attr, parse_float, unescape, unquote
from graphc.ir.dense import dense_array
from graphc.ir.graph import Constant, Graph, Node, Value
from graphc.ir.location import Location, Origin
from graphc.ir.printer import BARE_NAME, constant_key, constant_text, value_text
from graphc.ir.scanner import INT, QUOTED, STRING, Scanner
from graphc.ir.types import TensorType

_NAME = rf"(?:({BARE_NAME})|{STRING})"
_VALUE = re.compile(rf"%{_NAME}?(?:#(\d+))?")
_CONSTANT = re.compile(rf"@{_NAME}(?:#(\d+))?")
_NUMBER = re.compile(r"-?inf\b|nan\b|-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?d?")
_ELEMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|[-+\w.:]+')
_ABSENT = re.compile(r"_(?![\w./#-])")
_GRAPH = re.compile(r"graph\b")


def parse(text: str, constants: Mapping[str, np.ndarray] | None = None) -> Graph:
    """The graph that a text describes.

    constants: arrays of the weights that the text names with ``@`` (``constant_arrays``); a weight that is not among
    them has no storage. Raises ``ParseError`` with line, column and the line itself.
    """
    p = _Parser(text, constants or {})
    graph = p.graph()
    p.end()
    return graph


class _Parser(Scanner):
    """The grammar's rules but for the lines of a graph."""

    def __init__(self, text: str, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(text)
        self.arrays = arrays
        self.constants: dict[str, Constant] = {}

    def graph(self) -> Graph:
        self.expect("graph")
        graph = Graph(self.string("the graph's name in quotes"))
        if self.eat("stage="):
            graph.stage = self.word("a stage")
        self.expect("{")
        _Body(self, graph).read()
        return graph

    def type_suffix(self) -> TensorType:
        """`` : float[1,3]`` or nothing."""
        return self.type() if self.eat(":") else TensorType()

    def constant(self, name: str, type: TensorType) -> Constant:
        """``@name``, ``dense<...>`` or both; ``name`` is what a weight without its own is called."""
        at, suffix = self.pos, 0
        m = self.match(_CONSTANT)
        if m:
            name = m.group(1) or self.convert(unquote, m.group(2) or "", at=m.start())
            suffix = int(m.group(3) or 0)
        key = constant_key(name, suffix)
        dense = self.dense(type) if self.eat("dense<") else None
        if m is None and dense is None:
            self.fail("expected @name or dense<...>", at)
        data = dense if dense is not None else self.arrays.get(key)
        known = self.constants.setdefault(key, Constant(name, type, data))
        if known.type != type:
            self.fail(f"{constant_text(name, suffix)} has the type {known.type} already", at)
        return known

    def dense(self, type: TensorType) -> np.ndarray:
        at = self.pos
        elements: list[str] = []
        if not self.eat("["):
            elements = [self.need(_ELEMENT, "an element").group()]
        elif not self.eat("]"):
            elements = self.items(lambda: self.need(_ELEMENT, "an element").group(), "]")
        self.expect(">")
        return self.convert(dense_array, elements, type, at=at)

    def attr(self) -> Attr:
        if not self.eat("["):
            return self.element()
        if self.eat("]"):
            return ()
        at = self.pos
        elements = self.items(self.element, "]")
        if len({type(e) for e in elements}) > 1:
            self.fail("a list has elements of one kind", at)
        return tuple(elements)  # type: ignore[return-value]  # of one kind, as was just seen

    def element(self) -> int | float | bytes | Graph:
        m = self.match(_NUMBER)
        if m:
            number = m.group()
            return int(number) if INT.fullmatch(number) else self.convert(parse_float, number, at=m.start())
        m = self.match(QUOTED)
        if m:
            return self.convert(unescape, m.group(1), at=m.start())
        self.skip()
        if not _GRAPH.match(self.text, self.pos):
            self.fail("expected a number, a string, a graph or a list of one of these")
        return self.graph()

    def attrs(self) -> dict[str, Attr]:
        found: dict[str, Attr] = {}
        if self.eat("{") and not self.eat("}"):
            self.items(lambda: self.argument(found), "}")
        return found

    def argument(self, into: dict[str, Attr]) -> None:
        at = self.pos
        name = self.word("the name of an argument")
        self.expect("=")
        if name in into:
            self.fail(f"argument '{name}' is given twice", at)
        into[name] = self.attr()

    def origin(self) -> Origin:
        net = self.string("the net's name in quotes")
        self.expect(":")
        index = int(self.need(INT, "the operator's position").group())
        self.expect(":")
        op_type = self.string("the operator's type in quotes")
        return Origin(net, index, op_type, self.string("the operator's name in quotes") if self.eat(":") else "")


class _Body:
    """Reads the lines of one graph; value names have the graph as their scope."""

    def __init__(self, parser: _Parser, graph: Graph) -> None:
        self.p, self.g = parser, graph
        self.values: dict[str, Value] = {}

    def read(self) -> None:
        p, g = self.p, self.g
        while not p.eat("}"):
            at = p.pos
            if p.text.startswith("%", at):
                self.node(self.results())
                continue
            word = p.word("a line of a graph, or '}'")
            if word == "input":
                self.define(g.inputs)
            elif word == "constant":
                self.constant()
            elif word == "note":
                g.notes.append(p.string("the note in quotes"))
            elif word == "output":
                value = self.use()
                g.outputs.append(value)
                g.output_names.append(p.string("a name in quotes") if p.eat("as ") else value.name)
            else:
                self.node([], word)

    def define(self, into: list[Value]) -> Value:
        """``%x : type``, a new value."""
        at, text, name = self.name()
        if text in self.values:
            self.p.fail(f"{text} is defined twice", at)
        value = self.values[text] = Value(self.p.type_suffix(), name)
        into.append(value)
        return value

    def name(self) -> tuple[int, str, str]:
        """Position, canonical text and hint of a value's name."""
        p = self.p
        m = p.need(_VALUE, "a value such as %x")
        bare, quoted, suffix = m.groups()
        if quoted is None and (bare or suffix):
            return m.start(), m.group(), bare or ""
        name = p.convert(unquote, quoted or "", at=m.start())
        return m.start(), value_text(name, int(suffix or 0)), name

    def use(self) -> Value:
        at, text, _ = self.name()
        value = self.values.get(text)
        return value if value is not None else self.p.fail(f"{text} is not defined", at, "define it on a line above")

    def operand(self) -> Value | None:
        return None if self.p.match(_ABSENT) else self.use()

    def constant(self) -> None:
        value = self.define(self.g.constants)
        self.p.expect("=")
        value.constant = self.p.constant(value.name, value.type)

    def results(self) -> list[Value]:
        found: list[Value] = []
        self.p.items(lambda: self.define(found), "=")
        return found

    def node(self, results: list[Value], op: str = "") -> None:
        p = self.p
        op = op or p.word("an operator")
        p.expect("(")
        operands = [] if p.eat(")") else p.items(self.operand, ")")
        node = Node(op, operands, results, p.attrs())
        if p.eat("engine="):
            node.engine = p.string("an engine in quotes")
        if p.eat("device="):
            node.device = p.string("a device in quotes")
        if p.eat("loc("):
            node.location = Location(tuple(p.items(p.origin, ")")))
        self.g.append(node)
