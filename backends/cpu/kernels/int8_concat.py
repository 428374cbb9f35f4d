"""Int8Concat: rows of bytes side by side, and the sizes of the pieces."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.int8_call import is_quantised
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.backends.rows import around
from graphc.ir.opdef import Call
from graphc.ir.ops.quantized.int8_moves import join_axis
from graphc.ir.schedule import Address, Choice, KernelSpec, Step, Task, View

PARAMS = ("x", "y", "rows", "part", "width", "group")
"""part: bytes of a row of x; width: those of a row of the result; group: rows of a unit."""
UNIT = 1 << 14


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_rows``: the rows of one input to their places."""
    s, whole = Lines(), 4 * target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        with s.block("for row in range(lo * group, min(rows, hi * group)):"):
            s("a = x + row * part")
            s("b = y + row * width")
            s("i = 0")
            with s.block(f"while i + {whole} <= part:"):
                s("bstore(b, i, bload(a, i))")
                s(f"i += {whole}")
            with s.block("while i < part:"):
                s("wstore_u1m(b, i, part - i, wload_u1m(a, i, part - i))")
                s(f"i += {target.lanes}")
    return s.text()


def emit_sizes(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``int8_sizes``: int32 numbers that are parameters, behind their place and count."""
    s = Lines()
    with s.block(f"def {spec.name}(p, lo, hi, tid):"), s.block("for i in range(ld(p, 1)):"):
        s("st_i4(ld(p, 0), i, ld(p, 2 + i))")
    return s.text()


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    if not is_quantised(call, *range(call.n_inputs)):
        return None
    cost = 200.0 + call.node.results[0].type.size / 8
    return Choice("int8_concat", KernelSpec.make("int8_rows"), cost=cost)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    shape, label = outs[0].type.static_shape, call.node.results[0].name
    axis = join_axis(call, len(shape))
    rows, _, inner = around(shape, axis)
    width, place, tasks = shape[axis] * inner, outs[0].address, []
    for view in ins:
        assert view is not None
        part = view.type.static_shape[axis] * inner
        group = max(1, UNIT // max(part, 1))
        params = (view.address, place, rows, part, width, group)
        units = -(-rows // group) if part else 0
        tasks.append(Task(choice.spec, params, units, label, 0, 2 * rows * part))
        place = place.plus(part)
    if len(outs) > 1:
        sizes = [call.type(i).static_shape[axis] for i in range(call.n_inputs)]
        tasks.append(Task(KernelSpec.make("int8_sizes"), (outs[1].address, len(sizes), *sizes), 1, label))
    return [tuple(tasks)]


RULES = (Rule("int8_concat", ("Int8Concat",), _choose, all_dense, _bind),)
TEMPLATES = (Template("int8_rows", emit), Template("int8_sizes", emit_sizes))
