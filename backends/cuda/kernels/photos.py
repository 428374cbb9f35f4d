"""Conversions between packed photos and float planes: the pre- and postprocessing of style-transfer nets; a pixel a
thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.photos import DEPROCESS, PLANES, PREPROCESS, mean_and_noise, needs, period, planes
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View

NAMES = ("total", "x", "mean", "y", "height", "width", "image", "plane", "row", "period")
"""Parameters of both kernels; total: pixels. image, plane, row: strides of the float planes."""


def _head(s: Lines, spec: KernelSpec) -> None:
    s(f"i = i64(block()) * {spec['threads']} + thread()")
    with s.block("if i >= total:"):
        s("return")
    s("column, q = rest(i, width), quot(i, width)")
    s("o = quot(q, height) * image + rest(q, height) * row + column")


def emit_unpack(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``photo_unpack``: bytes to planes, minus the mean, plus noise that starts anew with each image."""
    s = Lines()
    with s.block(f"def {spec.name}({', '.join(NAMES)}):"):
        _head(s, spec)
        s(f"k = rest(rest(i, width * height) * {PLANES}, max(period, 1))")
        for c in range(PLANES):
            s(f"v = f4(ld_u1(x, i * 4 + {c})) - ld_f4(mean, {c})")
            with s.block("if period > 0:"):
                s(f"v = v + ld_f4(mean, {PLANES + c} + k)")
            s(f"st_f4(y, o + {c} * plane, v)")
    return s.text()


def emit_pack(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``photo_pack``: planes plus the mean to bytes, cut off towards 0, alpha 255. NaN gives 0."""
    s = Lines()
    with s.block(f"def {spec.name}({', '.join(NAMES)}):"):
        _head(s, spec)
        for c in range(PLANES):
            s(f"v = ld_f4(x, o + {c} * plane) + ld_f4(mean, {c})")
            s("v = where(v > f4(0.0), v, f4(0.0))")
            s(f"st_u1(y, i * 4 + {c}, i32(where(v < f4(255.0), v, f4(255.0))))")
        s("st_u1(y, i * 4 + 3, 255)")
    return s.text()


def _choose_unpack(call: Call, target: CudaTarget) -> Choice | None:
    packed = mean_and_noise(call)
    if packed is None:
        return None
    return Choice("photo_unpack", KernelSpec.make("photo_unpack", threads=THREADS), packed)


def _choose_pack(call: Call, target: CudaTarget) -> Choice | None:
    return Choice("photo_pack", KernelSpec.make("photo_pack", threads=THREADS))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, mean, y = ins[0], ins[1], outs[0]
    assert x is not None
    assert mean is not None
    assert choice.spec is not None
    require_reach(x, y)
    floats = planes(call, x, y)
    n, _, h, w = floats.type.static_shape
    *strides, pixel = floats.strides
    assert pixel == 1, "pixels of a plain plane lie side by side"
    params: tuple[Param, ...] = (n * h * w, x.address, mean.address, y.address, h, w, *strides, period(choice))
    size = floats.type.size
    return [(Task(choice.spec, params, blocks_for(n * h * w), call.node.results[0].name, 2 * size, 16 * size // 3),)]


TEMPLATES = (Template("photo_unpack", emit_unpack), Template("photo_pack", emit_pack))
RULES = (
    Rule("photo_unpack", (PREPROCESS,), _choose_unpack, needs, _bind),
    Rule("photo_pack", (DEPROCESS,), _choose_pack, needs, _bind),
)
