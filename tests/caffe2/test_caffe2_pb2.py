"""The messages and constants of ``caffe2_pb2``."""

from __future__ import annotations

from google.protobuf import text_format

from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef import message_class, parse_netdef, to_text


def test_messages_are_the_frontends_own() -> None:
    net = caffe2_pb2.NetDef(name="n")
    net.op.add(type="Relu", input=["x"], output=["y"])
    assert isinstance(parse_netdef(net.SerializeToString()), caffe2_pb2.NetDef)
    assert text_format.Parse(to_text(net), caffe2_pb2.NetDef()) == net


def test_every_message_of_the_file_is_there() -> None:
    """The file holds those of ``metanet.proto`` and others, too; Caffe2 has them in other modules."""
    elsewhere = {"ModelInfo", "BlobsMap", "NetsMap", "PlansMap", "StringMap", "MetaNetDef", "TwoNumberStatsProto"}
    elsewhere |= {"BlobProfile", "ProfDAGProto", "ProfDAGProtos", "OpProfile", "CaffeDatum", "PredictorConsts"}
    for name in set(caffe2_pb2.DESCRIPTOR.message_types_by_name) - elsewhere:
        assert getattr(caffe2_pb2, name) is message_class(name)


def test_constants() -> None:
    assert (caffe2_pb2.CPU, caffe2_pb2.CUDA, caffe2_pb2.HIP) == (0, 1, 6)
    assert caffe2_pb2.PROTO_CUDA == caffe2_pb2.CUDA
    assert caffe2_pb2.DeviceTypeProto.Name(1) == "PROTO_CUDA"
    assert (caffe2_pb2.TensorProto.FLOAT, caffe2_pb2.TensorProto.INT64) == (1, 10)
    assert caffe2_pb2.TensorProto.DataType.Name(12) == "FLOAT16"
    assert caffe2_pb2.CAFFE_LEGACY_POOLING == 3
    for kind in caffe2_pb2.DESCRIPTOR.enum_types_by_name.values():
        assert all(getattr(caffe2_pb2, value.name) == value.number for value in kind.values)
