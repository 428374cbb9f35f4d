"""Activations: pointwise, float in, float out."""

from __future__ import annotations

from typing import Any

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.scalar import Expr, ScalarOps
from graphc.ir.types import TensorType

POINTWISE = Trait.POINTWISE | Trait.BLOCKED


def same_type(call: Call) -> list[TensorType]:
    """One output of the type of input 0."""
    return [call.type(0)]


def _activation(name: str, scalar: Any, doc: str, *args: Arg) -> None:
    op(name, same_type, inputs="X", outputs="Y", scalar=scalar, args=args, traits=POINTWISE, inplace=((0, 0),), doc=doc)


_activation("Relu", lambda o, call, x: o.maximum(x, o.const(0.0)), "max(x, 0)")
_activation("Sigmoid", lambda o, call, x: o.sigmoid(x), "1 / (1 + exp(-x))")
_activation("Tanh", lambda o, call, x: o.tanh(x), "tanh(x)")


def _leaky_relu(o: ScalarOps, call: Call, x: Expr) -> Expr:
    return o.where(o.lt(x, o.const(0.0)), x * o.const(call.arg("alpha")), x)


_activation("LeakyRelu", _leaky_relu, "x, or alpha * x where x < 0", Arg("alpha", "float", 0.01, "slope below zero"))
