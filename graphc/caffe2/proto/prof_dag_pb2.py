"""The messages of ``caffe2.proto.prof_dag_pb2``: how long the operators of a net took."""

from __future__ import annotations

from graphc.frontends.netdef.schema import message_class

TwoNumberStatsProto = message_class("TwoNumberStatsProto")
BlobProfile = message_class("BlobProfile")
ProfDAGProto = message_class("ProfDAGProto")
ProfDAGProtos = message_class("ProfDAGProtos")
OpProfile = message_class("OpProfile")

DESCRIPTOR = ProfDAGProtos.DESCRIPTOR.file
