"""Convolution of groups of one channel (depthwise, with any multiplier): a result a thread.

Each input is used as often as the window has elements, and neighbours in a warp read neighbours: the caches serve it.
How a thread finds its pixel and its window, and what a task is given, is the same for blocks of channels
(``conv_depthwise_blocked.py``): there a plane is a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from graphc.backends.conv_call import ConvCall
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

OWN = ("maps", "multiplier")


def parameters(spec: KernelSpec, own: Sequence[str]) -> list[str]:
    """Those of a kernel whose planes are counted by two numbers of its ``own``."""
    places = ("total", "x", "xn", "xc", "xr", "xp", "weights", "y", "yn", "yc", "yr", "yp")
    sizes = ("oh", "ow", "h", "w", "sh", "sw", "dh", "dw", "pt", "pl")
    bias = ["bias"] if spec.int("bias") else []
    return [*places, *own, *sizes, *bias, *Epilogue.of_spec(spec).arguments()]


def emit_pixel(s: Lines, plane: str, planes: str) -> None:
    """The result ``i`` in image, plane, row and column, and where its window begins."""
    s("ox, q = rest(i, ow), quot(i, ow)")
    s("oy, q = rest(q, oh), quot(q, oh)")
    s(f"{plane}, n = rest(q, {planes}), quot(q, {planes})")
    s("row, column = oy * sh - pt, ox * sw - pl")


def emit_taps(s: Lines, spec: KernelSpec) -> Iterator[int]:
    """For each tap of the window its number: what is written meanwhile runs where its row and column are inside."""
    kh, kw = spec.int("kh"), spec.int("kw")
    for a in range(kh):
        s(f"r = row + {a} * dh")
        for b in range(kw):
            s(f"q = column + {b} * dw")
            with s.block("if (r >= 0) & (r < h) & (q >= 0) & (q < w):"):
                yield a * kw + b


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``conv_depthwise``; parameters: ``parameters`` with ``OWN``."""
    s, epilogue, taps = Lines(), Epilogue.of_spec(spec), spec.int("kh") * spec.int("kw")
    with each_thread(s, spec, parameters(spec, OWN)):
        emit_pixel(s, "m", "maps")
        s("from_ = n * xn + quot(m, multiplier) * xc")
        s("value = " + ("ld_f4(bias, m)" if spec.int("bias") else "f4(0.0)"))
        for tap in emit_taps(s, spec):
            s(f"value = fma(ld_f4(x, from_ + r * xr + q * xp), ld_f4(weights, m * {taps} + {tap}), value)")
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


def needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    """Dense weights, bias and operands of the epilogue that have to be."""
    return Needs(dense=Epilogue.of_call(call).dense_operands(call) | {1, 2})


def task(call: Call, choice: Choice, ins: Sequence[View | None], y: View, planes: int, own: tuple[int, int]) -> Task:
    """The task of a kernel that has a thread for each pixel of all ``planes`` of the result."""
    (x, weights), w = ins[:2], window(call)
    assert choice.spec is not None
    assert x is not None
    assert weights is not None
    require_reach(x, y)
    image, result = ((1, *v.type.static_shape[2:])[-2:] for v in (x, y))
    moves = (*(1, *w.stride)[-2:], *(1, *w.dilation)[-2:], *(0, *w.heads)[-2:])
    bias = [v.address for v in ins[2:3] if v is not None and choice.spec.int("bias")]
    places: tuple[Param, ...] = (x.address, *image_strides(x), weights.address, y.address, *image_strides(y))
    total = y.type.static_shape[0] * planes * prod(result)
    params = (total, *places, *own, *result, *image, *moves, *bias, *Epilogue.of_spec(choice.spec).params(call, ins))
    flops, traffic = 2 * y.type.size * prod(w.kernel), sum(v.type.nbytes for v in (x, weights, y))
    return Task(choice.spec, params, blocks_for(total), call.node.results[0].name, flops, traffic)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    maps, channels = outs[0].type.static_shape[1], call.type(0).static_shape[1]
    return [(task(call, choice, ins, outs[0], maps, (maps, maps // channels)),)]


RULES = (Rule("conv_depthwise", ("Conv", "Conv1D", "Conv2D"), _choose, needs, _bind),)
TEMPLATES = (Template("conv_depthwise", emit),)
