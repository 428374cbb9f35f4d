"""Helpers for activations."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.helpers.parameters import filled
from graphc.caffe2.modeling.initializers import Fill


def prelu(
    model: Any, blob_in: Any, blob_out: Any, num_channels: int = 1, slope_init: Fill | None = None, **kwargs: Any
) -> Any:
    """``max(x, 0) + slope min(x, 0)``; ``OUT_slope`` has an element for each channel, or one, 0.25 at first."""
    slope = filled(model, blob_out + "_slope", [num_channels], slope_init or ("ConstantFill", {"value": 0.25}))
    model.AddParameter(slope)
    return model.net.PRelu([blob_in, slope], [blob_out])


def relu(
    model: Any, blob_in: Any, blob_out: Any, use_cudnn: bool = False, order: str = "NCHW", **kwargs: Any
) -> Any:  # fmt: skip
    """``max(x, 0)``."""
    if use_cudnn:
        kwargs["engine"] = "CUDNN"
    return model.net.Relu(blob_in, blob_out, order=order, **kwargs)


def tanh(
    model: Any, blob_in: Any, blob_out: Any, use_cudnn: bool = False, order: str = "NCHW", **kwargs: Any
) -> Any:  # fmt: skip
    """The hyperbolic tangent."""
    if use_cudnn:
        kwargs["engine"] = "CUDNN"
    return model.net.Tanh(blob_in, blob_out, order=order, **kwargs)
