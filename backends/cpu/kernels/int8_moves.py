"""Int8 operators that move values: Transpose, ChannelShuffle and Slice as strided copies, ResizeNearest pixel by pixel.

What their records say of the places is what the kernels get: the records' own numbers for their loops.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.kernels.copy import strided_copy
from graphc.backends.cpu.kernels.nest import Nest
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.ir.opdef import Call
from graphc.ir.ops.quantized.int8_moves import RANK
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View
from graphc.ir.types import DType

PARAMS = ("step_h", "step_w", "x", "y", "in_h", "in_w", "out_h", "out_w", "channels")
"""step: bits of the float32 scales."""
RESIZE = KernelSpec.make("int8_resize")


def emit_resize(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_resize``; a unit is a row of the result."""
    s, step = Lines(), 4 * target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = {f'lds(p, {2 * i})' if i < 2 else f'ld(p, {i})'}")
        s(f"whole = channels // {step} * {step}")
        s("words = channels // 4 * 4")
        with s.block("for u in range(lo, hi):"):
            s("n = u // out_h")
            s("row = min(int(f4(u - n * out_h) / step_h), in_h - 1)")
            s("a = x + (n * in_h + row) * in_w * channels")
            s("b = y + u * out_w * channels")
            with s.block("for j in range(out_w):"):
                s("at = a + min(int(f4(j) / step_w), in_w - 1) * channels")
                with s.block(f"for i in range(0, whole, {step}):"):
                    s("bstore(b, i, bload(at, i))")
                with s.block("for i in range(whole, words, 4):"):
                    s("st_i4(b + i, 0, ld_i4(at + i, 0))")
                with s.block("for i in range(words, channels):"):
                    s("st_u1(b, i, ld_u1(at, i))")
                s("b += channels")
    return s.text()


def _strided_bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert ins[0] is not None
    start, *places = (int(v) for v in call.opdef.loop_arguments(call))
    sizes, source = places[:RANK], places[RANK:]
    dense = [1]
    for size in sizes[:0:-1]:
        dense.insert(0, dense[0] * size)
    made = _longest_inside(Nest.make(sizes, [dense, source]))
    (y, x), addresses = made.strides, (outs[0].address, ins[0].address.plus(start))
    return [(strided_copy(made.sizes, y, x, addresses, 1, target, call.node.results[0].name),)]


def _longest_inside(made: Nest) -> Nest:
    """The nest with the longer of the two dimensions innermost that are contiguous in one of the places."""
    columns = next((i for i, s in enumerate(made.strides[1]) if s == 1), None)
    if columns is None or made.sizes[columns] <= made.sizes[-1]:
        return made
    order = [*(i for i in range(len(made.sizes)) if i != columns), columns]
    return Nest(tuple(made.sizes[i] for i in order), tuple(tuple(s[i] for i in order) for s in made.strides))


def _resize_bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert ins[0] is not None
    n, in_h, in_w, channels = call.type(0).static_shape
    _, out_h, out_w, _ = outs[0].type.static_shape
    steps = (int(np.float32(scale).view(np.uint32)) for scale in call.opdef.loop_arguments(call))
    params: tuple[Param, ...] = (*steps, ins[0].address, outs[0].address, in_h, in_w, out_h, out_w, channels)
    nbytes = call.type(0).size + outs[0].type.size
    return [(Task(RESIZE, params, n * out_h if nbytes else 0, call.node.results[0].name, 0, nbytes),)]


def _is_image(call: Call) -> bool:
    return call.type(0).dtype is DType.UINT8


def _is_cut_in_known_places(call: Call) -> bool:
    return _is_image(call) and all(call.constant(i) is not None for i in (1, 2) if call.has(i))


def _cost(call: Call) -> float:
    return 200.0 + call.node.results[0].type.size / 8


RULES = (
    Rule(
        "int8_resize",
        ("Int8ResizeNearest",),
        lambda call, target: Choice("int8_resize", RESIZE, cost=_cost(call)) if _is_image(call) else None,
        all_dense,
        _resize_bind,
    ),
    Rule(
        "int8_moves",
        ("Int8Transpose", "Int8ChannelShuffle", "Int8Slice"),
        lambda call, target: Choice("int8_moves", cost=_cost(call)) if _is_cut_in_known_places(call) else None,
        all_dense,
        _strided_bind,
    ),
)
TEMPLATES = (Template("int8_resize", emit_resize),)
