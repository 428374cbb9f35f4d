"""What blobs hold, and how user's objects become that.

A value is one of:

- an array: a tensor; strings as objects that hold ``bytes``. The workspace's arrays are never written to: whoever
  changes a blob puts another array in its place, so that ``is`` tells whether a blob is still what it was;
- ``Int8Tensor``: a quantised tensor;
- ``bytes``: a text that is no tensor;
- None: nothing yet;
- any other object that operators made, in an array of no axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.tensor_proto import Caffe2TensorToNumpyArray
from graphc.ir import DType
from graphc.operators import Int8Tensor

Value = Any


class SharedArray(np.ndarray):
    """An array that a user may write to at any time, handed out by ``Blob.tensor().data``; plans copy its elements."""


def fed_value(name: str, given: Any) -> Value:
    """A copy of what a user feeds: arrays of any order and byte order, lists, scalars, texts, tensor messages, tensors
    of PyTorch, quantised tensors. Raises ``ValueError`` for anything else.
    """
    if isinstance(given, str | bytes):
        return given.encode("utf-8") if isinstance(given, str) else given
    if isinstance(given, caffe2_pb2.TensorProto):
        return Caffe2TensorToNumpyArray(given)
    if isinstance(given, Int8Tensor):
        return Int8Tensor(_array(name, given.data), float(given.scale), int(given.zero_point))
    if hasattr(given, "detach") and hasattr(given, "numpy"):
        given = given.detach().cpu().numpy()
    if isinstance(given, np.ndarray | np.generic | list | tuple | bool | int | float):
        return _array(name, given)
    raise ValueError(
        f"blob '{name}': a {type(given).__name__} cannot be fed; help: a numpy.ndarray, a text, a TensorProto"
    )


def _array(name: str, given: Any) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype.kind in "SUO":
        return _strings(name, array)
    try:
        return np.array(array, DType.of(array.dtype).numpy, order="C", subok=False)
    except TypeError as error:
        raise ValueError(f"blob '{name}': {error}; help: convert the array") from None


def _strings(name: str, array: np.ndarray) -> np.ndarray:
    flat = [v.encode("utf-8") if isinstance(v, str) else v for v in array.ravel().tolist()]
    odd = next((v for v in flat if not isinstance(v, bytes)), None)
    if odd is not None:
        raise ValueError(f"blob '{name}': a tensor of objects holds {odd!r:.60}; help: texts and bytes only")
    found = np.empty(len(flat), object)
    found[:] = flat
    return found.reshape(array.shape)


def fetched_value(name: str, value: Value) -> Any:
    """A copy of a blob for the user: an array, bytes, an ``Int8Tensor``, or a text that says what else it is."""
    if isinstance(value, Int8Tensor):
        return Int8Tensor(np.array(value.data), value.scale, value.zero_point)
    if isinstance(value, np.ndarray) and not is_boxed(value):
        return np.array(value, subok=False)
    return value if isinstance(value, bytes) else f"{name}, a C++ native class of type {type_name(value)}."


def is_boxed(value: Value) -> bool:
    """The value is an object in an array of no axes: what operators give that is no tensor."""
    if not isinstance(value, np.ndarray) or value.dtype != object or value.shape != ():
        return False
    return not isinstance(value.item(), bytes)


def type_name(value: Value) -> str:
    """What a blob holds, in Caffe2's words where there are any."""
    if value is None:
        return "nullptr (uninitialized)"
    if isinstance(value, bytes):
        return "std::string"
    if isinstance(value, Int8Tensor):
        return "caffe2::int8::Int8TensorCPU"
    if isinstance(value, np.ndarray):
        return type_name_of_object(value.item()) if is_boxed(value) else "caffe2::Tensor"
    return type_name_of_object(value)


def type_name_of_object(value: object) -> str:
    """The name of the class of an object that is no tensor."""
    return type(value).__name__


def boxed(value: object) -> np.ndarray:
    """An object as an array of no axes, as plans pass it on."""
    array = np.empty((), object)
    array[()] = value
    return array


def nbytes(value: Value) -> int:
    """Bytes that a blob holds: for strings a reference each and the characters."""
    if isinstance(value, Int8Tensor):
        return int(value.data.nbytes)
    if isinstance(value, bytes):
        return len(value)
    if not isinstance(value, np.ndarray) or is_boxed(value):
        return 0
    return int(value.nbytes) + (sum(map(len, value.ravel())) if value.dtype == object else 0)
