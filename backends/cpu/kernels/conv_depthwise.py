"""Depthwise convolution (as many groups as channels and maps) in NCHWc: every lane is a channel of its own.

A tile is some pixels of a row; each input vector is loaded once for all the window columns that meet it. Pad lanes
carry whatever the input's pad lanes hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.kernels.conv import Candidate, Convolution
from graphc.backends.cpu.kernels.epilogue import Epilogue, image_strides
from graphc.backends.cpu.kernels.half_types import Types, itemsize, joined, stored
from graphc.backends.cpu.kernels.tiles import Tile, emit_cuts
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.weights import elements
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View

PARAMS = (
    *("x", "weights", "bias", "y", "xn", "xc", "xh", "ud", "yn", "yc", "yh"),
    *("blocks", "channels", "kh", "rows", "columns", "row_block", "row_blocks"),
)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``depthwise{kw, step, dilation, pixels, tail, epilogue, kinds}``; a unit is some rows of a block."""
    s, lanes, epilogue, types = Lines(), target.lanes, Epilogue.of_spec(spec), Types.of_spec(spec)
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        epilogue.read(s, len(PARAMS))
        with s.block("for u in range(lo, hi):"):
            s("part = u % row_blocks")
            s("t = u // row_blocks")
            s("c = t % blocks")
            s("n = t // blocks")
            s(f"b = vload(bias, c * {lanes})")
            epilogue.read_channels(s, "_0", f"c * {lanes}", "channels")
            with s.block("for h in range(part * row_block, min(part * row_block + row_block, rows)):"):
                s("xr = n * xn + c * xc + h * xh")
                s("yr = n * yn + c * yc + h * yh")
                for i in epilogue.same:
                    s(f"er{i} = n * e{i}n + c * e{i}c + h * e{i}h")
                tile = Tile(spec.int("pixels"), spec.int("tail"), 1)
                emit_cuts(s, tile, "0", "columns", "w", lambda pixels: _tile(s, spec, lanes, epilogue, types, pixels))
    return s.text()


def _tile(s: Lines, spec: KernelSpec, lanes: int, epilogue: Epilogue, types: Types, pixels: int) -> None:
    """``pixels`` neighbouring outputs from column ``w`` on."""
    kw, step, dilation = spec.int("kw"), spec.int("step"), spec.int("dilation")
    for i in range(pixels):
        s(f"a{i} = b")
    s(f"xt = xr + w * {step * lanes}")
    s(f"wt = c * kh * {kw * lanes}")
    with s.block("for k in range(kh):"):
        for j in range(kw):
            s(f"w{j} = vload{types.weights}(weights, wt + {j * lanes})")
        for column in range((pixels - 1) * step + (kw - 1) * dilation + 1):
            meets = [(i, j) for i in range(pixels) for j in range(kw) if i * step + j * dilation == column]
            if meets:
                s(f"v = vload{types.x}(x, xt + {column * lanes})")
            for i, j in meets:
                s(f"a{i} = vfma(v, w{j}, a{i})")
        s("xt += ud")
        s(f"wt += {kw * lanes}")
    for i in range(pixels):
        same = [epilogue.load(e, f"er{e} + w * {lanes} + {i * lanes}") for e in epilogue.same]
        s(f"vstore{types.y}(y, yr + w * {lanes} + {i * lanes}, {epilogue.apply(s, f'a{i}', '_0', same)})")


TEMPLATE = Template("depthwise", emit)


def tile_for(target: CpuTarget, kw: int, width: int) -> Tile:
    """The tile that wastes least on rows of ``width`` pixels."""
    most = max(2, min(14, target.registers - kw - 1))
    options = [Tile(p, max(1, p // 2), 1) for p in range(most, max(most // 2, 1), -1)]
    return min(options, key=lambda t: t.waste(width))


def candidates(call: Call, c: Convolution, target: CpuTarget) -> list[Candidate]:
    """The depthwise way, where the call is of that kind."""
    w = c.window
    if (
        not c.constant
        or len(c.shape) != 4
        or not w.group == c.channels == c.maps
        or {c.block_in, c.block_out} != {target.lanes}
    ):
        return []
    tile = tile_for(target, w.kernel[1], c.result[3])
    padded = -(-c.channels // target.lanes) * target.lanes / c.channels
    flops = 2 * c.macs * padded * tile.waste(c.result[3])
    types = Types.of_call(call)
    moved = itemsize(types.x) * math.prod(c.shape) + itemsize(types.y) * math.prod(c.result)
    predicted = max(costs.compute_ns(target, flops, 0.7), costs.cached_ns(moved))

    def make() -> Choice:
        spec = KernelSpec.make(
            "depthwise",
            kw=w.kernel[1],
            step=w.stride[1],
            dilation=w.dilation[1],
            pixels=tile.pixels,
            tail=tile.tail,
            **types.static(),
            **Epilogue.of_call(call).static(),
        )
        return Choice("depthwise", spec, _packed(call, c, target.lanes), predicted)

    return [Candidate(predicted, make)]


def _packed(call: Call, c: Convolution, lanes: int) -> dict[int, np.ndarray]:
    """(blocks, kh, kw, lanes), then the bias."""
    weights, bias = elements(call, 1), call.constant(2)
    assert weights is not None
    blocks, taps = -(-c.channels // lanes), math.prod(c.window.kernel)
    packed = np.zeros((blocks * lanes, taps), np.float32)
    packed[: c.channels] = weights.reshape(c.channels, taps)
    tail = np.zeros(blocks * lanes, np.float32)
    if bias is not None:
        tail[: c.channels] = bias
    panels = packed.reshape(blocks, lanes, taps).transpose(0, 2, 1)
    return {1: joined(stored(panels, Types.of_call(call).weights), tail), **Epilogue.of_call(call).packed(call)}


def needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """The zero border of the window."""
    c = Convolution.of(call)
    assert c is not None
    return Needs(halo={0: c.halo} if any(c.halo) else {}, dense=Epilogue.of_call(call).dense_operands(call))


def bind(
    call: Call,
    choice: Choice,
    ins: Sequence[View | None],
    outs: Sequence[View],
    workspace: Address,
    target: CpuTarget,
) -> list[Step]:
    """One task."""
    c, spec = Convolution.of(call), choice.spec
    x, weights, y = ins[0], ins[1], outs[0]
    assert c is not None
    assert spec is not None
    assert x is not None
    assert weights is not None
    w, lanes = c.window, target.lanes
    blocks = -(-c.channels // lanes)
    xs = image_strides(x)
    origin = -(w.heads[0] * xs[2] + w.heads[1] * lanes)
    bias = weights.address.plus(weights.type.nbytes - 4 * blocks * lanes)
    rows, columns = c.result[2:]
    row_block = max(1, min(rows, -(-rows * blocks * c.images // 32)))
    row_blocks = -(-rows // row_block)
    params = (
        *(x.address.plus(itemsize(Types.of_call(call).x) * origin), weights.address, bias, y.address),
        *(xs[0], xs[1], w.stride[0] * xs[2], w.dilation[0] * xs[2], *image_strides(y)),
        *(blocks, c.channels, w.kernel[0], rows, columns, row_block, row_blocks),
        *Epilogue.of_call(call).params(call, ins),
    )
    nbytes = x.type.nbytes + y.type.nbytes
    units = c.images * blocks * row_blocks
    return [(Task(spec, params, units, call.node.results[0].name, 2 * c.macs, nbytes),)]


def _never(call: Call, target: CpuTarget) -> Choice | None:
    """The rule for convolutions chooses among all of them (``conv_rules``)."""
    return None


RULE = Rule("depthwise", (), _never, needs, bind, half=True)
