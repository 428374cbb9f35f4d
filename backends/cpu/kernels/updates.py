"""Parameter updates of training nets: the records' loops, on slices of the arrays that threads share out.

Each element is updated by itself, so the loop serves any stretch of all arrays alike; rates and counters are whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.kernels.loops import argument
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.loop_call import NOTHING, argument_codes, operand, passed, width
from graphc.backends.loop_source import loop_source
from graphc.backends.needs import all_dense
from graphc.ir.loops import loop_operands
from graphc.ir.opdef import Call, lookup
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View
from graphc.ir.types import DType

SINGLE = {"MomentumSGD": (2,), "MomentumSGDUpdate": (2,), "Adagrad": (3,), "Adam": (4, 5), "RmsProp": (3,)}
"""Operator -> its inputs of one element."""
SLICE = 1 << 14
"""Elements of a unit."""
CUT, WHOLE, COUNTER, ABSENT = "cut", "whole", "counter", "-"
"""Arrays of float32 that are cut and that are not, of int64, and those that are not there."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``update{op, ins, outs, args}``; parameters: elements, addresses, numbers."""
    s, opdef = Lines(), lookup(str(spec["op"]))
    ins, outs, args = (str(spec[side]).split(";") if spec[side] else [] for side in ("ins", "outs", "args"))
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        s(f"first = lo * {SLICE}")
        s(f"count = min(hi * {SLICE}, ld(p, 0)) - first")
        names, k = [], 1
        for i, kind in enumerate([*ins, *outs]):
            names.append(NOTHING if kind == ABSENT else f"a{i}")
            if kind == ABSENT:
                continue
            place = f"ld(p, {k}) + 4 * first, (count,)" if kind == CUT else f"ld(p, {k}), (1,)"
            s(f"a{i} = array_{'i8' if kind == COUNTER else 'f4'}({place})")
            k += 1
        numbers = []
        for code in args:
            numbers.append(argument(code, k, ""))
            k += width(code)
        operands = loop_operands(opdef, names[: len(ins)], names[len(ins) :], [], NOTHING)
        s(f"loop({', '.join([*map(operand, operands), *numbers])})")
    return loop_source(opdef) + "\n\n" + s.text()


def _kind(call: Call, i: int) -> str:
    if not call.has(i):
        return ABSENT
    if i not in SINGLE[call.node.op]:
        return CUT
    return COUNTER if call.type(i).dtype is DType.INT64 else WHOLE


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    types = [v.type for v in (*call.node.operands, *call.node.results) if v is not None]
    codes = argument_codes(call)
    if codes is None or any(t.dtype not in (DType.FLOAT, DType.INT64) or t.layout.block > 1 for t in types):
        return None
    ins = [_kind(call, i) for i in range(len(call.opdef.inputs))]
    outs = [CUT if i < call.n_outputs else ABSENT for i in range(len(call.opdef.outputs))]
    parts = {"ins": ins, "outs": outs, "args": codes}
    spec = KernelSpec.make("update", op=call.node.op, **{k: ";".join(v) for k, v in parts.items()})
    return Choice("update", spec, {}, 500 + costs.stream_ns(sum(t.nbytes for t in types)))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    views = [v for v in (*ins, *outs) if v is not None]
    size = outs[0].type.size
    params: list[Param] = [size, *(v.address for v in views)]
    codes = str(choice.spec["args"]).split(";")
    params += [n for code, value in zip(codes, call.opdef.loop_arguments(call)) for n in passed(code, value)]
    nbytes = sum(v.type.nbytes for v in views)
    return [(Task(choice.spec, tuple(params), -(-size // SLICE), call.node.results[0].name, size, nbytes),)]


RULES = (Rule("update", tuple(SINGLE), _choose, all_dense, _bind),)
TEMPLATES = (Template("update", emit),)
