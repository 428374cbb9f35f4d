"""Layers of Caffe's first years (``layers { type: CONVOLUTION }``) as those of later ones."""

from __future__ import annotations

from graphc.caffe2.proto import caffe_pb2
from graphc.frontends.netdef.schema import Message

_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "ELTWISE": "Eltwise",
    "EXP": "Exp",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
"""Types whose later name is not the old one in capitals and small letters."""


def new_layers(net: Message) -> list[Message]:
    """The layers of a network, all of the later generation; raises ``ValueError`` for those of the very first."""
    return [*net.layer, *(_upgraded(layer) for layer in net.layers)]


def _upgraded(old: Message) -> Message:
    if old.HasField("layer"):
        raise ValueError(
            f"layer '{old.layer.name}' is of Caffe's first generation: upgrade the prototxt with Caffe's own "
            "upgrade_net_proto_text"
        )
    kind = caffe_pb2.V1LayerParameter.LayerType.Name(old.type)
    layer = caffe_pb2.LayerParameter(name=old.name, type=_NAMES.get(kind, kind.title().replace("_", "")))
    layer.bottom.extend(old.bottom)
    layer.top.extend(old.top)
    layer.include.extend(old.include)
    layer.exclude.extend(old.exclude)
    for field, value in old.ListFields():
        if field.name.endswith("_param"):
            getattr(layer, field.name).CopyFrom(value)
    return layer
