"""One operator on arrays: ``run_operator``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from graphc.frontends.netdef import Operator, import_net, read_net
from graphc.frontends.netdef.net import Net
from graphc.ir import DType, Graph, GraphcError, Quant, TensorType, evaluate
from graphc.ir.infer import infer_types
from graphc.ir.quant_array import array_quant
from graphc.kernel_code import KernelCode
from graphc.passes import LEVELS, run_pipeline
from graphc.plan import Plan
from graphc.targets import find, library_for


class Int8Tensor(NamedTuple):
    """A quantised tensor: real = (data - zero_point) * scale. data: uint8, int8 or int32 elements."""

    data: np.ndarray
    scale: float
    zero_point: int


class Message(Protocol):
    """A parsed protobuf message."""

    def SerializeToString(self) -> bytes:
        """Its bytes."""


Tensor = np.ndarray | Int8Tensor


def run_operator(
    op: bytes | Message | Operator, inputs: Sequence[Tensor | None], target: str = "cpu", threads: int = 1
) -> list[Tensor]:
    """The outputs of one Caffe2 operator on arrays.

    op: an OperatorDef, serialised, parsed, or as ``graphc.frontends.netdef.Operator``. inputs: arrays in the order of
    ``op.input``; tensors of strings as object arrays of bytes, quantised ones as ``Int8Tensor``. target: ``cpu`` (this
    machine's), ``avx512_bf16``, ``avx512_vnni``, ``avx512``, ``avx2``, ``portable``: machine code; ``reference``: the
    NumPy interpreter. The outputs come in the order of ``op.output``. Machine code is cached like that of nets.

    Raises ``GraphcError`` and its kinds: a call that the operator's record refuses, data that the operator refuses.
    """
    graph = operator_graph(op, inputs)
    if target == "reference":
        infer_types(graph)
        arrays = _arrays(graph, op, inputs)
        found = evaluate(graph, {v.name: a for v, a in zip(graph.inputs, arrays)})
        return [_tensor(found[n], v.type) for n, v in zip(graph.output_names, graph.outputs)]
    return run_compiled(compile_operator(graph, target, threads), op, inputs)


def run_compiled(plan: Plan, op: bytes | Message | Operator, inputs: Sequence[Tensor | None]) -> list[Tensor]:
    """The outputs of an operator by the plan that ``compile_operator`` made of it."""
    plan.prepare()
    results = plan.run_arrays(_arrays(plan.graph, op, inputs))
    return [_tensor(a, v.type) for a, v in zip(results, plan.graph.outputs)]


def compile_operator(graph: Graph, target: str = "cpu", threads: int = 1, code: KernelCode | None = None) -> Plan:
    """The plan of a graph that ``operator_graph`` made; its kernels are chosen, not compiled.

    code: machine code of the same target that plans share.
    """
    run_pipeline(graph, LEVELS[0])
    graph.stage = "optimised"
    return Plan.build(graph, library_for(find("native" if target == "cpu" else target)), threads, code)


def operator_graph(op: bytes | Message | Operator, inputs: Sequence[Tensor | None]) -> Graph:
    """A graph of one operator whose inputs have the types of the arrays; its outputs are all that the operator has."""
    operator = _operator(op)
    if len(inputs) != len(operator.inputs):
        raise GraphcError(
            f"{operator.type} has {len(operator.inputs)} inputs, {len(inputs)} were given",
            f"give an array, or None, for each of {', '.join(operator.inputs)}",
        )
    absent = [n for n, x in zip(operator.inputs, inputs) if x is None and n]
    if absent:
        raise GraphcError(f"{operator.type}: input '{absent[0]}' has no value", "give it an array, or no name")
    types = {n: _type(operator, n, x) for n, x in zip(operator.inputs, inputs) if x is not None}
    names = list(dict.fromkeys(n for n in operator.inputs if n in types))
    net = Net(operator.type, [operator], names, list(dict.fromkeys(n for n in operator.outputs if n)))
    return import_net(net, None, types)


def _operator(op: bytes | Message | Operator) -> Operator:
    if isinstance(op, Operator):
        return op
    data = op if isinstance(op, bytes) else op.SerializeToString()
    net = read_net(b"\x12" + _varint(len(data)) + data)  # field 2 of a NetDef is an operator
    if len(net.ops) != 1:
        raise GraphcError("the bytes are not one OperatorDef", "serialise one OperatorDef")
    return net.ops[0]


def _varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def _arrays(graph: Graph, op: bytes | Message | Operator, inputs: Sequence[Tensor | None]) -> list[np.ndarray]:
    """The elements of a graph's inputs; an operator may name one blob twice."""
    given = {n: x for n, x in zip(_operator(op).inputs, inputs) if x is not None}
    return [_elements(given[v.name]) for v in graph.inputs]


def _elements(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.data if isinstance(tensor, Int8Tensor) else tensor)


def _type(operator: Operator, name: str, tensor: Tensor) -> TensorType:
    array = _elements(tensor)
    try:
        dtype = DType.of(array.dtype)
    except TypeError as error:
        raise GraphcError(f"{operator.type}: input '{name}': {error}", "convert the array") from None
    quant = Quant(float(tensor.scale), int(tensor.zero_point)) if isinstance(tensor, Int8Tensor) else None
    return TensorType(dtype, array.shape, quant=quant)


def _tensor(array: np.ndarray, type: TensorType) -> Tensor:
    quant = array_quant(array) or type.quant
    return Int8Tensor(np.asarray(array), quant.scale, quant.zero_point) if quant else array
