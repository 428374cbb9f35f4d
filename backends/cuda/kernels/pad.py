"""PadImage: an image with a border of one value, of its edge, or of its reflection, in either order; a result a thread.

A negative border cuts pixels off.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.rules import float_bits
from graphc.ir.opdef import Call
from graphc.ir.ops._window import explicit_pads
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

NAMES = (
    *("total", "x", "xn", "xc", "xr", "xp", "y", "yn", "yc", "yr", "yp"),
    *("inner", "planes", "h", "w", "oh", "ow", "top", "left", "value"),
)
"""A result's number counts ``inner`` floats of a pixel, columns, rows, planes, images; value: bits of a float64."""
MODES = ("constant", "edge", "reflect")


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``pad_image{mode}``; parameters: ``NAMES``."""
    s, mode = Lines(), str(spec["mode"])
    with each_thread(s, spec, NAMES):
        s("e, q = rest(i, inner), quot(i, inner)")
        s("ox, q = rest(q, ow), quot(q, ow)")
        s("oy, q = rest(q, oh), quot(q, oh)")
        s("c, n = rest(q, planes), quot(q, planes)")
        s("a, b = oy - top, ox - left")
        s("v = f4(double(value))")
        _place(s, mode, "a", "h")
        _place(s, mode, "b", "w")
        with s.block("if (a >= 0) & (a < h) & (b >= 0) & (b < w):"):
            s("v = ld_f4(x, n * xn + c * xc + a * xr + b * xp + e)")
        s("st_f4(y, n * yn + c * yc + oy * yr + ox * yp + e, v)")
    return s.text()


def _place(s: Lines, mode: str, name: str, size: str) -> None:
    """The pixel from which a place outside of the image takes its value; where that is a constant, the place itself."""
    if mode == "edge":
        s(f"{name} = min(max({name}, 0), {size} - 1)")
    elif mode == "reflect":
        s(f"{name} = max({name}, -{name})")
        s(f"{name} = min({name}, 2 * ({size} - 1) - {name})")


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    mode = call.arg("mode")
    if not is_float32(call) or call.type(0).rank != 4 or mode not in MODES:
        return None
    return Choice("pad", KernelSpec.make("pad_image", mode=mode, threads=THREADS))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    """Dense values in NHWC order, whose dimensions are not those that an image has elsewhere."""
    return Needs(dense=frozenset({0}), dense_out=True) if call.arg("order") == "NHWC" else Needs()


def _places(view: View, is_nhwc: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides of image, plane, row, pixel; floats of a pixel, planes, rows, columns."""
    _, c, h, w = view.type.static_shape
    s = view.strides
    if is_nhwc:
        return (s[0], 0, s[1], s[2]), (w, 1, c, h)
    return tuple(s), (1, c, h, w)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y = ins[0], outs[0]
    assert choice.spec is not None
    assert x is not None
    require_reach(x, y)
    is_nhwc = call.arg("order") == "NHWC"
    (x_strides, sizes), (y_strides, (*_, oh, ow)) = _places(x, is_nhwc), _places(y, is_nhwc)
    top, left = explicit_pads(call, 2)[:2]
    places: tuple[Param, ...] = (x.address, *x_strides, y.address, *y_strides)
    params = (y.type.size, *places, *sizes, oh, ow, top, left, float_bits(call.arg("value")))
    nbytes = x.type.nbytes + y.type.nbytes
    return [(Task(choice.spec, params, blocks_for(y.type.size), call.node.results[0].name, 0, nbytes),)]


RULES = (Rule("pad", ("PadImage",), _choose, _needs, _bind),)
TEMPLATES = (Template("pad_image", emit),)
