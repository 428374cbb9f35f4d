"""Real Caffe2's operator cases as graphc calls: reads the serialised OperatorDefs field by field, without protobuf."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.ir.graph import Node, Value
from graphc.ir.opdef import Call, lookup
from graphc.ir.reference import evaluate_node
from graphc.ir.types import DType, Quant, TensorType, dims_agree


@dataclass
class OperatorText:
    """What the wire holds of an OperatorDef."""

    type: str
    engine: str
    args: dict[str, Any]


def fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(field number, wire type, value) of every field of a message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        wire = tag & 7
        if wire == 0:
            yield tag >> 3, wire, varint()
            continue
        size = {1: 8, 5: 4}.get(wire) or varint()
        yield tag >> 3, wire, data[at : at + size]
        at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _argument(data: bytes) -> tuple[str, Any]:
    name, single, many = "", None, []
    for number, _, value in fields(data):
        if number == 1:
            name = value.decode()
        elif number == 2:
            single = struct.unpack("<f", value)[0]
        elif number == 3:
            single = _signed(value)
        elif number == 4:
            single = bytes(value)
        elif number == 5:
            many += struct.unpack(f"<{len(value) // 4}f", value)
        elif number == 6:
            many.append(_signed(value))
        elif number == 7:
            many.append(bytes(value))
    return name, tuple(many) if many else single


def operator(data: bytes) -> OperatorText:
    """The parts of a serialised OperatorDef that a call needs."""
    found = OperatorText("", "", {})
    for number, _, value in fields(data):
        if number == 4:
            found.type = value.decode()
        elif number == 5:
            name, arg = _argument(value)
            found.args[name] = arg
        elif number == 7:
            found.engine = value.decode()
    return found


def golden_io(shared: Path) -> Any:
    """The module that reads the golden files."""
    spec = importlib.util.spec_from_file_location("golden_io", shared / "golden" / "golden_io.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def array_of(value: Any) -> np.ndarray:
    """The elements of a recorded value."""
    return value[1] if isinstance(value, tuple) else value


def type_of(value: Any) -> TensorType:
    """The type of a recorded value."""
    array = array_of(value)
    quant = Quant(float(value[2]), int(value[3])) if isinstance(value, tuple) else None
    return TensorType(DType.of(array.dtype), array.shape, quant=quant)


def coerced(op: str, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the record knows, empty lists for those without a value."""
    record = lookup(op)
    known = {k: v for k, v in args.items() if record.has_arg(k)}
    return {k: () if v is None else v for k, v in known.items()}


def make_call(op: str, inputs: list[Any], outputs: list[str], args: dict[str, Any], *, constants: bool = False) -> Call:
    """A call of ``op`` on recorded values, with inferred result types."""
    operands = []
    for i, value in enumerate(inputs):
        operand = Value(type_of(value), f"in{i}")
        operands.append(operand)
    node = Node(op, operands, [Value(TensorType(), name) for name in outputs], coerced(op, args))
    call = Call(node)
    types = list(node.opdef.infer(call))
    assert len(types) >= len(outputs), f"{op}: {len(types)} types inferred for {len(outputs)} outputs"
    for result, type in zip(node.results, types):
        result.type = type
    return call


def run(call: Call, inputs: list[Any]) -> list[np.ndarray]:
    """The reference's answer, checked against the inferred types."""
    outputs = evaluate_node(call.node, [array_of(v).copy() for v in inputs])
    for got, result in zip(outputs, call.node.results):
        inferred = result.type
        assert inferred.dtype is None or inferred.dtype.numpy == got.dtype, (inferred, got.dtype)
        if inferred.shape is not None:
            assert len(inferred.shape) == got.ndim, (inferred, got.shape)
            assert all(map(dims_agree, inferred.shape, got.shape)), (inferred, got.shape)
    return outputs
