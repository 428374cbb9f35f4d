"""Shapes and element types of a net's blobs, without running it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from graphc.caffe2.workspace.coercion import StringifyProto
from graphc.caffe2.workspace.compiled import value_type
from graphc.caffe2.workspace.current import current
from graphc.caffe2.workspace.errors import enforced
from graphc.caffe2.workspace.program import parse_net
from graphc.caffe2.workspace.values import Value, is_boxed
from graphc.frontends.netdef import import_net
from graphc.frontends.netdef.blobs import free_blobs
from graphc.frontends.netdef.nested import expand
from graphc.ir import Call, DType, GraphcError, TensorType
from graphc.ir import Value as GraphValue
from graphc.ir.graph import Constant, Node
from graphc.ir.infer import infer_node
from graphc.passes.fold_constants import told_sizes

_TOLD: dict[str, Callable[[Call], TensorType]] = {
    "GatherRanges": lambda call: call.type(0),
    "IndexHash": lambda call: call.type(0),
    "LastNWindowCollector": lambda call: call.type(2).with_shape(
        (max(call.arg("num_to_collect"), 0), *(call.type(2).shape or (0,))[1:])
    ),
}
"""What Caffe2's inference tells of first outputs: as large as they may become, and whatever the arguments are."""


def InferShapesAndTypes(
    nets: Sequence[Any],
    blob_dimensions: Mapping[str, Sequence[int]] | None = None,
    nets_proto: bool = False,
    blob_types: Mapping[str, int] | None = None,
) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Dimensions and ``DataType`` numbers by blob, for nets that run one after another.

    blob_dimensions, blob_types: what the blobs hold, whatever an init net puts there; without them what they hold in
    the workspace. A type that is not said is float32, but for operators that take no float32, such as LearningRate.
    Blobs of unknown size are left out. nets_proto: accepted, as any form of a net is understood.
    """
    assumed = set(map(str, blob_dimensions or ())) - set(map(str, blob_types or ()))
    if blob_dimensions is None:
        values = {name: current().value(name) for name in current().names()}
        types = {name: value_type(name, v) for name, v in values.items() if _is_tensor(v)}
    else:
        given = {str(k): DType(v) for k, v in (blob_types or {}).items()}
        types = {
            str(name): TensorType(given.get(str(name), DType.FLOAT), tuple(int(d) for d in dims))
            for name, dims in blob_dimensions.items()
        }
    with enforced():
        for net in nets:
            found = _infer(StringifyProto(net), types, assumed)
            types |= {n: t for n, t in found.items() if n not in (blob_dimensions or ())}
    static = {n: t for n, t in types.items() if t.is_static and t.dtype is not None}
    return {n: list(t.static_shape) for n, t in static.items()}, {n: _number(t) for n, t in static.items()}


def _is_tensor(value: Value) -> bool:
    return value is not None and not isinstance(value, bytes) and not is_boxed(value) and hasattr(value, "dtype")


def _number(type: TensorType) -> int:
    return 0 if type.dtype is None else type.dtype.value


def _infer(data: bytes, known: Mapping[str, TensorType], assumed: Collection[str]) -> dict[str, TensorType]:
    """The types of the blobs of a net; those after an operator whose types do not follow stay unknown.

    assumed: blobs whose element type nobody said.
    """
    net = parse_net(data)
    read = free_blobs(expand(net)[0])
    graph = import_net(replace(net, external_inputs=[], external_outputs=[]), None, {
        n: t for n, t in known.items() if n in read
    })  # fmt: skip
    for node in graph.nodes:
        with suppress(GraphcError):
            _infer_node(node, assumed)
            _keep_sizes(node)
        if node.op in _TOLD:
            node.results[0].type = _TOLD[node.op](Call(node))
    return {name: _told(value) for name, value in graph.blobs().items()}


def _infer_node(node: Node, assumed: Collection[str]) -> None:
    """Set the types of a node's results; where the element types that were assumed do not fit, without these."""
    try:
        infer_node(node)
    except GraphcError:
        doubtful = [v for v in node.operands if v is not None and v.producer is None and v.name in assumed]
        types = [v.type for v in doubtful]
        for v in doubtful:
            v.type = replace(v.type, dtype=None)
        infer_node(node)
        for v, type in zip(doubtful, types):
            v.type = type


def _keep_sizes(node: Node) -> None:
    """Let a result that holds sizes be a constant: the Split that is the gradient of Concat reads them."""
    told = told_sizes(node)
    if told is not None:
        told[0].constant = Constant(told[0].name, told[0].type, told[1])


def _told(value: GraphValue) -> TensorType:
    """The type of a blob; that of a learning rate, of no axes, as Caffe2's inference tells it."""
    is_rate = value.producer is not None and value.producer.op == "LearningRate"
    return value.type.with_shape((1,)) if is_rate else value.type
