"""Reductions of float32 over any dimensions.

Neighbouring dimensions of one kind merge. Where the innermost is reduced, vectors run along it and are summed up at the
end; where it is kept, every lane reduces a column of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.backends.cpu.kernels import costs, reduce_pairs
from graphc.backends.cpu.kernels.accumulate import add_stretch, join_stretch, start_stretch
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.reductions import OPERATORS, divisor_of, meaning, merged
from graphc.ir import LoweringError
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View
from graphc.ir.types import DType

PARAMS = (
    *("x", "y", "k1", "s2", "s1", "n1", "t1", "n0", "t0"),
    *("columns", "chunks", "chunk", "pieces", "piece", "divisor"),
)
"""Kept dimensions around: k1 elements in the inner of two, strides s2, s1. Reduced ones: n1 elements t1 apart, in each
n0 elements t0 apart, these in pieces that are results of their own. columns: kept elements side by side, in chunks;
1 for rows. divisor: bits of float32."""
COLUMN_CHUNK = 512
"""Columns of a unit; their accumulators stay in the first-level cache."""
ROWS, AHEAD = 4, 8
"""Rows that are added to the accumulators at once, and how far ahead others are fetched."""
UNITS, PIECE = 64, 1 << 15
"""Reductions of fewer units are cut into pieces, unless a piece would have fewer elements."""

ELEMENT = {"sum": "{0}", "max": "{0}", "min": "{0}", "abs": "vabs({0})", "square": "vmul({0}, {0})"}
COMBINE = {"sum": "vadd", "max": "vmaximum", "min": "vminimum", "abs": "vadd", "square": "vadd"}
START = {"max": "vsplat(f4(-np.inf))", "min": "vsplat(f4(np.inf))"}
ACROSS = {"max": "vhmax", "min": "vhmin"}


def emit_rows(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``reduce_rows{what, root}``: a unit is one element of the result."""
    s, lanes, what = Lines(), target.lanes, str(spec["what"])
    combine, start = COMBINE[what], START.get(what, "vzero()")
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s)
        with s.block("for u in range(lo, hi):"):
            _piece(s, "u")
            start_stretch(s, start)
            with s.block("for i in range(n1):"):
                s("q = o + i * t1")
                add_stretch(s, lanes, combine, ELEMENT[what], start, "count")
            join_stretch(s, combine)
            s(f"across = {ACROSS.get(what, 'vhsum')}(a0)")
            s("total = vdiv(vsplat(across), divisors)")
            s(f"sts(y, u, vlane({_root(spec)}, 0))")
    return s.text()


def emit_columns(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``reduce_columns{what, root}``: a unit is a chunk of neighbouring columns.

    The result holds the accumulators, so that memory is read in long stretches, several rows at a time; what does not
    fill a vector goes down its columns by itself.
    """
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _head(s)
        with s.block("for u in range(lo, hi):"):
            s("g = u // chunks")
            s("first = (u - g * chunks) * chunk")
            _piece(s, "g")
            s("o += first")
            s("out = g * columns + first")
            s("width = min(chunk, columns - first)")
            s(f"whole = width // {lanes} * {lanes}")
            _whole_columns(s, spec, lanes)
            with s.block("if whole < width:"):
                _last_columns(s, spec)
    return s.text()


def _whole_columns(s: Lines, spec: KernelSpec, lanes: int) -> None:
    each = f"for j in range(0, whole, {lanes}):"
    with s.block(each):
        s(f"vstore(y, out + j, {START.get(str(spec['what']), 'vzero()')})")
    s(f"many = count // {ROWS} * {ROWS}")
    with s.block("for i in range(n1):"):
        s("q = o + i * t1")
        for rows, loop in ((ROWS, f"for k in range(0, many, {ROWS}):"), (1, "for k in range(many, count):")):
            with s.block(loop), s.block(each):
                _add_rows(s, spec, rows)
    with s.block(each):
        s("total = vdiv(vload(y, out + j), divisors)")
        s(f"vstore(y, out + j, {_root(spec)})")


def _add_rows(s: Lines, spec: KernelSpec, rows: int) -> None:
    """Add some rows to the accumulators."""
    what = str(spec["what"])
    s("at = q + k * t0 + j")
    for r in range(rows):
        s(f"v{r} = vload(x, at + {r} * t0)")
    if rows > 1:
        for r in range(rows):
            s(f"prefetch(x, at + {AHEAD + r} * t0)")
    s(f"vstore(y, out + j, {_combined(what, [f'v{r}' for r in range(rows)], 'vload(y, out + j)')})")


def _combined(what: str, vectors: list[str], total: str) -> str:
    """Source: the elements of some vectors, by pairs, and ``total``."""
    parts = [ELEMENT[what].format(v) for v in vectors]
    while len(parts) > 1:
        parts = [f"{COMBINE[what]}({a}, {b})" for a, b in zip(parts[::2], parts[1::2])]
    return f"{COMBINE[what]}({parts[0]}, {total})"


def _last_columns(s: Lines, spec: KernelSpec) -> None:
    what = str(spec["what"])
    s("left = width - whole")
    s(f"a = {START.get(what, 'vzero()')}")
    with s.block("for i in range(n1):"), s.block("for k in range(count):"):
        s("v = vloadm(x, o + whole + i * t1 + k * t0, left)")
        s(f"a = {_combined(what, ['v'], 'a')}")
    s("total = vdiv(a, divisors)")
    s(f"vstorem(y, out + whole, left, {_root(spec)})")


def _piece(s: Lines, number: str) -> None:
    """``o``: where the reduced elements of a result, or of a piece of it, begin; ``count``: how many of the inner."""
    s(f"r = {number} // pieces")
    s(f"begin = ({number} - r * pieces) * piece")
    s("count = min(piece, n0 - begin)")
    s("o = r // k1 * s2 + r % k1 * s1 + begin * t0")


def _root(spec: KernelSpec) -> str:
    return "vsqrt(total)" if spec.int("root") else "total"


def _head(s: Lines) -> None:
    for i, name in enumerate(PARAMS[:-1]):
        s(f"{name} = ld(p, {i})")
    s(f"divisors = vbcast(p, {2 * (len(PARAMS) - 1)})")


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


@dataclass(frozen=True)
class Extent:
    """The loops of a reduction. columns: kept elements side by side, 1 for rows; the others are (size, stride).

    inner, around: reduced dimensions. kept: two dimensions, the inner first.
    """

    columns: int
    inner: tuple[int, int]
    around: tuple[int, int]
    kept: tuple[tuple[int, int], tuple[int, int]]

    @staticmethod
    def of(shape: Sequence[int], axes: Sequence[int]) -> Extent:
        """The loops for a dense array."""
        dims = merged(shape, axes)
        columns = 1 if not dims or dims[0][2] else dims.pop(0)[0]
        reduced = [*((n, stride) for n, stride, kind in dims if kind), (1, 0), (1, 0)]
        kept = [*((n, stride) for n, stride, kind in dims if not kind), (1, 0), (1, 0)]
        return Extent(columns, reduced[0], reduced[1], (kept[0], kept[1]))

    @property
    def chunks(self) -> int:
        """Chunks of columns."""
        return -(-self.columns // COLUMN_CHUNK)

    @property
    def results(self) -> int:
        """Results, those side by side counted once."""
        return self.kept[0][0] * self.kept[1][0]

    @property
    def pieces(self) -> int:
        """Into how many pieces a result is cut, so that threads can share few large ones."""
        units = self.results * self.chunks
        if self.around[0] > 1 or not 0 < units < UNITS:
            return 1
        most = self.inner[0] * min(self.columns, COLUMN_CHUNK) // PIECE
        pieces = max(1, min(most, UNITS // units))
        return -(-self.inner[0] // -(-self.inner[0] // pieces)) if pieces > 1 else 1


def reduction_task(
    spec: KernelSpec, x: Address, y: Address, extent: Extent, divisor: float, label: str, pieces: int = 1
) -> Task:
    """The task that reduces a dense array at ``x`` to one at ``y``; it has no units for no results.

    Where results are cut, ``y`` has an element for each piece, those of a result one after the other.
    """
    (n0, t0), (n1, t1), ((k1, s1), (k2, s2)) = extent.inner, extent.around, extent.kept
    piece = -(-n0 // pieces)
    loops = (k1, s2, s1, n1, t1, n0, t0, extent.columns, extent.chunks, COLUMN_CHUNK, pieces, piece)
    size = k1 * k2 * n1 * n0 * extent.columns
    return Task(spec, (x, y, *loops, _bits(divisor)), k1 * k2 * pieces * extent.chunks, label, size, 4 * size)


def _steps(
    spec: KernelSpec, x: Address, y: Address, workspace: Address, extent: Extent, divisor: float, label: str
) -> list[Step]:
    """One step, or two where results are cut: pieces go to the workspace."""
    pieces = extent.pieces
    if pieces == 1:
        task = reduction_task(spec, x, y, extent, divisor, label)
        return [(task,)] if task.units else []
    what = str(spec["what"])
    first = KernelSpec.make(spec.template, what=what, root=0)
    second = KernelSpec.make(spec.template, what=what if what in ACROSS else "sum", root=spec.int("root"))
    shape = (extent.results, pieces, extent.columns)
    joined = Extent.of(shape[:2] if spec.template == "reduce_rows" else shape, (1,))
    return [
        (reduction_task(first, x, workspace, extent, 1.0, label, pieces),),
        (reduction_task(second, workspace, y, joined, divisor, label),),
    ]


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x, (what, axes) = call.type(0), meaning(call)
    if x.dtype is not DType.FLOAT or x.layout.block > 1 or call.has(1) or x.size == 0:
        return None
    shape = x.static_shape
    over = axes(call, len(shape))
    if not serves(shape, over):
        return None
    return Choice("reduce", reduction_spec(shape, over, what), {}, 500 + costs.stream_ns(4 * x.size))


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    extent = _extent(call)
    room = 4 * extent.results * extent.pieces * extent.columns if extent.pieces > 1 else 0
    return Needs(dense=frozenset({0}), dense_out=True, workspace=room)


def _extent(call: Call) -> Extent:
    shape = call.type(0).static_shape
    return Extent.of(shape, meaning(call)[1](call, len(shape)))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, y = ins[0], outs[0]
    assert x is not None
    assert choice.spec is not None
    if not x.type.size and meaning(call)[0] in ACROSS:  # sums of nothing are 0
        raise LoweringError(f"{call.node.location}: {call.node.op} of no elements", "feed at least one element")
    label = call.node.results[0].name
    return _steps(choice.spec, x.address, y.address, workspace, _extent(call), divisor_of(call), label)


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


TEMPLATES = (Template("reduce_rows", emit_rows), Template("reduce_columns", emit_columns), *reduce_pairs.TEMPLATES)
RULES = (Rule("reduce", tuple(OPERATORS), _choose, _needs, _bind), *reduce_pairs.RULES)
