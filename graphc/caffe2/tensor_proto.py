"""Tensors as messages (``TensorProto``) and as NumPy arrays, in every element type that Caffe2 has."""

from __future__ import annotations

import numpy as np

from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message
from graphc.ir import DType

_FIELDS = {
    DType.FLOAT: "float_data",
    DType.DOUBLE: "double_data",
    DType.INT64: "int64_data",
    DType.STRING: "string_data",
}
"""Fields of the elements; ``int32_data`` for the other types."""


def NumpyArrayToCaffe2Tensor(arr: np.ndarray, name: str | None = None) -> Message:
    """The ``TensorProto`` of an array of any element type that Caffe2 has; half precision goes by its bits.

    Raises ``RuntimeError`` for other element types.
    """
    array = np.asarray(arr)
    try:
        dtype = DType.of(array.dtype)
    except TypeError as error:
        raise RuntimeError(f"Numpy data type not supported: {error}") from None
    tensor = caffe2_pb2.TensorProto()
    tensor.dims.extend(array.shape)
    if name:
        tensor.name = name
    tensor.data_type = dtype.value
    getattr(tensor, _FIELDS.get(dtype, "int32_data")).extend(_elements(array, dtype))
    return tensor


def _elements(array: np.ndarray, dtype: DType) -> list[object]:
    flat = array.ravel()
    if dtype is DType.STRING:
        return [v.encode("utf-8") if isinstance(v, str) else bytes(v) for v in flat.tolist()]
    if dtype is DType.FLOAT16:
        return list(flat.astype(np.float16).view(np.uint16).tolist())
    return list((flat.astype(np.int32) if dtype is DType.BOOL else flat).tolist())


def Caffe2TensorToNumpyArray(tensor: Message) -> np.ndarray:
    """The elements of a ``TensorProto`` in its shape; strings as objects that hold bytes.

    Reads the typed fields and ``raw_data``. Raises ``RuntimeError`` for a type without elements and for a number of
    elements that is not that of the shape.
    """
    try:
        dtype = DType(tensor.data_type)
    except ValueError:
        raise RuntimeError(f"Tensor data type not supported: {tensor.data_type}") from None
    flat = _flat(tensor, dtype)
    try:
        return flat.reshape(tuple(tensor.dims))
    except ValueError:
        raise RuntimeError(f"tensor '{tensor.name}' of shape {list(tensor.dims)} has {flat.size} elements") from None


def _flat(tensor: Message, dtype: DType) -> np.ndarray:
    if tensor.HasField("raw_data"):
        return np.array(np.frombuffer(tensor.raw_data, dtype.numpy.newbyteorder("<")), dtype.numpy)
    if tensor.byte_data and dtype.numpy.itemsize == 1:
        return np.array(np.frombuffer(tensor.byte_data, dtype.numpy))
    values = getattr(tensor, _FIELDS.get(dtype, "int32_data"))
    if dtype is DType.STRING:
        strings = np.empty(len(values), object)
        strings[:] = list(values)
        return strings
    if dtype is DType.FLOAT16:
        return np.array(values, np.int64).astype(np.uint16).view(np.float16)
    return np.array(values, dtype.numpy)


def CaffeBlobToNumpyArray(blob: Message) -> np.ndarray:
    """The elements of a Caffe 1 ``BlobProto``, float32: shape from ``num, channels, height, width`` or from ``shape``.

    Elements that were kept in double precision are rounded.
    """
    old = blob.num != 0
    shape = (blob.num, blob.channels, blob.height, blob.width) if old else tuple(blob.shape.dim)
    elements = blob.data or getattr(blob, "double_data", [])
    return np.asarray(elements, np.float32).reshape(shape)
