"""The gradient of one operator: graphc's own, or one that a function in Python makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphc.caffe2.core.blob_reference import GradientSlice
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.errors import EnforceError
from graphc.frontends.netdef import read_net
from graphc.frontends.netdef.gradients import named_operator
from graphc.frontends.netdef.net import Net, Operator
from graphc.frontends.netdef.schema import Message
from graphc.frontends.netdef.writer import to_message
from graphc.ir import NamedCall, VerifyError
from graphc.ir.gradient import Gradient, gradient_of

Maker = Callable[[Message, list[Any]], tuple[Any, Sequence[Any]]]
"""``maker(operator, gradients of its outputs)``: gradient operators, one or a list, and the gradients of its inputs."""

MAKERS: dict[str, Maker] = {}
"""Operator -> what makes its gradients, where its record has none."""


def gradient_rule(call: NamedCall, d_outputs: Sequence[Gradient]) -> tuple[list[NamedCall], list[Gradient]]:
    """graphc's gradient of a call; else the one registered in Python."""
    if call.type == "Python":
        return _python_gradient(call, d_outputs)
    maker = MAKERS.get(call.type)
    try:
        return gradient_of(call, d_outputs)
    except VerifyError:
        if maker is None:
            raise
    (message,) = messages([named_operator(call)])
    made, gradients = maker(message, [GradientSlice(*g) if isinstance(g, tuple) else g for g in d_outputs])
    operators = plain_operators([] if made is None else made if isinstance(made, list) else [made])
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
    return calls, [gradient_names(g) for g in gradients]


def plain_operators(operators: Iterable[Message]) -> list[Operator]:
    """Operators as plain data."""
    net = caffe2_pb2.NetDef(name="operators")
    net.op.extend(operators)
    return read_net(net).ops if net.op else []


def messages(operators: Iterable[Operator]) -> list[Message]:
    """Operators as ``OperatorDef`` messages."""
    return list(to_message(Net("operators", list(operators))).op)


def gradient_names(given: Any) -> Gradient:
    """A gradient by the names of its blobs; a pair is a sparse one."""
    if given is None:
        return None
    return (str(given[0]), str(given[1])) if isinstance(given, tuple) else str(given)


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
