"""Max and average pooling of plain NCHW images, windows clipped to the image: a result a thread.

Averages of whole images are reductions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphc.backends.conv_call import in_two
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.reduce import Reduction
from graphc.backends.cuda.kernels.typed import blocks_of, code_of
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, is_floating, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import LOWEST, Lines
from graphc.backends.needs import nothing
from graphc.backends.nest import Nest
from graphc.backends.pooling import OPERATORS, image_of, kind_of
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Static, Step, Task, View
from graphc.ir.types import PLAIN

COUNT = {"average": "(bottom - top) * (right - left)", "average_pad": "kh * kw"}
NAMES = (
    *("total", "x", "xn", "xc", "xr", "xp", "y", "yn", "yc", "yr", "yp"),
    *("channels", "h", "w", "oh", "ow", "pt", "pl", "kh", "kw", "sh", "sw"),
)


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``pool{kind, x, y}``; parameters: ``NAMES``. x, y: codes of operand and result (``typed.py``)."""
    s, kind = Lines(), str(spec["kind"])
    with each_thread(s, spec, NAMES):
        emit_window(s)
        s(f"value = {LOWEST if kind == 'max' else 'f4(0.0)'}")
        s("row, down, at = i32(0), i32(bottom - top), i32(from_ + top * xr + left * xp)")
        with s.block("while row < down:"):
            s("column, across, place = i32(0), i32(right - left), at")
            with s.block("while column < across:"):
                s(f"v = ld_{spec['x']}(x, place)")
                s("value = where(value > v, value, v)" if kind == "max" else "value = value + v")
                s("column, place = i32(column + 1), i32(place + xp)")
            s("row, at = i32(row + 1), i32(at + xr)")
        if kind != "max":
            s(f"value = div(value, f4({COUNT[kind]}))")
        s(f"st_{spec['y']}(y, n * yn + c * yc + oy * yr + ox * yp, value)")
    return s.text()


def emit_window(s: Lines) -> None:
    """The result ``i`` in image, plane, row and column, what of its window is inside the image, and its plane."""
    s("ox, q = rest(i, ow), quot(i, ow)")
    s("oy, q = rest(q, oh), quot(q, oh)")
    s("c, n = rest(q, channels), quot(q, channels)")
    for low, high, at, size, edge in (
        ("top", "bottom", "oy * sh - pt", "kh", "h"),
        ("left", "right", "ox * sw - pl", "kw", "w"),
    ):
        s(f"start = {at}")
        s(f"{low}, {high} = max(start, 0), min(start + {size}, {edge})")
    s("from_ = n * xn + c * xc")


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    x, y, w = call.type(0), call.node.results[0].type, in_two(window(call))
    if not is_floating(call) or w is None or w.order != "NCHW" or not x.layout == y.layout == PLAIN:
        return None
    static: dict[str, Static] = {"kind": kind_of(call), "x": code_of(x), "y": code_of(y), "threads": THREADS}
    return Choice("pool", KernelSpec.make("pool", **static), cost=float(x.nbytes))


def bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    """A task with a thread for each pixel of all planes, or of all blocks of channels, of the result."""
    x, y, w = ins[0], outs[0], in_two(window(call))
    assert choice.spec is not None
    assert x is not None
    assert w is not None
    require_reach(x, y)
    images, channels, *result = image_of(y.type.static_shape)
    planes = blocks_of(channels, y.type.layout.block)
    total = images * planes * prod(result)
    sizes = (planes, *image_of(x.type.static_shape)[2:], *result, *w.heads, *w.kernel, *w.stride)
    params: tuple[Param, ...] = (total, x.address, *image_strides(x), y.address, *image_strides(y), *sizes)
    flops, nbytes = y.type.size * prod(w.kernel), x.type.nbytes + y.type.nbytes
    return [(Task(choice.spec, params, blocks_for(total), call.node.results[0].name, flops, nbytes),)]


def _whole(call: Call, view: View | None = None) -> Reduction | None:
    """The pixels of every plane as what is reduced; None where windows are not whole images without a border.

    view: where the operand lies, dense if none is given.
    """
    x, w = call.type(0), in_two(window(call))
    if w is None or (1, *x.static_shape[2:])[-2:] != w.kernel or any((*w.heads, *w.tails)):
        return None
    shape = x.static_shape
    strides = view.strides if view else tuple(prod(shape[i + 1 :]) for i in range(len(shape)))
    planes = Nest.make(shape[:2], [(shape[1], 1), strides[:2]]).with_a_dimension()
    pixels = Nest.make(shape[2:], [strides[2:]])
    reduced = tuple(zip(reversed(pixels.sizes), reversed(pixels.strides[0])))
    return Reduction(planes, reduced or ((1, 1),), float(prod(shape[2:])))


def _choose_whole(call: Call, target: CudaTarget) -> Choice | None:
    w = in_two(window(call)) if is_float32(call) else None
    made = _whole(call) if w is not None and w.order == "NCHW" else None
    return None if made is None else Choice("pool_whole", made.spec("sum", False, target))


def _bind_whole(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y = ins[0], outs[0]
    assert choice.spec is not None
    assert x is not None
    require_reach(x)
    made = _whole(call, x)
    if made is None:  # the sizes at hand are others than those chosen for
        return bind(call, _choose(call, target) or choice, ins, outs, workspace, target)
    return [(made.task(choice.spec, (y.address, x.address), call.node.results[0].name),)]


RULES = (
    Rule("pool", OPERATORS, _choose, nothing, bind, half=True),
    Rule("pool_whole", OPERATORS[1::2], _choose_whole, lambda call, choice, target: Needs(dense_out=True), _bind_whole),
)
TEMPLATES = (Template("pool", emit),)
