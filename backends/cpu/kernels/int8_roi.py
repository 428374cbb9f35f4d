"""Int8RoIAlign: the record's own function of a box, boxes shared out among threads."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cpu.rules import Rule, Template, float_bits
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import is_quantised
from graphc.backends.lines import Lines
from graphc.backends.loop_source import called_source
from graphc.ir.opdef import Call, lookup
from graphc.ir.ops.quantized.int8_roi import align_box
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType

SIZES = ("n", "height", "width", "channels", "boxes", "sides", "bins_h", "bins_w")
PARAMS = ("x", "rois", "y", "status", "scratch", "stride", *SIZES, "ratio", "x_zero", "y_zero")
REALS = ("scale", "x_scale", "y_scale")
"""float64, behind the others."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_roi``; a unit is a box."""
    s = Lines()
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate((*PARAMS, *REALS)):
            s(f"{name} = {'ld' if name in PARAMS else 'ld_f8'}(p, {i})")
        s("maps = array_u1(x, (n, height, width, channels))")
        s("places = array_f4(rois, (boxes, sides))")
        s("bins = array_u1(y, (boxes, bins_h, bins_w, channels))")
        s("totals = array_i8(scratch + tid * stride, (channels,))")
        numbers = "scale, ratio, x_scale, x_zero, y_scale, y_zero"
        with s.block("for u in range(lo, hi):"):
            s(f"code = align_box(maps, places, bins, totals, u, {numbers})")
            with s.block("if code != 0:"):
                s("st_i8(status, 0, code)")
    return called_source(lookup("Int8RoIAlign"), {"align_box": align_box}) + "\n\n" + s.text()


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    if not is_quantised(call, 0) or call.type(1).dtype is not DType.FLOAT:
        return None
    return Choice("int8_roi", KernelSpec.make("int8_roi"), cost=900.0 + 8 * call.node.results[0].type.size)


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """Dense values; the totals of the channels."""
    return Needs(dense=frozenset({0, 1}), dense_out=True, scratch=8 * max(call.type(0).static_shape[3], 1))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, rois, y = ins[0], ins[1], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert rois is not None
    scale, ratio, x_scale, x_zero, y_scale, y_zero = call.opdef.loop_arguments(call)
    boxes, bins_h, bins_w, _ = y.type.static_shape
    sizes = (*x.type.static_shape, *rois.type.static_shape, bins_h, bins_w)
    spaces = (Address("status"), Address("scratch"), Address("stride"))
    reals = (float_bits(v) for v in (scale, x_scale, y_scale))
    params: tuple[Param, ...] = (x.address, rois.address, y.address, *spaces, *sizes, ratio, x_zero, y_zero, *reals)
    size = y.type.size
    return [(Task(choice.spec, params, boxes, call.node.results[0].name, 16 * size, x.type.nbytes + size),)]


RULES = (Rule("int8_roi", ("Int8RoIAlign",), _choose, _needs, _bind),)
TEMPLATES = (Template("int8_roi", emit),)
