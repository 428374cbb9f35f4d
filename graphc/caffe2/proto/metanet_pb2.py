"""The messages of ``caffe2.proto.metanet_pb2``: nets, the names of their blobs, and what else an exported model has."""

from __future__ import annotations

from graphc.frontends.netdef.schema import message_class

ModelInfo = message_class("ModelInfo")
BlobsMap = message_class("BlobsMap")
NetsMap = message_class("NetsMap")
PlansMap = message_class("PlansMap")
StringMap = message_class("StringMap")
MetaNetDef = message_class("MetaNetDef")

DESCRIPTOR = MetaNetDef.DESCRIPTOR.file
