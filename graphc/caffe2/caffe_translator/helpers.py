"""What translations of layers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2.arguments import MakeArgument
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.tensor_proto import NumpyArrayToCaffe2Tensor
from graphc.frontends.netdef.schema import Message


def BaseTranslate(layer: Message, caffe2_type: str) -> Message:
    """An operator with the inputs and outputs of a layer."""
    return operator(caffe2_type, layer.bottom, layer.top)


def AddArgument(op: Message, key: str, value: Any) -> None:
    """Add an argument to an operator."""
    op.arg.append(MakeArgument(key, value))


def operator(op_type: str, inputs: Sequence[str], outputs: Sequence[str], **arguments: Any) -> Message:
    """An operator; an argument that is None is left out."""
    op = caffe2_pb2.OperatorDef(type=op_type)
    op.input.extend(inputs)
    op.output.extend(outputs)
    op.arg.extend(MakeArgument(name, value) for name, value in arguments.items() if value is not None)
    return op


def parameter(array: np.ndarray, name: str) -> Message:
    """A trained array, float32, as a ``TensorProto``."""
    return NumpyArrayToCaffe2Tensor(np.asarray(array, np.float32), name)


def trained(blobs: Sequence[np.ndarray], count: int) -> Sequence[np.ndarray]:
    """The layer's arrays; raises ``ValueError`` where the caffemodel has fewer."""
    if len(blobs) < count:
        raise ValueError(f"the caffemodel has {len(blobs)} arrays for it, {count} are needed: is it of this network?")
    return blobs


def windows(param: Message, op: Message) -> None:
    """The arguments kernel, stride, pad and dilation of an operator, from a layer of either kind.

    Convolutions have lists, one number for all axes or one an axis; pooling has single numbers; both have ``kernel_h``
    and the like for height and width.
    """
    for name, key, default in (("stride", "stride", 1), ("pad", "pad", 0), ("kernel_size", "kernel", 0)):
        sides = [f"{key}_h", f"{key}_w"]
        if any(param.HasField(side) for side in sides):
            values = [getattr(param, side) for side in sides]
        else:
            given = getattr(param, name)
            values = [given] if isinstance(given, int) else list(given) or [default]
        _window(op, key, values)
    dilation = list(getattr(param, "dilation", []))
    if dilation:
        _window(op, "dilation", dilation)


def _window(op: Message, key: str, values: list[int]) -> None:
    """One argument for all axes, or one an axis."""
    if len(set(values)) == 1 and len(values) <= 2:
        AddArgument(op, key, values[0])
    elif key == "pad" and len(values) == 2:
        for side, value in zip("tblr", (values[0], values[0], values[1], values[1])):
            AddArgument(op, f"pad_{side}", value)
    elif len(values) == 2:
        AddArgument(op, f"{key}_h", values[0])
        AddArgument(op, f"{key}_w", values[1])
    else:
        AddArgument(op, f"{key}s", values * 2 if key == "pad" else values)
