"""How operators of Caffe2 are said in ONNX: one function a kind, found by the operator's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.caffe2.onnx._context import Call, Context, UntranslatableError, onnx_package

Translation = Callable[[Call, Context], None]
TRANSLATIONS: dict[str, Translation] = {}
CAFFE_LEGACY_POOLING = 3
_SAME = [
    *("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Softplus", "Softsign", "Floor", "Ceil", "Not", "Sign"),
    *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Erf", "Sum", "Max", "Min"),
]
_RENAMED = {
    **{name: name for name in _SAME},
    **dict.fromkeys(["Copy", "StopGradient", "Alias", "EnsureCPUOutput", "CopyFromCPUInput"], "Identity"),
    "Negative": "Neg",
}
"""Operators without arguments that mean the same."""


def translates(*names: str) -> Callable[[Translation], Translation]:
    """Make a function the translation of operators."""

    def register(function: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(names, function))
        return function

    return register


@translates(*_RENAMED)
def _rename(call: Call, graph: Context) -> None:
    graph.node(_RENAMED[call.type], call.inputs, call.outputs)


# ---- arithmetic ------------------------------------------------------------------------------------------------------


@translates("Add", "Sub", "Mul", "Div", "Pow", "And", "Or")
def _binary(call: Call, graph: Context) -> None:
    """With ``broadcast`` the second operand lies at ``axis``, else at the end, as in ONNX."""
    if call.type == "Pow" and call.arg("exponent") is not None:
        exponent = graph.constant(f"{call.outputs[0]}_exponent", [call.arg("exponent")])
        graph.node("Pow", [call.inputs[0], exponent], call.outputs)
        return
    a, b = call.inputs
    axis = call.arg("axis", -1)
    if call.arg("broadcast") and axis >= 0:
        shape = graph.shape(b)
        behind = len(graph.shape(a)) - axis - len(shape)
        b = graph.reshape(b, shape + [1] * behind) if behind > 0 else b
    graph.node(call.type, [a, b], call.outputs)


@translates("Elu", "LeakyRelu", "Selu", "Clip")
def _with_numbers(call: Call, graph: Context) -> None:
    """Caffe2's numbers, where it does not say ONNX's defaults."""
    defaults = {
        "Elu": {"alpha": 1.0},
        "LeakyRelu": {"alpha": 0.01},
        "Selu": {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805},
        "Clip": {"min": float(np.finfo(np.float32).min), "max": float(np.finfo(np.float32).max)},
    }[call.type]
    names = {"gamma": "scale"}
    values = {name: float(call.arg(names.get(name, name), value)) for name, value in defaults.items()}
    graph.node(call.type, call.inputs[:1], call.outputs[:1], **values)


@translates("Sqr", "Swish", "Scale")
def _products(call: Call, graph: Context) -> None:
    (x,) = call.inputs
    if call.type == "Sqr":
        other = x
    elif call.type == "Swish":
        other = graph.node("Sigmoid", [x])
    else:
        other = graph.constant(f"{x}_scale", [call.arg("scale", 1.0)])
    graph.node("Mul", [x, other], call.outputs)


@translates("PRelu", "AffineChannel")
def _by_channel(call: Call, graph: Context) -> None:
    """Numbers of channels, in front of rows and columns."""
    call.require_order()
    x, *numbers = call.inputs
    behind = [1] * (len(graph.shape(x)) - 2)
    numbers = [n if graph.shape(n) == [1] else graph.reshape(n, [*graph.shape(n), *behind]) for n in numbers]
    if call.type == "PRelu":
        graph.node("PRelu", [x, *numbers], call.outputs)
    else:
        graph.node("Add", [graph.node("Mul", [x, numbers[0]]), numbers[1]], call.outputs)


@translates("Cast")
def _cast(call: Call, graph: Context) -> None:
    names = onnx_package().TensorProto.DataType
    known = {1: "FLOAT", 2: "INT32", 3: "UINT8", 5: "BOOL", 6: "UINT8", 7: "INT8", 10: "INT64", 13: "DOUBLE"}
    to = call.arg("to")
    kind = known.get(to) if isinstance(to, int) else bytes(to).decode().upper()
    graph.node("Cast", call.inputs, call.outputs, to=names.Value(kind))


# ---- layers ----------------------------------------------------------------------------------------------------------


@translates("Conv", "Conv1D", "Conv2D", "Conv3D", "ConvTranspose", "ConvTranspose2D")
def _conv(call: Call, graph: Context) -> None:
    call.require_order()
    rank = len(graph.shape(call.inputs[0])) - 2
    attributes: dict[str, Any] = {
        "kernel_shape": graph.shape(call.inputs[1])[2:],
        "strides": call.window("stride", rank, 1),
        "pads": _pads(call, graph, rank),
        "group": int(call.arg("group", 1)),
    }
    op_type = "ConvTranspose" if call.type.startswith("ConvTranspose") else "Conv"
    if op_type == "Conv":
        attributes["dilations"] = call.window("dilation", rank, 1)
    else:
        attributes["output_padding"] = call.window("adj", rank, 0)
    graph.node(op_type, call.inputs, call.outputs, **attributes)


@translates(*(f"{kind}Pool{rank}" for kind in ("Max", "Average") for rank in ("", "1D", "2D", "3D")))
def _pool(call: Call, graph: Context) -> None:
    call.require_order()
    rank = len(graph.shape(call.inputs[0])) - 2
    op_type = "MaxPool" if call.type.startswith("Max") else "AveragePool"
    if call.arg("global_pooling"):
        graph.node(f"Global{op_type}", call.inputs, call.outputs)
        return
    if any(n != 1 for n in call.window("dilation", rank, 1)):
        raise UntranslatableError("ONNX has no dilated pooling in this version")
    attributes: dict[str, Any] = {
        "kernel_shape": call.window("kernel", rank, 0),
        "strides": call.window("stride", rank, 1),
        "pads": _pads(call, graph, rank),
    }
    if op_type == "AveragePool" and call.arg("count_include_pad"):
        attributes["count_include_pad"] = 1
    graph.node(op_type, call.inputs, call.outputs, **attributes)


def _pads(call: Call, graph: Context, rank: int) -> list[int]:
    """Padding; that of Caffe's pooling follows from the sizes, because it rounds up."""
    legacy = call.arg("legacy_pad", 0)
    if legacy not in (0, CAFFE_LEGACY_POOLING):
        raise UntranslatableError(f"legacy_pad {legacy} has no translation")
    pads = call.pads(rank)
    if legacy == CAFFE_LEGACY_POOLING:
        inputs, outputs = graph.shape(call.inputs[0])[2:], graph.shape(call.outputs[0])[2:]
        windows = zip(call.window("kernel", rank, 0), call.window("stride", rank, 1), strict=True)
        for d, (kernel, stride) in enumerate(windows):
            pads[rank + d] = max(0, (outputs[d] - 1) * stride + kernel - inputs[d] - pads[d])
    return pads


@translates("FC")
def _fc(call: Call, graph: Context) -> None:
    """A product of matrices, into which dimensions are folded."""
    x, w, b = call.inputs
    axis, rank = call.arg("axis", 1), len(graph.shape(x))
    if rank != 2 or axis != 1:
        x = graph.node("Flatten", [x], axis=axis)
    if len(graph.shape(w)) != 2:
        w = graph.node("Flatten", [w], axis=call.arg("axis_w", 1))
    folded = call.outputs if axis == 1 else None
    y = graph.node("Gemm", [x, w, b], folded, transB=1)
    if folded is None:
        graph.reshape(y, graph.shape(call.outputs[0]), call.outputs)


@translates("SpatialBN")
def _spatial_bn(call: Call, graph: Context) -> None:
    """With momentum 1 the statistics are the running ones, even where a model is taken for one in training."""
    call.require_order()
    epsilon = float(call.arg("epsilon", 1e-5))
    graph.node("BatchNormalization", call.inputs, call.outputs[:1], epsilon=epsilon, momentum=1.0)


@translates("InstanceNorm")
def _instance_norm(call: Call, graph: Context) -> None:
    call.require_order()
    epsilon = float(call.arg("epsilon", 1e-5))
    graph.node("InstanceNormalization", call.inputs, call.outputs[:1], epsilon=epsilon)


@translates("LRN")
def _lrn(call: Call, graph: Context) -> None:
    call.require_order()
    defaults = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    numbers = {name: float(call.arg(name, value)) for name, value in defaults.items()}
    graph.node("LRN", call.inputs, call.outputs[:1], size=int(call.arg("size", 5)), **numbers)


@translates("Softmax")
def _softmax(call: Call, graph: Context) -> None:
    graph.node("Softmax", call.inputs, call.outputs, axis=int(call.arg("axis", 1)))


@translates("Dropout")
def _dropout(call: Call, graph: Context) -> None:
    graph.node("Identity", call.inputs, call.outputs[:1])


@translates("UpsampleNearest", "ResizeNearest")
def _upsample(call: Call, graph: Context) -> None:
    call.require_order()
    scale = call.arg("scale", 1)
    rows, columns = float(call.arg("height_scale", scale)), float(call.arg("width_scale", scale))
    scales = graph.constant(f"{call.inputs[0]}_scales", [1, 1, rows, columns])
    graph.node("Upsample", [call.inputs[0], scales], call.outputs, mode="nearest")


@translates("MatMul", "BatchMatMul")
def _product(call: Call, graph: Context) -> None:
    operands = list(call.inputs)
    for i, flag in enumerate(("trans_a", "trans_b")):
        if call.arg(flag):
            order = list(range(len(graph.shape(operands[i]))))
            order[-2:] = order[-1], order[-2]
            operands[i] = graph.node("Transpose", [operands[i]], perm=order)
    graph.node("MatMul", operands, call.outputs)


# ---- shapes ----------------------------------------------------------------------------------------------------------


@translates("Concat", "DepthConcat")
def _concat(call: Call, graph: Context) -> None:
    axis = call.arg("axis", 1 if call.arg("order", b"NCHW") == b"NCHW" else 3)
    inputs = call.inputs
    if call.arg("add_axis"):
        inputs = [graph.node("Unsqueeze", [x], axes=[axis]) for x in inputs]
    graph.node("Concat", inputs, call.outputs[:1], axis=int(axis))


@translates("Split")
def _split(call: Call, graph: Context) -> None:
    if len(call.inputs) != 1:
        raise UntranslatableError("lengths of parts are an argument in ONNX, not a blob")
    axis = int(call.arg("axis", 1 if call.arg("order", b"NCHW") == b"NCHW" else 3))
    lengths = [graph.shape(output)[axis] for output in call.outputs]
    graph.node("Split", call.inputs, call.outputs, axis=axis, split=lengths)


@translates("Reshape", "Flatten", "FlattenToVec")
def _reshape(call: Call, graph: Context) -> None:
    if call.type == "Flatten":
        graph.node("Flatten", call.inputs, call.outputs, axis=int(call.arg("axis", 1)))
        return
    if len(call.inputs) > 1:
        graph.node("Reshape", call.inputs, call.outputs[:1])
        return
    graph.reshape(call.inputs[0], call.arg("shape") or [-1], call.outputs[:1])


@translates("Squeeze", "ExpandDims")
def _dims(call: Call, graph: Context) -> None:
    op_type = "Squeeze" if call.type == "Squeeze" else "Unsqueeze"
    graph.node(op_type, call.inputs, call.outputs, axes=list(call.arg("dims")))


@translates("Transpose", "NCHW2NHWC", "NHWC2NCHW")
def _transpose(call: Call, graph: Context) -> None:
    rank = len(graph.shape(call.inputs[0]))
    known: dict[str, Any] = {"NCHW2NHWC": [0, *range(2, rank), 1], "NHWC2NCHW": [0, rank - 1, *range(1, rank - 1)]}
    order = known.get(call.type) or call.arg("axes") or list(range(rank))[::-1]
    graph.node("Transpose", call.inputs, call.outputs, perm=list(order))


@translates("Slice")
def _slice(call: Call, graph: Context) -> None:
    """Caffe2's negative ends count from one behind the last."""
    if len(call.inputs) != 1:
        raise UntranslatableError("where a slice lies is an argument in ONNX, not a blob")
    shape = graph.shape(call.inputs[0])
    bounds = []
    for name in ("starts", "ends"):
        given = call.arg(name)
        bounds.append([int(n) if n >= 0 else n + shape[d] + 1 for d, n in enumerate(given)])
    axes = list(range(len(bounds[0])))
    graph.node("Slice", call.inputs, call.outputs, starts=bounds[0], ends=bounds[1], axes=axes)


@translates("ChannelShuffle")
def _channel_shuffle(call: Call, graph: Context) -> None:
    call.require_order()
    n, channels, *rest = graph.shape(call.inputs[0])
    group = int(call.arg("group", 1))
    parts = graph.reshape(call.inputs[0], [n, group, channels // group, *rest])
    swapped = graph.node("Transpose", [parts], perm=[0, 2, 1, *range(3, len(rest) + 3)])
    graph.reshape(swapped, [n, channels, *rest], call.outputs)


@translates("Gather")
def _gather(call: Call, graph: Context) -> None:
    graph.node("Gather", call.inputs, call.outputs, axis=int(call.arg("axis", 0)))


@translates("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ArgMax", "ArgMin")
def _reduce(call: Call, graph: Context) -> None:
    attributes: dict[str, Any] = {"keepdims": int(call.arg("keepdims", 1))}
    if call.type.startswith("Arg"):
        attributes["axis"] = int(call.arg("axis", -1)) % len(graph.shape(call.inputs[0]))
    elif call.arg("axes"):
        attributes["axes"] = list(call.arg("axes"))
    graph.node(call.type, call.inputs, call.outputs, **attributes)


@translates("PadImage")
def _pad_image(call: Call, graph: Context) -> None:
    call.require_order()
    top, left, bottom, right = call.pads(2)
    mode = call.arg("mode", b"constant")
    attributes = {"pads": [0, 0, top, left, 0, 0, bottom, right], "value": float(call.arg("value", 0.0))}
    graph.node("Pad", call.inputs, call.outputs, mode=mode, **attributes)
