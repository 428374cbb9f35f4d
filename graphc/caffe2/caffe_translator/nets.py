"""A network of Caffe 1 as a pair of files: what a prototxt and a caffemodel come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from graphc.caffe2.arguments import MakeArgument
from graphc.caffe2.caffe_translator.helpers import operator
from graphc.caffe2.caffe_translator.old_layers import new_layers
from graphc.caffe2.caffe_translator.registry import TranslatorRegistry
from graphc.caffe2.proto import caffe2_pb2, caffe_pb2
from graphc.frontends.netdef.schema import Message
from graphc.ir import FileError


def TranslateModel(*args: Any, **kwargs: Any) -> tuple[Message, Message]:
    """``TranslatorRegistry.TranslateModel``."""
    return TranslatorRegistry.TranslateModel(*args, **kwargs)


def ConvertTensorProtosToInitNet(net_params: Message, input_name: str | Sequence[str]) -> Message:
    """A net that fills the parameters, and gives the inputs one element each; parameters have to be float32."""
    net = caffe2_pb2.NetDef()
    for tensor in net_params.protos:
        if not tensor.float_data:
            raise RuntimeError(f"Only float tensors are supported in this util: '{tensor.name}' holds none")
        fill = operator("GivenTensorFill", [], [tensor.name], shape=list(tensor.dims))
        values = MakeArgument("values", [])
        values.floats.extend(tensor.float_data)
        fill.arg.append(values)
        net.op.append(fill)
    for name in [input_name] if isinstance(input_name, str) else input_name:
        net.op.append(operator("ConstantFill", [], [name], shape=[1]))
    return net


def declare_blobs(net: Message, net_params: Message) -> list[str]:
    """Set a net's external inputs, parameters last, and outputs: what it gives and does not read. Gives the inputs.

    Outputs that operators have besides their own, whose names begin with ``_``, are left out.
    """
    parameters = [tensor.name for tensor in net_params.protos]
    made: set[str] = set(parameters)
    inputs: dict[str, None] = {}
    for op in net.op:
        inputs |= dict.fromkeys(name for name in op.input if name not in made)
        made.update(op.output)
    read = {name for op in net.op for name in op.input}
    outputs = dict.fromkeys(
        name for op in net.op for name in op.output[: _own_outputs(op)] if name not in read or _is_last(net, op, name)
    )
    net.external_input[:] = [*inputs, *parameters]
    net.external_output[:] = [name for name in outputs if not name.startswith("_")]
    return list(inputs)


def _own_outputs(op: Message) -> int:
    return 1 if op.type in ("SpatialBN", "RoIPool") else len(op.output)


def _is_last(net: Message, op: Message, name: str) -> bool:
    """No operator after this one reads the blob, which it may write in place."""
    position = next(i for i, other in enumerate(net.op) if other is op or other == op)
    return all(name not in later.input for later in list(net.op)[position + 1 :])


def read_prototxt(text: str, path: str = "prototxt") -> Message:
    """A network from its text; ``FileError`` for one that cannot be read.

    Fields that graphc does not know are left out where their layer has no translator, which names the layer later.
    """
    try:
        return text_format.Parse(text, caffe_pb2.NetParameter())
    except text_format.ParseError as error:
        message = str(error)
    try:
        net = text_format.Parse(text, caffe_pb2.NetParameter(), allow_unknown_field=True)
    except text_format.ParseError:
        raise FileError(f"{path} is no prototxt of Caffe: {message}", "check the line") from None
    if all(layer.type in TranslatorRegistry.registry_ for layer in new_layers(net)):
        raise FileError(f"{path} has a setting that graphc does not know: {message}", "remove it if nothing needs it")
    return net


def read_caffemodel(data: bytes, path: str = "caffemodel") -> Message:
    """Trained layers from bytes; ``FileError`` for bytes that are none."""
    net = caffe_pb2.NetParameter()
    try:
        net.ParseFromString(data)
    except DecodeError:
        raise FileError(f"{path} is no caffemodel, or a part of one", "download it again; HDF5 is not read") from None
    return net
