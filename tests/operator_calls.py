"""One operator alone: its answer on arrays, its types from text, and the error that it refuses a call with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.ir.errors import GraphcError
from graphc.ir.graph import Constant, Node, Value
from graphc.ir.opdef import Call
from graphc.ir.reference import evaluate_node
from graphc.ir.types import DType, TensorType

Operand = str | np.ndarray | None


def operand(given: Operand, i: int) -> Value | None:
    """A value of a type in text form, or a weight with the elements given."""
    if given is None:
        return None
    if isinstance(given, str):
        return Value(TensorType.parse(given), f"in{i}")
    type = TensorType(DType.of(given.dtype), given.shape)
    return Value(type, f"in{i}", Constant(f"in{i}", type, given))


def attributes(args: dict[str, Any]) -> dict[str, Any]:
    """Arguments as a graph holds them: strings are bytes, lists are tuples."""
    made = {k: v.encode() if isinstance(v, str) else v for k, v in args.items()}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in made.items()}


def call(op: str, *operands: Operand, outputs: int = 1, **args: Any) -> Call:
    """A call of an operator; each operand is a type in text form, an array, or None for an absent one."""
    values = [operand(x, i) for i, x in enumerate(operands)]
    results = [Value(TensorType(), f"out{i}") for i in range(outputs)]
    return Call(Node(op, values, results, attributes(args)))


def types(op: str, *operands: Operand, outputs: int = 1, **args: Any) -> list[str]:
    """The inferred types of the outputs, in text form."""
    made = call(op, *operands, outputs=outputs, **args)
    return [str(t) for t in made.opdef.infer(made)][:outputs]


def answers(op: str, *arrays: np.ndarray | None, outputs: int = 1, **args: Any) -> list[np.ndarray]:
    """The reference's answer on arrays."""
    return evaluate_node(call(op, *arrays, outputs=outputs, **args).node, arrays)[:outputs]


def answer(op: str, *arrays: np.ndarray | None, outputs: int = 1, **args: Any) -> np.ndarray:
    """Output 0 of the reference."""
    return answers(op, *arrays, outputs=outputs, **args)[0]


def refusal(op: str, *operands: Operand, outputs: int = 1, **args: Any) -> str:
    """The message with which inference refuses a call; it must refuse it, and name the operator."""
    with pytest.raises(GraphcError) as caught:
        types(op, *operands, outputs=outputs, **args)
    text = str(caught.value)
    assert op in text
    return text


def f32(*rows: Any) -> np.ndarray:
    """A float32 array of one nested list, or of numbers."""
    return np.array(rows[0] if len(rows) == 1 else rows, np.float32)
