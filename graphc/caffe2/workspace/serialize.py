"""Single blobs as bytes: messages ``BlobProto``, as ``SerializeBlob`` and files of checkpoints have them.

Counters, cursors of data sets, maps and dictionaries are kept as Caffe2 keeps them (``map_ops.h``, ``index_ops.cc``):
the number; the place of each list; two tensors, keys and values; the keys, and how many there may be at most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from google.protobuf.message import DecodeError

from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.tensor_proto import Caffe2TensorToNumpyArray, NumpyArrayToCaffe2Tensor
from graphc.caffe2.workspace.counters import Counter
from graphc.caffe2.workspace.datasets import TreeCursor
from graphc.caffe2.workspace.errors import EnforceError
from graphc.caffe2.workspace.values import Value, boxed, is_boxed, type_name
from graphc.frontends.netdef.schema import Message
from graphc.ir import DType
from graphc.ir.ops.host.maps import Index, Map
from graphc.operators import Int8Tensor

_COUNTER = "std::unique_ptr<Counter<int64_t>>"
_CURSOR = "std::unique_ptr<TreeCursor>"
_INDEX = "std::unique_ptr<caffe2::IndexBase>"
_MAP = "(std::unordered_map<{}_t, {}_t>)"
_MAP_TYPES = r"\(std::unordered_map<(int32|int64)_t, (int32|int64)_t>\)"
_OBJECTS = (Counter, TreeCursor, Index, Map)


def serialize_value(name: str, value: Value) -> bytes:
    """The bytes of a ``BlobProto``: a tensor, a quantised one, or a text; raises ``EnforceError`` for other objects."""
    (data,) = serialize_chunks(name, value, max(getattr(value, "size", 0), 1))
    return data


def serialize_chunks(name: str, value: Value, chunk: int) -> list[bytes]:
    """``BlobProto`` messages of a value, for a tensor one for every ``chunk`` elements; raises ``EnforceError``."""
    if isinstance(value, np.ndarray) and not is_boxed(value):
        return [_tensor_chunk(name, value, at, chunk) for at in range(0, max(value.size, 1), chunk)]
    blob = caffe2_pb2.BlobProto()
    blob.name = name
    if isinstance(value, bytes):
        blob.type, blob.content = "std::string", value
    elif isinstance(value, Int8Tensor):
        blob.type = "Int8TensorCPU"
        _fill_quantised(blob.qtensor, name, value)
    elif isinstance(value, np.ndarray) and isinstance(value.item(), _OBJECTS):
        _fill_object(blob, name, value.item())
    else:
        raise EnforceError(f"blob '{name}' contains {type_name(value)}, which cannot be serialised", "save tensors")
    return [blob.SerializeToString()]


def _fill_object(blob: Message, name: str, value: Counter | TreeCursor | Index | Map) -> None:
    """Type, content and tensor of an object that is no tensor."""
    if isinstance(value, Map):
        blob.type, both = _MAP.format(value.key.text, value.value.text), caffe2_pb2.TensorProtos()
        for numbers, dtype in ((value.items.keys(), value.key), (value.items.values(), value.value)):
            _fill_tensor(both.protos.add(), name, np.array(list(numbers), dtype.numpy), 0, len(numbers))
        blob.content = both.SerializeToString()
    elif isinstance(value, Index):
        blob.type, blob.content = _INDEX, f"{value.most} {int(value.frozen)}".encode("ascii")
        array = np.array(list(value.numbers), value.dtype.numpy)
        _fill_tensor(blob.tensor, name, array, 0, array.size)
    elif isinstance(value, Counter):
        blob.type = _COUNTER
        blob.tensor.CopyFrom(NumpyArrayToCaffe2Tensor(np.array([value.count], np.int64), name))
    else:
        blob.type, blob.content = _CURSOR, "".join(f"{f} " for f in value.fields).encode("utf-8")
        blob.tensor.CopyFrom(NumpyArrayToCaffe2Tensor(np.array(value.place, np.int64), name))


def _tensor_chunk(name: str, array: np.ndarray, start: int, chunk: int) -> bytes:
    blob = caffe2_pb2.BlobProto()
    blob.name, blob.type = name, "Tensor"
    _fill_tensor(blob.tensor, name, array, start, chunk)
    data: bytes = blob.SerializeToString()
    return data


def _fill_tensor(tensor: Message, name: str, array: np.ndarray, start: int, chunk: int) -> None:
    part = array.reshape(-1)[start : start + chunk]
    tensor.CopyFrom(NumpyArrayToCaffe2Tensor(part, name))
    tensor.dims[:] = array.shape
    tensor.device_detail.device_type = 0
    if tensor.data_type == tensor.FLOAT:
        tensor.data_format = 0
    tensor.segment.begin, tensor.segment.end = start, start + part.size


def join_chunks(blobs: Sequence[Message]) -> Value:
    """The tensor whose chunks these ``BlobProto`` hold; raises ``EnforceError`` where some are missing."""
    parts = sorted((blob.tensor for blob in blobs), key=lambda tensor: tensor.segment.begin)
    shape, end = tuple(parts[0].dims), 0
    arrays = []
    for tensor in parts:
        if tensor.segment.begin != end:
            raise EnforceError(f"blob '{blobs[0].name}' lacks the elements from {end} on", "save it again")
        end = tensor.segment.end
        flat = type(tensor)()
        flat.CopyFrom(tensor)
        flat.dims[:] = [end - tensor.segment.begin]
        arrays.append(Caffe2TensorToNumpyArray(flat))
    try:
        return np.concatenate(arrays).reshape(shape)
    except ValueError:
        raise EnforceError(f"blob '{blobs[0].name}' of shape {shape} has {end} elements", "save it again") from None


def _fill_quantised(message: Message, name: str, value: Int8Tensor) -> None:
    array = np.asarray(value.data)
    message.dims.extend(array.shape)
    message.data_type = DType.of(array.dtype).value
    message.precision, message.is_signed = 8, False
    message.scale, message.bias = value.scale, float(value.zero_point)
    message.name = name
    message.data.extend(array.astype(np.int64).ravel().tolist())


def parse_blob(data: bytes) -> Message:
    """The ``BlobProto`` of some bytes; raises ``EnforceError``."""
    try:
        blob = caffe2_pb2.BlobProto.FromString(data)
    except DecodeError:
        blob = caffe2_pb2.BlobProto()
    if not blob.type and not blob.HasField("tensor"):
        raise EnforceError("the bytes are no BlobProto", "pass what SerializeBlob gave")
    return blob


def deserialize_value(blob: Message) -> Value:
    """What a ``BlobProto`` holds; raises ``EnforceError`` for objects that graphc does not have."""
    if blob.type == "std::string":
        return bytes(blob.content)
    if blob.type in (_COUNTER, _CURSOR):
        return boxed(_object(blob))
    if blob.HasField("qtensor"):
        return _quantised(blob.qtensor)
    map_types = re.fullmatch(_MAP_TYPES, blob.type)
    if not blob.HasField("tensor") and not map_types:
        raise EnforceError(f"blob '{blob.name}' is of type {blob.type}, which graphc does not read", "save tensors")
    try:
        if map_types:
            return boxed(_map(blob, *map(DType.parse, map_types.groups())))
        array = Caffe2TensorToNumpyArray(blob.tensor)
        return boxed(_index(blob, array)) if blob.type == _INDEX else array
    except (DecodeError, RuntimeError, ValueError) as error:
        raise EnforceError(f"blob '{blob.name}' is damaged: {error}", "save it again") from None


def _object(blob: Message) -> Counter | TreeCursor:
    """A counter, or a cursor, whose fields are separated by spaces; without a tensor it is at the beginning."""
    numbers = Caffe2TensorToNumpyArray(blob.tensor).tolist() if blob.HasField("tensor") else []
    if blob.type == _COUNTER:
        return Counter(int(numbers[0]) if numbers else 0)
    cursor = TreeCursor(blob.content.decode("utf-8", "surrogateescape").split())
    if numbers and len(numbers) != len(cursor.place):
        raise EnforceError(
            f"blob '{blob.name}' has {len(numbers)} places for {len(cursor.place)} lists", "save it again"
        )
    cursor.place = numbers or cursor.place
    return cursor


def _index(blob: Message, keys: np.ndarray) -> Index:
    """A dictionary of keys in the order of their numbers; raises ``ValueError``."""
    most, frozen = (int(word) for word in blob.content.split())
    return Index(DType.of(keys.dtype), most, {key: i + 1 for i, key in enumerate(keys.tolist())}, bool(frozen))


def _map(blob: Message, key: DType, value: DType) -> Map:
    """A map of two tensors; raises ``DecodeError``, ``RuntimeError`` and ``ValueError``."""
    protos = caffe2_pb2.TensorProtos.FromString(blob.content).protos
    keys, values = (Caffe2TensorToNumpyArray(proto).tolist() for proto in protos)
    return Map(key, value, dict(zip(keys, values, strict=True)))


def _quantised(message: Message) -> Int8Tensor:
    try:
        dtype = DType(message.data_type) if message.HasField("data_type") else DType.UINT8
        array = np.array(message.data, np.int64).astype(dtype.numpy).reshape(tuple(message.dims))
    except ValueError as error:
        raise EnforceError(f"quantised tensor '{message.name}' is damaged: {error}", "save it again") from None
    return Int8Tensor(array, message.scale, int(message.bias))
