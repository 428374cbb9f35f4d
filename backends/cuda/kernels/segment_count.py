"""How many runs the ids of rows speak of: what sizes the results of operators on segments."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.loops import zero_task
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.backends.segments import BAD_RUNS, OPERATORS
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Step, Task, View
from graphc.ir.types import DType

COUNTS = {"sorted": "segment_count_sorted", "unsorted": "segment_count_all"}
"""Ids -> the kernel that counts the runs."""
SIZES = {f"g.sizes.{name}": form for name, form in OPERATORS.items() if form.runs in COUNTS and name[:2] != "g."}
"""The operators that find how many runs there are."""


def emit_count_sorted(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``segment_count_sorted``: the number of runs of sorted ids without gaps, an error for others."""
    s = Lines()
    with each_thread(s, spec, ("ids", "count", "dims", "status"), "t", "count"):
        s("id, before = i64(ld_i4(ids, t)), i64(ld_i4(ids, max(t - 1, 0)))")
        s("before = before if t > 0 else 0")
        with s.block("if (id < before) | (id > before + (1 if t > 0 else 0)):"):
            s(f"fail(status, {BAD_RUNS})")
        with s.block("if t == count - 1:"):
            s("st_i8(dims, 0, id + 1)")
    return s.text()


def emit_count_all(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``segment_count_all``: one more than the largest id, an error for negative ones; from 0 on."""
    s = Lines()
    with each_thread(s, spec, ("ids", "count", "dims", "status"), "t", "count"):
        s("id = i64(ld_i4(ids, t))")
        with s.block("if id < 0:"):
            s(f"fail(status, {BAD_RUNS})")
        with s.block("else:"):
            s("fail(dims, id + 1)")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    form = SIZES[call.node.op]
    if call.type(form.ports()["runs"]).dtype is not DType.INT32:
        return None
    return Choice("segment_count", KernelSpec.make(COUNTS[form.runs], threads=THREADS))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    ids = ins[SIZES[call.node.op].ports()["runs"]]
    assert choice.spec is not None
    assert ids is not None
    label, count = call.node.results[0].name, ids.type.size
    zeros = tuple(zero_task(v.address, v.type.size, v.type.nbytes // v.type.size, label) for v in outs if v.type.size)
    if not outs[0].type.size or not count:  # the number of runs was given, or there are no rows
        return [zeros] if zeros else []
    params = (ids.address, count, outs[0].address, Address("status"))
    return [zeros, (Task(choice.spec, params, blocks_for(count), label, count, 4 * count),)]


RULES = (Rule("segment_count", tuple(SIZES), _choose, all_dense, _bind),)
TEMPLATES = (Template("segment_count_sorted", emit_count_sorted), Template("segment_count_all", emit_count_all))
