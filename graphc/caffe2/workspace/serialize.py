"""Single blobs as bytes: messages ``BlobProto``, as ``SerializeBlob`` and files of checkpoints have them."""

from __future__ import annotations

import numpy as np
from google.protobuf.message import DecodeError

from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.tensor_proto import Caffe2TensorToNumpyArray, NumpyArrayToCaffe2Tensor
from graphc.caffe2.workspace.errors import EnforceError
from graphc.caffe2.workspace.values import Value, is_boxed, type_name
from graphc.frontends.netdef.schema import Message
from graphc.ir import DType
from graphc.operators import Int8Tensor


def serialize_value(name: str, value: Value) -> bytes:
    """The bytes of a ``BlobProto``: a tensor, a quantised one, or a text; raises ``EnforceError`` for other objects."""
    blob = caffe2_pb2.BlobProto()
    blob.name = name
    if isinstance(value, bytes):
        blob.type, blob.content = "std::string", value
    elif isinstance(value, Int8Tensor):
        blob.type = "Int8TensorCPU"
        _fill_quantised(blob.qtensor, name, value)
    elif isinstance(value, np.ndarray) and not is_boxed(value):
        blob.type = "Tensor"
        blob.tensor.CopyFrom(NumpyArrayToCaffe2Tensor(value, name))
        blob.tensor.segment.begin, blob.tensor.segment.end = 0, value.size
    else:
        raise EnforceError(f"blob '{name}' contains {type_name(value)}, which cannot be serialised", "save tensors")
    data: bytes = blob.SerializeToString()
    return data


def _fill_quantised(message: Message, name: str, value: Int8Tensor) -> None:
    array = np.asarray(value.data)
    message.dims.extend(array.shape)
    message.data_type = DType.of(array.dtype).value
    message.precision, message.is_signed = 8 * array.dtype.itemsize, array.dtype.kind == "i"
    message.scale, message.bias = value.scale, float(value.zero_point)
    message.name = name
    message.data.extend(array.astype(np.int64).ravel().tolist())


def parse_blob(data: bytes) -> Message:
    """The ``BlobProto`` of some bytes; raises ``EnforceError``."""
    try:
        return caffe2_pb2.BlobProto.FromString(data)
    except DecodeError:
        raise EnforceError("the bytes are no BlobProto", "pass what SerializeBlob gave") from None


def deserialize_value(blob: Message) -> Value:
    """What a ``BlobProto`` holds; raises ``EnforceError`` for objects that graphc does not have."""
    if blob.type == "std::string":
        return bytes(blob.content)
    if blob.HasField("qtensor"):
        return _quantised(blob.qtensor)
    if not blob.HasField("tensor"):
        raise EnforceError(f"blob '{blob.name}' is of type {blob.type}, which graphc does not read", "save tensors")
    try:
        return Caffe2TensorToNumpyArray(blob.tensor)
    except RuntimeError as error:
        raise EnforceError(f"blob '{blob.name}' is damaged: {error}", "save it again") from None


def _quantised(message: Message) -> Int8Tensor:
    try:
        dtype = DType(message.data_type) if message.HasField("data_type") else DType.UINT8
        array = np.array(message.data, np.int64).astype(dtype.numpy).reshape(tuple(message.dims))
    except ValueError as error:
        raise EnforceError(f"quantised tensor '{message.name}' is damaged: {error}", "save it again") from None
    return Int8Tensor(array, message.scale, int(message.bias))
