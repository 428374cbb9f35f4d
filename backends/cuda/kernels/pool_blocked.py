"""Max and average pooling of blocked images: a thread has the eight channels of a pixel that a block has.

Of averages of whole images a warp has the eight channels of a block.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.conv_call import in_two
from graphc.backends.cuda.kernels.across import WARP, across_warp
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.pool import COUNT, NAMES, bind, emit_window
from graphc.backends.cuda.kernels.typed import blocks_of, code_of
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_floating, require_reach
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.lines import LOWEST, Lines
from graphc.backends.needs import nothing
from graphc.backends.pooling import OPERATORS, kind_of
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Static, Step, Task, View

WHOLE = ("total", "x", "xn", "xc", "xr", "xp", "y", "yn", "yc", "channels", "w", "pixels")
"""channels: blocks of them; pixels: of an image."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``pool_blocked{kind, x, y}``; parameters: ``NAMES``, channels being blocks of them. x, y: codes."""
    s, kind = Lines(), str(spec["kind"])
    with each_thread(s, spec, NAMES):
        emit_window(s)
        for k in range(BLOCK):
            s(f"v{k} = {LOWEST if kind == 'max' else 'f4(0.0)'}")
        with s.block("for a in range(top, bottom):"), s.block("for b in range(left, right):"):
            s(f"e = ld8_{spec['x']}(x, from_ + a * xr + b * xp)")
            for k in range(BLOCK):
                s(f"v{k} = where(v{k} > e[{k}], v{k}, e[{k}])" if kind == "max" else f"v{k} = v{k} + e[{k}]")
        if kind != "max":
            s(f"count = f4({COUNT[kind]})")
            for k in range(BLOCK):
                s(f"v{k} = div(v{k}, count)")
        values = ", ".join(f"v{k}" for k in range(BLOCK))
        s(f"st8_{spec['y']}(y, n * yn + c * yc + oy * yr + ox * yp, {values})")
    return s.text()


def emit_whole(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``pool_whole_blocked{x, y}``; parameters: ``WHOLE``. x, y: codes of operand and result."""
    s = Lines()
    with s.block(f"def {spec.name}({', '.join(WHOLE)}):"):
        s(f"i = i64(block()) * {spec.int('threads') // WARP} + (thread() >> 5)")
        s("lane = thread() & 31")
        with s.block("if i < total:"):
            s("c, n = rest(i, channels), quot(i, channels)")
            for k in range(BLOCK):
                s(f"v{k} = f4(0.0)")
            with s.block(f"for p in range(lane, pixels, {WARP}):"):
                s(f"e = ld8_{spec['x']}(x, n * xn + c * xc + quot(p, w) * xr + rest(p, w) * xp)")
                for k in range(BLOCK):
                    s(f"v{k} = v{k} + e[{k}]")
            for k in range(BLOCK):
                across_warp(s, f"v{k}", "({} + {})")
            with s.block("if lane == 0:"):
                values = ", ".join(f"div(v{k}, f4(pixels))" for k in range(BLOCK))
                s(f"st8_{spec['y']}(y, n * yn + c * yc, {values})")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    x, y, w = call.type(0), call.node.results[0].type, in_two(window(call))
    if not is_floating(call) or w is None or w.order != "NCHW" or not x.layout.block == y.layout.block == BLOCK:
        return None
    static: dict[str, Static] = {"kind": kind_of(call), "x": code_of(x), "y": code_of(y), "threads": THREADS}
    return Choice("pool_blocked", KernelSpec.make("pool_blocked", **static), cost=float(x.nbytes))


def _is_whole(call: Call) -> bool:
    """Windows are whole images without a border."""
    w = in_two(window(call))
    return w is not None and call.type(0).static_shape[2:] == w.kernel and not any((*w.heads, *w.tails))


def _choose_whole(call: Call, target: CudaTarget) -> Choice | None:
    choice = _choose(call, target)
    if choice is None or not call.type(0).is_static or not _is_whole(call):
        return None
    x, y = call.type(0), call.node.results[0].type
    static: dict[str, Static] = {"x": code_of(x), "y": code_of(y), "threads": THREADS}
    return Choice("pool_whole_blocked", KernelSpec.make("pool_whole_blocked", **static), cost=choice.cost / 2)


def _bind_whole(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y = ins[0], outs[0]
    assert choice.spec is not None
    assert x is not None
    require_reach(x, y)
    if not _is_whole(call):
        return bind(call, _choose(call, target) or choice, ins, outs, workspace, target)
    n, c, h, w = x.type.static_shape
    blocks, traffic = blocks_of(c, BLOCK), x.type.nbytes + y.type.nbytes
    places: tuple[Param, ...] = (x.address, *image_strides(x), y.address, *y.strides[:2])
    params = (n * blocks, *places, blocks, w, h * w)
    units = blocks_for(n * blocks * WARP)
    return [(Task(choice.spec, params, units, call.node.results[0].name, x.type.size, traffic),)]


RULES = (
    Rule("pool_blocked", OPERATORS, _choose, nothing, bind, half=True),
    Rule(
        "pool_whole_blocked",
        OPERATORS[1::2],
        _choose_whole,
        nothing,
        _bind_whole,
        half=True,
    ),
)
TEMPLATES = (Template("pool_blocked", emit), Template("pool_whole_blocked", emit_whole))
