"""Max and average pooling. Windows are clipped to the image; where they lie inside it, they are unrolled.

Channels are lanes wherever they are contiguous: in blocked values, whose result may be plain (global pooling), and in
NHWC order. Plain NCHW goes one element at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.conv_call import in_two
from graphc.backends.cpu.kernels.half_types import Types, suffix
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import LOWEST, Lines
from graphc.backends.pooling import OPERATORS, image_of, kind_of
from graphc.ir.opdef import Call
from graphc.ir.ops._window import Window, window
from graphc.ir.precision import reads_float
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

UNROLLED = 25
"""Taps of the largest window that is unrolled."""
NAMES = (
    *("x", "xn", "xb", "xr", "xp", "y", "yn", "yb", "yr", "yp", "channels", "blocks", "groups", "group"),
    *("h", "w", "oh", "ow", "pt", "pl", "kh", "kw", "sh", "sw", "yc"),
)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of a pooling kernel; parameters: ``NAMES``. A unit is a group of result rows of a channel block."""
    s = Lines()
    taps = (spec.int("kh"), spec.int("kw"))
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(NAMES):
            s(f"{name} = ld(p, {i})")
        if taps[0]:
            s(f"kh, kw, sh, sw = {taps[0]}, {taps[1]}, {spec['sh']}, {spec['sw']}")
        if spec["lanes"] in ("blocked", "blocked_in"):
            s(f"xp = {target.lanes}")
        with s.block("for u in range(lo, hi):"):
            s("cb = u // groups % blocks")
            s("n = u // groups // blocks")
            s("first = u % groups * group")
            s("xo = n * xn + cb * xb")
            s("yo = n * yn + cb * yb")
            s(f"valid = min(channels - cb * {target.lanes}, {target.lanes})")
            s("left = min(ow, max(0, (pl + sw - 1) // sw))")
            s("right = max(left, min(ow, (w - kw + pl) // sw + 1)) if w >= kw - pl else left")
            with s.block("for i in range(first, min(oh, first + group)):"):
                s("i0 = i * sh - pt")
                s("top = max(0, i0)")
                s("bottom = min(h, i0 + kh)")
                s("inside = bottom - top == kh")
                s("begin_in = left if inside else 0")
                s("end_in = right if inside else 0")
                if taps[0]:
                    with s.block("for j in range(begin_in, end_in):"):
                        _pixel(s, spec, target, taps)
                with s.block(f"for e in range({'begin_in + ow - end_in' if taps[0] else 'ow'}):"):
                    s(f"j = {'e if e < begin_in else e - begin_in + end_in' if taps[0] else 'e'}")
                    _pixel(s, spec, target, None)
    return s.text()


def _pixel(s: Lines, spec: KernelSpec, target: CpuTarget, taps: tuple[int, int] | None) -> None:
    """Pixel ``j`` of a row; taps: the window, where it is known to be inside the image."""
    half = Types.of_spec(spec).x
    load = {"one": f"lds{half}(x, {{}})", "nhwc": f"vloadm{half}(x, {{}}, valid)"}.get(
        str(spec["lanes"]), f"vload{half}(x, {{}})"
    )
    zero, lowest = ("f4(0.0)", LOWEST) if spec["lanes"] == "one" else ("vzero()", f"vsplat({LOWEST})")
    is_max = spec["kind"] == "max"
    s("j0 = j * sw - pl")
    s(f"acc = {lowest if is_max else zero}")
    if taps:
        s("at = xo + i0 * xr + j0 * xp")
        for a in range(taps[0]):
            for b in range(taps[1]):
                _accumulate(s, spec, load.format(f"at + {a} * xr + {b} * xp"))
        s(f"count = {taps[0] * taps[1]}")
    else:
        s("begin = max(0, j0)")
        s("end = min(w, j0 + kw)")
        with s.block("for a in range(top, bottom):"), s.block("for b in range(begin, end):"):
            _accumulate(s, spec, load.format("xo + a * xr + b * xp"))
        s("count = kh * kw" if spec["kind"] == "average_pad" else "count = (bottom - top) * (end - begin)")
    _store(s, spec)


def _accumulate(s: Lines, spec: KernelSpec, value: str) -> None:
    if spec["lanes"] == "one":
        s(f"v = {value}")
        s("acc = acc if acc > v else v" if spec["kind"] == "max" else "acc = acc + v")
    else:
        s(f"acc = {'vmax' if spec['kind'] == 'max' else 'vadd'}(acc, {value})")


def _store(s: Lines, spec: KernelSpec) -> None:
    if spec["kind"] != "max":
        one = spec["lanes"] == "one"
        s("acc = acc / f4(count)" if one else "acc = vmul(acc, vsplat(f4(1.0) / f4(count)))")
    at, half = "yo + i * yr + j * yp", Types.of_spec(spec).y
    if spec["lanes"] == "one":
        s(f"sts{half}(y, {at}, acc)")
    elif spec["lanes"] == "blocked":
        s(f"vstore{half}(y, {at}, acc)")
    elif spec["lanes"] == "nhwc":
        s(f"vstorem{half}(y, {at}, valid, acc)")
    else:
        with s.block("for lane in range(valid):"):
            s(f"sts{half}(y, {at} + lane * yc, vlane(acc, lane))")


def _lanes(call: Call, w: Window) -> str:
    """How elements are taken: ``blocked``, ``blocked_in`` (to a plain result), ``nhwc`` or ``one``; empty: not so."""
    x, y = call.type(0), call.node.results[0].type
    if x.layout.block == 1:
        return "" if y.layout.block > 1 else ("nhwc" if w.order == "NHWC" else "one")
    return "blocked" if y.layout.block > 1 else "blocked_in"


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x, w = call.type(0), in_two(window(call))
    if not reads_float(call.node, 0) or w is None or not _lanes(call, w):
        return None
    lanes = _lanes(call, w)
    fixed = not call.arg("global_pooling") and w.kernel[0] * w.kernel[1] <= UNROLLED
    sizes = (
        dict(zip(("kh", "kw", "sh", "sw"), (*w.kernel, *w.stride)))
        if fixed
        else dict.fromkeys(("kh", "kw", "sh", "sw"), 0)
    )
    taps = call.node.results[0].type.size * w.kernel[0] * w.kernel[1]
    cost = 500 + (x.nbytes + call.node.results[0].type.nbytes) / 40 + taps / (2 if lanes == "one" else target.lanes) / 4
    types = Types(suffix(x.dtype), "", suffix(call.node.results[0].type.dtype))
    spec = KernelSpec.make("pool", kind=kind_of(call), lanes=lanes, **sizes, **types.static())
    return Choice("pool", spec, cost=cost)


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """Dense values in NHWC order, whose dimensions are not those that a halo speaks of."""
    assert choice.spec is not None
    return Needs(dense=frozenset({0}), dense_out=True) if choice.spec["lanes"] == "nhwc" else Needs()


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, y, w = ins[0], outs[0], in_two(window(call))
    assert choice.spec is not None
    assert x is not None
    assert w is not None
    lanes = str(choice.spec["lanes"])
    n, c, h, width = image_of(x.type.static_shape, w.order)
    _, _, oh, ow = image_of(y.type.static_shape, w.order)
    blocks = c if lanes == "one" else -(-c // target.lanes)
    group = max(1, min(oh, 256 // max(ow, 1)))
    groups = -(-oh // group)
    x_strides, y_strides = _strides(x, lanes, w.order, target), _strides(y, lanes, w.order, target)
    params: tuple[Param, ...] = (
        *(x.address, *x_strides[:4], y.address, *y_strides[:4], c, blocks, groups, group, h, width, oh, ow),
        *(*w.heads, *w.kernel, *w.stride, y_strides[4]),
    )
    name = call.node.results[0].name
    flops = y.type.size * w.kernel[0] * w.kernel[1]
    return [(Task(choice.spec, params, n * blocks * groups, name, flops, x.type.nbytes + y.type.nbytes),)]


def _strides(view: View, lanes: str, order: str, target: CpuTarget) -> tuple[int, int, int, int, int]:
    """Strides of image, channel block, row, pixel, and channel inside a block."""
    s = view.strides
    if len(s) == 3:  # one-dimensional images: a row
        s = (s[0], 0, s[1], s[2]) if order == "NHWC" else (s[0], s[1], 0, s[2])
    if order == "NHWC":
        return s[0], target.lanes, s[1], s[2], 1
    if lanes == "blocked_in" and view.type.layout.block == 1:
        return s[0], s[1] * target.lanes, s[2], s[3], s[1]
    return s[0], s[1], s[2], s[3], 1


RULES = (Rule("pool", OPERATORS, _choose, _needs, _bind, half=True),)
TEMPLATES = (Template("pool", emit),)
