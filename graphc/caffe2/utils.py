"""Helpers of ``caffe2.python.utils``: arguments, tensors, protobuf files, axes, debugging."""

from __future__ import annotations

import copy
import functools
import os
import pdb  # noqa: T100  (debug mode is what scripts ask for)
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from graphc.caffe2 import scope
from graphc.caffe2.arguments import ArgsToDict as ArgsToDict
from graphc.caffe2.arguments import MakeArgument as MakeArgument
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.tensor_proto import Caffe2TensorToNumpyArray as Caffe2TensorToNumpyArray
from graphc.caffe2.tensor_proto import CaffeBlobToNumpyArray as CaffeBlobToNumpyArray
from graphc.caffe2.tensor_proto import NumpyArrayToCaffe2Tensor as NumpyArrayToCaffe2Tensor
from graphc.caffe2.workspace.functions import RunOperatorOnce
from graphc.frontends.netdef.schema import Message

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIMIZER_ITERATION_NAME = "optimizer_iteration"
OPTIMIZER_ITERATION_LR_NAME = "optimizer_iteration_lr"
ITERATION_MUTEX_NAME = "iteration_mutex"
ITERATION_MUTEX_LR_NAME = "iteration_mutex_lr"
INT64 = 10
"""``TensorProto.INT64``"""


def OpAlmostEqual(op_a: Message, op_b: Message, ignore_fields: str | list[str] | None = None) -> bool:
    """Two ``OperatorDef`` are equal in all fields but those to ignore."""
    ignored = [ignore_fields] if isinstance(ignore_fields, str) else ignore_fields or []
    return bool(_without(op_a, ignored) == _without(op_b, ignored))


def _without(message: Message, fields: list[str]) -> Message:
    cleaned = copy.deepcopy(message)
    for field in fields:
        cleaned.ClearField(field)
    return cleaned


# ---- protobuf files --------------------------------------------------------------------------------------------------


def TryReadProtoWithClass(cls: Any, s: str | bytes) -> Message:
    """A message of a class from its text or its bytes; raises ``DecodeError``."""
    message = cls()
    try:
        return text_format.Parse(s, message)
    except (text_format.ParseError, UnicodeDecodeError):
        message.Clear()
        message.ParseFromString(s.encode("utf-8") if isinstance(s, str) else s)
        return message


def GetContentFromProto(obj: Message, function_map: Mapping[Any, Callable[[Message], Any]]) -> Any:
    """What the function makes of a message that stands beside its class; None for a class that has none."""
    return next((function(obj) for cls, function in function_map.items() if type(obj) is cls), None)


def GetContentFromProtoString(s: str | bytes, function_map: Mapping[Any, Callable[[Message], Any]]) -> Any:
    """``GetContentFromProto`` of text or bytes, as the first class that fits; raises ``DecodeError``."""
    for cls, function in function_map.items():
        try:
            return function(TryReadProtoWithClass(cls, s))
        except DecodeError:
            continue
    raise DecodeError("Cannot find a fit protobuffer class.")


def ConvertProtoToBinary(proto_class: Any, filename: str, out_filename: str) -> None:
    """Write the binary form of a message that a file holds as text."""
    with open(filename, "rb") as source:
        message = TryReadProtoWithClass(proto_class, source.read())
    with open(out_filename, "wb") as out:
        out.write(message.SerializeToString())


# ---- axes ------------------------------------------------------------------------------------------------------------


def NHWC2NCHW(tensor: np.ndarray) -> np.ndarray:
    """Channels from the last axis to the second; any number of axes between."""
    if tensor.ndim < 1:
        raise AssertionError("a tensor of at least one axis is needed")
    return np.asarray(tensor.transpose((0, tensor.ndim - 1, *range(1, tensor.ndim - 1))))


def NCHW2NHWC(tensor: np.ndarray) -> np.ndarray:
    """Channels from the second axis to the last; any number of axes between."""
    if tensor.ndim < 2:
        raise AssertionError("a tensor of at least two axes is needed")
    return np.asarray(tensor.transpose((0, *range(2, tensor.ndim), 1)))


# ---- training --------------------------------------------------------------------------------------------------------


def BuildUniqueMutexIter(
    init_net: Any, net: Any, iter: str | None = None, iter_mutex: str | None = None, iter_val: int = 0
) -> Any:
    """The blob of an iteration counter that a mutex guards; its operators are added once.

    init_net fills the counter (int64, one element) and makes the mutex, net counts by ``AtomicIter``.
    """
    name = iter if iter is not None else OPTIMIZER_ITERATION_NAME
    if init_net.BlobIsDefined(name):
        return init_net.GetBlobRef(name)
    cpu = caffe2_pb2.DeviceOption(device_type=caffe2_pb2.CPU, device_id=0, extra_info=["device_type_override:cpu"])
    with scope.DeviceScope(cpu):
        counter = init_net.ConstantFill([], name, shape=[1], value=iter_val, dtype=INT64)
        mutex = init_net.CreateMutex([], [iter_mutex if iter_mutex is not None else ITERATION_MUTEX_NAME])
        net.AtomicIter([mutex, counter], [counter])
    return counter


def ResetBlobs(blobs: Iterable[Any]) -> None:
    """Empty blobs of the workspace; raises ``RuntimeError`` for one that does not exist."""
    names = [str(blob) for blob in blobs]
    RunOperatorOnce(caffe2_pb2.OperatorDef(type="Free", input=names, output=names))


def EnumClassKeyVals(cls: type) -> dict[str, str]:
    """The text constants of a class by name; raises ``AssertionError`` where two are equal."""
    found: dict[str, str] = {}
    for key in dir(cls):
        value = getattr(cls, key)
        if key != key.upper() or not isinstance(value, str):
            continue
        if value in found.values():
            raise AssertionError(f"Failed to resolve {cls} as Enum: '{value}' stands for two names, one is {key}")
        found[key] = value
    return found


# ---- debugging -------------------------------------------------------------------------------------------------------


def raiseIfNotEqual(a: Any, b: Any, msg: str) -> None:
    """Raise an exception with the message unless two values are equal."""
    if a != b:
        raise Exception(f"{msg}. {a} != {b}")


class DebugMode:
    """Runs functions so that an exception nobody handles opens the debugger."""

    @classmethod
    def run(cls, func: Callable[[], Any]) -> Any:
        """The function's result; after an exception the debugger, then exit code 1."""
        try:
            return func()
        except KeyboardInterrupt:
            raise
        except Exception:
            traceback.print_exc()
            pdb.post_mortem()
            sys.exit(1)


def debug(f: Function) -> Function:
    """A decorator: the function runs in ``DebugMode``."""

    @functools.wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return DebugMode.run(lambda: f(*args, **kwargs))

    return wrapper  # type: ignore[return-value]


def debug_enabled() -> bool:
    """``CAFFE2_DEBUG`` is set: operators keep where they were created."""
    return bool(os.environ.get("CAFFE2_DEBUG"))
