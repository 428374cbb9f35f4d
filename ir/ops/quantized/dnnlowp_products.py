"""Convolution and FC of the engine DNNLOWP; see ``_dnnlowp.py``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from graphc.ir.opdef import Arg, Call
from graphc.ir.ops._rules import Shape, agree, axis_of, product, require
from graphc.ir.ops._window import WINDOW_ARGS, batch_and_channels, join_shape, output_image, spatial, window
from graphc.ir.ops.quantized._dnnlowp import either_input, input_numbers, output_numbers, output_type
from graphc.ir.ops.quantized._dnnlowp_products import product_sizes, products
from graphc.ir.ops.quantized.dnnlowp import dnnlowp
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

SPATIAL = 3
"""Spatial dimensions of the loop; missing ones are 1."""


def _scratch(call: Call) -> list[TensorType]:
    """Input, weights, and a scale of each part of the weights."""
    return [
        TensorType(DType.DOUBLE, (call.type(0).size,)),
        TensorType(DType.DOUBLE, (call.type(1).size,)),
        TensorType(DType.FLOAT, (_parts(call),)),
    ]


def _parts(call: Call) -> int:
    """How many parts of the weights have a scale of their own: one, a group's each, or each row."""
    shape = call.type(1).static_shape
    if call.type(1).dtype is not DType.FLOAT:
        return 1
    if call.opdef.has_arg("quantize_groupwise"):
        return int(call.arg("group")) if call.arg("quantize_groupwise") else 1
    rows = math.prod(shape[: call.arg("axis_w") % max(len(shape), 1)])
    return rows if call.arg("quantize_channelwise") or "ROWWISE" in call.node.op else 1


def _numbers(call: Call, relu: bool) -> Sequence[float]:
    b_scale = 0.0
    if call.has(2) and call.type(2).dtype is DType.INT32:
        quant = call.type(2).quant
        b_scale = quant.scale if quant is not None else 0.0
        if b_scale <= 0.0:
            call.fail("input 2 (b) is int32, but has no scale", "give it one, or give the bias as float32")
    scale, zero, positive, sparse, as_float = output_numbers(call, relu)
    w = (*input_numbers(call, 1), b_scale, int(call.arg("preserve_weight_sparsity")))
    return (_parts(call), *input_numbers(call, 0), *w, scale, zero, 2 if relu else positive, sparse, as_float)


def _check_bias(call: Call, rows: Dim) -> None:
    if call.has(2):
        shape = require(call, 2, (DType.FLOAT, DType.INT32)).shape
        if shape is not None:
            agree(call, product(shape), rows, "elements of the bias and output channels differ")


# ---- convolution -----------------------------------------------------------------------------------------------------


def _conv_type(relu: bool) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        """Y is (N, output image, M) in the call's order, and so is the filter (M, kernel, C / group)."""
        x, w, group = either_input(call, 0).shape, either_input(call, 1).shape, call.arg("group")
        image = output_image(call)
        rows: Dim = UNKNOWN if w is None else w[0]
        _check_bias(call, rows)
        if x is None or image is None:
            return [output_type(call, None, relu)]
        if len(image) > SPATIAL:
            call.fail(f"the input has {len(image)} spatial dimensions, 1 to 3 are supported")
        if w is not None:
            _check_filter(call, x, w, group)
        return [output_type(call, join_shape(call, x[0], rows, image), relu)]

    return infer


def _check_filter(call: Call, x: Shape, w: Shape, group: int) -> None:
    if len(w) != len(x):
        call.fail(f"the filter has {len(w)} dimensions, the input {len(x)}")
    c, depth = batch_and_channels(call, x)[1], batch_and_channels(call, w)[1]
    agree(call, depth * group, c, "channels of X and filter (times group) differ")
    if group < 1 or (isinstance(w[0], int) and w[0] % group):
        call.fail(f"{w[0]} output channels do not divide into {group} groups")
    for size, got in zip(window(call).kernel, spatial(call, w)):
        agree(call, got, size, "the kernel's size and the filter's differ")


def _conv_constants(relu: bool) -> Callable[[Call], Sequence[Any]]:
    def constants(call: Call) -> Sequence[Any]:
        win, last = window(call), call.arg("order") == "NHWC"
        x, w = call.type(0).static_shape, call.type(1).static_shape
        out = [d for d in output_image(call) or () if isinstance(d, int)]
        sizes, rest = [d for d in spatial(call, x) if isinstance(d, int)], SPATIAL - len(out)
        sizes, out = [1] * rest + sizes, [1] * rest + out
        channels, depth = (x[-1], w[-1]) if last else (x[1], w[1])
        kernel, ones = [1] * rest + list(win.kernel), [1] * rest
        moves = (ones + list(win.stride), ones + list(win.dilation), [0] * rest + list(win.heads))
        xs, ys, ws = steps(sizes, channels, last), steps(out, w[0], last), steps(kernel, depth, last)
        dims = zip(sizes, xs[2:], ys[2:], ws[2:], out, kernel, *moves)
        counts = [x[0], w[0], max(w[0] // win.group, 1), depth]
        g = [*counts, *xs[:2], *ys[:2], *ws[:2], *(n for dimension in dims for n in dimension)]
        return (g, *_numbers(call, relu))

    return constants


def steps(sizes: Sequence[int], channels: int, last: bool) -> list[int]:
    """Distance of the next image, channel, and spatial element of three dimensions."""
    inner, image = channels if last else 1, math.prod(sizes)
    return [channels * image, 1 if last else image, sizes[1] * sizes[2] * inner, sizes[2] * inner, inner]


_ACC16 = (
    Arg("nbits_in_non_outlier", "int", None, "a preference, never changes the answer"),
    Arg("copy_to_32bit_frequency", "int", None, "a preference, never changes the answer"),
)

for _relu in (False, True):
    _tail = "Relu" if _relu else ""
    dnnlowp(
        f"Conv{_tail}",
        f"Int8Conv{_tail}",
        infer=_conv_type(_relu),
        more=f"Conv{_tail}_16 Conv{_tail}_ACC16 Int8Conv{_tail}_ACC16",
        inputs="X filter bias?",
        outputs="Y",
        args=(
            Arg("group", "int", 1, "groups of channels"),
            Arg("quantize_groupwise", "int", 0, "the filters of each group have a scale of their own"),
            *_ACC16,
            *WINDOW_ARGS,
        ),
        loop=products,
        sizes=product_sizes,
        scratch=_scratch,
        constants=_conv_constants(_relu),
        doc="convolution in whole numbers" + (", then Relu" if _relu else ""),
    )

# ---- FC --------------------------------------------------------------------------------------------------------------


def _fc_type(relu: bool) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        """Y: the dimensions of X before ``axis``, then the rows of W."""
        x, w = either_input(call, 0).shape, either_input(call, 1).shape
        axis_w = 1 if w is None else axis_of(call, call.arg("axis_w"), len(w), "axis_w")
        rows: Dim = UNKNOWN if w is None else product(w[:axis_w])
        _check_bias(call, rows)
        if x is None:
            return [output_type(call, None, relu)]
        axis = axis_of(call, call.arg("axis"), len(x))
        if w is not None:
            agree(call, product(w[axis_w:]), product(x[axis:]), "elements of a row of W and of X differ")
        return [output_type(call, (*x[:axis], rows), relu)]

    return infer


def _fc_constants(relu: bool) -> Callable[[Call], Sequence[Any]]:
    def constants(call: Call) -> Sequence[Any]:
        x, w = call.type(0).static_shape, call.type(1).static_shape
        axis, axis_w = call.arg("axis") % len(x), call.arg("axis_w") % len(w)
        images, depth, rows = math.prod(x[:axis]), math.prod(x[axis:]), math.prod(w[:axis_w])
        pixel = (1, 0, 0, 0, 1, 1, 1, 1, 0) * SPATIAL
        return ([images, rows, max(rows, 1), depth, depth, 1, rows, 1, depth, 1, *pixel], *_numbers(call, relu))

    return constants


for _relu in (False, True):
    _tail = "Relu" if _relu else ""
    dnnlowp(
        *((f"Int8FC{_tail}",) if _relu else ("FC", "Int8FC")),
        infer=_fc_type(_relu),
        more="Int8FCRelu_ROWWISE" if _relu else "FC_16 FC_ACC16 FC_ROWWISE FC_ROWWISE_16 Int8FC_ACC16 Int8FC_ROWWISE",
        inputs="X W b",
        outputs="Y",
        args=(
            Arg("axis", "int", 1, "first dimension of a row of X"),
            Arg("axis_w", "int", 1, "first dimension of a row of W"),
            Arg("quantize_channelwise", "int", 0, "each row of W has a scale of its own; so with DNNLOWP_ROWWISE"),
            Arg("constant_weight", "int", 1, "a preference, never changes the answer"),
            *_ACC16,
        ),
        loop=products,
        sizes=product_sizes,
        scratch=_scratch,
        constants=_fc_constants(_relu),
        doc="X W^T + b in whole numbers" + (", then Relu" if _relu else ""),
    )
