"""Gradients of max and average pooling in NCHW order: each window gives to its elements. A unit is a plane.

Windows are clipped to the image; where they lie inside it, they are unrolled. Where no two windows overlap an element
is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from graphc.backends.conv_call import in_two
from graphc.backends.cpu.kernels.pool import UNROLLED
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType

PARAMS = ("x", "y", "dy", "dx", "h", "w", "oh", "ow", "pt", "pl", "kh", "kw", "sh", "sw", "zero")
"""Addresses, sizes of both images, the border before the image, the window; and a number that the compiler does not
know."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``pool_gradient{kind, kh, kw, sh, sw}``; sizes are 0 where they are parameters."""
    s, taps = Lines(), (spec.int("kh"), spec.int("kw"))
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        if taps[0]:
            s(f"kh, kw, sh, sw = {taps[0]}, {taps[1]}, {spec['sh']}, {spec['sw']}")
        s(f"zeros = vbcast(p, {2 * PARAMS.index('zero')})")
        s("left = min(ow, max(0, (pl + sw - 1) // sw))")
        s("right = max(left, min(ow, (w - kw + pl) // sw + 1)) if w >= kw - pl else left")
        with s.block("for u in range(lo, hi):"):
            s("xo = u * h * w")
            with s.block(f"for i in range(0, h * w, {target.lanes}):"):
                s("vstorem(dx, xo + i, h * w - i, zeros)")
            with s.block("for i in range(oh):"):
                _row(s, spec, taps)
    return s.text()


def _row(s: Lines, spec: KernelSpec, taps: tuple[int, int]) -> None:
    s("i0 = i * sh - pt")
    s("top = max(0, i0)")
    s("bottom = min(h, i0 + kh)")
    s("inside = bottom - top == kh")
    s("first = left if inside else 0")
    s("last = right if inside else 0")
    s("yo = (u * oh + i) * ow")
    if taps[0]:
        with s.block("for j in range(first, last):"):
            s(f"at = xo + i0 * w - pl + j * {spec['sw']}")
            s("share = lds(dy, yo + j)")
            if spec["kind"] == "max":
                s("most = lds(y, yo + j)")
            else:
                s(f"share = share / f4({taps[0] * taps[1]})")
            for a, b in product(*map(range, taps)):
                _give(s, spec, f"at + {a} * w + {b}", f"v{a}_{b}")
    with s.block(f"for e in range({'first + ow - last' if taps[0] else 'ow'}):"):
        s(f"j = {'e if e < first else e - first + last' if taps[0] else 'e'}")
        s("j0 = j * sw - pl")
        s("share = lds(dy, yo + j)")
        s("begin = max(0, j0)")
        s("end = min(w, j0 + kw)")
        if spec["kind"] == "max":
            s("most = lds(y, yo + j)")
        else:
            s("count = kh * kw" if spec["kind"] == "average_pad" else "count = (bottom - top) * (end - begin)")
            s("share = share / f4(count)")
        with s.block("for a in range(top, bottom):"), s.block("for b in range(begin, end):"):
            _give(s, spec, "xo + a * w + b", "v")


def _give(s: Lines, spec: KernelSpec, at: str, name: str) -> None:
    """What a window gives to one of its elements."""
    alone = 0 < spec.int("kh") <= spec.int("sh") and spec.int("kw") <= spec.int("sw")
    value = "share"
    if spec["kind"] == "max":
        s(f"{name} = share if lds(x, {at}) == most else f4(0.0)")
        value = name
    s(f"sts(dx, {at}, {value})" if alone else f"sts(dx, {at}, lds(dx, {at}) + {value})")


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x, w = call.type(0), in_two(window(call))
    types = [call.type(i) for i in range(3)]
    if any(t.dtype is not DType.FLOAT or t.layout.block > 1 for t in types) or w is None or w.order != "NCHW":
        return None
    kind = "max" if call.node.op.startswith("Max") else "average"
    if kind == "average" and call.arg("count_include_pad"):
        kind = "average_pad"
    fixed = not call.arg("global_pooling") and w.kernel[0] * w.kernel[1] <= UNROLLED
    sizes = dict(zip(("kh", "kw", "sh", "sw"), (*w.kernel, *w.stride) if fixed else (0, 0, 0, 0)))
    taps = call.type(2).size * w.kernel[0] * w.kernel[1]
    return Choice("pool_gradient", KernelSpec.make("pool_gradient", kind=kind, **sizes), {}, 500 + x.nbytes / 20 + taps)


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    return Needs(dense=frozenset({0, 1, 2}), dense_out=True)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    w = in_two(window(call))
    assert choice.spec is not None
    assert w is not None
    (h, width), (oh, ow) = ((1, *call.type(i).static_shape[2:])[-2:] for i in (0, 2))
    n, c = call.type(0).static_shape[:2]
    params: tuple[Param, ...] = (
        *(v.address for v in (*ins[:3], outs[0]) if v is not None),
        *(h, width, oh, ow, *w.heads, *w.kernel, *w.stride, 0),
    )
    size, taps = call.type(2).size, w.kernel[0] * w.kernel[1]
    nbytes = 2 * call.type(0).nbytes + 2 * call.type(2).nbytes
    return [(Task(choice.spec, params, n * c, call.node.results[0].name, size * taps, nbytes),)]


OPERATORS = tuple(f"{kind}Pool{suffix}Gradient" for kind in ("Max", "Average") for suffix in ("", "1D", "2D"))
RULES = (Rule("pool_gradient", OPERATORS, _choose, _needs, _bind),)
TEMPLATES = (Template("pool_gradient", emit),)
