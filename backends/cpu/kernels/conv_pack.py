"""Weights and bias that the net computes: brought into the direct kernel's order for plain inputs at run time."""

from __future__ import annotations

import math

from graphc.backends.cpu.kernels.conv_direct import Geometry
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Param, Task

PARAMS = (
    *("weights", "bias", "panels", "tail"),
    *("channels", "maps", "group_blocks", "kd", "kh", "kw"),
    *("sg", "sm", "sc", "sd", "sh", "sw"),  # strides of the weights: group, map, channel, window
)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``conv_pack{blocks}``; a unit is the panel of one group of map blocks, and its part of the bias."""
    s, width = Lines(), spec.int("blocks") * target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        with s.block("for u in range(lo, hi):"):
            s("g = u // group_blocks")
            s(f"m0 = (u - g * group_blocks) * {width}")
            with s.block(f"for k in range({width}):"):
                s("value = f4(0.0)")
                with s.block("if bias != 0 and m0 + k < maps:"):
                    s("value = lds(bias, g * maps + m0 + k)")
                s(f"sts(tail, u * {width} + k, value)")
            s(f"to = u * channels * kd * kh * kw * {width}")
            loops = ("for c in range(channels):", "for z in range(kd):", "for i in range(kh):", "for j in range(kw):")
            with s.block(loops[0]), s.block(loops[1]), s.block(loops[2]), s.block(loops[3]):
                s("source = g * sg + m0 * sm + c * sc + z * sd + i * sh + j * sw")
                with s.block(f"for k in range({width}):"):
                    s("value = f4(0.0)")
                    with s.block("if m0 + k < maps:"):
                        s("value = lds(weights, source + k * sm)")
                    s("sts(panels, to + k, value)")
                s(f"to += {width}")
    return s.text()


TEMPLATE = Template("conv_pack", emit)


def panel_floats(g: Geometry, spec: KernelSpec, target: CpuTarget) -> tuple[int, int]:
    """Floats of the packed weights and of the packed bias."""
    width = spec.int("blocks") * target.lanes
    maps = g.group * -(-(g.maps // g.group) // width) * width
    return maps * (g.channels // g.group) * g.taps, maps


def pack_task(
    g: Geometry,
    spec: KernelSpec,
    target: CpuTarget,
    weights: Address,
    strides: tuple[int, int, int, int, int, int],
    bias: Param,
    panels: Address,
    tail: Address,
) -> Task:
    """The task that packs for a direct kernel. strides: of group, map, channel, and the window's three directions."""
    blocks = spec.int("blocks")
    group_blocks = -(-(g.maps // g.group) // (blocks * target.lanes))
    params = (
        *(weights, bias, panels, tail, g.channels // g.group, g.maps // g.group, group_blocks, *g.kernel),
        *strides,
    )
    nbytes = 8 * g.maps * (g.channels // g.group) * math.prod(g.kernel)
    return Task(KernelSpec.make("conv_pack", blocks=blocks), params, g.group * group_blocks, "pack", 0, nbytes)
