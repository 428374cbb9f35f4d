"""Helpers for fully connected layers: the weights are ``OUT_w`` (outputs, inputs), the bias ``OUT_b``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.caffe2.helpers.parameters import CONSTANT, XAVIER, filled, initializer
from graphc.caffe2.modeling.initializers import Fill, update_initializer
from graphc.caffe2.modeling.parameter_info import ParameterTags


def _fully_connected(
    model: Any,
    create: Callable[..., Any],
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    weight_init: Fill | None = None,
    bias_init: Fill | None = None,
    WeightInitializer: Any = None,
    BiasInitializer: Any = None,
    enable_tensor_core: bool = False,
    float16_compute: bool = False,
    **kwargs: Any,
) -> Any:
    blob_out = blob_out or model.net.NextName()
    frozen = [ParameterTags.COMPUTED_PARAM] if "freeze_bias" in kwargs else []
    weight = model.create_param(
        param_name=blob_out + "_w",
        shape=[dim_out, dim_in],
        initializer=initializer(model, WeightInitializer, weight_init, XAVIER),
        tags=ParameterTags.WEIGHT,
    )
    bias = model.create_param(
        param_name=blob_out + "_b",
        shape=[dim_out],
        initializer=initializer(model, BiasInitializer, bias_init, CONSTANT),
        tags=[ParameterTags.BIAS, *frozen],
    )
    if enable_tensor_core:
        kwargs["engine"] = "TENSORCORE"
    if float16_compute:
        kwargs["float16_compute"] = True
    return create([blob_in, weight, bias], blob_out, **kwargs)


def fc(model: Any, *args: Any, **kwargs: Any) -> Any:
    """``fc(model, blob_in, blob_out, dim_in, dim_out)``: ``x w' + b``; ``freeze_bias`` keeps the bias from training."""
    return _fully_connected(model, model.net.FC, *args, **kwargs)


def packed_fc(model: Any, *args: Any, **kwargs: Any) -> Any:
    """``fc`` with the operator PackedFC."""
    return _fully_connected(model, model.net.PackedFC, *args, **kwargs)


def fc_decomp(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    rank_approx: int = 5,
    weight_init: Fill | None = None,
    bias_init: Fill | None = None,
    WeightInitializer: Any = None,
    BiasInitializer: Any = None,
    **kwargs: Any,
) -> Any:
    """A layer whose weights are the product ``OUT_u OUT_v'`` of rank ``rank_approx``."""
    blob_out = blob_out or model.net.NextName()
    sizes = {"_u": [dim_out, rank_approx], "_v": [dim_in, rank_approx]}
    factors = [
        model.create_param(
            param_name=blob_out + tail,
            shape=shape,
            initializer=update_initializer(WeightInitializer, weight_init, XAVIER),
        )
        for tail, shape in sizes.items()
    ]
    bias = model.create_param(
        param_name=blob_out + "_b",
        shape=[dim_out],
        initializer=update_initializer(BiasInitializer, bias_init, CONSTANT),
    )
    return model.net.FC_Decomp([blob_in, *factors, bias], blob_out, **kwargs)


def fc_prune(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    weight_init: Fill | None = None,
    bias_init: Fill | None = None,
    mask_init: Fill | None = None,
    threshold: float = 0.00001,
    need_compress_rate: bool = False,
    comp_lb: float = 0.05,
    **kwargs: Any,
) -> Any:
    """A layer that loses small weights in training."""
    blob_out = blob_out or model.net.NextName()
    shape, mask_fill = [dim_out, dim_in], mask_init or CONSTANT
    bound = filled(model, blob_out + "_lb", [1], ("ConstantFill", {"value": comp_lb}))
    weight = filled(model, blob_out + "_w", shape, weight_init or XAVIER)
    mask = filled(model, blob_out + "_m", shape, ("ConstantFill", {"value": 1.0}))
    gradient = filled(model, blob_out + "_ag_dw", shape, mask_fill)
    bias = filled(model, blob_out + "_b", [dim_out], bias_init or CONSTANT)
    sequence = filled(model, blob_out + "_mask_seq", shape, mask_fill)
    limit = filled(model, blob_out + "_thres", [1], ("ConstantFill", {"value": threshold}))
    model.AddParameter(weight)
    model.AddParameter(bias)
    outputs = [blob_out, blob_out + "_compress_rate"] if need_compress_rate else blob_out
    return model.net.FC_Prune([blob_in, weight, mask, bias, gradient, sequence, limit, bound], outputs, **kwargs)


def fc_sparse(model: Any, blob_in: Any, blob_out: Any, w_csr: Any, iw: Any, jw: Any, bias: Any, **kwargs: Any) -> Any:
    """A layer with weights that exist, in compressed rows."""
    for parameter in (w_csr, iw, jw, bias):
        model.AddParameter(parameter)
    return model.net.FC_Sparse([blob_in, w_csr, iw, jw, bias], blob_out, **kwargs)
