"""The messages of ``caffe2.proto.hsm_pb2``: trees of words, and the paths to them, for hierarchical softmax."""

from __future__ import annotations

from typing import Any

from google.protobuf import message_factory

from graphc.frontends.message_table import MessageTable

_MESSAGES = {
    "NodeProto": "*NodeProto children=1; *int32 word_ids=2; int32 offset=3; string name=4; *float scores=5",
    "TreeProto": "NodeProto root_node=1",
    "HierarchyProto": "int32 size=1; *PathProto paths=2",
    "PathProto": "int32 word_id=1; *PathNodeProto path_nodes=2",
    "PathNodeProto": "int32 index=1; int32 length=2; int32 target=3",
}
_POOL = MessageTable("caffe2", _MESSAGES, {}).pool()


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"caffe2.{name}"))


NodeProto = _class("NodeProto")
TreeProto = _class("TreeProto")
HierarchyProto = _class("HierarchyProto")
PathProto = _class("PathProto")
PathNodeProto = _class("PathNodeProto")

DESCRIPTOR = NodeProto.DESCRIPTOR.file
