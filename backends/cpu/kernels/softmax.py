"""Softmax of the rows of a matrix, the input flattened before an axis."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import LOWEST, Lines
from graphc.backends.needs import all_dense
from graphc.backends.rows import flattened
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View
from graphc.ir.types import DType

UNIT_ELEMENTS = 4096


def _sweep(s: Lines, lanes: int, body: Sequence[str], tail: Sequence[str]) -> None:
    """``body`` for whole vectors at ``i`` of a row, ``tail`` for what is left of it."""
    with s.block(f"for i in range(0, whole, {lanes}):"):
        for line in body:
            s(line)
    with s.block("if whole < columns:"):
        for line in tail:
            s(line)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``softmax``; parameters: x, y, rows, columns, rows a unit. Sweeps: maximum, exponentials, scaling."""
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(("x", "y", "rows", "columns", "group")):
            s(f"{name} = ld(p, {i})")
        s(f"whole = columns // {lanes} * {lanes}")
        s("rest = columns - whole")
        with (
            s.block("for u in range(lo, hi):"),
            s.block("for row in range(u * group, min(rows, u * group + group)):"),
        ):
            s("a = x + row * columns * 4")
            s("b = y + row * columns * 4")
            _row(s, lanes)
    return s.text()


def _row(s: Lines, lanes: int) -> None:
    s(f"top = vsplat({LOWEST})")
    tail = f"vwhere(vfirst(rest), vloadm(a, whole, rest), vsplat({LOWEST}))"
    _sweep(s, lanes, ["top = vmax(top, vload(a, i))"], [f"top = vmax(top, {tail})"])
    s("top = vsplat(vhmax(top))")
    s("total = vzero()")
    _sweep(
        s,
        lanes,
        ["e = vexp(vsub(vload(a, i), top))", "vstore(b, i, e)", "total = vadd(total, e)"],
        [
            "e = vexp(vsub(vloadm(a, whole, rest), top))",
            "vstorem(b, whole, rest, e)",
            "total = vadd(total, vwhere(vfirst(rest), e, vzero()))",
        ],
    )
    s("factor = vsplat(f4(1.0) / vhsum(total))")
    _sweep(
        s,
        lanes,
        ["vstore(b, i, vmul(vload(b, i), factor))"],
        ["vstorem(b, whole, rest, vmul(vloadm(b, whole, rest), factor))"],
    )


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x = call.type(0)
    if x.dtype is not DType.FLOAT or x.layout.block > 1 or call.node.results[0].type.layout.block > 1 or not x.rank:
        return None
    cost = 300 + 4 * x.nbytes / 40 + x.size / target.lanes * 4
    return Choice("softmax", KernelSpec.make("softmax"), cost=cost)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x = ins[0]
    assert choice.spec is not None
    assert x is not None
    shape = x.type.static_shape
    rows, columns = flattened(shape, call.arg("axis") % len(shape))
    group = max(1, min(-(-rows // 16), UNIT_ELEMENTS // max(columns, 1)))
    params: tuple[Param, ...] = (x.address, outs[0].address, rows, columns, group)
    size, units = rows * columns, -(-rows // group) if columns else 0
    return [(Task(choice.spec, params, units, call.node.results[0].name, 4 * size, 8 * size),)]


RULES = (Rule("softmax", ("Softmax",), _choose, all_dense, _bind),)
TEMPLATES = (Template("softmax", emit),)
