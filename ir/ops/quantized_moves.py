"""Int8 operators that move values unchanged: each has the rule of the float operator and keeps scale and zero point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphc.ir.opdef import Arg, Call, OpDef, lookup, op
from graphc.ir.ops.quantized import (
    ORDER_NHWC,
    Y_QUANT,
    int8_type,
    kept_quant,
    real_values,
    requantise,
    result_quant,
)
from graphc.ir.ops.roi import roi_align
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


def _moves(float_name: str, *own: Arg) -> None:
    """Declare ``Int8<float_name>`` with the inference and the reference of the float operator."""
    base = lookup(float_name)

    def infer(call: Call) -> list[TensorType]:
        _check_scales(call)
        first, *rest = base.infer(_AsFloat(call.node))
        return [replace(first, dtype=DType.UINT8, quant=kept_quant(call)), *rest]

    def reference(call: Call, *inputs: np.ndarray) -> Sequence[np.ndarray]:
        assert base.reference is not None
        return base.reference(_AsFloat(call.node), *inputs)

    op(
        f"Int8{float_name}",
        infer,
        inputs=_ports(base, "inputs"),
        outputs=_ports(base, "outputs"),
        args=_arguments(base, *own),
        reference=reference,
        doc=f"{float_name} of uint8 values; scale and zero point stay",
    )


def _ports(base: OpDef, kind: str) -> str:
    ports = base.inputs if kind == "inputs" else base.outputs
    return " ".join(p.name + "?" * p.optional + "*" * p.variadic for p in ports)


def _check_scales(call: Call) -> None:
    """All quantised inputs have one scale and zero point."""
    known = {call.type(i).quant for i in range(call.n_inputs) if call.type(i).quant is not None}
    if len(known) > 1:
        call.fail("the inputs have different scales or zero points", "requantise them before, for instance by Int8Sum")


_moves("Concat", Arg("axis", "int", 3, "the dimension to join, channels by default"))
_moves("Reshape")
_moves("Flatten")
_moves("Slice")
_moves("Transpose")
_moves("ChannelShuffle")
_moves("ResizeNearest")


def _align_type(call: Call) -> list[TensorType]:
    return [int8_type(call, lookup("RoIAlign").infer(_AsFloat(call.node))[0].shape)]


def _align(call: Call, x: np.ndarray, rois: np.ndarray) -> list[np.ndarray]:
    quant = result_quant(call)
    y = roi_align(call, real_values(call, 0, x).transpose(0, 3, 1, 2), rois)
    return [requantise(y.transpose(0, 2, 3, 1) / np.float32(quant.scale), quant)]


op(
    "Int8RoIAlign",
    _align_type,
    inputs="X RoIs",
    outputs="Y",
    args=_arguments(lookup("RoIAlign")),
    reference=_align,
    doc="RoIAlign of uint8 NHWC features",
)
