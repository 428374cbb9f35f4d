"""Normalisation by statistics of the input: InstanceNorm, GroupNorm, LayerNorm.

A team of threads normalises a stretch (``backends/norms.py``): its mean, then its variance around that mean, then the
results. Where there are few long stretches, each is cut into pieces: one launch takes mean and squares of every piece,
the next one combines those of a stretch and gives the results.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends import norms
from graphc.backends.cuda.kernels.across import WARP, across_team, team_for
from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.norms import Stretches
from graphc.backends.rules import float_bits
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

STRETCH = ("x", "parts", "run", "groups", "count")
RESULTS = ("epsilon", "y", "scale", "bias", "mean_out", "deviation_out")
"""epsilon: bits of float64. Addresses of results that are not wanted are 0."""
PIECES = ("sums", "pieces", "size")
"""sums: mean and squares around it of each piece, of ``size`` elements, of each stretch."""
PIECE = 2048
"""Elements of a piece at least."""
MOST = 32
"""Pieces of a stretch."""
SUM = "({} + {})"


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``norm{affine, statistics, inverse, single, team}``; parameters: ``STRETCH``, ``RESULTS``.

    single: stretches are of one channel. team: threads of a stretch.
    """
    s, team = Lines(), spec.int("team")
    with s.block(f"def {spec.name}({', '.join((*STRETCH, *RESULTS))}):"):
        if team > WARP:
            s(f"words = shared({team // WARP})")
        s(f"lane = thread() & {team - 1}")
        s(f"u = i64(block()) * {spec.int('threads') // team} + quot(thread(), {team})")
        s("total = parts * run")
        with s.block("if u < count:"):  # of all threads of a team
            s("q = u * total")
            _statistics(s, team, "total")
            s("low, high = 0, total")
            _results(s, spec, team)
    return s.text()


def emit_pieces(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``norm_pieces``; parameters: ``STRETCH``, ``PIECES``. A block takes a piece."""
    s, team = Lines(), spec.int("threads")
    with s.block(f"def {spec.name}({', '.join((*STRETCH, *PIECES))}):"):
        s(f"words = shared({team // WARP})")
        s("lane, u = thread(), i64(block())")
        s("total = parts * run")
        s("low = rest(u, pieces) * size")
        s("n = min(size, total - low)")
        s("q = quot(u, pieces) * total + low")
        _statistics(s, team, "n")
        with s.block("if lane == 0:"):
            s("st_f4(sums, 2 * u, mean)")
            s("st_f4(sums, 2 * u + 1, a)")
    return s.text()


def emit_join(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``norm_join``, the same as ``norm`` for pieces; parameters: ``STRETCH``, ``RESULTS``, ``PIECES``."""
    s = Lines()
    with s.block(f"def {spec.name}({', '.join((*STRETCH, *RESULTS, *PIECES))}):"):
        s("lane, u = thread(), i64(block())")
        s("total = parts * run")
        s("u, piece = quot(u, pieces), rest(u, pieces)")
        emit_joined(s, "u", "k", "total")
        s("q, low, high = u * total, piece * size, min((piece + 1) * size, total)")
        _results(s, spec, spec.int("team"))
    return s.text()


def emit_joined(s: Lines, stretch: str, k: str, total: str) -> None:
    """``mean`` and ``a`` of a stretch of ``total`` elements, of those that its pieces have in ``sums``; k: counts them.

    They combine without cancellation, always in the same order.
    """
    s("mean, a = f4(0.0), f4(0.0)")
    with counting(s, k, "0", "pieces"):
        s(f"n = f4(min(size, {total} - {k} * size))")
        s(f"mean = fma(n, ld_f4(sums, 2 * ({stretch} * pieces + {k})), mean)")
    s(f"mean = div(mean, f4({total}))")
    with counting(s, k, "0", "pieces"):
        s(f"n = f4(min(size, {total} - {k} * size))")
        s(f"d = ld_f4(sums, 2 * ({stretch} * pieces + {k})) - mean")
        s(f"a = a + fma(n * d, d, ld_f4(sums, 2 * ({stretch} * pieces + {k}) + 1))")


def _statistics(s: Lines, team: int, count: str) -> None:
    """``mean`` of the ``count`` elements from ``q`` on, ``a``: the sum of the squares of their distances from it."""
    s("a = f4(0.0)")
    with counting(s, "i", "i64(lane)", count, team):
        s("a = a + ld_f4(x, q + i)")
    across_team(s, "a", SUM, team)
    s(f"mean = div(a, f4({count}))")
    s("a = f4(0.0)")
    with counting(s, "i", "i64(lane)", count, team):
        s("d = ld_f4(x, q + i) - mean")
        s("a = fma(d, d, a)")
    across_team(s, "a", SUM, team)


def _results(s: Lines, spec: KernelSpec, team: int) -> None:
    """Results of elements ``low`` to ``high`` of stretch ``u``, of ``mean`` and of the squares ``a``."""
    affine = str(spec["affine"])
    s("deviation = sqrt(div(a, f4(total)) + f4(double(epsilon)))")
    s("inverse = div(f4(1.0), deviation)")
    if spec.int("statistics"):
        with s.block("if lane + low == 0:"):
            s("st_f4(mean_out, u, mean)")
            s(f"st_f4(deviation_out, u, {'inverse' if spec.int('inverse') else 'deviation'})")
    if affine == "channel" and spec.int("single"):
        s("factor, offset = ld_f4(scale, rest(u, groups)) * inverse, ld_f4(bias, rest(u, groups))")
    with counting(s, "i", "low + lane", "high", team):
        s("v = ld_f4(x, q + i) - mean")
        if affine == "channel":
            if not spec.int("single"):
                s("c = rest(u, groups) * parts + quot(i, run)")
                s("factor, offset = ld_f4(scale, c) * inverse, ld_f4(bias, c)")
            s("v = fma(v, factor, offset)")
        elif affine == "element":
            s("v = fma(v * inverse, ld_f4(scale, i), ld_f4(bias, i))")
        else:
            s("v = v * inverse")
        s("st_f4(y, q + i, v)")


def _pieces(cut: Stretches) -> tuple[int, int]:
    """Pieces of a stretch, and their elements."""
    total = cut.parts * cut.run
    size = max(PIECE, -(-total // MOST))
    return -(-total // size), size


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    static = norms.static(call)
    if static is None or not is_float32(call):
        return None
    cut = norms.stretches(call)
    total, single = cut.parts * cut.run, int(cut.parts == 1)
    if cut.count < target.processors and total >= 4 * PIECE:
        spec = KernelSpec.make("norm_join", single=single, team=THREADS, threads=THREADS, **static)
    else:
        spec = KernelSpec.make("norm", single=single, team=team_for(total, THREADS), threads=THREADS, **static)
    return Choice("norm", spec, {}, 3.0 * call.type(0).nbytes)


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    cut, join = norms.stretches(call), choice.spec is not None and choice.spec.template == "norm_join"
    workspace = 8 * cut.count * _pieces(cut)[0] if join else 0
    return Needs(dense=frozenset(range(call.n_inputs)), dense_out=True, workspace=workspace)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    spec, x, cut = choice.spec, ins[0], norms.stretches(call)
    assert spec is not None
    assert x is not None
    require_reach(x)
    operands: list[Param] = [v.address if v is not None else 0 for v in ins[1 : call.n_inputs]]
    results: list[Param] = [v.address for v in outs[1:]]
    stretch: tuple[Param, ...] = (x.address, cut.parts, cut.run, cut.groups, cut.count)
    epsilon = float_bits(call.arg("epsilon"))
    given = (*stretch, epsilon, outs[0].address, *[*operands, 0, 0][:2], *[*results, 0, 0][:2])
    name, size = call.node.results[0].name, x.type.size
    if spec.template == "norm":
        units = blocks_for(cut.count * spec.int("team"))
        return [(Task(spec, given, units, name, 6 * size, 8 * size),)]
    pieces, length = _pieces(cut)
    last, blocks = (workspace, pieces, length), blocks_for(cut.count * pieces, 1)
    sums = Task(KernelSpec.make("norm_pieces", threads=THREADS), (*stretch, *last), blocks, name, 4 * size, 4 * size)
    return [(sums,), (Task(spec, (*given, *last), blocks, name, 2 * size, 8 * size),)]


RULES = (Rule("norm", norms.OPERATORS, _choose, _needs, _bind),)
TEMPLATES = (Template("norm", emit), Template("norm_pieces", emit_pieces), Template("norm_join", emit_join))
