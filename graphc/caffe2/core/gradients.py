"""Gradients of nets: ``GradientRegistry``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graphc.caffe2.core.blob_reference import BlobReference, GradientSlice
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.errors import EnforceError, enforced
from graphc.frontends.netdef import add_gradient_operators, read_net
from graphc.frontends.netdef.net import Net, Operator
from graphc.frontends.netdef.schema import Message
from graphc.frontends.netdef.writer import to_message
from graphc.ir import NamedCall, VerifyError
from graphc.ir.gradient import Gradient, gradient_of

Maker = Callable[[Message, list[Any]], tuple[Any, Sequence[Any]]]
"""``maker(operator, gradients of its outputs)``: gradient operators, one or a list, and the gradients of its inputs."""


class GradientRegistry:
    """Gradients of operators and nets; operators whose record has none may get one in Python."""

    gradient_registry_: dict[str, Maker] = {}

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
        (operator,) = _plain([op])
        call = NamedCall(
            operator.type,
            tuple(operator.inputs),
            tuple(operator.outputs),
            operator.args,
            operator.engine,
            operator.device,
        )
        with enforced():
            made, gradients = _rule(call, [_gradient(g) for g in g_output])
        return _messages(map(_operator, made)), [GradientSlice(*g) if isinstance(g, tuple) else g for g in gradients]

    @classmethod
    def GetBackwardPass(
        cls, operators: Iterable[Message], ys: Any, ys_generate_gradient: bool = False
    ) -> tuple[list[Message], dict[BlobReference, Any]]:
        """The operators that compute the gradients of ``ys``, and the gradient of every blob that has one.

        ys: blobs whose gradient is one, or a dict from blob to its gradient, None for one. Raises ``TypeError`` for
        anything else, ``RuntimeError`` where there is no gradient.
        """
        if not isinstance(ys, list | dict):
            raise TypeError("ys should either be a list or a dict.")
        given = ys if isinstance(ys, Mapping) else dict.fromkeys(ys)
        net = Net("gradients", _plain(operators))
        n = len(net.ops)
        with enforced():
            found = add_gradient_operators(net, {str(y): _gradient(g) for y, g in given.items()}, rule=_rule)
        return _messages(net.ops[n:]), {BlobReference(blob): _reference(g) for blob, g in found.items()}


def _plain(operators: Iterable[Message]) -> list[Operator]:
    net = caffe2_pb2.NetDef(name="operators")
    net.op.extend(operators)
    return read_net(net).ops if net.op else []


def _messages(operators: Iterable[Operator]) -> list[Message]:
    return list(to_message(Net("operators", list(operators))).op)


def _operator(call: NamedCall) -> Operator:
    return Operator(
        call.type,
        list(call.inputs),
        list(call.outputs),
        dict(call.args),
        engine=call.engine,
        device=call.device or None,
        is_gradient=call.role == "gradient",
    )


def _gradient(given: Any) -> Gradient:
    if given is None:
        return None
    return (str(given[0]), str(given[1])) if isinstance(given, tuple) else str(given)


def _reference(gradient: str | tuple[str, str]) -> Any:
    if isinstance(gradient, tuple):
        return GradientSlice(*map(BlobReference, gradient))
    return BlobReference(gradient)


def _rule(call: NamedCall, d_outputs: Sequence[Gradient]) -> tuple[list[NamedCall], list[Gradient]]:
    """graphc's gradient of a call; else the one registered in Python."""
    if call.type == "Python":
        return _python_gradient(call, d_outputs)
    maker = GradientRegistry.gradient_registry_.get(call.type)
    if maker is None:
        return gradient_of(call, d_outputs)
    try:
        return gradient_of(call, d_outputs)
    except VerifyError:
        (message,) = _messages([_operator(call)])
        slices = [GradientSlice(*g) if isinstance(g, tuple) else g for g in d_outputs]
        made, gradients = maker(message, slices)
    operators = _plain([] if made is None else made if isinstance(made, list) else [made])
    calls = [
        NamedCall(
            o.type,
            tuple(o.inputs),
            tuple(o.outputs),
            o.args,
            o.engine,
            o.device or call.device,
            "gradient" if o.is_gradient else "",
        )
        for o in operators
    ]
    return calls, [_gradient(g) for g in gradients]


def _python_gradient(call: NamedCall, d_outputs: Sequence[Gradient]) -> tuple[list[NamedCall], list[Gradient]]:
    """PythonGradient: reads inputs, outputs and gradients of the outputs, writes gradients of the inputs; of both only
    those that the arguments list, where these list any."""
    outputs = _indices(call, "grad_output_indices", len(call.outputs))
    inputs = _indices(call, "grad_input_indices", len(call.inputs))
    given = [d_outputs[i] for i in outputs]
    if not all(isinstance(g, str) for g in given):
        raise EnforceError(
            f"Python ({', '.join(call.inputs)}) -> {', '.join(call.outputs)}: not every output has a dense gradient",
            "list those that have one in grad_output_indices",
        )
    reads = (*call.inputs, *call.outputs, *(str(g) for g in given))
    found: list[Gradient] = [f"{n}_grad" if i in inputs else None for i, n in enumerate(call.inputs)]
    writes = tuple(f"{call.inputs[i]}_grad" for i in inputs)
    return [NamedCall("PythonGradient", reads, writes, call.args, call.engine, call.device, "gradient")], found


def _indices(call: NamedCall, name: str, count: int) -> list[int]:
    """The numbers that an argument lists, all of them where it lists none."""
    listed = call.args.get(name)
    found = [i for i in listed if isinstance(i, int)] if isinstance(listed, tuple) else []
    return found or list(range(count))
