"""Resized images: the nearest pixel (plain and blocked) and bilinear (plain).

Each thread first tabulates, for the pixels of a row of the result, what they take of a row of the input. A unit is a
band of rows of one plane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType

PARAMS = (
    *("step_h", "step_w", "x", "y", "scratch", "stride", "planes", "bands", "in_h", "in_w", "out_h", "out_w"),
    *("x_n", "x_p", "x_r", "y_n", "y_p", "y_r"),
)
"""step: bits of float32, the scale for the nearest pixel, pixels of the input for each of the result for bilinear."""
BAND = 16


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``resize{mode, block}``. A thread's scratch: columns (int32), their shares, a row of the input."""
    s, lanes = Lines(), target.lanes
    bilinear = spec["mode"] == "bilinear"
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = {f'lds(p, {2 * i})' if i < 2 else f'ld(p, {i})'}")
        s("table = scratch + tid * stride")
        with s.block("for i in range(out_w):"):
            s(f"at = f4(i) {'*' if bilinear else '/'} step_w")
            s("column = min(int(at), in_w - 1)")
            s("sti(table, i, np.int32(column))")
            if bilinear:
                s("sts(table, out_w + i, at - f4(column))")
        with s.block("for u in range(lo, hi):"):
            s("t = u // bands")
            for v in "xy":
                s(f"{v}_o = t // planes * {v}_n + t % planes * {v}_p")
            s(f"top = u % bands * {BAND}")
            s("last = -1")
            with s.block(f"for r in range(top, min(out_h, top + {BAND})):"):
                s("to = y_o + r * y_r")
                s(f"at = f4(r) {'*' if bilinear else '/'} step_h")
                s("source = min(int(at), in_h - 1)")
                if bilinear:
                    _bilinear_row(s, lanes)
                else:
                    _nearest_row(s, lanes, spec.int("block"))
    return s.text()


def _nearest_row(s: Lines, lanes: int, block: int) -> None:
    """One row: a copy of the one above it where both take the same row of the input."""
    with s.block("if source == last:"):
        s(f"n = out_w * {block}")
        s(f"whole = n // {lanes} * {lanes}")
        with s.block(f"for i in range(0, whole, {lanes}):"):
            s("vstore(y, to + i, vload(y, to - y_r + i))")
        with s.block("if whole < n:"):
            s("vstorem(y, to + whole, n - whole, vloadm(y, to - y_r + whole, n - whole))")
    with s.block("else:"):
        s("q = x_o + source * x_r")
        with s.block("for i in range(out_w):"):
            if block > 1:
                s(f"vstore(y, to + i * {block}, vload(x, q + ldi(table, i) * {block}))")
            else:
                s("sts(y, to + i, lds(x, q + ldi(table, i)))")
    s("last = source")


def _bilinear_row(s: Lines, lanes: int) -> None:
    """One row: two rows of the input mixed into scratch, then neighbours of that."""
    s("share = at - f4(source)")
    s("upper = x_o + source * x_r")
    s("lower = x_o + min(source + 1, in_h - 1) * x_r")
    s("one = f4(1)")
    s("row = 2 * out_w")
    s(f"whole = in_w // {lanes} * {lanes}")
    mixed = "vadd(vmul({0}, vsplat(one - share)), vmul({1}, vsplat(share)))"
    with s.block(f"for i in range(0, whole, {lanes}):"):
        s(f"vstore(table, row + i, {mixed.format('vload(x, upper + i)', 'vload(x, lower + i)')})")
    with s.block("if whole < in_w:"):
        loads = [f"vloadm(x, {v} + whole, in_w - whole)" for v in ("upper", "lower")]
        s(f"vstore(table, row + whole, {mixed.format(*loads)})")
    with s.block("for i in range(out_w):"):
        s("column = ldi(table, i)")
        s("share = lds(table, out_w + i)")
        s("beside = lds(table, row + min(column + 1, in_w - 1))")
        s("sts(y, to + i, lds(table, row + column) * (one - share) + beside * share)")


def _scales(call: Call) -> tuple[float, float] | None:
    """Scales of height and width; None while they are an input that is no weight."""
    if call.node.op == "UpsampleNearest":
        return (float(call.arg("scale")),) * 2
    if not call.has(1):
        return call.arg("height_scale"), call.arg("width_scale")
    data = call.constant(1)
    return None if data is None else (float(np.ravel(data)[0]), float(np.ravel(data)[1]))


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x, y = call.type(0), call.node.results[0].type
    bilinear = call.node.op == "UpsampleBilinear"
    nhwc = call.opdef.has_arg("order") and call.arg("order") != "NCHW"
    if x.dtype is not DType.FLOAT or nhwc or _scales(call) is None or x.layout != y.layout:
        return None
    if bilinear and x.layout.block > 1:
        return None
    spec = KernelSpec.make("resize", mode="bilinear" if bilinear else "nearest", block=x.layout.block)
    return Choice("resize", spec, {}, 500 + costs.stream_ns(4 * (x.size + y.size)))


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    in_w, out_w = call.type(0).static_shape[-1], call.node.results[0].type.static_shape[-1]
    return Needs(scratch=4 * (2 * out_w + in_w + target.lanes))


def _geometry(view: View) -> tuple[tuple[int, int, int], int, int]:
    """Strides of image, plane and row; numbers of images and planes. Of other ranks all planes are one image's."""
    shape, block = view.type.static_shape, view.type.layout.block
    if len(shape) == 4:
        return (view.strides[0], view.strides[1], view.strides[2]), shape[0], -(-shape[1] // block)
    return (0, shape[-2] * shape[-1], shape[-1]), 1, math.prod(shape[:-2])


def _step(size: int, out: int, scale: float, bilinear: bool) -> int:
    """Bits of what a kernel gets for one direction; corners lie on corners in bilinear images."""
    ratio = np.float32(size - 1) / np.float32(out - 1) if out > 1 else np.float32(0)
    return int(np.float32(ratio if bilinear else scale).view(np.uint32))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, y, scales = ins[0], outs[0], _scales(call)
    assert x is not None
    assert scales is not None
    assert choice.spec is not None
    (in_h, in_w), (out_h, out_w) = x.type.static_shape[-2:], y.type.static_shape[-2:]
    (theirs, n, planes), (mine, _, _) = _geometry(x), _geometry(y)
    bilinear = choice.spec["mode"] == "bilinear"
    steps = [_step(*sizes, bilinear) for sizes in ((in_h, out_h, scales[0]), (in_w, out_w, scales[1]))]
    bands = -(-out_h // BAND)
    params: list[Param] = [*steps, x.address, y.address, Address("scratch"), Address("stride"), planes, bands]
    params += [in_h, in_w, out_h, out_w, *theirs, *mine]
    units = n * planes * bands if y.type.size else 0
    nbytes = 4 * (x.type.size + y.type.size)
    return [(Task(choice.spec, tuple(params), units, call.node.results[0].name, 0, nbytes),)] if units else []


TEMPLATES = (Template("resize", emit),)
RULES = (Rule("resize", ("ResizeNearest", "UpsampleNearest", "UpsampleBilinear"), _choose, _needs, _bind),)
