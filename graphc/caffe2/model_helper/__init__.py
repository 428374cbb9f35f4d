"""``caffe2.python.model_helper``: models, which are a net, the net that makes its parameters, and these."""

from __future__ import annotations

from graphc.caffe2.model_helper.extraction import ExtractPredictorNet as ExtractPredictorNet
from graphc.caffe2.model_helper.helper import ModelHelper as ModelHelper
from graphc.caffe2.model_helper.known_operators import _known_working_ops as _known_working_ops
