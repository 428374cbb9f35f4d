"""A compiled stage: plans for the types of its inputs, chosen by what the blobs hold."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Any, Protocol

import numpy as np

from graphc.caffe2.workspace.errors import EnforceError, missing_blob
from graphc.caffe2.workspace.stages import Stage
from graphc.caffe2.workspace.tracebacks import creation_text
from graphc.caffe2.workspace.values import Value, boxed, type_name
from graphc.compiler import compile_graph
from graphc.frontends.netdef import import_net
from graphc.frontends.netdef.blobs import operator_reads
from graphc.ir import DType, Graph, GraphcError, Quant, TensorType
from graphc.ir.graph import FIXED_SIZES, Constant
from graphc.ir.infer import infer_types
from graphc.ir.location import Location
from graphc.ir.quant_array import array_quant
from graphc.operators import Int8Tensor, compile_operator
from graphc.plan import Plan

_MAY_BE_EMPTY = {("LastNWindowCollector", 0)}
"""Operators and their inputs that may be blobs which hold nothing yet: they begin with no rows."""
Signature = tuple[Any, ...]
"""Element type, shape and scale of every input that is no weight."""

_LAYERS = {
    "Conv", "ConvTranspose", "FC", "FCTransposed", "SpatialBN", "InstanceNorm", "GroupNorm", "PRelu", "AffineChannel",
    "ConvRelu", "Int8Conv", "Int8ConvRelu", "Int8FC",
}  # fmt: skip
"""Operators whose inputs after the first are weights."""


@dataclass
class Variant:
    """A plan of a stage.

    names: the blobs in the order of the plan's inputs. weights: the blobs that are part of the plan, with the arrays
    that they held. outputs: the blobs that it gives. quantised: which of them are so. exact: it runs only the sizes
    that it was compiled for. seen: inputs that it takes.
    """

    plan: Plan
    names: list[str]
    weights: dict[str, Value]
    outputs: list[str]
    quantised: list[int]
    exact: bool
    seen: set[Signature] = field(default_factory=set)

    def run(self, arrays: Sequence[np.ndarray]) -> dict[str, Value]:
        """The outputs by name; quantised ones as ``Int8Tensor``."""
        plan = self.plan
        found: dict[str, Value] = dict(zip(self.outputs, plan.run_arrays(arrays)))
        for i in self.quantised:
            found[self.outputs[i]] = made_value(found[self.outputs[i]], plan.graph.outputs[i].type)
        return found


class Prepared:
    """The last run of a stage, to be repeated as long as its weights are the same arrays and its inputs tensors of the
    same types: what is left is to collect them and to enter native code."""

    def __init__(self, variant: Variant, arrays: Sequence[np.ndarray]) -> None:
        self.variant = variant
        self._names, self._weights = list(variant.weights), list(variant.weights.values())
        self._ports = [(name, array.dtype, array.shape) for name, array in zip(variant.names, arrays)]

    def arrays(self, raw: Mapping[str, Value]) -> list[np.ndarray] | None:
        """The plan's inputs, None where the blobs call for another plan."""
        if not all(map(is_, map(raw.get, self._names), self._weights)):
            return None
        found = []
        for name, dtype, shape in self._ports:
            array = raw.get(name)
            if type(array) is not np.ndarray or array.shape != shape or array.dtype != dtype:
                return None
            found.append(array)
        return found


@dataclass
class Demands:
    """What a created net learns from run to run.

    wanted: blobs that were fetched though no plan gave them. varying: blobs that looked like weights and changed.
    """

    wanted: set[str] = field(default_factory=set)
    varying: set[str] = field(default_factory=set)
    prepared: Prepared | None = None


class Source(Protocol):
    """Where a stage finds what blobs hold."""

    raw: dict[str, Value]
    """What blobs hold, blobs that are yet to be computed among them."""
    filled: set[str]
    """Blobs that fills or files gave their values."""

    def value(self, name: str) -> Value:
        """What a blob holds; raises ``EnforceError`` for one that does not exist."""


class CompiledStage:
    """The plans of a stage.

    declared: external outputs of the whole net. written: blobs that any stage of the net writes. single: the stage is
    an operator that runs by itself, and is compiled as it is, for one thread. once: the demands of runs that give every
    blob.
    """

    def __init__(self, stage: Stage, declared: Collection[str], written: Collection[str], single: bool = False) -> None:
        self.stage, self.declared, self.single = stage, frozenset(declared), single
        self.written = frozenset(written)
        self.state = frozenset(stage.reads).intersection(stage.writes)
        self.weight_like = _weight_like(stage)
        self._variants: dict[Signature, list[Variant]] = {}
        self.once = Demands()
        self._lock = threading.RLock()

    def run(self, source: Source, demands: Demands, every: bool) -> dict[str, Value]:
        """The blobs that the stage's plan gives, for what the blobs hold.

        every: give every blob that the stage writes. Raises ``GraphcError``.
        """
        prepared = demands.prepared
        arrays = prepared.arrays(source.raw) if prepared is not None else None
        if prepared is not None and arrays is not None:
            return prepared.variant.run(arrays)
        values = {n: self._present(source, n) for n in self.stage.reads}
        with self._lock:
            found = self._select(values, demands, source.filled, every)
        source.filled.difference_update(self.stage.writes)
        return found

    def _present(self, source: Source, name: str) -> Value:
        if source.raw.get(name) is not None:
            return source.value(name)
        position = next(i for i, op in enumerate(self.stage.expanded.ops) if name in operator_reads(op))
        net, index, op = self.stage.net, self.stage.positions[position], self.stage.expanded.ops[position]
        if name in source.raw and name in op.inputs and (op.type, op.inputs.index(name)) in _MAY_BE_EMPTY:
            return np.empty(0, np.float32)
        where, created = f"net '{net.name}' op #{index} {net.ops[position].type}", creation_text(net.name, index)
        if name not in source.raw:
            raise missing_blob(name, source.raw, f"{where}: Encountered a non-existing input blob: {name}{created}")
        raise EnforceError(
            f"{where}: blob '{name}' contains {type_name(None)}, a tensor is needed{created}",
            "feed it, or run the net that makes it first",
        )

    def _select(
        self, values: Mapping[str, Value], demands: Demands, filled: Collection[str], every: bool
    ) -> dict[str, Value]:
        """Find a plan for the blobs, or compile one, and run it."""
        if demands.prepared is not None:
            demands.varying |= {n for n, w in demands.prepared.variant.weights.items() if values[n] is not w}
        weights = {} if every or self.single else self._weights(values, demands.varying, filled)
        outputs = self._outputs(demands.wanted, every)
        names = [n for n in values if n not in weights]
        signature = tuple(_signature(values[n]) for n in names)
        key = (
            outputs,
            *((n, id(w)) for n, w in weights.items()),
            *map(_pattern, signature),
        )
        for variant in self._variants.get(key, []):
            found = self._try(variant, values, signature)
            if found is not None:
                demands.prepared = Prepared(variant, [elements(values[n]) for n in variant.names])
                return found
        if weights:
            self.forget_weights()
        variant = self._compile(values, names, weights, outputs)
        variant.seen.add(signature)
        self._variants.setdefault(key, []).append(variant)
        arrays = [elements(values[n]) for n in variant.names]
        demands.prepared = Prepared(variant, arrays)
        return variant.run(arrays)

    def _try(self, variant: Variant, values: Mapping[str, Value], signature: Signature) -> dict[str, Value] | None:
        """Run a plan on sizes that may be new to it; None where it does not take them."""
        arrays = [elements(values[n]) for n in variant.names]
        if signature in variant.seen:
            return variant.run(arrays)
        if variant.exact:
            return None
        try:
            found = variant.run(arrays)
        except GraphcError:
            return None
        variant.seen.add(signature)
        return found

    def forget_weights(self) -> None:
        """Forget the plans that hold weights: those of one workspace at a time are enough."""
        self._variants = {key: plans for key, plans in self._variants.items() if not any(p.weights for p in plans)}

    def _weights(self, values: Mapping[str, Value], varying: set[str], filled: Collection[str]) -> dict[str, Value]:
        """The blobs to compile into the plan: of those that the net only reads, the ones that layers read as weights
        and the ones that fills or files gave; but the latter not where that would leave no input at all."""
        fixed = [n for n in self.stage.reads if n not in self.written | varying and _is_tensor(values[n])]
        found = [n for n in fixed if n in self.weight_like or n in filled]
        if len(found) == len(self.stage.reads):
            found = [n for n in found if n in self.weight_like]
        return {n: values[n] for n in found}

    def _outputs(self, wanted: Collection[str], every: bool) -> frozenset[str]:
        """What the plan gives: everything; or what the net declares, changes, needs later or was asked for, and where
        it declares and changes nothing, what no operator reads."""
        stage = self.stage
        if every or self.single:
            return frozenset(stage.writes)
        kept = self.declared.union(wanted) if self.declared or self.state else _unread(stage).union(wanted)
        return frozenset(kept.intersection(stage.writes)) | self.state | stage.needed

    def _compile(
        self, values: Mapping[str, Value], names: Sequence[str], weights: Mapping[str, Value], outputs: frozenset[str]
    ) -> Variant:
        ordered = [n for n in self.stage.writes if n in outputs]
        types = {n: value_type(n, values[n]) for n in (*names, *weights)}
        net = replace(self.stage.net, external_inputs=[*names, *weights], external_outputs=ordered)
        graph = import_net(net, None, types)
        self._restore_positions(graph)
        for v in [v for v in graph.inputs if v.name in weights]:
            graph.inputs.remove(v)
            v.constant = Constant(v.name, v.type, np.asarray(elements(weights[v.name]), order="C"))
            graph.constants.append(v)
        empty = any(v.type.is_static and v.type.size == 0 for v in graph.inputs)
        if self.single or empty:  # plans of nets refuse empty pictures
            plan = compile_operator(graph)
            plan.prepare()
        else:
            _add_single_numbers(graph)
            plan = compile_graph(graph)
        exact = any(note.startswith(FIXED_SIZES) for note in plan.graph.notes)
        order = [v.name for v in plan.graph.inputs]
        quantised = [i for i, v in enumerate(plan.graph.outputs) if v.type.quant is not None]
        return Variant(plan, order, dict(weights), plan.outputs, quantised, exact)

    def _restore_positions(self, graph: Graph) -> None:
        """Let every node say where its operator stands in the whole net, not in the stage."""
        for node in graph.nodes:
            origins = (replace(o, index=self.stage.positions[o.index]) for o in node.location.origins)
            node.location = Location(tuple(origins))


def _add_single_numbers(graph: Graph) -> None:
    """Give every blob of one element too: it costs nothing, and users look at losses, counters and rates."""
    typed = graph.clone()
    infer_types(typed)
    single = {n for n, v in typed.blobs().items() if v.producer and v.type.is_static and v.type.size == 1}
    for name, value in graph.blobs().items():
        if name in single and name not in graph.output_names:
            graph.add_output(value, name)


def _unread(stage: Stage) -> set[str]:
    """Blobs that are written and not read afterwards."""
    unread: set[str] = set()
    for op in stage.expanded.ops:
        unread.difference_update(operator_reads(op))
        unread.update(op.outputs)
    return unread


def _weight_like(stage: Stage) -> frozenset[str]:
    """Blobs that nothing but layers reads, and those as their weights."""
    found, other = set[str](), set[str]()
    for op in stage.expanded.ops:
        reads = list(operator_reads(op))
        at = 1 if op.type in _LAYERS else len(reads)
        found.update(reads[at:])
        other.update(reads[:at])
    return frozenset(found - other - {""})


def elements(value: Value) -> np.ndarray:
    """The array of a value as plans take it; an object in an array of no axes."""
    if isinstance(value, Int8Tensor):
        return np.asarray(value.data)
    return value if isinstance(value, np.ndarray) else boxed(value)


def made_value(array: np.ndarray, type: TensorType) -> Value:
    """What an operator made, as blobs hold it: with scale and zero point where it has them."""
    quant = array_quant(array) or type.quant
    return array if quant is None else Int8Tensor(np.asarray(array), quant.scale, quant.zero_point)


def _is_tensor(value: Value) -> bool:
    return type(value) in (np.ndarray, Int8Tensor) and elements(value).dtype != object


def value_type(name: str, value: Value) -> TensorType:
    """The type of what a blob holds; raises ``EnforceError`` for an element type that graphc has not."""
    array = elements(value)
    try:
        dtype = DType.of(array.dtype)
    except TypeError as error:
        raise EnforceError(f"blob '{name}': {error}", "feed it in another type") from None
    quant = Quant(value.scale, value.zero_point) if isinstance(value, Int8Tensor) else array_quant(array)
    return TensorType(dtype, tuple(array.shape), quant=quant)


def _signature(value: Value) -> Signature:
    array = elements(value)
    if isinstance(value, Int8Tensor):
        return (array.dtype, array.shape, value.scale, value.zero_point)
    return (array.dtype, array.shape)


def _pattern(signature: Signature) -> Signature:
    """What of an input's signature a plan depends on: its type, and which dimensions are 0, 1 or more."""
    dtype, shape, *quant = signature
    return (dtype, tuple(min(d, 2) for d in shape), *quant)
