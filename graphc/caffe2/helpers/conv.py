"""Helpers for convolutions: the weights are ``OUT_w``, the bias ``OUT_b``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.caffe2.helpers.parameters import CONSTANT, XAVIER, filled, initializer
from graphc.caffe2.modeling.initializers import Fill
from graphc.caffe2.modeling.parameter_info import ParameterTags


def _cudnn(kwargs: dict[str, Any], use_cudnn: bool, exhaustive_search: bool, ws_nbytes_limit: int | None) -> None:
    """Add the arguments of the CUDNN engine, which change no answer."""
    if use_cudnn:
        kwargs["engine"] = "CUDNN"
        kwargs["exhaustive_search"] = exhaustive_search
        if ws_nbytes_limit:
            kwargs["ws_nbytes_limit"] = ws_nbytes_limit


def _check_engine(engine: str | None, use_cudnn: bool) -> None:
    if engine is not None and use_cudnn != (engine == "CUDNN"):
        only = "CUDNN" if use_cudnn else ""
        raise ValueError(f'When use_cudnn={use_cudnn}, the only engine you can specify is "{only}"')


def _weight_shape(dim_out: int, dim_in: int, kernels: Sequence[int], order: str) -> list[int]:
    return [dim_out, dim_in, *kernels] if order == "NCHW" else [dim_out, *kernels, dim_in]


def _conv(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    kernels: Sequence[int],
    size: dict[str, Any],
    weight_init: Fill | None,
    bias_init: Fill | None,
    WeightInitializer: Any,
    BiasInitializer: Any,
    group: int,
    transform_inputs: Callable[..., Any] | None,
    use_cudnn: bool = False,
    order: str = "NCHW",
    cudnn_exhaustive_search: bool = False,
    ws_nbytes_limit: int | None = None,
    float16_compute: bool = False,
    **kwargs: Any,
) -> Any:
    """A convolution; ``size`` holds the operator's arguments for the size of the kernel."""
    _check_engine(kwargs.get("engine"), use_cudnn)
    _cudnn(kwargs, use_cudnn, cudnn_exhaustive_search, ws_nbytes_limit)
    blob_out = blob_out or model.net.NextName()
    weight = model.create_param(
        param_name=blob_out + "_w",
        shape=_weight_shape(dim_out, int(dim_in / group), kernels, order),
        initializer=initializer(model, WeightInitializer, weight_init, XAVIER),
        tags=ParameterTags.WEIGHT,
    )
    inputs = [blob_in, weight]
    if not kwargs.pop("no_bias", False):
        inputs.append(
            model.create_param(
                param_name=blob_out + "_b",
                shape=[dim_out],
                initializer=initializer(model, BiasInitializer, bias_init, CONSTANT),
                tags=ParameterTags.BIAS,
            )
        )
    if transform_inputs is not None:
        transform_inputs(model, blob_out, inputs)
    if float16_compute:
        kwargs["float16_compute"] = True
    if group != 1:
        kwargs["group"] = group
    return model.net.Conv(inputs, blob_out, **size, order=order, **kwargs)


def conv_nd(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    kernel: Any,
    weight_init: Fill | None = None,
    bias_init: Fill | None = None,
    WeightInitializer: Any = None,
    BiasInitializer: Any = None,
    group: int = 1,
    transform_inputs: Callable[..., Any] | None = None,
    order: str = "NCHW",
    **kwargs: Any,
) -> Any:
    """A convolution over as many axes as ``kernel`` lists sizes, in NCHW order."""
    if order != "NCHW":
        raise AssertionError("ConvNd only supported for NCHW storage.")
    kernels = kernel if isinstance(kernel, list) else [kernel]
    return _conv(
        model, blob_in, blob_out, dim_in, dim_out, kernels, {"kernels": kernels}, weight_init, bias_init,
        WeightInitializer, BiasInitializer, group, transform_inputs, order=order, **kwargs,
    )  # fmt: skip


def conv(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    kernel: Any,
    weight_init: Fill | None = None,
    bias_init: Fill | None = None,
    WeightInitializer: Any = None,
    BiasInitializer: Any = None,
    group: int = 1,
    transform_inputs: Callable[..., Any] | None = None,
    **kwargs: Any,
) -> Any:
    """A convolution of images; ``kernel`` is its size, or ``[height, width]``."""
    square = not isinstance(kernel, list)
    if not square and len(kernel) != 2:
        raise AssertionError("Conv support only a 2D kernel.")
    kernels = [kernel] * 2 if square else kernel
    size = {"kernel": kernel} if square else {"kernel_h": kernel[0], "kernel_w": kernel[1]}
    return _conv(
        model, blob_in, blob_out, dim_in, dim_out, kernels, size, weight_init, bias_init,
        WeightInitializer, BiasInitializer, group, transform_inputs, **kwargs,
    )  # fmt: skip


def conv_transpose(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    kernel: int,
    weight_init: Fill | None = None,
    bias_init: Fill | None = None,
    use_cudnn: bool = False,
    order: str = "NCHW",
    cudnn_exhaustive_search: bool = False,
    ws_nbytes_limit: int | None = None,
    **kwargs: Any,
) -> Any:
    """A transposed convolution of images with a square kernel."""
    blob_out = blob_out or model.net.NextName()
    shape = _weight_shape(dim_in, dim_out, [kernel, kernel], order)
    weight = filled(model, blob_out + "_w", shape, weight_init or XAVIER)
    bias = filled(model, blob_out + "_b", [dim_out], bias_init or CONSTANT)
    model.AddParameter(weight, ParameterTags.WEIGHT)
    model.AddParameter(bias, ParameterTags.BIAS)
    _cudnn(kwargs, use_cudnn, cudnn_exhaustive_search, ws_nbytes_limit)
    return model.net.ConvTranspose([blob_in, weight, bias], blob_out, kernel=kernel, order=order, **kwargs)


def group_conv(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    kernel: Any,
    weight_init: Fill | None = None,
    bias_init: Fill | None = None,
    group: int = 1,
    **kwargs: Any,
) -> Any:
    """``conv`` with ``group``."""
    return conv(
        model, blob_in, blob_out, dim_in, dim_out, kernel, weight_init=weight_init, bias_init=bias_init, group=group,
        **kwargs,
    )  # fmt: skip


def group_conv_deprecated(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    kernel: int,
    weight_init: Fill | None = None,
    bias_init: Fill | None = None,
    group: int = 1,
    use_cudnn: bool = False,
    order: str = "NCHW",
    cudnn_exhaustive_search: bool = False,
    ws_nbytes_limit: int | None = None,
    **kwargs: Any,
) -> Any:
    """Groups as convolutions of their own, between a split and a concatenation of channels.

    Raises ``ValueError`` where the channels are no multiple of the groups.
    """
    _cudnn(kwargs, use_cudnn, cudnn_exhaustive_search, ws_nbytes_limit)
    for name, channels in (("dim_in", dim_in), ("dim_out", dim_out)):
        if channels % group:
            raise ValueError(f"{name} should be divisible by group.")
    use_bias = not kwargs.pop("no_bias", False)
    parts = model.net.DepthSplit(
        blob_in,
        ["_" + blob_out + f"_gconv_split_{i}" for i in range(group)],
        dimensions=[dim_in // group] * group,
        order=order,
    )
    shape = _weight_shape(dim_out // group, dim_in // group, [kernel, kernel], order)
    results = []
    for i, part in enumerate(parts if group > 1 else [parts]):
        name = blob_out + f"_gconv_{i}"
        inputs = [filled(model, name + "_w", shape, weight_init or XAVIER)]
        model.AddParameter(inputs[0], ParameterTags.WEIGHT)
        if use_bias:
            inputs.append(filled(model, name + "_b", [dim_out // group], bias_init or CONSTANT))
            model.AddParameter(inputs[1], ParameterTags.BIAS)
        results.append(part.Conv(inputs, name, kernel=kernel, order=order, **kwargs))
    return model.net.Concat(results, [blob_out, "_" + blob_out + "_concat_dims"], order=order)[0]
