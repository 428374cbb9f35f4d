"""Other names for blobs, in the arguments of operators that hold nets or names of blobs too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message

Names = Mapping[str, str]
RemapFunction = Callable[[Message, str, Names], None]
"""``function(operator, prefix, names)`` renames in the arguments of an operator, in place."""


def renamed(names: Names, blob: Any) -> str:
    """The new name of a blob, or the old one."""
    return str(names.get(str(blob), str(blob)))


def remap_list(blobs: Any, names: Names) -> None:
    """Rename the blobs of a repeated field."""
    blobs[:] = [renamed(names, b) for b in blobs]


def remap_operator(op: Message, prefix: str, names: Names, functions: Mapping[str, RemapFunction]) -> Message:
    """A copy of an operator with other blobs."""
    copy = caffe2_pb2.OperatorDef()
    copy.CopyFrom(op)
    remap_list(copy.input, names)
    remap_list(copy.output, names)
    if copy.type in functions:
        functions[copy.type](copy, prefix, names)
    return copy


def remap_net(net: Message, names: Names, functions: Mapping[str, RemapFunction] | None = None) -> None:
    """Rename the blobs of a NetDef in place."""
    every = {**DEFAULT_REMAP_FUNCS, **(functions or {})}
    copies = [remap_operator(op, f"{net.name}/" if net.name else "", names, every) for op in net.op]
    del net.op[:]
    net.op.extend(copies)
    remap_list(net.external_input, names)
    remap_list(net.external_output, names)


def remap_proto(argument: Message, blob_remap: Names) -> None:
    """Rename the blobs of the net that an argument holds."""
    remap_net(argument.n, blob_remap)


def recurrent_network_op_remap(op: Message, prefix: str, blob_remap: Names) -> None:
    """RecurrentNetwork and its gradient: names of blobs stand in lists of strings, ``timestep`` and step nets."""
    for argument in op.arg:
        if argument.strings:
            argument.strings[:] = [_renamed_bytes(blob_remap, s) for s in argument.strings]
        elif argument.name == "timestep":
            argument.s = _renamed_bytes(blob_remap, argument.s)
        elif argument.name.endswith("step_net") and argument.HasField("n"):
            remap_proto(argument, blob_remap)


def _renamed_bytes(names: Names, blob: bytes) -> bytes:
    return renamed(names, blob.decode("utf-8")).encode("utf-8")


def control_op_remap(op: Message, prefix: str, blob_remap: Names) -> None:
    """If and While: the blobs of their nets are those around them."""
    for argument in op.arg:
        if argument.name in ("then_net", "else_net", "loop_net", "cond_net"):
            remap_proto(argument, blob_remap)


DEFAULT_REMAP_FUNCS: dict[str, RemapFunction] = {
    "RecurrentNetwork": recurrent_network_op_remap,
    "RecurrentNetworkGradient": recurrent_network_op_remap,
    "If": control_op_remap,
    "While": control_op_remap,
    "AsyncIf": control_op_remap,
}


def remap_input(op: Message, blob_name_remapping: Names) -> None:
    """Rename the inputs of an operator in place."""
    remap_list(op.input, blob_name_remapping)


def remap_output(op: Message, blob_name_remapping: Names) -> None:
    """Rename the outputs of an operator in place."""
    remap_list(op.output, blob_name_remapping)
