"""Max and average pooling of blocked images: a thread has the eight channels of a pixel that a block has."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.conv_call import in_two
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.pool import COUNT, LOWEST, NAMES, OPS, emit_window, kind_of
from graphc.backends.cuda.kernels.typed import blocks_of, code_of
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_floating, require_reach
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Static, Step, Task, View


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``pool_blocked{kind, x, y}``; parameters: ``NAMES``, channels being blocks of them. x, y: codes."""
    s, kind = Lines(), str(spec["kind"])
    with s.block(f"def {spec.name}({', '.join(NAMES)}):"):
        s(f"i = i64(block()) * {spec['threads']} + thread()")
        with s.block("if i < total:"):
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


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    x, y, w = call.type(0), call.node.results[0].type, in_two(window(call))
    if not is_floating(call) or w is None or w.order != "NCHW" or not x.layout.block == y.layout.block == BLOCK:
        return None
    static: dict[str, Static] = {"kind": kind_of(call), "x": code_of(x), "y": code_of(y), "threads": THREADS}
    return Choice("pool_blocked", KernelSpec.make("pool_blocked", **static), cost=float(x.nbytes))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y, w = ins[0], outs[0], in_two(window(call))
    assert choice.spec is not None
    assert x is not None
    assert w is not None
    require_reach(x, y)
    (n, c, oh, ow), image = y.type.static_shape, x.type.static_shape[2:]
    blocks = blocks_of(c, BLOCK)
    total = n * blocks * oh * ow
    sizes = (blocks, *image, oh, ow, *w.heads, *w.kernel, *w.stride)
    params: tuple[Param, ...] = (total, x.address, *image_strides(x), y.address, *image_strides(y), *sizes)
    flops, traffic = y.type.size * w.kernel[0] * w.kernel[1], x.type.nbytes + y.type.nbytes
    return [(Task(choice.spec, params, blocks_for(total), call.node.results[0].name, flops, traffic),)]


RULES = (Rule("pool_blocked", OPS, _choose, lambda call, choice, target: Needs(), _bind, half=True),)
TEMPLATES = (Template("pool_blocked", emit),)
