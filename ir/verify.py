"""The verifier: structure of a graph, calls against the operators' records, and the rules of each stage.

============  =================  ===================  ==================================  ==========
stage         internal operators  fused epilogues      types of results                    layouts
============  =================  ===================  ==================================  ==========
imported      no                 no                   any: they are declarations          plain
typed         no                 no                   agree with the operators' rules     plain
optimised     yes                on EPILOGUE records  agree with the operators' rules     any
============  =================  ===================  ==================================  ==========
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from graphc.ir.attrs import Attr
from graphc.ir.engine import CHOSEN
from graphc.ir.errors import VerifyError
from graphc.ir.excerpt import excerpt
from graphc.ir.fpmath import FPMATH, is_tf32
from graphc.ir.graph import Graph, Node, Value, clone_attr
from graphc.ir.infer import infer_node
from graphc.ir.opdef import Call, Port, Trait, n_epilogue_operands
from graphc.ir.precision import PRECISION, precision_of
from graphc.ir.types import PLAIN, DType, TensorType, dims_agree

EPILOGUE = "epilogue"


@dataclass(frozen=True)
class Rules:
    """What the graphs of a stage may contain, and whether their types have to be those that inference gives."""

    internal: bool
    inferred: bool
    blocked: bool


STAGES = {
    "imported": Rules(internal=False, inferred=False, blocked=False),
    "typed": Rules(internal=False, inferred=True, blocked=False),
    "optimised": Rules(internal=True, inferred=True, blocked=True),
}


def verify(graph: Graph) -> None:
    """Check a graph and its sub-graphs; raises ``VerifyError`` for the first breach, with the text around it."""
    rules = STAGES.get(graph.stage)
    if rules is None:
        raise VerifyError(f"graph '{graph.name}' has the unknown stage '{graph.stage}'", f"stages: {', '.join(STAGES)}")
    _verify(graph, rules)


def _verify(graph: Graph, rules: Rules) -> None:
    _check_frame(graph)
    defined = set(graph.inputs) | set(graph.constants)
    everywhere = set(graph.values())
    placed = set(graph.nodes)
    for node in graph.nodes:
        check = _NodeCheck(graph, node, rules)
        check.structure(defined, everywhere)
        check.call()
        for inner in node.subgraphs():
            _verify(inner, rules)
        check.types()
        defined.update(node.results)
    for value in everywhere:
        _check_uses(graph, value, placed)
    for value in graph.outputs:
        if value not in everywhere:
            _fail(graph, f"its output '{value.name}' is no value of the graph")


def _fail(graph: Graph, message: str, help: str = "") -> NoReturn:
    raise VerifyError(f"graph '{graph.name}': {message}", help)


def _check_frame(graph: Graph) -> None:
    """Inputs, constants, names of outputs, and that nothing is listed twice."""
    repeated = [v for v, n in Counter(graph.values()).items() if n > 1]
    if repeated:
        _fail(graph, f"'{repeated[0].name}' is defined twice")
    if len(set(graph.nodes)) < len(graph.nodes):
        _fail(graph, "a node is listed twice")
    if len(graph.outputs) != len(graph.output_names):
        _fail(graph, f"it has {len(graph.outputs)} outputs, but {len(graph.output_names)} names for them")
    for name, n in Counter(graph.output_names).items():
        if n > 1:
            _fail(graph, f"{n} outputs are called '{name}'", "give each output its own name")
    for v in (*graph.inputs, *graph.constants):
        if v.producer is not None:
            _fail(graph, f"'{v.name}' is an input or a constant, but also a result of {v.producer.op}")
    for v in graph.inputs:
        if v.constant is not None:
            _fail(graph, f"input '{v.name}' is also a weight")
    for v in graph.constants:
        _check_constant(graph, v)


def _check_constant(graph: Graph, value: Value) -> None:
    constant, type = value.constant, value.type
    if constant is None:
        _fail(graph, f"constant '{value.name}' has no weight")
    if constant.type != type:
        _fail(graph, f"constant '{value.name}' is {type}, but its weight is {constant.type}")
    if type.dtype is None or not type.is_static or type.layout != PLAIN:
        _fail(graph, f"constant '{value.name}' has the type {type}, which is not static and plain")
    data = constant.data
    if data is not None and (tuple(data.shape) != type.static_shape or DType.of(data.dtype).numpy != type.dtype.numpy):
        _fail(graph, f"constant '{value.name}' is {type}, but its elements are {data.dtype}{list(data.shape)}")


def _check_uses(graph: Graph, value: Value, placed: set[Node]) -> None:
    for node, i in value.uses:
        if node not in placed:
            _fail(
                graph, f"'{value.name}' is used by {node.op}, which is not in the graph", "erase nodes with Graph.erase"
            )
        if i >= len(node.operands) or node.operands[i] is not value:
            _fail(graph, f"'{value.name}' is listed as operand {i} of {node.op}, which it is not")


@dataclass
class _NodeCheck:
    graph: Graph
    node: Node
    rules: Rules

    def fail(self, message: str, help: str = "") -> NoReturn:
        node = self.node
        blobs = ", ".join(f"'{r.name}'" for r in node.results) or "nothing"
        where = str(node.location) if node.location.origins else f"graph '{self.graph.name}'"
        raise VerifyError(f"{where}: {node.op} -> {blobs}: {message}", help, excerpt(self.graph, node))

    def structure(self, defined: set[Value], everywhere: set[Value]) -> None:
        """Links between the node, its graph and its values."""
        if self.node.graph is not self.graph:
            self.fail("the node does not know the graph that it is in")
        for i, r in enumerate(self.node.results):
            if r.producer is not self.node or r.index != i:
                self.fail(f"result {i} '{r.name}' does not know the node that makes it")
        for i, v in enumerate(self.node.operands):
            if v is None:
                continue
            if v not in everywhere:
                self.fail(f"operand {i} '{v.name}' is no value of this graph", "pass it in as an input of the graph")
            if v not in defined:
                self.fail(f"operand {i} '{v.name}' is used before it is defined")
            if (self.node, i) not in v.uses:
                self.fail(f"operand {i} '{v.name}' does not list this use", "change operands with Node.set_operand")

    def call(self) -> None:
        """The call against the operator's record and the rules of the stage."""
        try:
            record = self.node.opdef
        except VerifyError as e:
            self.fail(e.message, e.help)
        if Trait.INTERNAL in record.traits and not self.rules.internal:
            self.fail(f"an operator of graphc's own in a graph of stage {self.graph.stage}")
        self.arguments()
        n = len(self.node.operands) - n_epilogue_operands(self.node)
        if n < 0:
            self.fail(f"its epilogue has {n_epilogue_operands(self.node)} operands, the node {len(self.node.operands)}")
        present = [v is not None for v in self.node.operands]
        self.arity("input", record.inputs, present[:n])
        self.arity("output", record.outputs, [True] * len(self.node.results))
        if not all(present[n:]):
            self.fail("an operand of its epilogue is missing")

    def arguments(self) -> None:
        for name, value in self.node.attrs.items():
            if name == EPILOGUE:
                self.epilogue(value)
                continue
            if name == PRECISION:
                self.precision()
                continue
            if name == FPMATH and self.rules.internal:
                self.fpmath()
                continue
            if name == CHOSEN and self.rules.internal:
                continue
            try:
                kind = self.node.opdef.arg(name).kind
            except VerifyError as e:
                self.fail(e.message, e.help)
            if not fits(value, kind):
                self.fail(f"argument '{name}' is {_kind(value)}, not {_KINDS[kind]}")

    def precision(self) -> None:
        try:
            precision_of(self.node)
        except ValueError as e:
            self.fail(str(e))
        if not self.rules.internal:
            self.fail(f"it cannot have a precision of its own in a graph of stage {self.graph.stage}")

    def fpmath(self) -> None:
        try:
            is_tf32(self.node)
        except ValueError as e:
            self.fail(str(e))
        if any(v is not None and v.type.dtype is not DType.FLOAT for v in self.node.operands[:2]):
            self.fail("of operands that are not of float32 it cannot multiply in tf32")

    def epilogue(self, value: Attr) -> None:
        if not self.rules.internal or Trait.EPILOGUE not in self.node.opdef.traits_of(Call(self.node)):
            self.fail(f"it cannot have an epilogue in a graph of stage {self.graph.stage}")
        if not isinstance(value, Graph) or not value.inputs or len(value.outputs) != 1:
            self.fail("its epilogue is no graph with at least one input and exactly one output")

    def arity(self, what: str, ports: Sequence[Port], present: Sequence[bool]) -> None:
        """Slots against ports: enough, not too many, the required ones filled."""
        most = None if ports and ports[-1].variadic else len(ports)
        if most is not None and len(present) > most:
            self.fail(f"it has {len(present)} {what}s, at most {most} are possible", f"{what}s: {_ports(ports)}")
        for i, port in enumerate(ports):
            required = not port.optional and not port.variadic
            if required and not (i < len(present) and present[i]):
                self.fail(f"{what} {i} ({port.name}) is missing", f"{what}s: {_ports(ports)}")

    def types(self) -> None:
        """Types of the results against the operator's rule; layouts."""
        for v in (*self.node.operands, *self.node.results):
            if v is not None and v.type.layout != PLAIN:
                self.layout(v)
        if not self.rules.inferred:
            return
        for result, type in zip(self.node.results, self.inferred()):
            if not agree(result.type, type):
                self.fail(f"'{result.name}' has the type {result.type}, but is {type}", "run infer_types after changes")

    def layout(self, value: Value) -> None:
        type, traits = value.type, self.node.opdef.traits_of(Call(self.node))
        if not self.rules.blocked:
            self.fail(f"'{value.name}' has the layout {type.layout.text} in a graph of stage {self.graph.stage}")
        if Trait.BLOCKED not in traits:
            self.fail(f"'{value.name}' has the layout {type.layout.text}, which {self.node.op} cannot have")
        if type.rank is not None and type.rank != 4:
            self.fail(f"'{value.name}' has the layout {type.layout.text}, but {type.rank} dimensions instead of 4")

    def inferred(self) -> list[TensorType]:
        """What inference gives for a copy of the call; the graph itself is not touched."""
        n = self.node
        operands = [None if v is None else Value(v.type, v.name, v.constant) for v in n.operands]
        results = [Value(TensorType(), r.name) for r in n.results]
        copy = Node(n.op, operands, results, {k: clone_attr(a) for k, a in n.attrs.items()}, n.location)
        try:
            infer_node(copy)
        except VerifyError as e:
            raise VerifyError(e.message, e.help, e.excerpt or excerpt(self.graph, n)) from e
        return [r.type for r in results]


def agree(a: TensorType, b: TensorType) -> bool:
    """Two types of one value do not contradict each other in element type or shape."""
    if a.dtype and b.dtype and a.dtype is not b.dtype:
        return False
    if a.shape is None or b.shape is None:
        return True
    return len(a.shape) == len(b.shape) and all(map(dims_agree, a.shape, b.shape))


_KINDS = {
    "int": "an int",
    "float": "a float",
    "string": "a string",
    "graph": "a graph",
    "ints": "a list of ints",
    "floats": "a list of floats",
    "strings": "a list of strings",
    "graphs": "a list of graphs",
    "any": "anything",
}
_ELEMENTS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "string": (bytes,), "graph": (Graph,)}


def fits(value: Attr, kind: str) -> bool:
    """An argument's value is of a record's kind. An int serves as float; a list of graphs serves as graph."""
    if kind == "any":
        return True
    if isinstance(value, tuple):
        return (kind.endswith("s") or kind == "graph") and all(fits_scalar(v, kind.removesuffix("s")) for v in value)
    return fits_scalar(value, kind)


def fits_scalar(value: Attr, kind: str) -> bool:
    """The value is one element of a kind."""
    return isinstance(value, _ELEMENTS.get(kind, ())) and not isinstance(value, bool)


def _kind(value: Attr) -> str:
    names = {int: "int", float: "float", bytes: "string", Graph: "graph"}
    if isinstance(value, tuple):
        return _KINDS[names.get(type(value[0]), "any") + "s"] if value and type(value[0]) in names else "an empty list"
    return _KINDS.get(names.get(type(value), ""), type(value).__name__)


def _ports(ports: Sequence[Port]) -> str:
    return " ".join(p.name + "?" * p.optional + "*" * p.variadic for p in ports) or "none"
