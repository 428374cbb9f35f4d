"""Write out the step nets of RecurrentNetwork, a copy for every time step, when the number of steps is known.

It is done when a segment is bound to sizes, so that a plan serves sequences of every length; the copies of an operator
share one kernel and its packed weights. What a step reads of a sequence is a slice; the states over all steps are
concatenations, into which lowering lets each step write its own in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from graphc.ir import Builder, Call, Graph, LoweringError, Node, Value
from graphc.ir.graph import clone_attr
from graphc.ir.ops.recurrent.network import Link, can_unroll, links_of, name_text, outer_input


def has_recurrent(graph: Graph) -> bool:
    """Some operator of the graph is to be unrolled."""
    return any(map(is_recurrent, graph.nodes))


def is_recurrent(node: Node) -> bool:
    """The operator is to be unrolled."""
    return node.op == "RecurrentNetwork" and can_unroll(Call(node))


def unroll(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """A copy of a graph with static types in which the step nets are written out.

    The second result gives for each operator of a later step its copy in the first. Raises ``LoweringError``.
    """
    graph = graph.clone()
    first: dict[Node, Node] = {}
    for node in list(graph.nodes):
        if is_recurrent(node):
            _Unrolling(graph, node).write(first)
    return graph, first


@dataclass
class _Unrolling:
    """One RecurrentNetwork in the making. states: name -> the value of each time index, initial ones first."""

    graph: Graph
    node: Node
    states: dict[str, list[Value | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.call = Call(self.node)
        self.make = Builder(self.graph, self.node, self.node.location)
        self.links: dict[str, Link] = {link.internal: link for link in links_of(self.call)}
        step = self.node.attrs["step_net"]
        assert isinstance(step, Graph)
        self.step = step

    def write(self, first: dict[Node, Node]) -> None:
        """Put the steps before the node, let its readers read what they make, and erase it."""
        sequence = self.call.type(0).static_shape
        self.begin(sequence[1])
        originals: dict[Node, Node] = {}
        for t in range(sequence[0]):
            values = self.one_step(t, originals, first)
            for name, value in zip(self.step.output_names, values):
                link = self.links.get(name)
                if link is not None and link.external in self.states:
                    self.put(link.external, t + link.offset, value)
        self.finish()

    def begin(self, batch: int) -> None:
        """The states before the first step; one that has no batch serves the whole batch."""
        names, ids = self.call.arg("recurrent_states"), self.call.arg("initial_recurrent_state_ids")
        for name, i in zip(map(name_text, names), ids):
            value = self.node.operands[i]
            if value is None:
                self.call.fail(f"the initial state {i} is missing")
            shape = value.type.static_shape
            shape = (1,) * (3 - len(shape)) + shape
            value = self.make.op("Reshape", [value], {"shape": shape}, value.name)
            if shape[1] != batch:
                value = self.make.op("Tile", [value], {"tiles": batch, "axis": 1}, value.name)
            self.states[name] = [self.slice(value, k) for k in range(shape[0])] if shape[0] != 1 else [value]

    def slice(self, value: Value, t: int) -> Value:
        """One time step of a value over all."""
        rank = len(value.type.static_shape)
        attrs = {"starts": [t] + [0] * (rank - 1), "ends": [t + 1] + [-1] * (rank - 1)}
        return self.make.op("Slice", [value], attrs, value.name)

    def one_step(self, t: int, originals: dict[Node, Node], first: dict[Node, Node]) -> list[Value]:
        """The outputs of the step net at a time step."""
        values: dict[Value | None, Value | None] = {None: None}
        for v in self.step.inputs:
            values[v] = self.read(v.name, t)
        for v in self.step.constants:
            values[v] = self.make.constant(v.name, v.data) if v.data is not None else None
        for node in self.step.nodes:
            attrs = {name: clone_attr(a) for name, a in node.attrs.items()}
            names = [r.name for r in node.results]
            made = self.make.node(node.op, [values[v] for v in node.operands], attrs, names, node.location)
            values |= dict(zip(node.results, made.results))
            if originals.setdefault(node, made) is not made:
                first[made] = originals[node]
        return [v for v in map(values.get, self.step.outputs) if v is not None]

    def read(self, name: str, t: int) -> Value:
        """What an input of the step net is at a time step."""
        if name == self.call.arg("timestep"):
            return self.make.constant(f"{name}.{t}", np.array([t], np.int32))
        link = self.links.get(name)
        if link is not None and link.external in self.states:
            state = self.states[link.external]
            found = state[t + link.offset] if 0 <= t + link.offset < len(state) else None
        else:
            outer = self.node.operands[outer_input(self.call, link.external if link else name)]
            found = self.slice(outer, t + link.offset) if link and outer else outer
        if found is None:
            raise LoweringError(f"{self.node.location}: RecurrentNetwork: step {t} reads '{name}' before it is written")
        return found

    def put(self, name: str, index: int, value: Value) -> None:
        """Note a state at a time index."""
        state = self.states[name]
        state += [None] * (index + 1 - len(state))
        state[index] = value

    def finish(self) -> None:
        """Make the outputs."""
        parts = zip(self.call.arg("alias_src"), self.call.arg("alias_offset"), self.node.results)
        for source, offset, result in parts:
            pieces = self.states[name_text(source)][offset:]
            if None in pieces:
                where = self.node.location
                raise LoweringError(f"{where}: RecurrentNetwork: a step of '{result.name}' is never written")
            whole = pieces[0] if len(pieces) == 1 else self.make.op("Concat", pieces, {"axis": 0}, result.name)
            assert whole is not None
            self.graph.replace(result, whole)
        self.graph.erase(self.node)
