"""``caffe2.proto.caffe2_legacy_pb2``: what Caffe2 took over from Caffe."""

from __future__ import annotations

from graphc.caffe2.proto.caffe2_pb2 import CAFFE_LEGACY_POOLING as CAFFE_LEGACY_POOLING
from graphc.caffe2.proto.caffe2_pb2 import NOTSET as NOTSET
from graphc.caffe2.proto.caffe2_pb2 import SAME as SAME
from graphc.caffe2.proto.caffe2_pb2 import VALID as VALID
from graphc.caffe2.proto.caffe2_pb2 import LegacyPadding as LegacyPadding
from graphc.frontends.netdef.schema import message_class

CaffeDatum = message_class("CaffeDatum")
