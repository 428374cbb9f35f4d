"""Builder: makes nodes at an insertion point of a graph, with their types inferred at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.ir.attrs import Attr, as_float32
from graphc.ir.errors import VerifyError
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.infer import infer_node
from graphc.ir.location import Location
from graphc.ir.types import DType, TensorType

_NOWHERE = Location()


class Builder:
    """Inserts nodes into ``graph`` before the node ``before`` (None: at the end).

    location: where nodes come from that are made without one of their own.
    """

    def __init__(self, graph: Graph, before: Node | None = None, location: Location = _NOWHERE) -> None:
        self.graph, self.before, self.location = graph, before, location

    def input(self, name: str, type: TensorType | str) -> Value:
        """Append a graph input; the type may be text, ``float[N,3]``."""
        return self.graph.add_input(TensorType.parse(type) if isinstance(type, str) else type, name)

    def constant(self, name: str, data: Any, dtype: DType = DType.FLOAT) -> Value:
        """Add a weight: an array as it is, lists and numbers as an array of ``dtype``."""
        return self.graph.add_constant(name, data if isinstance(data, np.ndarray) else np.array(data, dtype.numpy))

    def output(self, value: Value, name: str = "") -> None:
        """Append a graph output."""
        self.graph.add_output(value, name)

    def op(
        self,
        op: str,
        operands: Sequence[Value | None],
        attrs: Mapping[str, Any] | None = None,
        name: str = "",
        location: Location | None = None,
    ) -> Value:
        """Insert a call with one result, and give the result; ``name`` is its hint.

        attrs: argument values as in ``Node.attrs``; ``str`` and ``list`` are taken as bytes and tuple, and floats are
        rounded to float32. Raises ``VerifyError`` where the operator's rule refuses the call.
        """
        return self.node(op, operands, attrs, [name], location).results[0]

    def node(
        self,
        op: str,
        operands: Sequence[Value | None],
        attrs: Mapping[str, Any] | None = None,
        names: Sequence[str] = ("",),
        location: Location | None = None,
    ) -> Node:
        """Like ``op`` for any number of results, one for each name; gives the node."""
        given = {key: attr_of(value) for key, value in (attrs or {}).items()}
        results = [Value(TensorType(), name) for name in names]
        node = Node(op, list(operands), results, given, location or self.location)
        try:
            infer_node(node)
        except VerifyError:
            node.set_operands([])  # the operands' use lists must not know a node that is in no graph
            raise
        return self.graph.append(node) if self.before is None else self.graph.insert_before(self.before, node)


def attr_of(value: Any) -> Attr:
    """An argument's value from the Python value closest to it; raises ``TypeError`` for what no argument can hold."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bool, np.bool_, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return as_float32(float(value))
    if isinstance(value, (list, tuple)):
        return tuple(attr_of(v) for v in value)  # type: ignore[return-value]  # the verifier checks that it is of one kind
    if isinstance(value, (int, bytes, Graph)):
        return value
    raise TypeError(f"{type(value).__name__} is no value of an argument")
