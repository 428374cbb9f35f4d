"""What lengths say of each row of their runs, or of each run: ids, places, copies, weights, and where it starts.

First the card finds where the runs begin. Then a thread takes an element of the result, or up to eight bytes of a row;
that of a row looks for its run.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.copy import CODES
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.packing import is_movable, word_of
from graphc.backends.cuda.kernels.segment_starts import Lengths, room, starts_of
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.rules import float_bits
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View

PARAMS: tuple[str, ...] = ("total", "width", "runs", "starts", "x", "power", "y")
"""total: words of the result. width: of a row. x: of LengthsTile. power: bits of a float64, of LengthsToWeights."""
LENGTH = "f8(i64(ld_i8(starts, run + 1)) - i64(ld_i8(starts, run)))"
OF_ROWS = {
    "LengthsRangeFill": "st_i4(y, i, k - i64(ld_i8(starts, run)))",
    "LengthsTile": "st_{code}(y, i, ld_{code}(x, run * width + rest(i, width)))",
    "LengthsToSegmentIds": "st_i4(y, i, run)",
    "LengthsToWeights": f"st_f4(y, i, f4(1.0 / {LENGTH} ** double(power)))",
}
"""Operator -> what is stored for row k, of ``run``."""
OF_RUNS = {
    "LengthsToOffsets": "st_i4(y, i, ld_i8(starts, i))",
    "LengthsToRanges": "st_i4(y, i, i64(ld_i8(starts, (i + 1) >> 1)) - (i64(ld_i8(starts, i >> 1)) if i & 1 else 0))",
}
"""Operator -> what is stored as element i."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``by_length{op, itemsize}``; parameters: ``PARAMS``."""
    s, op = Lines(), str(spec["op"])
    with each_thread(s, spec, PARAMS):
        if op in OF_ROWS:
            s("k, low, high = quot(i, width), 0, runs - 1")
            with s.block("while low < high:"):
                s("middle = (low + high) >> 1")
                with s.block("if i64(ld_i8(starts, middle + 1)) <= k:"):
                    s("low = middle + 1")
                with s.block("else:"):
                    s("high = middle")
            s("run = low")
        s({**OF_ROWS, **OF_RUNS}[op].format(code=CODES[spec.int("itemsize")]))
    return s.text()


def _op(call: Call) -> str:
    return call.node.op.removeprefix("g.fill.")


def _port(call: Call) -> int:
    """Which input the lengths are."""
    return int(_op(call) == "LengthsTile")


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_movable(call, 0, _port(call)):
        return None
    return Choice("by_length", KernelSpec.make("by_length", op=_op(call), itemsize=4, threads=THREADS))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    runs = call.type(_port(call)).size
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=room(runs))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, given, y, label = ins[0], ins[_port(call)], outs[0], call.node.results[0].name
    assert x is not None
    assert given is not None
    assert choice.spec is not None
    require_reach(x, y)
    runs, rows, spec = given.type.size, y.type.static_shape[0], choice.spec
    total, width = y.type.size, 1
    if _op(call) in OF_RUNS:
        lengths = Lengths(given.address, runs)
    else:
        lengths = Lengths(given.address, runs, rows, rows)
    if _op(call) == "LengthsTile" and y.type.size:
        size = word_of(y.type.nbytes // rows, x, y)
        spec, width, total = spec.but(itemsize=size), y.type.nbytes // rows // size, y.type.nbytes // size
    power = float_bits(call.arg("power")) if call.opdef.has_arg("power") else 0
    params = (total, width, runs, workspace, x.address, power, y.address)
    task = Task(spec, params, blocks_for(total), label, 0, x.type.nbytes + y.type.nbytes)
    steps = starts_of(lengths, workspace, label)
    return [*steps, (task,)] if task.units else steps


RULES = (Rule("by_length", (*OF_ROWS, *(f"g.fill.{name}" for name in OF_ROWS), *OF_RUNS), _choose, _needs, _bind),)
TEMPLATES = (Template("by_length", emit),)
