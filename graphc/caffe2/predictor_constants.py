"""``caffe2.python.predictor_constants``: the keys of exported models."""

from __future__ import annotations

from graphc.caffe2.proto.predictor_consts_pb2 import PredictorConsts

predictor_constants = PredictorConsts()
