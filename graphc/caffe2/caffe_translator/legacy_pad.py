"""Caffe's pooling rounds sizes up: ``legacy_pad`` says so to an operator, or padding that comes to the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2.arguments import ArgsToDict, MakeArgument
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.shapes import InferShapesAndTypes
from graphc.frontends.netdef.schema import Message

_SIDES = (("h", "pad_t", "pad_b", 2), ("w", "pad_l", "pad_r", 3))


def remove_legacy_padding(net: Message, parameters: Message, input_dims: Sequence[int]) -> None:
    """Write ``pad_t``, ``pad_l``, ``pad_b`` and ``pad_r`` in the place of ``legacy_pad``, for inputs of one size.

    Average pooling keeps ``legacy_pad`` where the padding would count as part of the picture. Raises ``ValueError``
    where the size of the input is not known or that of a pooling layer does not follow from it.
    """
    if not input_dims:
        raise ValueError("remove_legacy_pad needs the size of the input: give input_dims")
    shapes = _shapes(net, parameters, input_dims)
    for op in net.op:
        arguments = ArgsToDict(op.arg)
        if arguments.get("legacy_pad") != caffe2_pb2.CAFFE_LEGACY_POOLING or arguments.get("global_pooling"):
            continue
        if op.input[0] not in shapes or op.output[0] not in shapes:
            raise ValueError(f"{op.type} '{op.output[0]}': its size does not follow from input_dims {list(input_dims)}")
        _replace(op, arguments, shapes[op.input[0]], shapes[op.output[0]])


def inferred_shape(net: Message, parameters: Message, input_dims: Sequence[int], blob: str) -> list[int] | None:
    """The shape of a blob for an input of a size; None where it does not follow."""
    if not input_dims:
        return None
    return _shapes(net, parameters, input_dims).get(blob, list(input_dims) if not net.op else None)


def _shapes(net: Message, parameters: Message, input_dims: Sequence[int]) -> dict[str, list[int]]:
    made = {name for op in net.op for name in op.output} | {p.name for p in parameters.protos}
    inputs = [name for op in net.op for name in op.input if name not in made]
    dims = {p.name: list(p.dims) for p in parameters.protos} | {name: list(input_dims) for name in inputs[:1]}
    return InferShapesAndTypes([net], blob_dimensions=dims)[0]


def _replace(op: Message, arguments: dict[str, Any], given: Sequence[int], wanted: Sequence[int]) -> None:
    pads: dict[str, int] = {}
    for side, head, tail, axis in _SIDES:
        kernel, stride = (arguments.get(f"{n}_{side}", arguments.get(n, 1)) for n in ("kernel", "stride"))
        pads[head] = arguments.get(head, arguments.get("pad", 0))
        pads[tail] = max(0, (wanted[axis] - 1) * stride + kernel - given[axis] - pads[head])
    kept = [arg for arg in op.arg if arg.name not in ("pad", "legacy_pad", *pads)]
    new = [MakeArgument(name, value) for name, value in pads.items()]
    del op.arg[:]
    op.arg.extend([*kept, *new])
