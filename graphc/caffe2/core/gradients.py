"""Gradients of nets: ``GradientRegistry``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphc.caffe2.core.backward import IR
from graphc.caffe2.core.blob_reference import BlobReference, GradientSlice
from graphc.caffe2.core.do_gradient import gen_do_gradient
from graphc.caffe2.core.gradient_rules import (
    MAKERS,
    Maker,
    gradient_names,
    gradient_rule,
    messages,
    plain_operators,
)
from graphc.caffe2.core.if_gradient import gen_if_gradient
from graphc.caffe2.core.while_gradient import gen_while_gradient
from graphc.caffe2.workspace.errors import enforced
from graphc.frontends.netdef.gradients import named_operator
from graphc.frontends.netdef.schema import Message
from graphc.ir import NamedCall

MAKERS.update(Do=gen_do_gradient, If=gen_if_gradient, While=gen_while_gradient)


class GradientRegistry:
    """Gradients of operators and nets; operators whose record has none may get one in Python."""

    gradient_registry_ = MAKERS

    @classmethod
    def RegisterGradient(cls, op_type: str) -> Callable[[Maker], Maker]:
        """A decorator: the function makes the gradients of an operator for which graphc has none."""

        def register(maker: Maker) -> Maker:
            cls.gradient_registry_[op_type] = maker
            return maker

        return register

    @classmethod
    def GetGradientForOp(cls, op: Message, g_output: Sequence[Any]) -> tuple[list[Message], list[Any]]:
        """The gradient operators of one operator, and the gradients of its inputs, None where there is none.

        g_output: a name, a ``GradientSlice`` or None for each output. Raises ``RuntimeError``.
        """
        (operator,) = plain_operators([op])
        call = NamedCall(
            operator.type,
            tuple(operator.inputs),
            tuple(operator.outputs),
            operator.args,
            operator.engine,
            operator.device,
        )
        with enforced():
            made, gradients = gradient_rule(call, [gradient_names(g) for g in g_output])
        found = [GradientSlice(*g) if isinstance(g, tuple) else g for g in gradients]
        return messages(map(named_operator, made)), found

    @classmethod
    def GetBackwardPass(
        cls, operators: Iterable[Message], ys: Any, ys_generate_gradient: bool = False
    ) -> tuple[list[Message], dict[BlobReference, Any]]:
        """``IR.GetBackwardPass`` of operators."""
        return IR(operators).GetBackwardPass(ys)
