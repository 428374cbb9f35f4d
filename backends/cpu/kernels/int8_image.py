"""Images of few channels from float32 planes to uint8 pixels: a word collects the channels of a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.kernels.int8_pointwise import FAR
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.ir import LoweringError
from graphc.ir.opdef import Call
from graphc.ir.ops.quantized.int8 import result_quant
from graphc.ir.schedule import Address, Choice, KernelSpec, Step, Task, View

PARAMS = ("x", "y", "pixels", "group", "groups", "scale", "zero")
"""pixels: of an image; group: of a unit; groups: units of an image."""
GROUP = 1 << 12
SUFFIXES = {1: "_u1", 2: "_i2", 3: "_u3", 4: ""}
"""Of the words that store as many bytes of each word."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_image{channels}``; a unit is some pixels of an image."""
    s, channels, lanes = Lines(), spec.int("channels"), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        s(f"unit_v = vsplat(lds(p + {8 * PARAMS.index('scale')}, 0))")
        s("zero_w = wsplat(zero)")
        s("least_w = wsplat(0)")
        s("most_w = wsplat(255)")
        with s.block("for u in range(lo, hi):"):
            s("n = u // groups")
            s("first = (u - n * groups) * group")
            s("last = min(first + group, pixels)")
            s(f"xi = x + n * pixels * {4 * channels}")
            s(f"yi = y + n * pixels * {channels}")
            with s.block(f"for i in range(first, last, {lanes}):"):
                s("more = last - i")
                with s.block(f"if more >= {lanes}:"):
                    _pixels(s, channels, "", lanes)
                with s.block("else:"):
                    _pixels(s, channels, "more", lanes)
    return s.text()


def _pixels(s: Lines, channels: int, more: str, lanes: int) -> None:
    """A vector of pixels, or the first ``more`` of one."""
    for c in range(channels):
        plane = f"xi + pixels * {4 * c}"
        s(f"q = vdiv({f'vloadm({plane}, i, {more})' if more else f'vload({plane}, i)'}, unit_v)")
        s(f"w = wadd(wround(vmin(vmax(q, vsplat(-{FAR})), vsplat({FAR}))), zero_w)")
        s("w = wmin(wmax(w, least_w), most_w)")
        s("v = w" if c == 0 else f"v = wor(v, wshl(w, wsplat({8 * c})))")
    suffix, place = SUFFIXES[channels], f"i * {channels}"
    if suffix and (more or channels == 3):
        s(f"wstore{suffix}m(yi, {place}, {more or lanes}, v)")
    elif more:
        s(f"bstorem(yi, {place}, 4 * {more}, bwords(v))")
    else:
        s(f"wstore{suffix}(yi, {place}, v)")


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    shape = call.type(0).shape
    if shape is None or not isinstance(shape[1], int) or call.type(0).layout.block > 1:
        return None
    return Choice("int8_image", KernelSpec.make("int8_image", channels=shape[1]), cost=200.0 + call.type(0).nbytes / 16)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, y, quant = ins[0], outs[0], result_quant(call)
    assert choice.spec is not None
    assert x is not None
    n, channels, rows, columns = x.type.static_shape
    if channels != choice.spec.int("channels"):
        reason = f"the plan was made for images of {choice.spec.int('channels')} channels, these have {channels}"
        raise LoweringError(f"{call.node.location}: {reason}", "compile the net again for them")
    pixels = rows * columns
    group = max(64, min(GROUP, -(-pixels // 16 // 64) * 64))
    groups = -(-pixels // group)
    scale = int(np.float32(quant.scale).view(np.uint32))
    params = (x.address, y.address, pixels, group, groups, scale, quant.zero_point)
    return [(Task(choice.spec, params, n * groups, call.node.results[0].name, 0, x.type.nbytes + y.type.nbytes),)]


RULE = Rule("int8_image", ("g.int8_image",), _choose, all_dense, _bind)
TEMPLATE = Template("int8_image", emit)
