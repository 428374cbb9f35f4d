"""``caffe2.python.predictor.mobile_exporter``: a net and its weights as a pair of NetDefs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.caffe2 import core, utils
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message
from graphc.operators import Int8Tensor

_FILLS = {
    "float32": "GivenTensorFill",
    "int32": "GivenTensorIntFill",
    "int64": "GivenTensorInt64Fill",
    "int16": "GivenTensorInt16Fill",
    "bool": "GivenTensorBoolFill",
    "uint8": "GivenTensorByteStringToUInt8Fill",
    "object": "GivenTensorStringFill",
}
"""Element types, and operators that fill blobs with them. Caffe2 exports float32, int32, int64, uint8 and strings."""


def add_tensor(net: Message, name: str, blob: Any) -> None:
    """Append the operator that fills a blob with a tensor; raises ``TypeError`` for what no operator can fill in."""
    if isinstance(blob, Int8Tensor):
        net.op.append(_quantised_fill(name, blob))
        return
    if not isinstance(blob, np.ndarray) or str(blob.dtype) not in _FILLS:
        what = f"elements of type {blob.dtype}" if isinstance(blob, np.ndarray) else f"{blob!r:.60}"
        raise TypeError(f"blob '{name}' holds {what}, which a net cannot hold; help: tensors of {', '.join(_FILLS)}")
    values: Any = [blob.tobytes()] if blob.dtype == np.uint8 else blob
    arguments = [utils.MakeArgument("shape", blob.shape), utils.MakeArgument("values", values)]
    net.op.append(core.CreateOperator(_FILLS[str(blob.dtype)], [], [name], arg=arguments))


def _quantised_fill(name: str, blob: Int8Tensor) -> Message:
    shape, values = blob.data.shape, blob.data
    wide = values.dtype == np.int32
    arguments = {
        "shape": shape,
        "values": values if wide else values.tobytes(),
        "Y_scale": float(blob.scale),
        "Y_zero_point": int(blob.zero_point),
    }
    kind = "Int8GivenIntTensorFill" if wide else "Int8GivenTensorFill"
    return core.CreateOperator(kind, [], [name], arg=[utils.MakeArgument(k, v) for k, v in arguments.items()])


def _fetched(workspace: Any, name: str) -> Any:
    try:
        return workspace.FetchBlob(name)
    except TypeError:  # a quantised blob has a function of its own
        return workspace.FetchInt8Blob(name)


def Export(workspace: Any, net: Any, params: Iterable[Any]) -> tuple[Message, Message]:
    """``(init_net, predict_net)``, ready to be written to files and loaded by a ``Predictor``.

    workspace: what has ``FetchBlob``. net: a Net or a NetDef, which stays as it is. params: the weights' blobs. Other
    blobs that the net reads are its inputs: they come first among the external inputs, and the init net fills them with
    a zero each, so that they exist. External outputs are the blobs that no operator reads.
    """
    proto = net if isinstance(net, caffe2_pb2.NetDef) else net.Proto()
    weights = [str(p) for p in params]
    ssa, versions = core.get_ssa(net)
    read = {name for inputs, _ in ssa for name, _ in inputs}
    inputs = [name for name, version in versions.items() if version == 0 and name not in weights]
    init_net, predict_net = caffe2_pb2.NetDef(), caffe2_pb2.NetDef()
    for name in weights:
        add_tensor(init_net, name, _fetched(workspace, name))
    for name in inputs:
        add_tensor(init_net, name, np.zeros((1, 1), np.float32))
    predict_net.CopyFrom(proto)
    del predict_net.external_input[:], predict_net.external_output[:]
    predict_net.external_input.extend(dict.fromkeys([*inputs, *proto.external_input]))
    outputs = (name for name, version in versions.items() if version != 0 and name not in read)
    predict_net.external_output.extend(outputs)
    return init_net, predict_net
