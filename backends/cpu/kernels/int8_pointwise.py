"""Int8 operators element by element: sums, Relu, conversions from and to float, functions by a table of 256 results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import WIDEST_SHIFT, is_quantised
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.ir.opdef import Call
from graphc.ir.ops.quantized.int8 import quant_of, result_quant
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View
from graphc.ir.types import DType

UNIT = 1 << 14
"""Elements of a unit at most; a multiple of every target's vectors."""
SUMS = ("Int8Sum", "Int8SumRelu", "Int8Add", "Int8AddRelu")
TABLES = ("Int8LeakyRelu", "Int8Sigmoid")
FAR = "f4(1000.0)"
"""A quotient this far from zero ends up clamped, whatever the zero point; NaN counts as the least."""


def element_kernel(
    spec: KernelSpec, names: Sequence[str], setup: Sequence[str], body: Callable[[Lines, str], None]
) -> str:
    """Source of a kernel over elements; parameters: n, elements of a unit, ``names``. body(s, more): at element ``i``,
    ``more`` being the name of the number of elements left, or empty where a whole vector is."""
    s = Lines()
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(("n", "unit", *names)):
            s(f"{name} = ld(p, {i})")
        for line in setup:
            s(line)
        with s.block("for u in range(lo, hi):"):
            s("last = min(n, u * unit + unit)")
            s("i = u * unit")
            with s.block(f"while i + {spec.int('step')} <= last:"):
                body(s, "")
                s(f"i += {spec.int('step')}")
            with s.block("if i < last:"):
                s("more = last - i")
                body(s, "more")
    return s.text()


def load_words(x: str, more: str) -> str:
    """The elements of bytes at ``i`` as words."""
    return f"wload_u1m({x}, i, {more})" if more else f"wload_u1({x}, i)"


def store_words(s: Lines, value: str, more: str) -> None:
    """Words to the bytes of ``y`` at ``i``."""
    s(f"wstore_u1m(y, i, {more}, {value})" if more else f"wstore_u1(y, i, {value})")


def emit_sum(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_sum``: a times its units plus b times its units plus a start, shifted, clamped."""

    def body(s: Lines, more: str) -> None:
        s(f"t = wadd(wmul({load_words('a', more)}, a_w), wadd(wmul({load_words('b', more)}, b_w), start_w))")
        store_words(s, "wmin(wmax(wadd(wshift(t, bits_w), zero_w), low_w), wsplat(255))", more)

    names = ("a", "b", "y", "a_units", "b_units", "start", "bits", "zero", "low")
    splats = {
        "a_w": "a_units",
        "b_w": "b_units",
        "start_w": "start",
        "bits_w": "bits",
        "zero_w": "zero",
        "low_w": "low",
    }
    return element_kernel(spec, names, [f"{v} = wsplat({n})" for v, n in splats.items()], body)


def emit_relu(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_relu``: the greater of an element and ``low``."""

    def body(s: Lines, more: str) -> None:
        if more:
            with s.block("for j in range(i, last):"):
                s("st_u1(y, j, max(int(ld_u1(x, j)), low))")
        else:
            s("bstore(y, i, bmax(bload(x, i), bsplat(low)))")

    return element_kernel(spec, ("x", "y", "low"), (), body)


def emit_quantize(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_quantize``: float by a unit, the nearest integer (the even of two), zero point, clamp."""

    def body(s: Lines, more: str) -> None:
        s(f"q = vdiv({f'vloadm(x, i, {more})' if more else 'vload(x, i)'}, unit_v)")
        s(f"q = wround(vmin(vmax(q, vsplat(-{FAR})), vsplat({FAR})))")
        store_words(s, "wmin(wmax(wadd(q, zero_w), wsplat(nothing)), wsplat(255))", more)

    setup = ("unit_v = vsplat(lds(p + 32, 0))", "zero_w = wsplat(zero)")
    return element_kernel(spec, ("x", "y", "scale", "zero", "nothing"), setup, body)


def emit_dequantize(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_dequantize``: an element less the zero point, as float, times a unit."""

    def body(s: Lines, more: str) -> None:
        s(f"v = vmul(wfloat(wsub({load_words('x', more)}, zero_w)), unit_v)")
        s(f"vstorem(y, i, {more}, v)" if more else "vstore(y, i, v)")

    setup = ("unit_v = vsplat(lds(p + 32, 0))", "zero_w = wsplat(zero)")
    return element_kernel(spec, ("x", "y", "scale", "zero"), setup, body)


def emit_table(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_table``: the element of a table of bytes, which lies behind the other parameters."""

    def body(s: Lines, more: str) -> None:
        with s.block("for j in range(i, last):" if more else f"for j in range(i, i + {spec.int('step')}):"):
            s("st_u1(y, j, ld_u1(table, int(ld_u1(x, j))))")

    return element_kernel(spec, ("x", "y"), ("table = p + 32",), body)


def _make(call: Call, kind: str, step: int) -> Choice:
    cost = 200.0 + 0.2 * sum(call.type(i).nbytes for i in range(call.n_inputs))
    return Choice("int8_pointwise", KernelSpec.make(f"int8_{kind}", step=step), cost=cost)


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    op, x = call.node.op, call.type(0)
    if op == "Int8Quantize":
        return _make(call, "quantize", target.lanes) if x.dtype is DType.FLOAT and x.layout.block == 1 else None
    if not is_quantised(call, *range(call.n_inputs)):
        return None
    if op == "Int8Relu":
        return _make(call, "relu", 4 * target.lanes)
    if op in TABLES:
        return _make(call, "table", target.lanes)
    return _make(call, "dequantize" if op == "Int8Dequantize" else "sum", target.lanes)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    addresses = [v.address for v in (*ins, outs[0]) if v is not None]
    n = outs[0].type.size
    unit = min(UNIT, max(64, -(-n // 16 // 64) * 64))
    params: tuple[Param, ...] = (n, unit, *addresses, *_numbers(call, choice.spec.template))
    nbytes = outs[0].type.nbytes + sum(call.type(i).nbytes for i in range(call.n_inputs))
    return [(Task(choice.spec, params, -(-n // unit), call.node.results[0].name, 2 * n, nbytes),)] if n else []


def _numbers(call: Call, template: str) -> tuple[int, ...]:
    """The parameters behind the addresses."""
    if template == "int8_sum":
        return _sum_numbers(call)
    if template == "int8_relu":
        return (quant_of(call, 0).zero_point,)
    if template == "int8_table":
        return _table(call)
    quant = result_quant(call) if template == "int8_quantize" else quant_of(call, 0)
    return (int(np.float32(quant.scale).view(np.uint32)), quant.zero_point, 0)


def _sum_numbers(call: Call) -> tuple[int, ...]:
    """Units of both inputs, what their zero points take away, shift, zero point and least value of the result.

    A sum stays below 2**31; what a shift of more than 31 bits leaves of it is 0.
    """
    a_zero, b_zero, a_units, b_units, bits, zero, low = (int(v) for v in call.opdef.loop_arguments(call))
    if bits > WIDEST_SHIFT:
        a_units, b_units, bits = 0, 0, 0
    return a_units, b_units, -(a_zero * a_units + b_zero * b_units), bits, zero, low


def _table(call: Call) -> tuple[int, ...]:
    """The results of all 256 values by the record's own loop, as 32 int64."""
    assert call.opdef.loop is not None
    results, scratch = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    call.opdef.loop(np.arange(256, dtype=np.uint8), results, scratch, *call.opdef.loop_arguments(call))
    return tuple(int(v) for v in results.view(np.int64))


RULES = (
    Rule(
        "int8_pointwise",
        ("Int8Quantize", "Int8Dequantize", "Int8Relu", *SUMS, *TABLES),
        _choose,
        all_dense,
        _bind,
    ),
)
TEMPLATES = (
    Template("int8_sum", emit_sum),
    Template("int8_relu", emit_relu),
    Template("int8_quantize", emit_quantize),
    Template("int8_dequantize", emit_dequantize),
    Template("int8_table", emit_table),
)
