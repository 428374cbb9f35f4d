"""Translations of layers with windows and weights: convolutions, pooling, inner products, normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2.caffe_translator.helpers import (
    AddArgument,
    BaseTranslate,
    operator,
    parameter,
    trained,
    windows,
)
from graphc.caffe2.caffe_translator.registry import Translation, TranslatorRegistry
from graphc.caffe2.proto import caffe2_pb2, caffe_pb2
from graphc.frontends.netdef.schema import Message

Blobs = Sequence[np.ndarray]

# ---- convolutions ----------------------------------------------------------------------------------------------------


@TranslatorRegistry.Register("Convolution")
@TranslatorRegistry.Register("NDConvolution")
@TranslatorRegistry.Register("ConvolutionDepthwise")
@TranslatorRegistry.Register("DepthwiseConvolution")
def TranslateConv(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Conv, over any number of axes; a depthwise layer of forks has as many groups as channels."""
    param = layer.convolution_param
    op, weights = _weighted(layer, "Conv", pretrained_blobs)
    windows(param, op)
    group = param.group if param.group != 1 or "epthwise" not in layer.type else param.num_output
    if group != 1:
        AddArgument(op, "group", group)
    return op, weights


@TranslatorRegistry.Register("Deconvolution")
def TranslateDeconv(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """ConvTranspose, with groups; dilation has no operator."""
    param = layer.convolution_param
    if any(d != 1 for d in param.dilation):
        raise NotImplementedError("a transposed convolution with dilation has no operator")
    op, weights = _weighted(layer, "ConvTranspose", pretrained_blobs)
    windows(param, op)
    AddArgument(op, "order", "NCHW")
    if param.group != 1:
        AddArgument(op, "group", param.group)
    return op, weights


def _weighted(layer: Message, op_type: str, blobs: Blobs) -> tuple[Message, list[Message]]:
    """An operator with its weights, and its bias where it was trained with one."""
    param = layer.convolution_param
    arrays = trained(blobs, 2 if param.bias_term else 1)
    op, output = BaseTranslate(layer, op_type), layer.top[0]
    weights = [parameter(arrays[0], f"{output}_w")]
    if len(arrays) == 2:
        weights.append(parameter(arrays[1].flatten(), f"{output}_b"))
    op.input.extend(w.name for w in weights)
    return op, weights


# ---- pooling ---------------------------------------------------------------------------------------------------------


@TranslatorRegistry.Register("Pooling")
def TranslatePool(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """MaxPool or AveragePool, whose sizes are rounded up as Caffe does; forks may round down.

    Caffe's average counts the padding, but not what lies beyond it: with padding and strides an operator pads first.
    """
    param = layer.pooling_param
    if param.pool not in (caffe_pb2.PoolingParameter.MAX, caffe_pb2.PoolingParameter.AVE):
        raise NotImplementedError("stochastic pooling has no operator")
    is_max = param.pool == caffe_pb2.PoolingParameter.MAX
    rounds_up = not param.torch_pooling and param.ceil_mode and param.round_mode == caffe_pb2.PoolingParameter.CEIL
    op = operator("MaxPool" if is_max else "AveragePool", layer.bottom, layer.top[:1])
    if len(layer.top) > 1:
        raise NotImplementedError("the positions of the largest numbers, its second top, have no operator")
    if param.global_pooling:
        op.arg.extend(operator("", [], [], stride=1, pad=0, kernel=0, order="NCHW", global_pooling=1).arg)
        return op, []
    windows(param, op)
    AddArgument(op, "order", "NCHW")
    if rounds_up:
        AddArgument(op, "legacy_pad", caffe2_pb2.CAFFE_LEGACY_POOLING)
    pads = _sides(param, "pad", "pad")
    if is_max or not any(pads):
        return op, []
    return _padded_average(op, pads, _sides(param, "kernel_size", "kernel"), _sides(param, "stride", "stride")), []


def _sides(param: Message, name: str, key: str) -> list[int]:
    return [getattr(param, f"{key}_{s}") if param.HasField(f"{key}_{s}") else getattr(param, name) for s in "hw"]


def _padded_average(op: Message, pads: list[int], kernels: list[int], strides: list[int]) -> list[Message]:
    """Average pooling that counts the padding.

    Without strides no window reaches beyond the padding. With strides the picture is padded first; that gives Caffe's
    number of windows unless one could begin in the padding behind the picture, which Caffe drops.
    """
    if strides == [1, 1]:
        AddArgument(op, "count_include_pad", 1)
        return [op]
    if any(p + s > k for p, s, k in zip(pads, strides, kernels)):
        raise NotImplementedError(f"average pooling of windows {kernels} with padding {pads} and strides {strides}")
    padded = f"{op.output[0]}_translator_autogen_padded"
    first = operator(
        "PadImage", op.input, [padded], pad_t=pads[0], pad_b=pads[0], pad_l=pads[1], pad_r=pads[1], order="NCHW"
    )
    kept = [arg for arg in op.arg if not arg.name.startswith("pad")]
    second = operator("AveragePool", [padded], op.output)
    second.arg.extend(kept)
    return [first, second]


@TranslatorRegistry.Register("Pooling3D")
def TranslatePool3D(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """MaxPool or AveragePool over depth, height and width; sizes are rounded down, as Caffe2's translator did."""
    param = layer.pooling3d_param
    if param.pool not in (caffe_pb2.PoolingParameter.MAX, caffe_pb2.PoolingParameter.AVE):
        raise NotImplementedError("stochastic pooling has no operator")
    op = BaseTranslate(layer, "MaxPool" if param.pool == caffe_pb2.PoolingParameter.MAX else "AveragePool")
    pads = [param.temporal_pad, param.pad, param.pad]
    AddArgument(op, "kernels", [param.kernel_depth or param.kernel_size, param.kernel_size, param.kernel_size])
    AddArgument(op, "strides", [param.temporal_stride, param.stride, param.stride])
    AddArgument(op, "pads", pads * 2)
    AddArgument(op, "order", "NCHW")
    return op, []


@TranslatorRegistry.Register("ROIPooling")
def TranslateROIPooling(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """RoIPool; for training with the positions of the largest numbers."""
    param = layer.roi_pooling_param
    op = BaseTranslate(layer, "RoIPool")
    AddArgument(op, "order", "NCHW")
    if is_test:
        AddArgument(op, "is_test", 1)
    else:
        op.output.append(f"{op.output[0]}_argmaxes")
    AddArgument(op, "pooled_h", param.pooled_h)
    AddArgument(op, "pooled_w", param.pooled_w)
    AddArgument(op, "spatial_scale", float(param.spatial_scale))
    return op, []


# ---- inner products --------------------------------------------------------------------------------------------------


@TranslatorRegistry.Register("InnerProduct")
def TranslateInnerProduct(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """FC, or FCTransposed; a layer without a bias gets one of zeros.

    Weights may have the shape (1, 1, outputs, inputs) of Caffe's first years.
    """
    param = layer.inner_product_param
    if param.axis < 1:
        raise NotImplementedError(f"an inner product over axis {param.axis}, counted from the end, has no operator")
    arrays = trained(pretrained_blobs, 2 if param.bias_term else 1)
    weight = arrays[0].reshape(-1, arrays[0].shape[-1])
    if arrays[0].ndim not in (2, 4) or weight.shape[0] != arrays[0].shape[-2]:
        raise ValueError(f"its weights have the shape {arrays[0].shape}, a matrix is needed")
    size = weight.shape[1 if param.transpose else 0]
    bias = arrays[1].flatten() if len(arrays) > 1 else np.zeros(size, np.float32)
    op = BaseTranslate(layer, "FCTransposed" if param.transpose else "FC")
    output = layer.top[0]
    weights = [parameter(weight, f"{output}_w"), parameter(bias, f"{output}_b")]
    op.input.extend(w.name for w in weights)
    if param.axis != 1:
        AddArgument(op, "axis", param.axis)
    return op, weights


# ---- normalisation ---------------------------------------------------------------------------------------------------


@TranslatorRegistry.Register("LRN")
def TranslateLRN(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """LRN across channels."""
    param = layer.lrn_param
    if param.norm_region != caffe_pb2.LRNParameter.ACROSS_CHANNELS:
        raise NotImplementedError("normalisation within a channel has no operator")
    outputs = [layer.top[0], f"_{layer.top[0]}_scale"]
    numbers = {"alpha": float(param.alpha), "beta": float(param.beta), "bias": float(param.k)}
    return operator("LRN", layer.bottom, outputs, size=int(param.local_size), **numbers, order="NCHW"), []


@TranslatorRegistry.Register("BatchNorm")
def TranslateBatchNorm(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """SpatialBN with the statistics of training, which Caffe keeps multiplied by its third array."""
    mean, variance, factor = (b.flatten() for b in trained(pretrained_blobs, 3)[:3])
    if factor[0] == 0:
        raise ValueError("the caffemodel holds no statistics for it: its third array is 0")
    output, channels = layer.top[0], len(mean)
    weights = [
        parameter(np.ones(channels), f"{output}_scale"),
        parameter(np.zeros(channels), f"{output}_bias"),
        parameter(mean / factor[0], f"{output}_mean"),
        parameter(variance / factor[0], f"{output}_var"),
    ]
    op = BaseTranslate(layer, "SpatialBN")
    op.input.extend(w.name for w in weights)
    if not is_test:
        op.output.extend(f"{output}_{name}" for name in ("mean", "var", "saved_mean", "saved_var"))
    AddArgument(op, "is_test", int(is_test))
    AddArgument(op, "epsilon", float(layer.batch_norm_param.eps))
    AddArgument(op, "order", "NCHW")
    return op, weights


@TranslatorRegistry.Register("InstanceNorm")
def TranslateInstanceNorm(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """InstanceNorm."""
    arrays, output = trained(pretrained_blobs, 2), layer.top[0]
    weights = [parameter(arrays[0].flatten(), f"{output}_w"), parameter(arrays[1].flatten(), f"{output}_b")]
    op = BaseTranslate(layer, "InstanceNorm")
    op.input.extend(w.name for w in weights)
    AddArgument(op, "order", "NCHW")
    return op, weights


@TranslatorRegistry.Register("Normalize")
def TranslateNormalize(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Normalize over the channels of each pixel, then Mul by the scale of each channel (SSD)."""
    if layer.norm_param.across_spatial:
        raise NotImplementedError("normalisation over all pixels together has no operator")
    output = layer.top[0]
    weight = parameter(trained(pretrained_blobs, 1)[0].flatten(), f"{output}_w")
    middle = f"{output}_internal"
    first = operator("Normalize", layer.bottom, [middle], axis=1)
    axis = None if len(weight.float_data) == 1 else 1
    return [first, operator("Mul", [middle, weight.name], [output], axis=axis, broadcast=1)], [weight]


@TranslatorRegistry.Register("Scale")
def TranslateScale(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Mul by a trained array or the second bottom, and Add of a trained bias."""
    param = layer.scale_param
    output = layer.top[0]
    if len(layer.bottom) == 2:
        arrays, factor = list(pretrained_blobs), layer.bottom[1]
        weights = []
    else:
        arrays = list(trained(pretrained_blobs, 1))
        weights = [parameter(arrays.pop(0), f"{output}_w")]
        factor = weights[0].name
    has_bias = bool(arrays)
    middle = f"{output}_internal" if has_bias else output
    operators = [operator("Mul", [layer.bottom[0], factor], [middle], axis=param.axis, broadcast=1)]
    if has_bias:
        weights.append(parameter(arrays[0], f"{output}_b"))
        operators.append(operator("Add", [middle, weights[-1].name], [output], axis=param.axis, broadcast=1))
    return operators, weights


@TranslatorRegistry.Register("Bias")
def TranslateBias(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Add of a trained array or the second bottom."""
    weights = []
    bottoms = list(layer.bottom)
    if len(bottoms) == 1:
        weights = [parameter(trained(pretrained_blobs, 1)[0], f"{layer.top[0]}_b")]
        bottoms.append(weights[0].name)
    return operator("Add", bottoms, layer.top, axis=layer.bias_param.axis, broadcast=1), weights


@TranslatorRegistry.Register("PReLU")
def TranslatePRelu(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """PRelu, a slope a channel or one for all."""
    slope = parameter(trained(pretrained_blobs, 1)[0].flatten(), f"{layer.top[0]}_Slope")
    op = BaseTranslate(layer, "PRelu")
    op.input.append(slope.name)
    return op, [slope]
