"""The message of ``caffe2.proto.predictor_consts_pb2``, whose fields' defaults are the keys of exported models."""

from __future__ import annotations

from graphc.frontends.netdef.schema import message_class

PredictorConsts = message_class("PredictorConsts")

DESCRIPTOR = PredictorConsts.DESCRIPTOR.file
