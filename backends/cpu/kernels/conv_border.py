"""Zero borders of values that are not images (1-D and 3-D convolutions): a padded copy in the workspace."""

from __future__ import annotations

import math

from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Task, View

SPEC = KernelSpec.make("border")
PARAMS = ("x", "y", "d", "h", "w", "front", "top", "left", "yd", "yh", "yw")
"""Sizes of x, the border before it, sizes of y; then a zero: as a constant it would become a call of memset."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``border``: dense (planes, d, h, w) into (planes, yd, yh, yw); a unit is a plane."""
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        s(f"zeros = vbcast(p, {2 * len(PARAMS)})")
        with s.block("for u in range(lo, hi):"), s.block("for z in range(yd):"), s.block("for r in range(yh):"):
            s("to = ((u * yd + z) * yh + r) * yw")
            with s.block(f"for i in range(0, yw, {lanes}):"):
                s("vstorem(y, to + i, yw - i, zeros)")
            with s.block("if 0 <= z - front < d and 0 <= r - top < h:"):
                s("source = ((u * d + z - front) * h + r - top) * w")
                with s.block(f"for i in range(0, w, {lanes}):"):
                    s("vstorem(y, to + left + i, w - i, vloadm(x, source + i, w - i))")
    return s.text()


TEMPLATE = Template("border", emit)


def border_task(
    x: View, image: tuple[int, int, int], heads: tuple[int, int, int], padded: tuple[int, int, int], y: Address
) -> Task:
    """The task that copies a dense value of spatial shape ``image`` to ``y`` within zeros, of shape ``padded``."""
    planes = math.prod(x.type.static_shape[:2])
    nbytes = 4 * planes * (math.prod(image) + math.prod(padded))
    return Task(SPEC, (x.address, y, *image, *heads, *padded, 0), planes, "border", 0, nbytes)
