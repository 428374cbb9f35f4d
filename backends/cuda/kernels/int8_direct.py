"""graphc's int8 convolutions of small groups, depthwise ones among them: a result a thread, exact sums in integers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from graphc.backends.cuda.kernels import int8_ending
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.int8_ending import Ending, constants, ending_of
from graphc.backends.cuda.kernels.int8_tensor import FEW
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.int8_call import Int8Product
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View

NAMES = (
    *("total", "x", "weights", "channels", "depth", "maps", "each", "oh", "ow", "h", "w", "kh", "kw"),
    *("sh", "sw", "dh", "dw", "pt", "pl", "x_zero", *int8_ending.NAMES),
)
"""depth: channels of a group; maps: of all groups; each: of a group. weights: (taps, depth, maps)."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``int8_direct``; parameters: ``NAMES``. Neighbouring threads have neighbouring maps."""
    s, ending = Lines(), Ending.of_spec(spec)
    with each_thread(s, spec, NAMES):
        s("m, q = rest(i, maps), quot(i, maps)")
        s("ox, q = rest(q, ow), quot(q, ow)")
        s("oy, n = rest(q, oh), quot(q, oh)")
        s("first, tap, sum = quot(m, each) * depth, 0, 0")
        with s.block("for a in range(kh):"), s.block("for b in range(kw):"):
            s("row, column = oy * sh - pt + a * dh, ox * sw - pl + b * dw")
            s("inside = within(row, h) & within(column, w)")
            s("at = ((n * h + row) * w + column) * channels + first")
            with s.block("for c in range(depth):"):
                s("v = x_zero")
                with s.block("if inside:"):
                    s("v = i64(ld_u1(x, at + c))")
                s("sum = sum + v * ld_i1(weights, (tap * depth + c) * maps + m)")
            s("tap = tap + 1")
        ending.emit(s, "sum", "m", "i", "r")
        ending.store(s, ["r"], "i")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    p = Int8Product.of(call)
    if p is None or p.group == 1 or p.depth >= FEW:
        return None
    packed = constants(call, p)
    if packed is None:
        return None
    weights = np.ascontiguousarray(packed[0].transpose(1, 2, 0))
    spec = KernelSpec.make("int8_direct", threads=THREADS, **ending_of(call).static())
    return Choice("int8_direct", spec, {1: weights, **packed[1]}, 1.0)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    p, (x, weights) = Int8Product.of(call), ins[:2]
    assert choice.spec is not None
    assert p is not None
    assert x is not None
    assert weights is not None
    require_reach(x, outs[0])
    total = p.pixels * p.maps
    params: list[Param] = [total, x.address, weights.address, p.channels, p.depth, p.maps, p.maps // p.group]
    params += [*p.output, *p.image, *p.kernel, *p.stride, *p.dilation, *p.heads, p.x_zero]
    params += int8_ending.params(call, p, ins, outs[0])
    flops, traffic = 2 * total * p.depth * prod(p.kernel), x.type.nbytes + outs[0].type.nbytes
    return [(Task(choice.spec, tuple(params), blocks_for(total), call.node.results[0].name, flops, traffic),)]


RULES = (Rule("int8_direct", ("g.int8_conv",), _choose, all_dense, _bind),)
TEMPLATES = (Template("int8_direct", emit),)
