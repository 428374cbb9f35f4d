"""Parts of the gradients of operators with nets in them: nets, operators and the backward pass of one net."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from graphc.caffe2.arguments import MakeArgument
from graphc.caffe2.core.backward import backward_pass
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.errors import EnforceError
from graphc.frontends.netdef.schema import Message
from graphc.ir.backward_pass import READS_PLACE

Gradients = dict[str, str]
"""Blob -> the blob that holds its gradient."""


def refuse(op: Message, message: str, help: str = "") -> NoReturn:
    """Raise ``EnforceError`` that names an operator."""
    raise EnforceError(f"gradient of {op.type} ({', '.join(op.input)}) -> {', '.join(op.output)}: {message}", help)


def net_argument(op: Message, name: str) -> Message | None:
    """The net in an argument; None where there is none."""
    return next((arg.n for arg in op.arg if arg.name == name and arg.HasField("n")), None)


def given_gradients(op: Message, g_output: Sequence[Any]) -> Gradients:
    """The gradients of an operator's outputs, where they are given; raises ``EnforceError`` for sparse ones."""
    for name, gradient in zip(op.output, g_output):
        if isinstance(gradient, tuple):
            refuse(op, f"the gradient of its output '{name}' is sparse", f"read '{name}' through EnsureDense")
    return {name: str(gradient) for name, gradient in zip(op.output, g_output) if gradient is not None}


def net_gradients(
    op: Message, net: Message, given: Mapping[str, str], wanted: Iterable[str]
) -> tuple[list[Message], Gradients]:
    """The gradient operators of a net, and the gradients of those blobs of ``wanted`` that have one, as they are before
    the net; blobs that it leaves alone keep those given.

    Raises ``EnforceError``, also for sparse ones, which ``op`` cannot pass on, and for a blob that a part of the net
    overwrites or not without reading it.
    """
    known = {name for inner in net.op for name in (*inner.input, *inner.output)}
    made, found = backward_pass(net.op, {n: g for n, g in given.items() if n in known}, True)
    for inner in made:
        if inner.type == READS_PLACE:  # all is on one device; so the net needs the blobs no more that only say which
            inner.type = "Copy"
            del inner.input[1:]
    gradients = Gradients()
    for name in wanted:
        gradient = found.of_given.get(name) if name in known else given.get(name)
        if isinstance(gradient, tuple):
            refuse(op, f"the gradient of '{name}' is sparse in net '{net.name}'", f"read '{name}' through EnsureDense")
        if name in found.gradients:
            _require_certain(op, net, name)
        if gradient is not None:
            gradients[name] = gradient
    return made, gradients


def _require_certain(op: Message, net: Message, name: str) -> None:
    """Refuse a blob that an If or a While of the net, which does not read it, may overwrite or leave as it is."""
    first = next((inner for inner in net.op if name in inner.output), None)
    if first is not None and name not in first.input and not _surely_writes(first, name):
        refuse(
            op,
            f"{first.type} in net '{net.name}' writes '{name}' or leaves it as it is, and does not say so",
            f"name '{name}' among its inputs",
        )


def _surely_writes(op: Message, name: str) -> bool:
    if op.type not in ("If", "While"):
        return name in op.output
    ways = [net_argument(op, "then_net"), net_argument(op, "else_net")]
    return all(net is not None and any(_surely_writes(inner, name) for inner in net.op) for net in ways)


def operator(like: Message, op_type: str, inputs: Iterable[str], outputs: Iterable[str], **args: Any) -> Message:
    """A gradient operator on the device of another operator."""
    made = caffe2_pb2.OperatorDef(type=op_type, input=list(inputs), output=list(outputs), is_gradient_op=True)
    if like.HasField("device_option"):
        made.device_option.CopyFrom(like.device_option)
    if like.name:
        made.name = f"{like.name}_grad"
    made.arg.extend(MakeArgument(name, value) for name, value in args.items())
    return made


def gradient_net(net: Message, operators: Iterable[Message], name: str = "") -> Message:
    """A net of gradient operators, called as the net whose gradient it is."""
    made = caffe2_pb2.NetDef()
    made.CopyFrom(net)
    made.name = name or (f"{net.name}_grad" if net.name else "")
    for field in ("op", "external_input", "external_output"):
        made.ClearField(field)
    made.op.extend(operators)
    return made


def zeros(op: Message, like: str, name: str) -> Message:
    """An operator that makes zeros in the shape of a blob."""
    return operator(op, "ConstantFill", [like], [name], value=0.0)


def reads_and_writes(operators: Iterable[Message]) -> tuple[list[str], list[str]]:
    """The blobs that operators read before they write them, and those that they write, in order."""
    read: dict[str, None] = {}
    written: dict[str, None] = {}
    for op in operators:
        read.update(dict.fromkeys(name for name in op.input if name not in written))
        written.update(dict.fromkeys(op.output))
    return list(read), list(written)
