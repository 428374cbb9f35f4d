"""What stands around int8 products: images of few channels from float32 planes to uint8 pixels, Int8Concat."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.backends.cuda.kernels.copy import strided_copy
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.int8_call import is_quantised
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense, nothing
from graphc.backends.rows import around
from graphc.backends.rules import float_bits
from graphc.ir.opdef import Call
from graphc.ir.ops.quantized.int8 import result_quant
from graphc.ir.ops.quantized.int8_moves import join_axis
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View

NAMES = ("total", "x", "xn", "xc", "xr", "xp", "y", "channels", "h", "w", "scale", "zero")
FAR = "f4(1000.0)"
"""A quotient this far from zero ends up clamped, whatever the zero point; what is not a number counts as the least."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``int8_image``: an element a thread; parameters: ``NAMES``, the scale as bits of a float64."""
    s = Lines()
    with each_thread(s, spec, NAMES):
        s("c, q = rest(i, channels), quot(i, channels)")
        s("column, q = rest(q, w), quot(q, w)")
        s("row, n = rest(q, h), quot(q, h)")
        s("v = div(ld_f4(x, n * xn + c * xc + row * xr + column * xp), f4(double(scale)))")
        s(f"v = where(isnan(v), -{FAR}, smallest(largest(v, -{FAR}), {FAR}))")
        s("st_u1(y, i, min(max(i32(nearest(v)) + zero, 0), 255))")
    return s.text()


def _choose_image(call: Call, target: CudaTarget) -> Choice | None:
    x = call.type(0)
    if not x.is_static or x.layout.block > 1:
        return None
    return Choice("int8_image", KernelSpec.make("int8_image", threads=THREADS), cost=float(x.nbytes))


def _bind_image(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y, quant = ins[0], outs[0], result_quant(call)
    assert choice.spec is not None
    assert x is not None
    require_reach(x, y)
    total, sizes = y.type.size, x.type.static_shape[1:]
    places: tuple[Param, ...] = (x.address, *image_strides(x), y.address)
    params = (total, *places, *sizes, float_bits(quant.scale), quant.zero_point)
    traffic = x.type.nbytes + y.type.nbytes
    return [(Task(choice.spec, params, blocks_for(total), call.node.results[0].name, 3 * total, traffic),)]


def _choose_concat(call: Call, target: CudaTarget) -> Choice | None:
    unread = all(not r.uses for r in call.node.results[1:])
    graph = call.node.graph
    asked = graph is not None and any(v in graph.outputs for v in call.node.results[1:])
    if not is_quantised(call, *range(call.n_inputs)) or not unread or asked:
        return None
    return Choice("int8_concat", cost=float(call.node.results[0].type.nbytes))


def _bind_concat(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    """A copy of rows for each piece, by as many bytes at once as fit all of them."""
    shape, place, tasks = outs[0].type.static_shape, outs[0].address, []
    axis = join_axis(call, len(shape))
    rows, _, inner = around(shape, axis)
    pieces = [v for v in ins if v is not None]
    sizes = [v.type.static_shape[axis] * inner for v in pieces]
    at_once = math.gcd(8, *sizes)
    width = sum(sizes) // at_once
    for view, size in zip(pieces, sizes):
        part = size // at_once
        if rows * part:
            tasks.append(strided_copy((rows, part), (width, 1), (part, 1), (place, view.address), at_once))
        place = place.plus(size)
    return [tuple(tasks)] if tasks else []


RULES = (
    Rule("int8_image", ("g.int8_image",), _choose_image, nothing, _bind_image),
    Rule("int8_concat", ("Int8Concat",), _choose_concat, all_dense, _bind_concat),
)
TEMPLATES = (Template("int8_image", emit),)
