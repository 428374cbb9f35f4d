"""Copies of uint8 images for int8 kernels to read: within a border, as bytes or as int16 without the zero point."""

from __future__ import annotations

from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import Int8Product
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Task

PARAMS = ("x", "y", "height", "line", "top", "head", "rows", "row", "zero", "border")
"""height, line: rows of x and elements of one; top, head: rows and elements before it; rows, row: the same of y."""
SLACK = 64
"""Bytes behind a copy that kernels may read."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_border{wide}``; a unit is a row of y. wide: y is int16, the zero point subtracted."""
    s, wide = Lines(), spec.int("wide")
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        s("zero_w = wsplat(zero)")
        s("border_w = wsplat(border)")
        s("border_b = bsplat(border)")
        with s.block("for u in range(lo, hi):"):
            s("n = u // rows")
            s("r = u - n * rows - top")
            s(f"to = y + u * row * {1 + wide}")
            with s.block("if 0 <= r < height:"):
                _fill(s, target.lanes, wide, "0", "head")
                s("source = x + (n * height + r) * line - head")
                _copy(s, target.lanes, wide)
                _fill(s, target.lanes, wide, "head + line", "row")
            with s.block("else:"):
                _fill(s, target.lanes, wide, "0", "row")
    return s.text()


def _fill(s: Lines, lanes: int, wide: int, first: str, last: str) -> None:
    """The border's value into elements [first, last) of the row."""
    s(f"at = {first}")
    if wide:
        with s.block(f"while at < {last}:"):
            s(f"wstore_i2m(to, 2 * at, {last} - at, border_w)")
            s(f"at += {lanes}")
        return
    with s.block(f"while at + {4 * lanes} <= {last}:"):
        s("bstore(to, at, border_b)")
        s(f"at += {4 * lanes}")
    with s.block(f"while at < {last}:"):
        s(f"wstore_u1m(to, at, {last} - at, border_w)")
        s(f"at += {lanes}")


def _copy(s: Lines, lanes: int, wide: int) -> None:
    """The row of x into elements [head, head + line) of the row."""
    step = lanes if wide else 4 * lanes
    s("at = head")
    with s.block(f"while at + {step} <= head + line:"):
        s("wstore_i2(to, 2 * at, wsub(wload_u1(source, at), zero_w))" if wide else "bstore(to, at, bload(source, at))")
        s(f"at += {step}")
    with s.block("while at < head + line:"):
        s("v = wload_u1m(source, at, head + line - at)")
        s(
            "wstore_i2m(to, 2 * at, head + line - at, wsub(v, zero_w))"
            if wide
            else "wstore_u1m(to, at, head + line - at, v)"
        )
        s(f"at += {lanes}")


TEMPLATE = Template("int8_border", emit)


def copy_bytes(p: Int8Product, wide: bool) -> int:
    """Bytes of the copy, to whole cache lines, with its slack."""
    nbytes = p.images * p.padded[0] * p.padded[1] * p.channels * (1 + wide)
    return -(-(nbytes + SLACK) // 64) * 64


def border_task(p: Int8Product, wide: bool, x: Address, y: Address) -> Task:
    """The task that makes the copy."""
    rows, columns = p.padded
    params = (
        *(x, y, p.image[0], p.image[1] * p.channels, p.before[0], p.before[1] * p.channels),
        *(rows, columns * p.channels, p.x_zero, 0 if wide else p.x_zero),
    )
    moved = p.images * p.channels * (p.image[0] * p.image[1] + rows * columns * (1 + wide))
    spec = KernelSpec.make("int8_border", wide=int(wide))
    return Task(spec, params, p.images * rows, "border", 0, moved)
