"""Maximum and mean over windows of uint8 NHWC: channels are lanes.

The maximum takes pixels beyond the image from its edge, the mean counts them as zero, or does not count them in the
engine DNNLOWP, as the operators' records say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.rules import Rule, Template, float_bits
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import is_quantised
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.ops.quantized.dnnlowp_pool import geometry
from graphc.ir.ops.quantized.int8 import quant_of
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View
from graphc.ir.types import OPEN_QUANT, DType

PARAMS = (
    *("x", "y", "height", "width", "channels", "rows", "columns", "nothing"),
    *("kh", "kw", "sh", "sw", "dh", "dw", "top", "left"),
)
"""Parameters of both kernels; behind them the other numbers that the record's loop has. nothing: 0."""
UNROLLED = 9
"""Windows of so many pixels have a kernel of their own."""


def emit_max(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_max_pool{kh, kw}``; a unit is a row of the result. kh, kw: 0 for windows of any size."""
    s, whole, lanes = Lines(), 4 * target.lanes, target.lanes
    kh, kw = spec.int("kh"), spec.int("kw")
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s, (*PARAMS, "low"))
        s("low_b = bsplat(low)")
        with s.block("for u in range(lo, hi):"):
            s("n = u // rows")
            s("i0 = u % rows * sh - top")
            for a in range(kh):
                s(f"x{a} = x + (n * height + min(max(i0 + {a} * dh, 0), height - 1)) * width * channels")
            with s.block("for column in range(columns):"):
                s("j0 = column * sw - left")
                for b in range(kw):
                    s(f"at{b} = min(max(j0 + {b} * dw, 0), width - 1) * channels")
                s("to = (u * columns + column) * channels")
                s("c = 0")
                with s.block(f"while c + {whole} <= channels:"):
                    _largest(s, kh, kw, "low_b", "bmax(best, bload({}, {} + c))")
                    s("bstore(y, to + c, best)")
                    s(f"c += {whole}")
                with s.block("while c < channels:"):
                    _largest(s, kh, kw, "wsplat(low)", "wmax(best, wload_u1m({}, {} + c, channels - c))")
                    s("wstore_u1m(y, to + c, channels - c, best)")
                    s(f"c += {lanes}")
    return s.text()


def _head(s: Lines, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        s(f"{name} = ld(p, {i})")


def _largest(s: Lines, kh: int, kw: int, start: str, next_best: str) -> None:
    """next_best: with places for the address of a row of the image, and for the pixel's offset in it."""
    s(f"best = {start}")
    for a in range(kh):
        for b in range(kw):
            s(f"best = {next_best.format(f'x{a}', f'at{b}')}")
    if kh:
        return
    with s.block("for a in range(kh):"):
        s("i = min(max(i0 + a * dh, 0), height - 1)")
        with s.block("for b in range(kw):"):
            s("j = min(max(j0 + b * dw, 0), width - 1)")
            s("at = ((n * height + i) * width + j) * channels")
            s(f"best = {next_best.format('x', 'at')}")


def emit_mean(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_mean_pool{inside}``; a unit is a row of the result. inside: only pixels of the image count."""
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s, (*PARAMS, "x_zero", "unit", "zero", "low"))
        s(f"unit = ld_f8(p, {len(PARAMS) + 1})")
        s("high_w = wsplat(255)")
        with s.block("for u in range(lo, hi):"):
            s("n = u // rows")
            s("i0 = u % rows * sh - top")
            with s.block("for column in range(columns):"):
                s("j0 = column * sw - left")
                s("to = (u * columns + column) * channels")
                with s.block(f"for c in range(0, channels, {lanes}):"):
                    _mean(s, lanes, bool(spec.int("inside")))
    return s.text()


def _mean(s: Lines, lanes: int, inside: bool) -> None:
    s("total = wsplat(nothing)")
    s("count = 0")
    s("more = channels - c")
    with s.block("for a in range(kh):"):
        s("i = i0 + a * dh")
        with s.block("if 0 <= i < height:"), s.block("for b in range(kw):"):
            s("j = j0 + b * dw")
            with s.block("if 0 <= j < width:"):
                s("at = ((n * height + i) * width + j) * channels + c")
                with s.block(f"if more >= {lanes}:"):
                    s("total = wadd(total, wload_u1(x, at))")
                with s.block("else:"):
                    s("total = wadd(total, wload_u1m(x, at, more))")
                s("count += 1")
    s("total = wsub(total, wsplat(count * x_zero))")
    if inside:
        s("share = vsplat(f4(unit) / f4(max(count, 1)))")
        s("mean = wround(vadd(vmul(wfloat(total), share), vsplat(f4(zero))))")
    else:
        s("mean = wadd(wmean(total, unit), wsplat(zero))")
    s("wstore_u1m(y, to + c, more, wmin(wmax(mean, wsplat(low)), high_w))")


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    if not is_quantised(call, 0) or not call.type(0).size or (call.node.op in ENGINE and not _has_scale(call)):
        return None
    taps = math.prod(window(call).kernel)
    if taps >= 1 << 22:
        return None  # a sum could leave 32 bits
    cost = 500.0 + call.node.results[0].type.size * (1.0 + taps / target.lanes)
    if not call.node.op.startswith("Int8Max"):
        inside = int(call.node.op in ENGINE)
        return Choice("int8_pool", KernelSpec.make("int8_mean_pool", inside=inside), cost=cost / 4)
    is_fixed = taps <= UNROLLED and not call.arg("global_pooling")
    kh, kw = window(call).kernel if is_fixed else (0, 0)
    return Choice("int8_pool", KernelSpec.make("int8_max_pool", kh=kh, kw=kw), cost=cost / 4)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, y = ins[0], outs[0]
    assert choice.spec is not None
    assert x is not None
    n, rows, columns, _ = y.type.static_shape
    given = _engine_numbers(call) if call.node.op in ENGINE else call.opdef.loop_arguments(call)
    numbers = (float_bits(v) if isinstance(v, float) else int(v) for v in given)
    params: tuple[Param, ...] = (x.address, y.address, *x.type.static_shape[1:], rows, columns, 0, *numbers)
    flops = y.type.size * math.prod(window(call).kernel)
    return [(Task(choice.spec, params, n * rows, call.node.results[0].name, flops, x.type.nbytes + y.type.nbytes),)]


ENGINE = ("AveragePool_ENGINE_DNNLOWP", "Int8AveragePool_ENGINE_DNNLOWP")


def _has_scale(call: Call) -> bool:
    """The engine's mean of an image in this order, in bytes whose scale the arguments give and float32 can hold."""
    y = call.node.results[0].type
    if call.type(0).rank != RANK or call.arg("order") != "NHWC" or y.dtype is not DType.UINT8:
        return False
    return y.quant not in (None, OPEN_QUANT) and 0 < _ratio(call) < LARGEST


RANK = 4
LARGEST = 1e4
"""Greater units would leave the range of words: every mean but the zero point is clamped."""


def _ratio(call: Call) -> float:
    """Units of the result per unit of X."""
    quant = call.node.results[0].type.quant
    assert quant is not None
    with np.errstate(all="ignore"):
        return float(np.float32(quant_of(call, 0).scale) / np.float32(quant.scale))


def _engine_numbers(call: Call) -> tuple[float, ...]:
    """What the record's loop of Int8AveragePool has, from the engine's arguments, which it checks."""
    geometry(call)
    win, quant = window(call), call.node.results[0].type.quant
    assert quant is not None
    sizes = (*win.kernel, *win.stride, *win.dilation, *win.heads)
    return (*sizes, quant_of(call, 0).zero_point, _ratio(call), quant.zero_point, 0)


OPS = ("Int8MaxPool", "Int8MaxPoolRelu", "Int8AveragePool", "Int8AveragePoolRelu")
RULES = (Rule("int8_pool", (*OPS, *ENGINE), _choose, all_dense, _bind),)
TEMPLATES = (Template("int8_max_pool", emit_max), Template("int8_mean_pool", emit_mean))
