"""Reductions of float32 over any dimensions.

Neighbouring dimensions of one kind merge. Where the innermost is reduced, vectors run along it and are summed up at the
end; where it is kept, every lane reduces a column of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from graphc.backends.cpu.kernels import costs, reduce_pairs
from graphc.backends.cpu.kernels.accumulate import add_stretch, join_stretch, start_stretch
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir import LoweringError
from graphc.ir.opdef import Call
from graphc.ir.ops.reduce.reduce import reduced_axes, reduced_ends
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View
from graphc.ir.types import DType

PARAMS = ("x", "y", "k1", "s2", "s1", "n1", "t1", "n0", "t0", "columns", "chunks", "chunk", "divisor")
"""Kept dimensions around: k1 elements in the inner of two, strides s2, s1. Reduced ones: n1 elements t1 apart, in each
n0 elements t0 apart. columns: kept elements side by side, in chunks; 1 for rows. divisor: bits of float32."""
COLUMN_CHUNK = 8

ELEMENT = {"sum": "{0}", "max": "{0}", "min": "{0}", "abs": "vabs({0})", "square": "vmul({0}, {0})"}
COMBINE = {"sum": "vadd", "max": "larger", "min": "smaller", "abs": "vadd", "square": "vadd"}
HELPERS = {
    "max": "def larger(a, v):\n    return vwhere(visnan(v), v, vmax(v, a))\n\n\n",
    "min": "def smaller(a, v):\n    return vwhere(visnan(v), v, vmin(v, a))\n\n\n",
}
"""Maximum and minimum that are not a number once an element is none: vmax alone gives its second operand then."""
START = {"max": "vsplat(f4(-np.inf))", "min": "vsplat(f4(np.inf))"}
ACROSS = {"max": "vhmax", "min": "vhmin"}


def emit_rows(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``reduce_rows{what, root}``: a unit is one element of the result."""
    s, lanes, what = Lines(), target.lanes, str(spec["what"])
    combine, element, start = COMBINE[what], ELEMENT[what], START.get(what, "vzero()")
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s)
        with s.block("for u in range(lo, hi):"):
            s("o = u // k1 * s2 + u % k1 * s1")
            start_stretch(s, start)
            with s.block("for i in range(n1):"):
                s("q = o + i * t1")
                add_stretch(s, lanes, combine, element.format("v"), start, "n0")
            join_stretch(s, combine)
            s(f"across = {ACROSS.get(what, 'vhsum')}(a0)")
            if what in ACROSS:
                with s.block("if vhsum(vwhere(visnan(a0), vsplat(f4(1)), vzero())) > f4(0):"):
                    s("across = f4(np.nan)")
            s("total = vdiv(vsplat(across), divisors)")
            s(f"sts(y, u, vlane({_root(spec)}, 0))")
    return HELPERS.get(what, "") + s.text()


def emit_columns(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``reduce_columns{what, root}``: a unit is a chunk of neighbouring columns.

    A whole chunk has an accumulator for each vector, so that memory is read in stretches of the chunk's width.
    """
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s)
        with s.block("for u in range(lo, hi):"):
            s("first = u % chunks * chunk")
            s("g = u // chunks")
            s("o = g // k1 * s2 + g % k1 * s1")
            with s.block("if first + chunk <= columns:"):
                _chunk(s, spec, lanes)
            with s.block("else:"), s.block(f"for c in range(first, columns, {lanes}):"):
                s("left = columns - c")
                with s.block(f"if left >= {lanes}:"):
                    _column(s, spec, "vload(x, {0})", "vstore(y, g * columns + c, {0})")
                with s.block("else:"):
                    _column(s, spec, "vloadm(x, {0}, left)", "vstorem(y, g * columns + c, left, {0})")
    return HELPERS.get(str(spec["what"]), "") + s.text()


def _chunk(s: Lines, spec: KernelSpec, lanes: int) -> None:
    what = str(spec["what"])
    for j in range(COLUMN_CHUNK):
        s(f"a{j} = {START.get(what, 'vzero()')}")
    with s.block("for i in range(n1):"), s.block("for k in range(n0):"):
        s("q = o + first + i * t1 + k * t0")
        for j in range(COLUMN_CHUNK):
            s(f"v = vload(x, q + {j * lanes})")
            s(f"a{j} = {COMBINE[what]}(a{j}, {ELEMENT[what].format('v')})")
    for j in range(COLUMN_CHUNK):
        s(f"total = vdiv(a{j}, divisors)")
        s(f"vstore(y, g * columns + first + {j * lanes}, {_root(spec)})")


def _column(s: Lines, spec: KernelSpec, load: str, store: str) -> None:
    what = str(spec["what"])
    s(f"a = {START.get(what, 'vzero()')}")
    with s.block("for i in range(n1):"), s.block("for k in range(n0):"):
        s(f"v = {load.format('o + c + i * t1 + k * t0')}")
        s(f"a = {COMBINE[what]}(a, {ELEMENT[what].format('v')})")
    s("total = vdiv(a, divisors)")
    s(store.format(_root(spec)))


def _root(spec: KernelSpec) -> str:
    return "vsqrt(total)" if spec.int("root") else "total"


def _head(s: Lines) -> None:
    for i, name in enumerate(PARAMS[:-1]):
        s(f"{name} = ld(p, {i})")
    s(f"divisors = vbcast(p, {2 * (len(PARAMS) - 1)})")


def _all(call: Call, rank: int) -> tuple[int, ...]:
    return tuple(range(rank))


def _tail(call: Call, rank: int) -> tuple[int, ...]:
    return tuple(range(1, rank))


Axes = Callable[[Call, int], tuple[int, ...]]
OPERATORS: dict[str, tuple[str, Axes]] = {
    "LpNorm": ("norm", _all),
    **{f"Reduce{n}": (w, reduced_axes) for n, w in (("Sum", "sum"), ("Max", "max"), ("Min", "min"))},
    **{f"Reduce{n}": (w, reduced_axes) for n, w in (("Mean", "mean"), ("L1", "abs"), ("L2", "root"))},
    **{f"Reduce{end}{n}": (n.lower(), reduced_ends) for end in ("Front", "Back") for n in ("Sum", "Mean", "Max")},
    "SumElements": ("sum", _all),
    "SumSqrElements": ("square", _all),
    "RowwiseMax": ("max", lambda call, rank: (2,)),
    "ColwiseMax": ("max", lambda call, rank: (1,)),
    "ReduceTailSum": ("sum", _tail),
}
"""Operator -> what it computes, and the dimensions that it reduces."""


def merged(shape: Sequence[int], axes: Sequence[int]) -> list[tuple[int, int, bool]]:
    """(size, stride, reduced) of the dimensions, innermost first, neighbours of one kind merged.

    The kind of the innermost is that of the last dimension whatever its size: no size changes the kernel.
    """
    found: list[tuple[int, int, bool]] = []
    stride = 1
    for i in reversed(range(len(shape))):
        if shape[i] != 1 or not found:
            if found and found[-1][2] == (i in axes):
                size, inner, kind = found.pop()
                found.append((size * shape[i], inner, kind))
            else:
                found.append((shape[i], stride, i in axes))
        stride *= shape[i]
    return found


def _meaning(call: Call) -> tuple[str, Axes]:
    what, axes = OPERATORS[call.node.op]
    return {"norm": "abs" if call.node.op == "LpNorm" and call.arg("p") == 1 else "square"}.get(what, what), axes


def serves(shape: Sequence[int], axes: Sequence[int]) -> bool:
    """The kernels' loops are enough for the dimensions that are left after merging."""
    dims = merged(shape, axes)
    return len(dims) <= 4 + (bool(dims) and not dims[0][2])


def reduction_spec(shape: Sequence[int], axes: Sequence[int], what: str) -> KernelSpec:
    """The kernel of a reduction; what: a key of ``ELEMENT``, ``mean`` or ``root``."""
    dims = merged(shape, axes)
    rows = not dims or dims[0][2]
    root, what = int(what == "root"), {"root": "square", "mean": "sum"}.get(what, what)
    return KernelSpec.make("reduce_rows" if rows else "reduce_columns", what=what, root=root)


def reduction_task(
    spec: KernelSpec,
    x: Address,
    y: Address,
    shape: Sequence[int],
    axes: Sequence[int],
    divisor: float,
    lanes: int,
    label: str,
) -> Task:
    """The task that reduces a dense array at ``x`` over ``axes`` to one at ``y``; it has no units for no results."""
    dims = merged(shape, axes)
    columns = 1 if not dims or dims[0][2] else dims.pop(0)[0]
    inner, outer = [*[d for d in dims if d[2]], (1, 0, True), (1, 0, True)], [d for d in dims if not d[2]]
    (n0, t0, _), (n1, t1, _) = inner[:2]
    (k1, s1, _), (k2, s2, _) = [*outer, (1, 0, False), (1, 0, False)][:2]
    chunk = COLUMN_CHUNK * lanes
    chunks = -(-columns // chunk)
    params = (x, y, k1, s2, s1, n1, t1, n0, t0, columns, chunks, chunk, _bits(divisor))
    size = math.prod(shape)
    return Task(spec, params, k1 * k2 * chunks, label, size, 4 * size)


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x, (what, axes) = call.type(0), _meaning(call)
    if x.dtype is not DType.FLOAT or x.layout.block > 1 or call.has(1) or x.size == 0:
        return None
    shape = x.static_shape
    over = axes(call, len(shape))
    if not serves(shape, over):
        return None
    return Choice("reduce", reduction_spec(shape, over, what), {}, 500 + costs.stream_ns(4 * x.size))


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    return Needs(dense=frozenset({0}), dense_out=True)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, y = ins[0], outs[0]
    assert x is not None
    assert choice.spec is not None
    shape, (what, axes) = x.type.static_shape, _meaning(call)
    over = axes(call, len(shape))
    if not x.type.size and what in ACROSS:  # sums of nothing are 0
        raise LoweringError(f"{call.node.location}: {call.node.op} of no elements", "feed at least one element")
    average = what == "mean" or (call.opdef.has_arg("average") and call.arg("average"))
    divisor = float(max(math.prod(shape[i] for i in over), 1) if average else 1)
    label = call.node.results[0].name
    task = reduction_task(choice.spec, x.address, y.address, shape, over, divisor, target.lanes, label)
    return [(task,)] if task.units else []


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


TEMPLATES = (Template("reduce_rows", emit_rows), Template("reduce_columns", emit_columns), *reduce_pairs.TEMPLATES)
RULES = (Rule("reduce", tuple(OPERATORS), _choose, _needs, _bind), *reduce_pairs.RULES)
