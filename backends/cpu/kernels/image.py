"""Conversions between packed photos and float planes: the pre- and postprocessing of style-transfer nets."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.photos import DEPROCESS, PLANES, PREPROCESS, mean_and_noise, needs, period, planes
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View

SIZES = ("x", "mean", "y", "height", "width", "image", "plane", "row", "period")
"""Parameters of both kernels. image, plane, row: strides of the float planes; a unit is a row of pixels."""


def _head(s: Lines) -> None:
    for i, name in enumerate(SIZES):
        s(f"{name} = ld(p, {i})")
    for c in range(PLANES):
        s(f"m{c} = lds(mean, {c})")


def emit_unpack(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``stylizer_unpack``: bytes to planes, minus the mean, plus noise that starts anew with each image.

    Behind the mean lie ``period`` values of noise and the first two of them once more; none where period is 0.
    """
    s = Lines()
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s)
        with s.block("for u in range(lo, hi):"):
            s("o = u // height * image + u % height * row")
            with s.block("if period > 0:"):
                s(f"k = u % height * width * {PLANES} % period")
                with s.block("for i in range(width):"):
                    for c in range(PLANES):
                        s(f"v = f4(ldb(x, (u * width + i) * 4 + {c})) - m{c} + lds(mean, {PLANES + c} + k)")
                        s(f"sts(y, o + {c} * plane + i, v)")
                    s(f"k += {PLANES}")
                    with s.block("while k >= period:"):
                        s("k -= period")
            with s.block("else:"), s.block("for i in range(width):"):
                for c in range(PLANES):
                    s(f"sts(y, o + {c} * plane + i, f4(ldb(x, (u * width + i) * 4 + {c})) - m{c})")
    return s.text()


def emit_pack(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``stylizer_pack``: planes plus the mean to bytes, cut off towards 0, alpha 255. NaN gives 0."""
    s = Lines()
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s)
        with s.block("for u in range(lo, hi):"):
            s("o = u // height * image + u % height * row")
            with s.block("for i in range(width):"):
                for c in range(PLANES):
                    s(f"v = lds(x, o + {c} * plane + i) + m{c}")
                    s("v = v if v > f4(0) else f4(0)")
                    s("v = v if v < f4(255) else f4(255)")
                    s(f"stb(y, (u * width + i) * 4 + {c}, np.uint8(np.int32(v)))")
                s("stb(y, (u * width + i) * 4 + 3, np.uint8(255))")
    return s.text()


def _choose_unpack(call: Call, target: CpuTarget) -> Choice | None:
    packed = mean_and_noise(call)
    if packed is None or call.node.results[0].type.layout.block > 1:
        return None
    return Choice("stylizer_unpack", KernelSpec.make("stylizer_unpack"), packed, _cost(call))


def _choose_pack(call: Call, target: CpuTarget) -> Choice | None:
    if call.type(0).layout.block > 1:
        return None
    return Choice("stylizer_pack", KernelSpec.make("stylizer_pack"), {}, _cost(call))


def _cost(call: Call) -> float:
    return 500.0 + call.type(0).size


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, mean, y = ins[0], ins[1], outs[0]
    assert x is not None
    assert mean is not None
    assert choice.spec is not None
    floats = planes(call, x, y)
    n, _, h, w = floats.type.static_shape
    params: tuple[Param, ...] = (x.address, mean.address, y.address, h, w, *floats.strides[:3], period(choice))
    size = floats.type.size
    task = Task(choice.spec, params, n * h, call.node.results[0].name, 2 * size, 5 * size)
    return [(task,)] if task.units else []


TEMPLATES = (Template("stylizer_unpack", emit_unpack), Template("stylizer_pack", emit_pack))
RULES = (
    Rule("stylizer_unpack", (PREPROCESS,), _choose_unpack, needs, _bind),
    Rule("stylizer_pack", (DEPROCESS,), _choose_pack, needs, _bind),
)
