"""Int8Softmax by a table of 256 exponentials in fixed point; rows of many classes by one of their 256 results as well.

The results are Caffe2's integers: sums are exact, and a quotient of integers below 2**41 keeps its integral part when
it is rounded to float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import is_quantised
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View

PARAMS = ("x", "y", "rows", "columns", "group", "scratch", "stride")
"""group: rows of a unit. Behind them the table: 256 numbers of 32 bits."""
VALUES = 256
UNIT_ELEMENTS = 4096


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_softmax``; a thread's scratch: the result of every value that a row can hold."""
    s, step = Lines(), 4 * target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        s("shares = scratch + tid * stride")
        s(f"whole = columns // {step} * {step}")
        with (
            s.block("for u in range(lo, hi):"),
            s.block("for row in range(u * group, min(rows, u * group + group)):"),
        ):
            s("a = x + row * columns")
            s("b = y + row * columns")
            _greatest(s, step)
            s(f"parts = p + {8 * len(PARAMS)} + 4 * ({VALUES - 1} - top)")
            s("total = 0")
            with s.block("for i in range(columns):"):
                s("total += int(ld_i4(parts, int(ld_u1(a, i))))")
            s("half = np.float64(total // 2)")
            s("whole_v = np.float64(total)")
            with s.block(f"if columns < {VALUES}:"):
                _shares(s, "columns", "int(ld_u1(a, i))", "b")
            with s.block("else:"):
                _shares(s, "top + 1", "i", "shares")
                with s.block("for i in range(columns):"):
                    s("st_u1(b, i, ld_u1(shares, int(ld_u1(a, i))))")
    return s.text()


def _greatest(s: Lines, step: int) -> None:
    """``top``: the greatest element of the row."""
    s("best = bsplat(0)")
    with s.block(f"for i in range(0, whole, {step}):"):
        s("best = bmax(best, bload(a, i))")
    s("bstore(shares, 0, best)")
    s("top = 0")
    with s.block(f"for i in range({step}):"):
        s("top = max(top, int(ld_u1(shares, i)))")
    with s.block("for i in range(whole, columns):"):
        s("top = max(top, int(ld_u1(a, i)))")


def _shares(s: Lines, count: str, value: str, place: str) -> None:
    """The results of ``count`` values, as bytes."""
    with s.block(f"for i in range({count}):"):
        s(f"part = np.float64(ld_i4(parts, {value}))")
        s(f"st_u1({place}, i, min(int((part * 256.0 + half) / whole_v), 255))")


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    if not is_quantised(call, 0):
        return None
    return Choice("int8_softmax", KernelSpec.make("int8_softmax"), cost=300.0 + call.type(0).size)


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """Dense values; a table a thread."""
    return Needs(dense=frozenset({0}), dense_out=True, scratch=VALUES)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    assert ins[0] is not None
    size, (columns, scale) = outs[0].type.size, call.opdef.loop_arguments(call)
    if not size:
        return []
    rows = size // columns
    group = max(1, min(-(-rows // 16), UNIT_ELEMENTS // columns))
    scratch = (Address("scratch"), Address("stride"))
    params = (ins[0].address, outs[0].address, rows, columns, group, *scratch, *_table(call, columns, scale))
    return [(Task(choice.spec, params, -(-rows // group), call.node.results[0].name, 4 * size, 2 * size),)]


def _table(call: Call, columns: int, scale: float) -> tuple[int, ...]:
    """The exponentials of all 256 values by the record's own loop, as 128 int64."""
    assert call.opdef.loop is not None
    nothing, table = np.zeros(0, np.uint8), np.zeros(VALUES, np.int64)
    call.opdef.loop(nothing, nothing, table, columns, scale)
    return tuple(int(v) for v in table.astype(np.int32).view(np.int64))


RULES = (Rule("int8_softmax", ("Int8Softmax",), _choose, _needs, _bind),)
TEMPLATES = (Template("int8_softmax", emit),)
