"""Operators of the engine DNNLOWP with scales that are known: conversion from float, sums of two, means over windows.

They compute in float32 with fused multiplications and additions, as the engine's vectors do, so that their kernels are
for targets that have these; the record's loop serves the others. What fills no vector of the engine's, up to 7 elements
at the end of a sum, is rounded after every operation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.kernels.int8_pointwise import FAR, UNIT, element_kernel, load_words, store_words
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import is_quantised
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.ir.opdef import Call
from graphc.ir.ops.quantized._dnnlowp import static_quant
from graphc.ir.ops.quantized.int8 import quant_of
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View
from graphc.ir.types import OPEN_QUANT, DType, Quant

ENGINE = "_ENGINE_DNNLOWP"
QUANTIZE = tuple(name + ENGINE for name in ("Quantize", "Int8Quantize"))
SUMS = tuple(name + ENGINE for name in ("Sum", "SumRelu", "Int8Sum", "Int8SumRelu", "Add", "Int8Add"))
VECTOR = 8
"""Elements of the engine's vectors."""
WIDEST = 1e30
"""Greater scales could leave float32."""


def _reals(names: Sequence[str], first: int) -> list[str]:
    """Vectors of the float32 numbers whose bits are the parameters from ``first`` on."""
    return [f"{name}_v = vsplat(lds(p + {8 * (first + i)}, 0))" for i, name in enumerate(names)]


def emit_quantize(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``dnnlowp_quantize``: float times the inverse of a unit plus the zero point, rounded, clamped."""

    def body(s: Lines, more: str) -> None:
        s(f"q = vfma({f'vloadm(x, i, {more})' if more else 'vload(x, i)'}, inverse_v, zero_v)")
        s(f"q = wround(vmin(vmax(q, vsplat(-{FAR})), vsplat({FAR})))")
        store_words(s, "wmin(wmax(q, wsplat(nothing)), wsplat(255))", more)

    return element_kernel(spec, ("x", "y", "inverse", "zero", "nothing"), _reals(("inverse", "zero"), 4), body)


SUM = ("a_scale", "a_offset", "b_scale", "b_offset", "inverse", "zero", "low", "scale")
"""Numbers of a sum in float32; behind them the zero points of both inputs as words."""


def emit_sum(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``dnnlowp_sum``: both inputs' real values, added, in units of the result."""

    def body(s: Lines, more: str) -> None:
        if not more:
            _fused(s, "")
            return
        s(f"whole = min(max(n // {VECTOR} * {VECTOR} - i, 0), more)")
        with s.block("if whole > 0:"):
            _fused(s, "whole")
        with s.block("if more > whole:"):
            s("i += whole")
            s("more -= whole")
            _apart(s)

    setup = [*_reals(SUM, 5), "a_zero_w = wsplat(a_zero)", "b_zero_w = wsplat(b_zero)"]
    return element_kernel(spec, ("a", "b", "y", *SUM, "a_zero", "b_zero"), setup, body)


def _fused(s: Lines, more: str) -> None:
    for v in "ab":
        s(f"{v}_r = vfma(wfloat({load_words(v, more)}), {v}_scale_v, {v}_offset_v)")
    s("t = vfma(vadd(a_r, b_r), inverse_v, zero_v)")
    store_words(s, "wround(vmin(vmax(t, low_v), vsplat(f4(255.0))))", more)


def _apart(s: Lines) -> None:
    for v in "ab":
        s(f"{v}_r = vmul(wfloat(wsub({load_words(v, 'more')}, {v}_zero_w)), {v}_scale_v)")
    s("t = vadd(zero_v, vdiv(vadd(a_r, b_r), scale_v))")
    store_words(s, "wround(vmin(vmax(t, low_v), vsplat(f4(255.0))))", "more")


def _quant_of_result(call: Call) -> Quant | None:
    """Scale and zero point of a result in bytes, None where data decides or they are too large."""
    quant = call.node.results[0].type.quant
    fits = quant not in (None, OPEN_QUANT) and call.node.results[0].type.dtype is DType.UINT8
    return quant if fits and quant is not None and quant.scale < WIDEST else None


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    if not target.fma or _quant_of_result(call) is None:
        return None
    if call.node.op in QUANTIZE:
        if call.n_inputs != 1 or static_quant(call) is None or call.type(0).layout.block > 1:
            return None
        return Choice("int8_dnnlowp", KernelSpec.make("dnnlowp_quantize", step=target.lanes), cost=_cost(call))
    if call.n_inputs != 2 or not is_quantised(call, 0, 1) or call.type(0).shape != call.type(1).shape:
        return None
    if max(quant_of(call, i).scale for i in range(2)) >= WIDEST:
        return None
    return Choice("int8_dnnlowp", KernelSpec.make("dnnlowp_sum", step=target.lanes), cost=_cost(call))


def _cost(call: Call) -> float:
    return 200.0 + 0.2 * sum(call.type(i).nbytes for i in range(call.n_inputs))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    n, quant = outs[0].type.size, _quant_of_result(call)
    assert quant is not None
    unit = min(UNIT, max(64, -(-n // 16 // 64) * 64))
    numbers = _sum_numbers(call, quant) if choice.spec.template == "dnnlowp_sum" else _quantize_numbers(quant)
    params: tuple[Param, ...] = (n, unit, *(v.address for v in (*ins, outs[0]) if v is not None), *numbers)
    nbytes = outs[0].type.nbytes + sum(call.type(i).nbytes for i in range(call.n_inputs))
    return [(Task(choice.spec, params, -(-n // unit), call.node.results[0].name, 2 * n, nbytes),)] if n else []


def _bits(*values: float | np.float32) -> tuple[int, ...]:
    return tuple(int(np.float32(v).view(np.uint32)) for v in values)


def _quantize_numbers(quant: Quant) -> tuple[int, ...]:
    return (*_bits(np.float32(1) / np.float32(quant.scale), quant.zero_point), 0)


def _sum_numbers(call: Call, quant: Quant) -> tuple[int, ...]:
    """Values of ``SUM`` and the zero points."""
    ins, numbers = [quant_of(call, i) for i in range(2)], []
    for own in ins:
        scale = np.float32(own.scale)
        numbers += [scale, np.float32(-own.zero_point) * scale]
    low = quant.zero_point if "SumRelu" in call.node.op else 0
    rest = (np.float32(1.0 / quant.scale), quant.zero_point, low, quant.scale)
    return (*_bits(*numbers, *rest), *(own.zero_point for own in ins))


RULES = (Rule("int8_dnnlowp", (*QUANTIZE, *SUMS), _choose, all_dense, _bind),)
TEMPLATES = (Template("dnnlowp_quantize", emit_quantize), Template("dnnlowp_sum", emit_sum))
