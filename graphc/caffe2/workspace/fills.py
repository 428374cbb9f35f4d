"""Operators that the interpreter evaluates one by one: fills, and those that draw random numbers."""

from __future__ import annotations

import copy
import threading
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from graphc.caffe2.workspace.compiled import Source, elements, made_value, value_type
from graphc.caffe2.workspace.stages import Stage, draws_numbers, record_of
from graphc.caffe2.workspace.values import Value, nbytes
from graphc.frontends.netdef.fills import is_weight, weight
from graphc.ir import Graph, Node, TensorType, evaluate
from graphc.ir.infer import infer_types
from graphc.ir.opdef import Call
from graphc.operators import operator_graph

_DRAWN: Counter[str] = Counter()
"""How often operators without a seed drew random numbers for a blob, in this process."""
_LOCK = threading.Lock()
KEPT = 1 << 20
"""Bytes of the largest tensor that is kept for the next run."""


class FillStage:
    """One operator. With a seed in its device option it draws Caffe2's numbers in its first run.

    A further run of a created net draws other numbers, as Caffe2's does, which are not Caffe2's. Without a seed numbers
    follow from the blob's name and how often it was drawn: they are other ones each time, and the same ones in the same
    script.
    """

    def __init__(self, stage: Stage) -> None:
        self.op, self.stage = stage.net.ops[0], stage
        self.device = self.op.device or stage.net.device
        self.random = draws_numbers(self.op)
        record = record_of(self.op)
        self._is_drawn = record is not None and record.family == "fill.random" and "input_as_shape" not in self.op.args
        self._made: dict[str, Value] | None = None
        self._graphs: dict[tuple[TensorType | None, ...], Graph] = {}

    def run(self, source: Source, runs: int) -> dict[str, Value]:
        """The outputs by name. runs: how often the net that holds the operator ran before. Raises ``GraphcError``."""
        if self._made is not None:
            return self._made
        if not is_weight(self.op):
            made = self._evaluate(source, runs)
        else:
            array, type = weight(self.op)
            made = {self.op.outputs[0]: made_value(np.ascontiguousarray(array).reshape(array.shape), type)}
        if not (self.random or self.op.inputs) and sum(map(nbytes, made.values())) <= KEPT:
            self._made = made
        return made

    def _evaluate(self, source: Source, runs: int) -> dict[str, Value]:
        given = {n: source.value(n) for n in self.op.inputs if n}
        graph = self._graph([given.get(n) for n in self.op.inputs])
        type = graph.outputs[0].type
        if self._is_drawn and type.is_static and type.size <= KEPT:
            arrays = [elements(given[n]) for n in self.op.inputs if n]
            return {self.op.outputs[0]: self._draw(graph.nodes[0], arrays, runs)}
        graph = graph.clone()
        for node in graph.nodes:
            node.device = f"cpu:0 random_seed={self._seed(runs)}" if self.random else node.device
        found = evaluate(graph, {v.name: elements(given[v.name]) for v in graph.inputs})
        return {n: made_value(found[n], v.type) for n, v in zip(graph.output_names, graph.outputs)}

    def _draw(self, checked: Node, arrays: Sequence[np.ndarray], runs: int) -> np.ndarray:
        """The numbers of a random fill, straight from its record: nothing is new of an operator that was checked but
        the seed."""
        node = copy.copy(checked)
        node.device = f"cpu:0 random_seed={self._seed(runs)}"
        call = Call(node)
        assert call.opdef.reference is not None
        (drawn,) = call.opdef.reference(call, *arrays)
        return drawn

    def _graph(self, inputs: Sequence[Value]) -> Graph:
        """The operator for inputs of these types, checked; the last one is kept."""
        types = tuple(None if x is None else value_type(n, x) for n, x in zip(self.op.inputs, inputs))
        if types not in self._graphs:
            graph = operator_graph(self.op, inputs)
            infer_types(graph)
            self._graphs = {types: graph}
        return self._graphs[types]

    def _seed(self, runs: int) -> int:
        seed = self.device.random_seed if self.device is not None else None
        if seed is not None and runs == 0:
            return seed
        name = self.op.outputs[0]
        if seed is None:
            with _LOCK:
                runs = _DRAWN[name]
                _DRAWN[name] += 1
        return zlib.crc32(f"{name} {seed} {runs}".encode("utf-8", "surrogateescape"))
