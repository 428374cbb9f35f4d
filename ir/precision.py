"""Operators in half precision: they read float16, bfloat16 or float32, compute in float32, and round their results.

A node with the attribute ``precision`` is such an operator, whatever its record says of element types. The attribute
is the element type of what the record calls float32 results. Everything else about the node is what its record says of
the same call on float32 values, its *twin*.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphc.ir.bfloat16 import from_bfloat16, to_bfloat16
from graphc.ir.graph import Constant, Node, Value
from graphc.ir.types import DType, TensorType

PRECISION = "precision"
"""The attribute."""
HALVES = (DType.FLOAT16, DType.BFLOAT16)


def precision_of(node: Node) -> DType | None:
    """The element type of a node's float results where it is an operator in half precision, else None.

    Raises ``ValueError`` for an attribute that names none.
    """
    given = node.attrs.get(PRECISION)
    if given is None:
        return None
    dtype = DType.parse(given.decode("utf-8", "replace") if isinstance(given, bytes) else str(given))
    if dtype not in (*HALVES, DType.FLOAT):
        raise ValueError(f"the precision is {dtype.text}, not float16, bfloat16 or float")
    return dtype


def reads_float(node: Node, i: int) -> bool:
    """Operand ``i`` is float32, or a half that the node widens."""
    value = node.operands[i]
    dtype = value.type.dtype if value is not None else None
    return dtype is DType.FLOAT or (dtype in HALVES and PRECISION in node.attrs)


def widened(type: TensorType) -> TensorType:
    """The type with float32 in place of a half."""
    return replace(type, dtype=DType.FLOAT) if type.dtype in HALVES else type


def to_float(array: np.ndarray, dtype: DType | None) -> np.ndarray:
    """The elements of a value of ``dtype`` as float32 where that is a half, else as they are."""
    if dtype is DType.BFLOAT16:
        return from_bfloat16(array)
    return array.astype(np.float32) if dtype is DType.FLOAT16 else array


def rounded(array: np.ndarray, dtype: DType | None) -> np.ndarray:
    """float32 elements as those of a value of ``dtype``: float16, bfloat16 (its bits), or as they are."""
    if dtype is DType.BFLOAT16:
        return to_bfloat16(array)
    with np.errstate(over="ignore"):
        return array.astype(np.float16) if dtype is DType.FLOAT16 else array


def float_twin(node: Node) -> Node:
    """The same call on float32 values, outside of any graph, as its record sees it.

    Weights that are halves have no elements there; graphs among the arguments are the node's own.
    """
    values = {v: _float_value(v) for v in (*node.operands, *node.results) if v is not None}
    attrs = {name: a for name, a in node.attrs.items() if name != PRECISION}
    operands = [None if v is None else values[v] for v in node.operands]
    return Node(node.op, operands, [values[r] for r in node.results], attrs, node.location, node.engine, node.device)


def _float_value(value: Value) -> Value:
    constant, type = value.constant, widened(value.type)
    if constant is not None and type != value.type:
        constant = Constant(constant.name, type)
    return Value(type, value.name, constant)
