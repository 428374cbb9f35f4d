"""The end of graphc's int8 products: exact sums to results, each operation rounded to float32 by itself.

``ir/ops/quantized/native.py`` states what is computed; the bias has what zero points add to the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.backends.int8_call import WIDEST, Int8Product
from graphc.backends.lines import Lines
from graphc.backends.rules import float_bits
from graphc.ir.opdef import Call
from graphc.ir.ops.quantized.int8 import quant_of
from graphc.ir.ops.quantized.native import FARTHEST, RESIDUAL, is_float_result, multipliers, residual_ratio
from graphc.ir.schedule import KernelSpec, Param, View

NAMES = ("y", "bias", "scales", "zero", "low", "high", "other", "other_zero", "ratio")
"""bias: int32, scales: float32, of every map. low: the least result; for float32 the bits of its float64. other: R;
ratio: the bits of its unit in that of the result."""


@dataclass(frozen=True)
class Ending:
    """residual: R is added. to_float: results are float32."""

    residual: bool
    to_float: bool

    @staticmethod
    def of_spec(spec: KernelSpec) -> Ending:
        """That of a kernel."""
        return Ending(bool(spec.int("residual")), bool(spec.int("to_float")))

    def static(self) -> dict[str, int]:
        """The parameters of a spec."""
        return {"residual": int(self.residual), "to_float": int(self.to_float)}

    def emit(self, s: Lines, total: str, channel: str, place: str, name: str) -> None:
        """Code that sets ``name`` to the result of a sum; place: of the result, in elements."""
        s(f"{name} = times(f4(i32({total} + ld_i4(bias, {channel}))), ld_f4(scales, {channel}))")
        if self.residual:
            s(f"{name}_r = f4(ld_u1(other, {place})) - f4(other_zero)")
            s(f"{name} = plus({name}, times({name}_r, f4(double(ratio))))")
        if self.to_float:
            s(f"{name} = largest({name}, f4(double(low)))")
            return
        s(f"{name}_n = nearest(smallest(largest({name}, f4({-FARTHEST})), f4({FARTHEST})))")
        s(f"{name}_i = min(max(i32({name}_n) + zero, low), high)")

    def store(self, s: Lines, names: Sequence[str], place: str) -> None:
        """Code that stores one or two neighbouring results; two of them at a multiple of their size."""
        if self.to_float:
            s(f"st{'2' if len(names) > 1 else ''}_f4(y, {place}, {', '.join(names)})")
        elif len(names) > 1:
            s(f"st_u2(y + {place}, 0, {names[0]}_i + {names[1]}_i * 256)")
        else:
            s(f"st_u1(y, {place}, {names[0]}_i)")


def ending_of(call: Call) -> Ending:
    """That of a call."""
    return Ending(call.has(RESIDUAL), is_float_result(call))


def constants(call: Call, p: Int8Product) -> tuple[np.ndarray, dict[int, np.ndarray]] | None:
    """Weights (M, taps, C / group), and by operand the bias and the scales as kernels read them.

    None where they are not at hand, sums could leave 32 bits, or a scale is not finite.
    """
    weights, bias, scales = (call.constant(i) for i in (1, 2, 3))
    if weights is None or bias is None or scales is None:
        return None
    weights, bias, factors = weights.reshape(p.maps, *p.kernel, p.depth), bias.reshape(-1), multipliers(call, scales)
    if p.most(weights, bias) > WIDEST or not np.isfinite(factors).all():
        return None
    folded = (p.without_zero_point(weights, bias) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return weights.reshape(p.maps, -1, p.depth), {2: folded, 3: factors}


def params(call: Call, p: Int8Product, ins: Sequence[View | None], out: View) -> list[Param]:
    """The values of ``NAMES``."""
    rest = ins[RESIDUAL] if call.has(RESIDUAL) else None
    low = float_bits(0.0 if call.arg("relu") else -np.inf) if is_float_result(call) else p.low
    added = (
        (quant_of(call, RESIDUAL).zero_point, float_bits(float(residual_ratio(call)))) if rest is not None else (0, 0)
    )
    bias, scales = ins[2], ins[3]
    assert bias is not None
    assert scales is not None
    places: list[Param] = [out.address, bias.address, scales.address, p.zero, low, call.arg("high")]
    return [*places, rest.address if rest is not None else 0, *added]
