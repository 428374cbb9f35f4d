"""Softmax of the rows of a matrix, the input flattened before an axis: a block a row."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.across import across_block
from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.rules import THREADS, Rule, Template, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import LOWEST, Lines
from graphc.backends.needs import all_dense
from graphc.backends.rows import flattened
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Step, Task, View


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``softmax``; parameters: x, y, columns. Sweeps: maximum, sum of exponentials, results."""
    s, threads = Lines(), spec.int("threads")
    with s.block(f"def {spec.name}(x, y, columns):"):
        s(f"words = shared({threads // 32})")
        s("first = i64(block()) * columns")
        s(f"top = {LOWEST}")
        with counting(s, "i", "i64(thread())", "columns", threads):
            s("top = largest(top, ld_f4(x, first + i))")
        across_block(s, "top", "largest({}, {})", threads)
        s("total = f4(0.0)")
        with counting(s, "i", "i64(thread())", "columns", threads):
            s("total = total + exp(ld_f4(x, first + i) - top)")
        across_block(s, "total", "({} + {})", threads)
        with counting(s, "i", "i64(thread())", "columns", threads):
            s("st_f4(y, first + i, div(exp(ld_f4(x, first + i) - top), total))")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    x = call.type(0)
    if not is_float32(call) or not x.rank:
        return None
    return Choice("softmax", KernelSpec.make("softmax", threads=THREADS), cost=3.0 * x.nbytes)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x = ins[0]
    assert choice.spec is not None
    assert x is not None
    require_reach(x)
    shape = x.type.static_shape
    rows, columns = flattened(shape, call.arg("axis") % len(shape))
    size = rows * columns
    units = rows if columns else 0
    params = (x.address, outs[0].address, columns)
    return [(Task(choice.spec, params, units, call.node.results[0].name, 4 * size, 8 * size),)]


RULES = (Rule("softmax", ("Softmax",), _choose, all_dense, _bind),)
TEMPLATES = (Template("softmax", emit),)
