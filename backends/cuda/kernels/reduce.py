"""Reductions of float32 over any dimensions.

Where the innermost dimension is reduced, a team of threads reduces a result: a warp, or a block for long sums; where it
is kept, a thread does, or for long sums one in eight, and its neighbours read its neighbours. Few sums that are very
long are cut into pieces, of which another launch makes the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from graphc.backends.cuda.kernels import nest
from graphc.backends.cuda.kernels.across import WARP, across_team, team_for
from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.nest import Nest
from graphc.backends.reductions import OPERATORS, divisor_of, meaning, merged
from graphc.backends.rules import float_bits
from graphc.ir import LoweringError
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Static, Step, Task, View

ELEMENT = {"abs": "absolute({0})", "square": "({0} * {0})"}
COMBINE = {"max": "largest({}, {})", "min": "smallest({}, {})"}
START = {"max": "f4(-1e999)", "min": "f4(1e999)"}
REDUCED = 3
"""Reduced dimensions after merging that a kernel has loops for."""
LOOPS = [f"{letter}{k}" for k in range(REDUCED) for letter in "nt"]
LAST = ("pieces", "size", "divisor")
"""A result is cut into ``pieces`` that take ``size`` of the innermost reduced dimension each, which the next dimension
of y counts; divisor: bits of the float64 by which sums are divided."""
ROWS = THREADS // WARP
"""Threads of a result where the innermost dimension is kept and sums are long."""
PIECE = 4096
"""Elements of a piece at least."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``reduce{what, root, team, dims}``.

    Parameters: the nest of the kept dimensions (result first), (size, stride) of the reduced ones, innermost first, and
    ``LAST``. team: threads of a result, neighbours of one another.
    """
    s, dims, team = Lines(), spec.int("dims"), spec.int("team")
    with s.block(f"def {spec.name}({', '.join([*nest.arguments(['y', 'x'], dims), *LOOPS, *LAST])}):"):
        if team > WARP:
            s(f"words = shared({team // WARP})")
        s(f"u = i64(block()) * {spec.int('threads') // team} + quot(thread(), {team})")
        s(f"lane = thread() & {team - 1}")
        with s.block("if u < total * pieces:"):  # of all threads of a team
            s("i, piece = quot(u, pieces), rest(u, pieces)")
            nest.decode(s, ["y", "x"], dims)
            _sum(s, spec, "lane", team)
            if team > 1:
                across_team(s, "a", _combine(spec), team)
            with s.block("if lane == 0:"):
                _store(s, spec)
    return s.text()


def emit_columns(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``reduce_columns``, parameters as those of ``reduce``: 32 neighbouring results a block, eight threads
    each.
    """
    s, dims = Lines(), spec.int("dims")
    with s.block(f"def {spec.name}({', '.join([*nest.arguments(['y', 'x'], dims), *LOOPS, *LAST])}):"):
        s(f"words = shared({THREADS})")
        s(f"column, row = thread() & {WARP - 1}, quot(thread(), {WARP})")
        s("b = i64(block())")
        s(f"i, piece = quot(b, pieces) * {WARP} + column, rest(b, pieces)")
        s(f"a = {_start(spec)}")
        with s.block("if i < total:"):
            nest.decode(s, ["y", "x"], dims)
            _sum(s, spec, "row", ROWS)
        s("sst(words, thread(), a)")
        s("barrier()")
        with s.block("if (row == 0) & (i < total):"):
            nest.decode(s, ["y"], dims)
            with counting(s, "k", "1", str(ROWS)):
                s(f"a = {_combine(spec).format('a', f'sld(words, k * {WARP} + column)')}")
            _store(s, spec)
    return s.text()


def _combine(spec: KernelSpec) -> str:
    return COMBINE.get(str(spec["what"]), "({} + {})")


def _start(spec: KernelSpec) -> str:
    return START.get(str(spec["what"]), "f4(0.0)")


def _sum(s: Lines, spec: KernelSpec, first: str, step: int) -> None:
    """``a``: what one of ``step`` threads, number ``first``, takes of the elements from ``x_o`` on."""
    s(f"a = {_start(spec)}")
    s("low, high = piece * size, min((piece + 1) * size, n0)")
    with s.block("for k2 in range(n2):"), s.block("for k1 in range(n1):"):
        s("from_ = x_o + k2 * t2 + k1 * t1")
        with counting(s, "k0", f"low + {first}", "high", step):
            s("v = ld_f4(x, from_ + k0 * t0)")
            s(f"a = {_combine(spec).format('a', ELEMENT.get(str(spec['what']), '{0}').format('v'))}")


def _store(s: Lines, spec: KernelSpec) -> None:
    s("a = div(a, f4(double(divisor)))")
    s(f"st_f4(y, y_o * pieces + piece, {'sqrt(a)' if spec.int('root') else 'a'})")


@dataclass(frozen=True)
class Reduction:
    """Elements of a nest of kept dimensions, operands y and x, and (size, stride) in x of the reduced ones, innermost
    first. divisor: of sums."""

    kept: Nest
    reduced: tuple[tuple[int, int], ...]
    divisor: float = 1.0

    @property
    def length(self) -> int:
        """Elements of a result."""
        return prod(n for n, _ in self.reduced)

    def spec(self, what: str, root: bool, target: CudaTarget) -> KernelSpec:
        """The kernel that serves best."""
        dims, results = len(self.kept.sizes), prod(self.kept.sizes)
        static: dict[str, Static] = {"what": what, "root": int(root), "dims": dims, "threads": THREADS}
        if not self.reduced or self.reduced[0][1] == 1 or results == 1:
            return KernelSpec.make("reduce", team=team_for(self.length, THREADS), **static)
        if self.length >= 4 * ROWS and results < target.processors * THREADS * ROWS:
            return KernelSpec.make("reduce_columns", **static)
        return KernelSpec.make("reduce", team=1, **static)

    def pieces(self, spec: KernelSpec, target: CudaTarget) -> int:
        """Into how many each result is cut so that the card is busy."""
        blocks = -(-prod(self.kept.sizes) // _results_of_block(spec))
        longest = self.reduced[0][0] * _results_of_block(spec) // PIECE if self.reduced else 1
        return max(1, min(2 * target.processors // max(blocks, 1), longest))

    def task(self, spec: KernelSpec, places: Sequence[Address], label: str, pieces: int = 1) -> Task:
        """The launch of a kernel; places: of result and operand. With pieces, these lie in the result's place."""
        loops = [part for pair in (*self.reduced, *[(1, 0)] * (REDUCED - len(self.reduced))) for part in pair]
        size = -(-loops[0] // pieces)
        results = nest.elements(self.kept)
        last = (pieces, size, float_bits(self.divisor))
        spec = spec.but(dims=len(self.kept.sizes))
        units = blocks_for(blocks_for(results, _results_of_block(spec)) * pieces, 1)
        params: tuple[Param, ...] = (*nest.params(self.kept, places), *loops, *last)
        return Task(spec, params, units, label, results * self.length, 4 * results * (self.length + pieces))


def _results_of_block(spec: KernelSpec) -> int:
    return WARP if spec.template == "reduce_columns" else THREADS // spec.int("team")


def dense_reduction(shape: Sequence[int], axes: Sequence[int], divisor: float = 1.0) -> Reduction:
    """That of a dense operand over some of its dimensions."""
    dims = merged(shape, axes)
    kept = [(n, stride) for n, stride, reduced in reversed(dims) if not reduced]
    dense = [prod(n for n, _ in kept[i + 1 :]) for i in range(len(kept))]
    made = Nest(tuple(n for n, _ in kept) or (1,), (tuple(dense) or (1,), tuple(t for _, t in kept) or (1,)))
    return Reduction(made, tuple((n, t) for n, t, reduced in dims if reduced), divisor)


def reduction(call: Call) -> Reduction:
    """That of a call on a dense operand."""
    shape = call.type(0).static_shape
    return dense_reduction(shape, meaning(call)[1](call, len(shape)), divisor_of(call))


def workspace_bytes(made: Reduction, spec: KernelSpec, target: CudaTarget) -> int:
    """Bytes for the sums of pieces; none where results are not cut."""
    pieces = made.pieces(spec, target)
    return 4 * prod(made.kept.sizes) * pieces if pieces > 1 else 0


def sum_bytes(made: Reduction, target: CudaTarget) -> int:
    """Bytes of workspace that ``sum_steps`` takes."""
    return workspace_bytes(made, made.spec("sum", False, target), target)


def sum_steps(
    made: Reduction, y: Address, x: Address, workspace: Address, target: CudaTarget, label: str
) -> list[Step]:
    """The launches that sum up, one after another."""
    spec = made.spec("sum", False, target)
    if made.pieces(spec, target) == 1:
        return [(made.task(spec, (y, x), label),)]
    return _cut_steps(made, spec, (y, x, workspace), target, label, root=False)


def _cut_steps(
    made: Reduction,
    spec: KernelSpec,
    places: tuple[Address, Address, Address],
    target: CudaTarget,
    label: str,
    root: bool,
) -> list[Step]:
    """A launch of pieces, and one that joins them. places: of result, operand and workspace."""
    (y, x, workspace), what = places, str(spec["what"])
    pieces, results = made.pieces(spec, target), prod(made.kept.sizes)
    first = replace(made, divisor=1.0).task(spec, (workspace, x), label, pieces)
    joined = Reduction(Nest((results,), ((1,), (pieces,))), ((pieces, 1),), made.divisor)
    last = KernelSpec.make(
        "reduce", what=what if what in COMBINE else "sum", root=int(root), team=WARP, dims=1, threads=THREADS
    )
    return [(first,), (joined.task(last, (y, workspace), label),)]


def _chosen(call: Call, target: CudaTarget, *, cut: bool) -> Choice | None:
    """The choice of the rule for results that are cut into pieces, or of the other."""
    if not is_float32(call) or call.has(1):
        return None
    made, what = reduction(call), meaning(call)[0]
    if len(made.reduced) > REDUCED:
        return None
    spec = made.spec({"root": "square", "mean": "sum"}.get(what, what), what == "root" and not cut, target)
    if (made.pieces(spec, target) > 1) != cut:
        return None
    return Choice("reduce_pieces" if cut else "reduce", spec)


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    return _chosen(call, target, cut=False)


def _choose_pieces(call: Call, target: CudaTarget) -> Choice | None:
    return _chosen(call, target, cut=True)


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    """Room for the sums of pieces, also where the sizes at hand make but one of each result."""
    assert choice.spec is not None
    made = reduction(call)
    workspace = 4 * prod(made.kept.sizes) * made.pieces(choice.spec, target) if choice.rule == "reduce_pieces" else 0
    return Needs(dense=frozenset({0}), dense_out=True, workspace=workspace)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y, spec = ins[0], outs[0], choice.spec
    assert spec is not None
    assert x is not None
    require_reach(x)
    if not x.type.size and str(spec["what"]) in START:  # sums of nothing are 0
        raise LoweringError(f"{call.node.location}: {call.node.op} of no elements", "feed at least one element")
    made, label = reduction(call), call.node.results[0].name
    if choice.rule == "reduce":
        return [(made.task(spec, (y.address, x.address), label),)]
    places = (y.address, x.address, workspace)
    return _cut_steps(made, spec, places, target, label, root=meaning(call)[0] == "root")


RULES = (
    Rule("reduce", tuple(OPERATORS), _choose, _needs, _bind),
    Rule("reduce_pieces", tuple(OPERATORS), _choose_pieces, _needs, _bind),
)
TEMPLATES = (Template("reduce", emit), Template("reduce_columns", emit_columns))
