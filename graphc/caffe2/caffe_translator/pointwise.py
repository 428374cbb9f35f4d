"""Translations of layers that work element by element, or move elements: no weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2.caffe_translator.helpers import BaseTranslate, operator, parameter
from graphc.caffe2.caffe_translator.registry import Translation, TranslatorRegistry
from graphc.caffe2.proto import caffe_pb2
from graphc.frontends.netdef.schema import Message

Blobs = Sequence[np.ndarray]


def _nothing(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """No operator: the layer's tops are inputs of the net, or nothing needs it."""
    return [], []


for _name in ("Input", "Data", "VideoData", "ImageData", "MemoryData", "HDF5Data", "DummyData", "Silence"):
    TranslatorRegistry.Register(_name)(_nothing)


def _renamed(op_type: str) -> Any:
    def translate(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
        return BaseTranslate(layer, op_type), []

    return translate


for _name, _op_type in (("Sigmoid", "Sigmoid"), ("TanH", "Tanh"), ("AbsVal", "Abs"), ("BNLL", "Softplus")):
    TranslatorRegistry.Register(_name)(_renamed(_op_type))

# ---- activations -----------------------------------------------------------------------------------------------------


@TranslatorRegistry.Register("ReLU")
def TranslateRelu(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Relu, or LeakyRelu for a slope."""
    slope = float(layer.relu_param.negative_slope)
    if slope:
        return operator("LeakyRelu", layer.bottom, layer.top, alpha=slope), []
    return BaseTranslate(layer, "Relu"), []


@TranslatorRegistry.Register("ReLU6")
def TranslateRelu6(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Clip from 0 to 6."""
    return operator("Clip", layer.bottom, layer.top, min=0.0, max=6.0), []


@TranslatorRegistry.Register("ELU")
def TranslateElu(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Elu."""
    return operator("Elu", layer.bottom, layer.top, alpha=float(layer.elu_param.alpha)), []


@TranslatorRegistry.Register("Power")
def TranslatePower(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """(shift + scale x) ^ power."""
    param = layer.power_param
    operators, weights, blob = _affine(layer, float(param.scale), float(param.shift))
    if param.power != 1:
        return [*operators, operator("Pow", [blob], layer.top, exponent=float(param.power))], weights
    return _ending(layer, operators, blob), weights


@TranslatorRegistry.Register("Exp")
def TranslateExp(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """base ^ (shift + scale x); base is e unless given."""
    param = layer.exp_param
    factor = 1.0 if param.base == -1 else math.log(param.base)
    operators, weights, blob = _affine(layer, param.scale * factor, param.shift * factor)
    return [*operators, operator("Exp", [blob], layer.top)], weights


@TranslatorRegistry.Register("Log")
def TranslateLog(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """The logarithm of (shift + scale x) to a base, e unless given."""
    param = layer.log_param
    operators, weights, blob = _affine(layer, float(param.scale), float(param.shift))
    if param.base == -1:
        return [*operators, operator("Log", [blob], layer.top)], weights
    middle = f"{layer.top[0]}_internal"
    last = operator("Scale", [middle], layer.top, scale=1 / math.log(param.base))
    return [*operators, operator("Log", [blob], [middle]), last], weights


def _affine(layer: Message, scale: float, shift: float) -> tuple[list[Message], list[Message], str]:
    """Operators for shift + scale x, their parameters, and the blob that holds it."""
    blob, operators, weights = layer.bottom[0], [], []
    if scale != 1:
        operators.append(operator("Scale", [blob], [f"{layer.top[0]}_scaled"], scale=scale))
        blob = operators[-1].output[0]
    if shift != 0:
        weights.append(parameter(np.array([shift]), f"{layer.top[0]}_shift"))
        inputs = [blob, weights[0].name]
        operators.append(operator("Add", inputs, [f"{layer.top[0]}_shifted"], broadcast=1))
        blob = operators[-1].output[0]
    return operators, weights, blob


def _ending(layer: Message, operators: list[Message], blob: str) -> list[Message]:
    """The operators, the last of which gives the layer's top; a copy where there are none."""
    if not operators:
        return [operator("Copy", [blob], layer.top)]
    operators[-1].output[:] = layer.top
    return operators


@TranslatorRegistry.Register("Dropout")
def TranslateDropout(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Dropout, with its mask."""
    outputs = [layer.top[0], f"_{layer.top[0]}_mask"]
    ratio = float(layer.dropout_param.dropout_ratio)
    return operator("Dropout", layer.bottom, outputs, ratio=ratio, is_test=1 if is_test else None), []


# ---- several inputs --------------------------------------------------------------------------------------------------


@TranslatorRegistry.Register("Eltwise")
def TranslateElementWise(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Sum, with factors, Max, or products."""
    param = layer.eltwise_param
    if param.operation == caffe_pb2.EltwiseParameter.MAX:
        return BaseTranslate(layer, "Max"), []
    if param.operation == caffe_pb2.EltwiseParameter.PROD:
        return _chain(layer), []
    if not param.coeff or all(c == 1 for c in param.coeff):
        return BaseTranslate(layer, "Sum"), []
    if list(param.coeff) == [1, -1]:
        return BaseTranslate(layer, "Sub"), []
    terms = [f"{layer.top[0]}_scaled_{i}" for i in range(len(layer.bottom))]
    scales = [operator("Scale", [b], [t], scale=float(c)) for b, t, c in zip(layer.bottom, terms, param.coeff)]
    return [*scales, operator("Sum", terms, layer.top)], []


def _chain(layer: Message) -> list[Message]:
    """The product of all bottoms, two by two."""
    operators, blob = [], layer.bottom[0]
    for i, other in enumerate(layer.bottom[1:], 1):
        target = layer.top[0] if i == len(layer.bottom) - 1 else f"{layer.top[0]}_product_{i}"
        operators.append(operator("Mul", [blob, other], [target]))
        blob = target
    return operators


@TranslatorRegistry.Register("Concat")
def TranslateConcat(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Concat, along channels as ``order``."""
    param = layer.concat_param
    axis = param.concat_dim if param.HasField("concat_dim") else param.axis
    outputs = [layer.top[0], f"_{layer.top[0]}_dims"]
    if axis == 1:
        return operator("Concat", layer.bottom, outputs, order="NCHW"), []
    return operator("Concat", layer.bottom, outputs, axis=axis), []


@TranslatorRegistry.Register("Crop")
def TranslateCrop(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Slice to the height and width of the second bottom: its shape and the offsets make the bounds, int32."""
    param = layer.crop_param
    if param.axis != 2:
        raise NotImplementedError(f"cropping from axis {param.axis} has no operator; height and width have")
    offsets = list(param.offset) or [0]
    offsets = offsets * 2 if len(offsets) == 1 else offsets
    if len(offsets) != 2:
        raise ValueError(f"{len(offsets)} offsets for height and width")
    name = layer.top[0]
    starts, sizes, ends = (f"{name}_translator_autogen_{part}" for part in ("starts", "sizes", "ends"))
    whole, low = f"{name}_translator_autogen_shape", f"{name}_translator_autogen_shape32"
    shift = f"{name}_translator_autogen_offsets"
    return [
        operator("GivenTensorIntFill", [], [starts], shape=[4], values=[0, 0, *offsets]),
        operator("GivenTensorIntFill", [], [shift], shape=[2], values=offsets),
        operator("GivenTensorIntFill", [], [f"{shift}_rest"], shape=[2], values=[-1, -1]),
        operator("Shape", [layer.bottom[1]], [whole], axes=[2, 3]),
        operator("Cast", [whole], [low], to=2),
        operator("Add", [low, shift], [sizes]),
        operator("Concat", [f"{shift}_rest", sizes], [ends, f"_{ends}_dims"], axis=0),
        operator("Slice", [layer.bottom[0], starts, ends], [name]),
    ], []


# ---- shapes ----------------------------------------------------------------------------------------------------------


@TranslatorRegistry.Register("Split")
def TranslateSplit(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """A Copy for every top."""
    return [operator("Copy", layer.bottom, [top]) for top in layer.top], []


@TranslatorRegistry.Register("Slice")
def TranslateSlice(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Split into equal parts, or a Slice for every part between the points."""
    param = layer.slice_param
    axis = param.slice_dim if param.HasField("slice_dim") else param.axis
    if not param.slice_point:
        return operator("Split", layer.bottom, layer.top, axis=axis), []
    if axis < 0:
        raise NotImplementedError(f"points on axis {axis}, counted from the end, have no operator")
    points = [0, *param.slice_point, -1]
    if len(points) != len(layer.top) + 1:
        raise ValueError(f"{len(param.slice_point)} points make {len(points) - 1} parts, it has {len(layer.top)} tops")
    return [
        operator("Slice", layer.bottom, [top], starts=[0] * axis + [start], ends=[-1] * axis + [end])
        for top, start, end in zip(layer.top, points, points[1:])
    ], []


@TranslatorRegistry.Register("Permute")
def TranslatePermute(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Transpose; axes that are not named follow in their order."""
    order = list(layer.permute_param.order)
    full = order + [axis for axis in range(max([*order, 3]) + 1) if axis not in order]
    return operator("Transpose", layer.bottom, layer.top, axes=full), []


@TranslatorRegistry.Register("Reshape")
def TranslateReshape(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Reshape: 0 is the size that an axis has, -1 the size that is left."""
    param = layer.reshape_param
    if param.num_axes != -1 or param.axis < 0:
        raise NotImplementedError("a new shape for some axes in the middle has no operator")
    shape = [0] * param.axis + list(param.shape.dim)
    return operator("Reshape", layer.bottom, [layer.top[0], f"_{layer.bottom[0]}_dims"], shape=shape), []


@TranslatorRegistry.Register("Flatten")
def TranslateFlatten(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """FlattenToVec from axis 0, Flatten from axis 1, Reshape from a later one."""
    param = layer.flatten_param
    if param.end_axis != -1 or param.axis < 0:
        raise NotImplementedError("only the axes from one on to the end can be flattened")
    if param.axis < 2:
        return BaseTranslate(layer, ("FlattenToVec", "Flatten")[param.axis]), []
    shape = [0] * param.axis + [-1]
    return operator("Reshape", layer.bottom, [layer.top[0], f"_{layer.bottom[0]}_dims"], shape=shape), []


@TranslatorRegistry.Register("Tile")
def TranslateTile(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Tile."""
    return operator("Tile", layer.bottom, layer.top, tiles=layer.tile_param.tiles, axis=layer.tile_param.axis), []


@TranslatorRegistry.Register("ShuffleChannel")
def TranslateShuffleChannel(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """ChannelShuffle."""
    group = layer.shuffle_channel_param.group
    return operator("ChannelShuffle", layer.bottom, layer.top, group=group, kernel=1, order="NCHW"), []


# ---- sums and losses -------------------------------------------------------------------------------------------------


@TranslatorRegistry.Register("Reduction")
def TranslateReduction(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Sums and averages of everything, or of the last axes: axis is 0 or counts from the end."""
    param = layer.reduction_param
    kinds = caffe_pb2.ReductionParameter
    if param.axis > 0:
        raise NotImplementedError(f"reduction from axis {param.axis} on has no operator; count the axis from the end")
    before = {kinds.ASUM: "Abs", kinds.SUMSQ: "Sqr"}.get(param.operation)
    is_mean = param.operation == kinds.MEAN
    blob, operators = layer.bottom[0], []
    if before is not None:
        operators.append(operator(before, [blob], [f"{layer.top[0]}_internal"]))
        blob = operators[-1].output[0]
    if param.axis == 0:
        operators.append(operator("SumElements", [blob], layer.top, average=int(is_mean)))
    else:
        op_type = "ReduceBackMean" if is_mean else "ReduceBackSum"
        operators.append(operator(op_type, [blob], layer.top, num_reduce_dim=-param.axis))
    if param.coeff != 1:
        operators[-1].output[:] = [f"{layer.top[0]}_unscaled"]
        operators.append(operator("Scale", operators[-1].output, layer.top, scale=float(param.coeff)))
    return operators, []


@TranslatorRegistry.Register("Softmax")
def TranslateSoftmax(
    layer: Message, pretrained_blobs: Blobs, is_test: bool, shape_of: Any = None, **kwargs: Any
) -> Translation:
    """Softmax; for several pixels between two Transpose, as Caffe2's would take all pixels of a picture together.

    That there are several is known where the prototxt says the size of its input.
    """
    axis = layer.softmax_param.axis
    shape = shape_of(layer.bottom[0]) if shape_of is not None else None
    if axis != 1 or shape is None or len(shape) < 3 or math.prod(shape[2:]) == 1:
        return operator("Softmax", layer.bottom, layer.top, axis=None if axis == 1 else axis), []
    last = len(shape) - 1
    behind, soft = (f"{layer.top[0]}_translator_autogen_{part}" for part in ("channels_last", "softmax"))
    return [
        operator("Transpose", layer.bottom, [behind], axes=[0, *range(2, last + 1), 1]),
        operator("Softmax", [behind], [soft], axis=last),
        operator("Transpose", [soft], layer.top, axes=[0, last, *range(1, last)]),
    ], []


@TranslatorRegistry.Register("SoftmaxWithLoss")
def TranslateSoftmaxWithLoss(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Softmax, the cross entropy of each example, and their average."""
    scores, label = layer.bottom[:2]
    softmax, entropy = f"{scores}_translator_autogen_softmax", f"{scores}_translator_autogen_xent"
    return [
        operator("Softmax", [scores], [softmax]),
        operator("LabelCrossEntropy", [softmax, label], [entropy]),
        operator("AveragedLoss", [entropy], layer.top[:1]),
    ], []


@TranslatorRegistry.Register("Accuracy")
def TranslateAccuracy(layer: Message, pretrained_blobs: Blobs, is_test: bool, **kwargs: Any) -> Translation:
    """Accuracy."""
    top_k = layer.accuracy_param.top_k
    return operator("Accuracy", layer.bottom, layer.top[:1], top_k=top_k if top_k != 1 else None), []
