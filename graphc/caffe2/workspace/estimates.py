"""Random inputs for a net, and what an operator costs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2.workspace.coercion import StringifyProto
from graphc.caffe2.workspace.current import current
from graphc.caffe2.workspace.errors import EnforceError, enforced
from graphc.caffe2.workspace.program import parse_net, single_net
from graphc.ir import Call
from graphc.ir.infer import infer_types
from graphc.operators import operator_graph

_TYPES = {
    "float": np.float32,
    "double": np.float64,
    "int": np.int32,
    "int32_t": np.int32,
    "int64_t": np.int64,
    "int8_t": np.int8,
    "uint8_t": np.uint8,
    "bool": np.bool_,
}
"""Element types by their names in C++."""


def FillRandomNetworkInputs(
    net: Any, input_dims: Sequence[Sequence[Sequence[int]]], input_types: Sequence[Sequence[str]]
) -> None:
    """Feed random numbers to the inputs of a net that no operator of it makes, the same ones in every process.

    input_dims, input_types: for each operator the shape and element type (``float``, ``int64_t`` ...) of each input.
    Floating ones lie in [-1, 1), whole ones in 0 ... 9. Raises ``RuntimeError`` where a number of them does not fit.
    """
    with enforced():
        plain = parse_net(StringifyProto(net))
    made: set[str] = set()
    if not len(plain.ops) == len(input_dims) == len(input_types):
        raise EnforceError(f"the net has {len(plain.ops)} operators, {len(input_dims)} were described")
    for op, shapes, types in zip(plain.ops, input_dims, input_types):
        if not len(op.inputs) == len(shapes) == len(types):
            raise EnforceError(
                f"{op.type} has {len(op.inputs)} inputs, {len(shapes)} shapes and {len(types)} types were given",
                "give a shape and a type for each",
            )
        for name, shape, kind in zip(op.inputs, shapes, types):
            if name not in made:
                current().feed(name, _random(name, tuple(shape), kind))
                made.add(name)
        made.update(op.outputs)


def _random(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    if kind not in _TYPES:
        raise EnforceError(f"input '{name}': '{kind}' is no element type", f"types: {', '.join(_TYPES)}")
    rng, dtype = np.random.default_rng(zlib.crc32(name.encode())), np.dtype(_TYPES[kind])
    drawn = rng.uniform(-1, 1, shape) if dtype.kind == "f" else rng.integers(0, 10, shape)
    return drawn.astype(dtype)


def GetOperatorCost(operator: Any, blobs: Sequence[Any]) -> tuple[int, int]:
    """Arithmetic of an operator, a product and a sum counted as two, and bytes that it writes.

    blobs: what it reads, in the workspace. Raises ``RuntimeError`` for a call that the operator refuses.
    """
    with enforced():
        op = single_net(StringifyProto(operator)).ops[0]
        graph = operator_graph(op, [current().value(str(blob)) for blob in blobs])
        infer_types(graph)
        written = sum(r.type.nbytes for node in graph.nodes for r in node.results if r.type.is_static)
        return sum(n.opdef.flops(Call(n)) for n in graph.nodes if n.opdef.flops is not None), written
