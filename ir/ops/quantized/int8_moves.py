"""Int8 operators that move values unchanged: each has the rule of the float operator and keeps scale and zero point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, OpDef, lookup, op
from graphc.ir.ops._rules import axis_of
from graphc.ir.ops.image.image import scaled_size
from graphc.ir.ops.quantized.int8 import (
    ORDER_NHWC,
    Y_QUANT,
    int8_input,
    kept_quant,
)
from graphc.ir.ops.tensor.slices import slice_bounds
from graphc.ir.types import DType, TensorType


class _AsFloat(Call):
    """The call as the float operator's rules see it."""

    def type(self, i: int) -> TensorType:
        """Type of input ``i``, float where it is quantised."""
        own = super().type(i)
        return replace(own, dtype=DType.FLOAT, quant=None) if own.dtype is DType.UINT8 else own

    def given(self, name: str) -> bool:
        """``order`` counts only where ``axis`` does not say the dimension: exporters write both."""
        return super().given(name) and not (name == "order" and super().given("axis"))


def _arguments(base: OpDef, *own: Arg) -> tuple[Arg, ...]:
    names = {a.name for a in (*own, ORDER_NHWC, *Y_QUANT)}
    return (*(a for a in base.args if a.name not in names), *own, ORDER_NHWC, *Y_QUANT)


def _ports(base: OpDef, kind: str) -> str:
    ports = base.inputs if kind == "inputs" else base.outputs
    return " ".join(p.name + "?" * p.optional + "*" * p.variadic for p in ports)


def _moves(float_name: str, *own: Arg, **meaning: Any) -> None:
    """Declare ``Int8<float_name>`` with the inference of the float operator."""
    base = lookup(float_name)

    def infer(call: Call) -> list[TensorType]:
        int8_input(call, 0)
        first, *rest = base.infer(_AsFloat(call.node))
        return [replace(first, dtype=DType.UINT8, quant=kept_quant(call)), *rest]

    op(
        f"Int8{float_name}",
        infer,
        inputs=_ports(base, "inputs"),
        outputs=_ports(base, "outputs"),
        args=_arguments(base, *own),
        inplace=base.inplace,
        doc=f"{float_name} of uint8 values; scale and zero point stay",
        **meaning,
    )


def _view(call: Call, x: np.ndarray, *rest: np.ndarray) -> Sequence[np.ndarray]:
    """The elements under the inferred shape; the old shape."""
    return [x.reshape(call.opdef.infer(call)[0].static_shape), np.array(x.shape, np.int64)]


def _reshape(x: np.ndarray, shape: np.ndarray, y: np.ndarray, old: np.ndarray) -> None:
    """The same elements; the old shape."""
    for i in range(x.size):
        y.flat[i] = x.flat[i]
    for d in range(min(old.shape[0], len(x.shape))):
        old[d] = x.shape[d]


_moves(
    "Reshape",
    reference=_view,
    loop=_reshape,
    constants=lambda call: (),
    traits=lookup("Reshape").traits,
    shape_inputs=lookup("Reshape").shape_inputs,
)
_moves("Flatten", reference=_view, traits=lookup("Flatten").traits)

RANK = 6
"""Most dimensions of a strided copy."""


def _copy_strided(
    x: np.ndarray,
    y: np.ndarray,
    start: int,
    d0: int,
    d1: int,
    d2: int,
    d3: int,
    d4: int,
    d5: int,
    s0: int,
    s1: int,
    s2: int,
    s3: int,
    s4: int,
    s5: int,
) -> None:
    """y = the elements of x from ``start`` on, at steps s0 ... s5 in dimensions of d0 ... d5 elements."""
    k = 0
    for a in range(d0):
        for b in range(d1):
            for c in range(d2):
                for d in range(d3):
                    for e in range(d4):
                        at = start + a * s0 + b * s1 + c * s2 + d * s3 + e * s4
                        for f in range(d5):
                            y.flat[k + f] = x.flat[at + f * s5]
                        k += d5


def _geometry(call: Call, start: int, dims: Sequence[int], strides: Sequence[int]) -> Sequence[int]:
    if len(dims) > RANK:
        call.fail(f"the input has {len(dims)} dimensions, at most {RANK} are supported", "merge some of them")
    rest = RANK - len(dims)
    return (start, *(1,) * rest, *dims, *(0,) * rest, *strides)


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def _transposed(call: Call) -> Sequence[int]:
    shape = call.type(0).static_shape
    axes = tuple(call.arg("axes")) or tuple(range(len(shape)))[::-1]
    strides = _strides(shape)
    return _geometry(call, 0, [shape[a] for a in axes], [strides[a] for a in axes])


_moves("Transpose", loop=_copy_strided, constants=_transposed)


def _shuffled(call: Call) -> Sequence[int]:
    """Channels (group, depth) become (depth, group); they are the last dimension, or the second in order NCHW."""
    shape, group = call.type(0).static_shape, call.arg("group")
    axis = len(shape) - 1 if call.arg("order") == "NHWC" else 1
    before, depth, after = math.prod(shape[:axis]), shape[axis] // group, math.prod(shape[axis + 1 :])
    dims, strides = [before, depth, group, after], [shape[axis] * after, after, depth * after, 1]
    return _geometry(call, 0, dims, strides)


_moves("ChannelShuffle", loop=_copy_strided, constants=_shuffled)

_ONE_DIM = (
    Arg("dim", "int", None, "the only dimension that is cut; with start_idx and end_idx"),
    Arg("start_idx", "int", 0, "its first element"),
    Arg("end_idx", "int", -1, "one behind its last element"),
)


def _one_dim(call: Call) -> bool:
    return all(call.given(a.name) for a in _ONE_DIM)


def _cut(call: Call) -> list[tuple[int, int]] | None:
    """(start, end) of every dimension; None where they are inputs that are not known yet."""
    shape = call.type(0).static_shape
    if _one_dim(call):
        dim = axis_of(call, call.arg("dim"), len(shape), "dim")
        starts, ends = [0] * len(shape), [-1] * len(shape)
        starts[dim], ends[dim] = call.arg("start_idx"), call.arg("end_idx")
        return slice_bounds(call, shape, starts, ends)
    if not call.has(1):
        return slice_bounds(call, shape, call.arg("starts"), call.arg("ends"))
    first, last = call.constant(1), call.constant(2)
    if first is None or last is None:
        return None
    return slice_bounds(call, shape, [int(v) for v in first.reshape(-1)], [int(v) for v in last.reshape(-1)])


def _slice_type(call: Call) -> list[TensorType]:
    x = int8_input(call, 0)
    if not _one_dim(call) or not x.is_static:
        y = lookup("Slice").infer(_AsFloat(call.node))[0]
        return [replace(y, dtype=DType.UINT8, quant=kept_quant(call))]
    cut = _cut(call) or []
    return [TensorType(DType.UINT8, tuple(high - low for low, high in cut), quant=kept_quant(call))]


def _slice(
    x: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    y: np.ndarray,
    start: int,
    d0: int,
    d1: int,
    d2: int,
    d3: int,
    d4: int,
    d5: int,
    s0: int,
    s1: int,
    s2: int,
    s3: int,
    s4: int,
    s5: int,
) -> None:
    _copy_strided(x, y, start, d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5)


def _slice_constants(call: Call) -> Sequence[int]:
    cut, strides = _cut(call), _strides(call.type(0).static_shape)
    if cut is None:
        call.fail("starts and ends are not known")
    start = sum(low * s for (low, _), s in zip(cut, strides))
    return _geometry(call, start, [high - low for low, high in cut], strides)


op(
    "Int8Slice",
    _slice_type,
    inputs="X starts? ends?",
    outputs="Y",
    args=_arguments(lookup("Slice"), *_ONE_DIM),
    loop=_slice,
    constants=_slice_constants,
    shape_inputs=(1, 2),
    doc="Slice of uint8 values; scale and zero point stay",
)

_AXIS = Arg("axis", "int", None, "the dimension to join; default: that of the channels in ``order``, or the first")
_JOIN_ORDER = Arg("order", "string", b"", "NHWC or NCHW: where the channels are")


def join_axis(call: Call, rank: int) -> int:
    """The dimension along which Int8Concat joins; NHWC is defined for 4 dimensions only."""
    order = call.arg("order")
    if order == "NHWC" and rank != 4:
        call.fail(f"the inputs have {rank} dimensions, order NHWC needs 4", "give axis instead of order")
    default = {"NHWC": 3, "NCHW": 1}.get(order, 0)
    return axis_of(call, default if call.arg("axis") is None else call.arg("axis"), rank)


def _concat_type(call: Call) -> list[TensorType]:
    """The inputs along ``axis``, all of one scale and zero point; their sizes there."""
    for i in range(call.n_inputs):
        int8_input(call, i)
    known = {call.type(i).quant for i in range(call.n_inputs) if call.type(i).quant is not None}
    if len(known) > 1:
        call.fail("the inputs have different scales or zero points", "requantise them before, for instance by Int8Sum")
    rank = next((r for r in (call.type(i).rank for i in range(call.n_inputs)) if r is not None), None)
    sizes = TensorType(DType.INT32, (call.n_inputs,))
    if rank is None:
        return [TensorType(DType.UINT8, None, quant=kept_quant(call)), sizes]
    y = lookup("Concat").infer(_Joined(call.node, join_axis(call, rank)))[0]
    return [replace(y, dtype=DType.UINT8, quant=kept_quant(call)), sizes]


class _Joined(_AsFloat):
    """The call as Concat's rule sees it, with the axis that Int8Concat's own defaults give."""

    def __init__(self, node: Any, axis: int) -> None:
        super().__init__(node)
        self.axis = axis

    def given(self, name: str) -> bool:
        """The axis alone says the dimension."""
        return name == "axis"

    def arg(self, name: str) -> Any:
        """``add_axis`` is unknown to Int8Concat."""
        return {"axis": self.axis, "add_axis": 0, "order": "NCHW"}[name]


def _concat(xs: tuple[np.ndarray, ...], y: np.ndarray, sizes: np.ndarray, rows: int, axis: int) -> None:
    first, width = 0, y.size // max(rows, 1)
    for k in range(len(xs)):
        x = xs[k]
        part = x.size // max(rows, 1)
        for i in range(rows):
            for j in range(part):
                y.flat[i * width + first + j] = x.flat[i * part + j]
        first += part
        if sizes.shape[0]:
            sizes[k] = x.shape[axis]


def _concat_constants(call: Call) -> Sequence[int]:
    shape = call.type(0).static_shape
    axis = join_axis(call, len(shape))
    return (math.prod(shape[:axis]), axis)


op(
    "Int8Concat",
    _concat_type,
    inputs="X*",
    outputs="concat_result split_info?",
    args=(_AXIS, _JOIN_ORDER, *Y_QUANT),
    loop=_concat,
    constants=_concat_constants,
    doc="Concat of uint8 values of one scale; scale and zero point stay",
)


def _resize_type(call: Call) -> list[TensorType]:
    """(N, rows * height_scale, columns * width_scale, C), rounded down in float32."""
    x, scales = int8_input(call, 0), [np.float32(call.arg(n)) for n in ("height_scale", "width_scale")]
    if not all(0 < s < np.inf for s in scales):
        call.fail(f"height_scale and width_scale are {scales[0]} and {scales[1]}, positive finite scales are needed")
    if x.shape is None:
        return [TensorType(DType.UINT8, None, quant=kept_quant(call))]
    if len(x.shape) != 4:
        call.fail(f"the input has {len(x.shape)} dimensions, the operator wants 4")
    rows, columns = (scaled_size(call, d, s) for d, s in zip(x.shape[1:3], scales))
    return [TensorType(DType.UINT8, (x.shape[0], rows, columns, x.shape[3]), quant=kept_quant(call))]


def _resize(x: np.ndarray, y: np.ndarray, height_scale: float, width_scale: float) -> None:
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            row = min(int(np.float32(i) / np.float32(height_scale)), x.shape[1] - 1)
            for j in range(y.shape[2]):
                column = min(int(np.float32(j) / np.float32(width_scale)), x.shape[2] - 1)
                for c in range(y.shape[3]):
                    y[n, i, j, c] = x[n, row, column, c]


op(
    "Int8ResizeNearest",
    _resize_type,
    inputs="X",
    outputs="Y",
    args=(
        Arg("height_scale", "float", 1.0, "rows of the output over those of the input"),
        Arg("width_scale", "float", 1.0, "columns of the output over those of the input"),
        Arg("output_size", "ints", (), "not read"),
        ORDER_NHWC,
        *Y_QUANT,
    ),
    loop=_resize,
    constants=lambda call: (call.arg("height_scale"), call.arg("width_scale")),
    doc="ResizeNearest of uint8 NHWC; scale and zero point stay",
)
