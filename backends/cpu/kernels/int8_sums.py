"""Sums of X over each window, times a number: what weights that keep a zero point lack (``int8_conv.centred``)."""

from __future__ import annotations

from graphc.backends.cpu.kernels import int8_conv
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import Int8Product
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Task

PARAMS = (
    *("x", "y", "xn", "xh", "xp", "xg", "kh", "kj", "uh", "uj", "run"),  # as in int8_conv; run: bytes
    *("rows", "columns", "groups", "factor", "nothing", "ones"),
)
SPEC = KernelSpec.make("int8_sums")
ONES = 0x01010101


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_sums``: int32 (pixels, groups) of bytes; a unit is a row of pixels. For targets with VNNI."""
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        s("ones_w = wsplat(ones)")
        s(f"whole = run // {4 * lanes} * {4 * lanes}")
        with s.block("for u in range(lo, hi):"):
            s("xr = x + u // rows * xn + u % rows * xh")
            with s.block("for column in range(columns):"), s.block("for g in range(groups):"):
                s("total = wsplat(nothing)")
                with s.block("for i in range(kh):"), s.block("for j in range(kj):"):
                    s("at = xr + column * xp + g * xg + i * uh + j * uj")
                    with s.block(f"for o in range(0, whole, {4 * lanes}):"):
                        s("total = wdot(total, wload(at, o), ones_w)")
                    with s.block(f"for o in range(whole, run, {lanes}):"):
                        s("total = wadd(total, wload_u1m(at, o, run - o))")
                s("st_i4(y, (u * columns + column) * groups + g, whsum(total) * factor)")
    return s.text()


TEMPLATE = Template("int8_sums", emit)


def sums_bytes(p: Int8Product) -> int:
    """Bytes of the sums, to whole cache lines."""
    return -(-4 * p.pixels * p.group // 64) * 64


def sums_task(p: Int8Product, x: Address, y: Address) -> Task:
    """The task for the image that the convolution reads, with its border where it has one."""
    (height, width), pixel, (count, run) = p.padded, p.channels, int8_conv.runs(p)
    params = (
        *(x.plus(int8_conv.origin(p, 1)), y),
        *(height * width * pixel, p.stride[0] * width * pixel, p.stride[1] * pixel, p.depth),
        *(p.kernel[0], count, p.dilation[0] * width * pixel, p.dilation[1] * pixel, run),
        *(*p.output, p.group, int8_conv.SHIFT - p.w_zero, 0, ONES),
    )
    work = p.macs // max(p.maps // p.group, 1)
    return Task(SPEC, params, p.images * p.output[0], "sums", work, 4 * p.pixels * p.group)
