"""PadImage: an image with a border of one value, of its edge, or of its reflection; plain, blocked, NHWC order.

A negative border cuts pixels off.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.ops._window import explicit_pads
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType

NAMES = ("x", "xn", "xp", "xr", "y", "yn", "yp", "yr", "planes", "h", "w", "oh", "ow", "top", "left", "px")
PLACES = {
    "reflect": ("-{0} if {0} < 0 else {0}", "2 * ({1} - 1) - {0} if {0} >= {1} else {0}"),
    "edge": ("max(0, {0})", "min({1} - 1, {0})"),
}
"""Mode -> what happens to a coordinate {0} before the image and behind its {1} pixels."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``pad_image{mode}``; parameters: ``NAMES``, then the border's value. A unit is a row of the result."""
    s, lanes, mode = Lines(), target.lanes, str(spec["mode"])
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(NAMES):
            s(f"{name} = ld(p, {i})")
        s(f"value = lds(p, {2 * len(NAMES)})")
        s("begin = min(max(left, 0), ow)")
        s("first = max(-left, 0)")
        s("kept = max(min(w - first, ow - begin), 0)")
        s("size = kept * px")
        s(f"whole = size // {lanes} * {lanes}")
        with s.block("for u in range(lo, hi):"):
            s("plane = u // oh % planes")
            s("n = u // oh // planes")
            s("i = u % oh - top")
            s("yo = n * yn + plane * yp + u % oh * yr")
            if mode == "constant":
                with s.block("if i < 0 or i >= h:"):
                    with s.block("for e in range(ow * px):"):
                        s("sts(y, yo + e, value)")
                    s("continue")
            else:
                _place(s, mode, "i", "h")
            s("xo = n * xn + plane * xp + i * xr")
            for begin, end in (("0", "begin"), ("begin + kept", "ow")):
                with s.block(f"for j in range({begin}, {end}):"):
                    _border(s, mode)
            s("yo += begin * px")
            s("xo += first * px")
            with s.block(f"for e in range(0, whole, {lanes}):"):
                s("vstore(y, yo + e, vload(x, xo + e))")
            with s.block("if whole < size:"):
                s("vstorem(y, yo + whole, size - whole, vloadm(x, xo + whole, size - whole))")
    return s.text()


def _place(s: Lines, mode: str, name: str, size: str) -> None:
    for line in PLACES[mode]:
        s(f"{name} = {line.format(name, size)}")


def _border(s: Lines, mode: str) -> None:
    if mode == "constant":
        with s.block("for e in range(px):"):
            s("sts(y, yo + j * px + e, value)")
        return
    s("m = j - left")
    _place(s, mode, "m", "w")
    with s.block("for e in range(px):"):
        s("sts(y, yo + j * px + e, lds(x, xo + m * px + e))")


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x, y = call.type(0), call.node.results[0].type
    mode = call.arg("mode")
    if x.dtype is not DType.FLOAT or x.rank != 4 or x.layout != y.layout or mode not in ("constant", *PLACES):
        return None
    return Choice("pad", KernelSpec.make("pad_image", mode=mode), cost=300 + (x.nbytes + y.nbytes) / 30)


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """Dense values in NHWC order, whose dimensions are not those that a halo speaks of."""
    return Needs(dense=frozenset({0}), dense_out=True) if call.arg("order") == "NHWC" else Needs()


def _rows(view: View, is_nhwc: bool) -> tuple[int, int, int, int, int, int, int]:
    """(stride of image, plane and row; planes, height, width, floats of a pixel)."""
    _, c, h, w = view.type.static_shape
    if is_nhwc:
        return view.strides[0], 0, view.strides[1], 1, c, h, w
    block = view.type.layout.block
    return view.strides[0], view.strides[1], view.strides[2], -(-c // block), h, w, block


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x = ins[0]
    assert choice.spec is not None
    assert x is not None
    is_nhwc = call.arg("order") == "NHWC"
    *x_strides, planes, h, w, pixel = _rows(x, is_nhwc)
    *y_strides, _, oh, ow, _ = _rows(outs[0], is_nhwc)
    top, left = explicit_pads(call, 2)[:2]
    value = struct.unpack("<i", struct.pack("<f", call.arg("value")))[0]
    params: tuple[Param, ...] = (x.address, *x_strides, outs[0].address, *y_strides)
    params += (planes, h, w, oh, ow, top, left, pixel, value)
    units = x.type.static_shape[0] * planes * oh
    nbytes = x.type.nbytes + outs[0].type.nbytes
    return [(Task(choice.spec, params, units, call.node.results[0].name, 0, nbytes),)]


RULES = (Rule("pad", ("PadImage",), _choose, _needs, _bind),)
TEMPLATES = (Template("pad_image", emit),)
