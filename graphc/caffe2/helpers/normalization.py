"""Helpers for normalisation, and softmax."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import scope
from graphc.caffe2.helpers.parameters import CONSTANT, initializer
from graphc.caffe2.modeling.initializers import Initializer
from graphc.caffe2.modeling.parameter_info import ParameterTags
from graphc.caffe2.proto import caffe2_pb2


def lrn(
    model: Any, blob_in: Any, blob_out: Any, order: str = "NCHW", use_cudnn: bool = False, **kwargs: Any
) -> Any:  # fmt: skip
    """Local response normalisation over channels."""
    device = kwargs.get("device_option", scope.CurrentDeviceScope())
    if use_cudnn and device is not None and device.device_type != caffe2_pb2.CPU:
        kwargs["engine"] = "CUDNN"
        return model.net.LRN(blob_in, blob_out, order=order, **kwargs)
    return model.net.LRN(blob_in, [blob_out, "_" + blob_out + "_scale"], order=order, **kwargs)[0]


def softmax(model: Any, blob_in: Any, blob_out: Any = None, use_cudnn: bool = False, **kwargs: Any) -> Any:
    """Softmax of rows: of all axes behind ``axis``, 1 unless it is said."""
    if use_cudnn:
        kwargs["engine"] = "CUDNN"
    return model.net.Softmax(blob_in, *(() if blob_out is None else (blob_out,)), **kwargs)


def instance_norm(model: Any, blob_in: Any, blob_out: Any, dim_in: int, order: str = "NCHW", **kwargs: Any) -> Any:
    """Every channel of every image gets mean 0 and variance 1, then the channel's ``OUT_s`` and ``OUT_b``."""
    blob_out = blob_out or model.net.NextName()
    scale = model.param_init_net.ConstantFill([], blob_out + "_s", shape=[dim_in], value=1.0)
    bias = model.param_init_net.ConstantFill([], blob_out + "_b", shape=[dim_in], value=0.0)
    model.AddParameter(scale, ParameterTags.WEIGHT)
    model.AddParameter(bias, ParameterTags.BIAS)
    saved = [] if kwargs.get("is_test") else [blob_out + "_sm", blob_out + "_siv"]
    made = model.net.InstanceNorm([blob_in, scale, bias], [blob_out, *saved], order=order, **kwargs)
    return made[0] if saved else made


def _constant(model: Any, name: Any, dim: Any, initializer_class: Any, value: float, tag: str) -> Any:
    """A parameter that is a constant at first."""
    return model.create_param(
        param_name=name,
        shape=dim,
        initializer=initializer(model, initializer_class, ("ConstantFill", {"value": value}), CONSTANT),
        tags=tag,
    )


def spatial_bn(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    init_scale: float = 1.0,
    init_bias: float = 0.0,
    ScaleInitializer: Any = None,
    BiasInitializer: Any = None,
    RunningMeanInitializer: Any = None,
    RunningVarianceInitializer: Any = None,
    order: str = "NCHW",
    **kwargs: Any,
) -> Any:
    """Batch normalisation of ``dim_in`` channels.

    Parameters: ``OUT_s`` and ``OUT_b``; the running mean ``OUT_rm`` and variance ``OUT_riv`` are computed ones. In
    training the batch's statistics are ``OUT_sm`` and ``OUT_siv``.
    """
    blob_out = blob_out or model.net.NextName()
    scale = _constant(model, blob_out + "_s", [dim_in], ScaleInitializer, init_scale, ParameterTags.WEIGHT)
    bias = _constant(model, blob_out + "_b", [dim_in], BiasInitializer, init_bias, ParameterTags.BIAS)
    running = _running(model, blob_out, dim_in, RunningMeanInitializer, RunningVarianceInitializer)
    inputs = [blob_in, scale, bias, *running]
    if kwargs.get("is_test"):
        return model.net.SpatialBN(inputs, [blob_out], order=order, **kwargs)
    outputs = [blob_out, *running, blob_out + "_sm", blob_out + "_siv"]
    return model.net.SpatialBN(inputs, outputs, order=order, **kwargs)[0]


def _running(model: Any, blob_out: Any, dim_in: int, mean: Any, variance: Any) -> list[Any]:
    """Running mean and variance, 0 and 1 at first."""
    tag = ParameterTags.COMPUTED_PARAM
    return [
        _constant(model, blob_out + "_rm", [dim_in], mean, 0.0, tag),
        _constant(model, blob_out + "_riv", [dim_in], variance, 1.0, tag),
    ]


def spatial_gn(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    init_scale: float = 1.0,
    init_bias: float = 0.0,
    ScaleInitializer: Any = None,
    BiasInitializer: Any = None,
    RunningMeanInitializer: Any = None,
    RunningVarianceInitializer: Any = None,
    order: str = "NCHW",
    **kwargs: Any,
) -> Any:
    """Group normalisation (``group=32``); the groups' statistics are ``OUT_mean`` and ``OUT_std``."""
    blob_out = blob_out or model.net.NextName()
    scale = _constant(model, blob_out + "_s", [dim_in], ScaleInitializer, init_scale, ParameterTags.WEIGHT)
    bias = _constant(model, blob_out + "_b", [dim_in], BiasInitializer, init_bias, ParameterTags.BIAS)
    outputs = [blob_out, blob_out + "_mean", blob_out + "_std"]
    return model.net.GroupNorm([blob_in, scale, bias], outputs, **kwargs)[0]


def layer_norm(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: Any,
    axis: int = 1,
    epsilon: float = 1e-4,
    initial_scale: float = 1.0,
    initial_bias: float = 0.0,
) -> tuple[Any, Any, Any]:
    """Layer normalisation over the axes from ``axis`` on, of size ``dim_in``: result, means, standard deviations.

    Parameters: ``OUT_scale`` and ``OUT_bias``.
    """
    shape = [dim_in] if isinstance(dim_in, int) else dim_in
    values = {"_scale": (initial_scale, ParameterTags.WEIGHT), "_bias": (initial_bias, ParameterTags.BIAS)}
    parameters = [
        model.create_param(
            param_name=f"{blob_out}{tail}",
            shape=shape,
            initializer=Initializer("ConstantFill", value=value),
            tags=tag,
        )
        for tail, (value, tag) in values.items()
    ]
    result, mean, std = model.net.LayerNorm(
        [blob_in, *parameters],
        [blob_out, blob_out + "_mean", blob_out + "_std"],
        axis=axis,
        epsilon=epsilon,
        elementwise_affine=True,
    )
    return result, mean, std


def moments_with_running_stats(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    RunningMeanInitializer: Any = None,
    RunningVarianceInitializer: Any = None,
    order: str = "NCHW",
    **kwargs: Any,
) -> Any:
    """Mean ``OUT_sm`` and variance ``OUT_sv`` of each channel; running ones are created beside them."""
    _running(model, blob_out, dim_in, RunningMeanInitializer, RunningVarianceInitializer)
    axes = [0, 2, 3] if order == "NCHW" else [0, 1, 2]
    outputs = [blob_out + "_sm", blob_out + "_sv"]
    return model.net.Moments([blob_in], outputs, axes=axes, order=order, keepdims=False, **kwargs)
