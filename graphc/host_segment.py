"""A segment of a plan that is one operator which runs in Python: strings, maps, control flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from graphc.ir import Call, DType, Graph, Node, RunError, TensorType, Value
from graphc.ir.graph import Constant
from graphc.ir.infer import infer_node
from graphc.ir.loops import run_loop
from graphc.planning import PLANNING


class SubPlan(Protocol):
    """A compiled sub-graph."""

    def run_arrays(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs in order for arrays in the order of the inputs."""


Compile = Callable[[Graph], SubPlan]


class HostSegment:
    """A graph of one node whose record is a Python function. Its sub-graphs are compiled when they first run.

    compile_graph(graph): the plan of a sub-graph with the types of its inputs set.
    """

    def __init__(self, graph: Graph, compile_graph: Compile) -> None:
        self.graph, self._compile = graph, compile_graph
        self._subs: dict[tuple[int, tuple[str, ...]], SubPlan] = {}

    @property
    def weights(self) -> list[np.ndarray]:
        """The weights that the operator reads."""
        return [v.data for v in self.graph.constants if v.data is not None]

    @property
    def inner(self) -> list[SubPlan]:
        """The sub-graphs compiled so far."""
        return list(self._subs.values())

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The graph's outputs for arrays in the order of its inputs; raises ``GraphcError``.

        They are the results of the operator that somebody reads.
        """
        given = dict(zip(self.graph.inputs, arrays))
        node = self.graph.nodes[0]
        values = [None if v is None else _element(v, given) for v in node.operands]
        operands = [None if v is None or a is None else _known(v, a) for v, a in zip(node.operands, values)]
        call = Call(Node(node.op, operands, [Value(r.type, r.name) for r in node.results], node.attrs, node.location))
        call.runner = self._run_graph
        with np.errstate(all="ignore"):
            results = _results(call, values)
        made = dict(zip(node.results, results))
        return [_typed(made[r], r.type.dtype) for r in self.graph.outputs]

    def _run_graph(self, graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        key = id(graph), tuple(f"{a.dtype}{a.ndim}" for a in arrays)
        with PLANNING:
            if key not in self._subs:
                twin = graph.clone()
                for v, a in zip(twin.inputs, arrays):
                    v.type = TensorType(DType.of(a.dtype), tuple(a.shape), quant=v.type.quant)
                self._subs[key] = self._compile(twin)
        return self._subs[key].run_arrays(arrays)


def _results(call: Call, values: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    """By the record's Python function, or its loop, which serves strings uncompiled."""
    if call.opdef.reference is not None:
        return call.opdef.reference(call, *values)
    if call.opdef.loop is None:
        call.fail("its record gives no meaning that can be run")
    infer_node(call.node)
    return run_loop(call, values)


def _element(value: Value, given: dict[Value, np.ndarray]) -> np.ndarray:
    array = given.get(value, value.data)
    if array is None:
        raise RunError(f"weight '{value.name}' has no storage", "compile the net again")
    return array


def _known(value: Value, array: np.ndarray) -> Value:
    """A value of the array's type with its elements, as rules read them."""
    old = value.type
    dtype = old.dtype if old.dtype and old.dtype.numpy == array.dtype else DType.of(array.dtype)
    type = TensorType(dtype, tuple(array.shape), quant=old.quant)
    return Value(type, value.name, Constant(value.name, type, array))


def _typed(array: object, dtype: DType | None) -> np.ndarray:
    made = np.asarray(array)
    return np.asarray(made, made.dtype if dtype is None else dtype.numpy, order="C")
