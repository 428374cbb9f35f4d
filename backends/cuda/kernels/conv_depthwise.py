"""Convolution of groups of one channel (depthwise, with any multiplier): a result a thread.

Each input is used as often as the window has elements, and neighbours in a warp read neighbours: the caches serve it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from graphc.backends.conv_call import ConvCall
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

NAMES = (
    *("total", "x", "xn", "xc", "xr", "xp", "weights", "y", "yn", "yc", "yr", "yp"),
    *("maps", "multiplier", "oh", "ow", "h", "w", "sh", "sw", "dh", "dw", "pt", "pl"),
)


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``conv_depthwise``; parameters: ``NAMES``, the bias where there is one, those of the epilogue."""
    s, epilogue = Lines(), Epilogue.of_spec(spec)
    kh, kw, bias = spec.int("kh"), spec.int("kw"), ["bias"] if spec.int("bias") else []
    with s.block(f"def {spec.name}({', '.join([*NAMES, *bias, *epilogue.arguments()])}):"):
        s(f"i = i64(block()) * {spec['threads']} + thread()")
        with s.block("if i < total:"):
            s("ox, q = rest(i, ow), quot(i, ow)")
            s("oy, q = rest(q, oh), quot(q, oh)")
            s("m, n = rest(q, maps), quot(q, maps)")
            s("row, column = oy * sh - pt, ox * sw - pl")
            s("from_ = n * xn + quot(m, multiplier) * xc")
            s("value = " + ("ld_f4(bias, m)" if bias else "f4(0.0)"))
            for a in range(kh):
                s(f"r = row + {a} * dh")
                for b in range(kw):
                    s(f"q = column + {b} * dw")
                    with s.block("if (r >= 0) & (r < h) & (q >= 0) & (q < w):"):
                        weight = f"ld_f4(weights, m * {kh * kw} + {a * kw + b})"
                        s(f"value = fma(ld_f4(x, from_ + r * xr + q * xp), {weight}, value)")
            places = [f"n * e{k}n + m * e{k}c + oy * e{k}r + ox * e{k}p" for k in epilogue.same]
            s(f"st_f4(y, n * yn + m * yc + oy * yr + ox * yp, {epilogue.apply(s, 'value', 'm', places)})")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    c = ConvCall.read(call, (3, 4), window)
    if c is None or not is_float32(call) or c.window.group == 1 or c.window.group != c.shape[1]:
        return None
    kh, kw = (1, *c.window.kernel)[-2:]
    static = {"kh": kh, "kw": kw, "bias": int(c.has_bias), "threads": THREADS}
    return Choice("conv_depthwise", KernelSpec.make("conv_depthwise", **static, **Epilogue.of_call(call).static()))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=Epilogue.of_call(call).dense_operands(call) | {1, 2})


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    (x, weights), y, w = ins[:2], outs[0], window(call)
    assert choice.spec is not None
    assert x is not None
    assert weights is not None
    require_reach(x, y)
    shape, result = x.type.static_shape, y.type.static_shape
    sizes = (result[1], result[1] // shape[1], *(1, *result[2:])[-2:], *(1, *shape[2:])[-2:])
    moves = (*(1, *w.stride)[-2:], *(1, *w.dilation)[-2:], *(0, *w.heads)[-2:])
    bias = [v.address for v in ins[2:3] if v is not None and choice.spec.int("bias")]
    places: tuple[Param, ...] = (x.address, *image_strides(x), weights.address, y.address, *image_strides(y))
    params = (y.type.size, *places, *sizes, *moves, *bias, *Epilogue.of_spec(choice.spec).params(call, ins))
    flops = 2 * y.type.size * prod(w.kernel)
    traffic = int(np.sum([v.type.nbytes for v in (x, weights, y)]))
    return [(Task(choice.spec, params, blocks_for(y.type.size), call.node.results[0].name, flops, traffic),)]


RULES = (Rule("conv_depthwise", ("Conv", "Conv1D", "Conv2D"), _choose, _needs, _bind),)
TEMPLATES = (Template("conv_depthwise", emit),)
