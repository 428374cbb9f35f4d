"""Helper for a factor and an offset of each feature."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.helpers.parameters import filled
from graphc.caffe2.modeling.initializers import Fill
from graphc.caffe2.modeling.parameter_info import ParameterTags


def elementwise_linear(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim: int,
    weight_init: Fill | None = None,
    bias_init: Fill | None = None,
    **kwargs: Any,
) -> Any:
    """``x * w + b`` with ``OUT_w`` and ``OUT_b`` of ``dim`` elements, ones and zeros at first."""
    blob_out = blob_out or model.net.NextName()
    weight = filled(model, blob_out + "_w", [dim], weight_init or ("ConstantFill", {"value": 1.0}))
    bias = filled(model, blob_out + "_b", [dim], bias_init or ("ConstantFill", {"value": 0.0}))
    model.AddParameter(weight, ParameterTags.WEIGHT)
    model.AddParameter(bias, ParameterTags.BIAS)
    return model.net.ElementwiseLinear([blob_in, weight, bias], blob_out, **kwargs)
