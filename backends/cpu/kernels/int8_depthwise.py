"""Depthwise convolution of uint8 NHWC (as many groups as channels and maps): every lane is a channel of its own.

A word is one byte of X; the weights are int16 without their zero point, so that every one fits. A tile is some pixels
of a row; each vector of X is loaded once for all the window columns that meet it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.kernels import int8_conv, int8_epilogue
from graphc.backends.cpu.kernels.int8_epilogue import Ending, Epilogue
from graphc.backends.cpu.kernels.tiles import Tile, emit_cuts
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import Int8Product
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Param, Task

PARAMS = (
    *("x", "weights", "tail", "span", "y", "xn", "xh", "xp", "uh"),  # as in int8_conv; xp: bytes between pixels of X
    *("channels", "kh", "rows", "columns", "row_block", "row_blocks"),
    *int8_epilogue.PARAMS,
)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_depthwise{kw, step, dilation, pixels, tail, ...}``; a unit is some rows of all channels."""
    s, lanes = Lines(), target.lanes
    tile = Tile(spec.int("pixels"), spec.int("tail"), 1)
    end = Epilogue(s, spec, lanes, len(PARAMS) - len(int8_epilogue.PARAMS))
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        end.head()
        with s.block("for u in range(lo, hi):"):
            s("n = u // row_blocks")
            s("first = (u - n * row_blocks) * row_block")
            with (
                s.block(f"for c in range(0, channels, {lanes}):"),
                s.block("for row in range(first, min(first + row_block, rows)):"),
            ):
                s("ends = tail + 4 * c")
                s("b = wload(ends, 0)")
                end.read("ends", 1)
                s("xr = x + n * xn + row * xh + c")
                s("pixel0 = (n * rows + row) * columns")
                emit_cuts(s, tile, "0", "columns", "column", lambda pixels: _tile(s, spec, lanes, end, pixels))
    return s.text()


def _tile(s: Lines, spec: KernelSpec, lanes: int, end: Epilogue, pixels: int) -> None:
    """``pixels`` neighbouring outputs from ``column`` on."""
    kw, step, dilation = spec.int("kw"), spec.int("step"), spec.int("dilation")
    for i in range(pixels):
        s(f"a{i} = b")
    s(f"xt = xr + column * {step} * xp")
    s(f"wt = weights + 4 * c * kh * {kw}")
    with s.block("for k in range(kh):"):
        for j in range(kw):
            s(f"w{j} = wload(wt, {4 * j * lanes})")
        for place in range((pixels - 1) * step + (kw - 1) * dilation + 1):
            meets = [(i, j) for i in range(pixels) for j in range(kw) if i * step + j * dilation == place]
            if meets:
                s(f"v = wload_u1(xt, {place} * xp)")
            for i, j in meets:
                s(f"a{i} = wdot2(a{i}, v, w{j})")
        s("xt += uh")
        s(f"wt += {4 * kw * lanes}")
    s("yt = (pixel0 + column) * channels + c")
    end.finish([(f"yt + {i} * channels", [f"a{i}"]) for i in range(pixels)], "(channels - c)")


TEMPLATE = Template("int8_depthwise", emit)


def tile_for(p: Int8Product, target: CpuTarget) -> Tile:
    """The tile that wastes least on the rows of the result."""
    most = max(2, min(14, target.registers - p.kernel[1] - 2))
    options = [Tile(n, max(1, n // 2), 1) for n in range(most, max(most // 2, 1), -1)]
    return min(options, key=lambda t: t.waste(p.output[1]))


def make_spec(p: Int8Product, ending: Ending, target: CpuTarget) -> KernelSpec:
    """The kernel for a convolution."""
    tile = tile_for(p, target)
    return KernelSpec.make(
        "int8_depthwise",
        kw=p.kernel[1],
        step=p.stride[1],
        dilation=p.dilation[1],
        pixels=tile.pixels,
        tail=tile.tail,
        **ending.static,
    )


def pack(p: Int8Product, weights: np.ndarray, target: CpuTarget) -> np.ndarray:
    """Weights (C, kH, kW, 1) as (blocks of channels, kH, kW, lanes) words, as bytes."""
    blocks, taps = -(-p.channels // target.lanes), math.prod(p.kernel)
    words = np.zeros((blocks * target.lanes, taps), np.int32)
    words[: p.channels] = (weights.reshape(p.channels, taps).astype(np.int32) - p.w_zero) & 0xFFFF
    panels = words.reshape(blocks, target.lanes, taps).transpose(0, 2, 1)
    return np.ascontiguousarray(panels).reshape(-1).view(np.uint8)


def make_task(
    spec: KernelSpec,
    target: CpuTarget,
    p: Int8Product,
    x: Address,
    weights: Address,
    y: Address,
    ending: Sequence[Param],
    label: str,
) -> Task:
    """The task of a convolution. x: the image that the kernel reads, with its border where it has one.

    ending: ``int8_epilogue.params``.
    """
    (height, width), c = p.padded, p.channels
    span = 4 * -(-c // target.lanes) * target.lanes
    rows, columns = p.output
    row_block = max(1, min(rows, -(-rows * p.images // 32)))
    row_blocks = -(-rows // row_block)
    params = (
        *(x.plus(int8_conv.origin(p, 1)), weights, weights.plus(math.prod(p.kernel) * span), span, y),
        *(height * width * c, p.stride[0] * width * c, c, p.dilation[0] * width * c),
        *(c, p.kernel[0], rows, columns, row_block, row_blocks, *ending),
    )
    moved = p.images * c * (p.image[0] * p.image[1] + rows * columns)
    return Task(spec, params, p.images * row_blocks, label, 2 * p.macs, moved)
