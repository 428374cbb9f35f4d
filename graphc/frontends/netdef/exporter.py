"""Graph to NetDef pair: the way back, for graphs of Caffe2's operators."""

from __future__ import annotations

import numpy as np

from graphc.frontends.netdef.net import ArgValue, Net, Operator
from graphc.ir import DType, Graph, Node, UnsupportedError, Value
from graphc.ir.opdef import Trait

_FILLS = {
    DType.FLOAT: "GivenTensorFill",
    DType.DOUBLE: "GivenTensorDoubleFill",
    DType.FLOAT16: "GivenTensorFp16Fill",
    DType.INT16: "GivenTensorInt16Fill",
    DType.INT32: "GivenTensorIntFill",
    DType.INT64: "GivenTensorInt64Fill",
    DType.BOOL: "GivenTensorBoolFill",
    DType.STRING: "GivenTensorStringFill",
}

BYTES_FILL = "GivenTensorByteStringToUInt8Fill"
"""Reads its bytes from a list of one string, where Int8GivenTensorFill reads a string."""


def export_net(graph: Graph) -> tuple[Net, Net]:
    """The predict net and init net of a graph: every value a blob, every weight that is read a fill.

    Blobs are called as the values; where two share a name, those that are no input, weight or output get a number more.
    An output with two names gets the second by a Copy. Devices are left out, engines kept. Raises ``UnsupportedError``
    for what a NetDef cannot say: operators that graphc made (``g.``), fused and nested graphs, weights of a type that
    has no fill, quantised values with two names.
    """
    names = _blob_names(graph)
    read = [v for v in graph.constants if v.uses or v in graph.outputs]
    ops = [_operator(node, names) for node in graph.nodes]
    ops += [_copy(v, names[v], name) for v, name in zip(graph.outputs, graph.output_names) if names[v] != name]
    inputs = [names[v] for v in (*graph.inputs, *read)]
    predict = Net(graph.name, ops, inputs, list(graph.output_names))
    return predict, Net(f"{graph.name}_init", [_fill(v, names[v]) for v in read], [], [names[v] for v in read])


def _blob_names(graph: Graph) -> dict[Value, str]:
    names: dict[Value, str] = {v: v.name for v in graph.inputs}
    for value, name in zip(graph.outputs, graph.output_names):
        names.setdefault(value, name)
    taken = {*names.values(), *graph.output_names}
    for value in graph.values():
        if value not in names:
            names[value] = _unique(value.constant.name if value.constant else value.name or "blob", taken)
            taken.add(names[value])
    return names


def _unique(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    k = 1
    while f"{name}.{k}" in taken:
        k += 1
    return f"{name}.{k}"


def _operator(node: Node, names: dict[Value, str]) -> Operator:
    if node.opdef.traits & Trait.INTERNAL or node.subgraphs():
        raise UnsupportedError(
            f"{node.location}: {node.op} has no form in a NetDef", (), "export the graph before it is optimised"
        )
    inputs = ["" if v is None else names[v] for v in node.operands]
    args: dict[str, ArgValue] = dict(node.attrs)
    return Operator(node.op, inputs, [names[r] for r in node.results], args, engine=node.engine)


def _copy(value: Value, name: str, second: str) -> Operator:
    if value.type.quant is not None:
        raise UnsupportedError(
            f"the value '{name}' is the output '{second}' too, and Copy takes no quantised values",
            (),
            "ask for one of them",
        )
    return Operator("Copy", [name], [second], {})


def _fill(value: Value, name: str) -> Operator:
    data, type = value.data, value.type
    if data is None or type.dtype is None:
        raise UnsupportedError(f"weight '{name}' has no storage", (), "give its array to parse(text, constants)")
    args: dict[str, ArgValue] = {"shape": type.static_shape}
    if type.quant is not None:
        args |= {"Y_scale": type.quant.scale, "Y_zero_point": type.quant.zero_point}
        kind = "Int8GivenTensorFill" if type.dtype is DType.UINT8 else "Int8GivenIntTensorFill"
    else:
        kind = _FILLS.get(type.dtype, BYTES_FILL)
    values = _elements(np.ascontiguousarray(data))
    args["values"] = (values,) if kind == BYTES_FILL and isinstance(values, bytes) else values
    return Operator(kind, [], [name], args)


def _elements(data: np.ndarray) -> ArgValue:
    if data.dtype == np.uint8:
        return data.tobytes()
    if data.dtype == object:
        return tuple(data.reshape(-1).tolist())
    flat = data.reshape(-1)
    return flat.astype(np.float32 if flat.dtype.kind == "f" else np.int64)
