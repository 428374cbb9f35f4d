"""Products and distances of the rows of two arrays of float32: a unit is a row, vectors run along both."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View
from graphc.ir.types import DType

ACCUMULATORS = 4
SUMS = {"dot": 1, "l1": 1, "squared": 1, "cosine": 3}
"""How many sums a row has: that of the cosine are x * x, y * y and x * y."""
TERMS = {
    "dot": ("vfma(v, w, {0})",),
    "l1": ("vadd({0}, vabs(vsub(v, w)))",),
    "squared": ("vfma(vsub(v, w), vsub(v, w), {0})",),
    "cosine": ("vfma(v, v, {0})", "vfma(w, w, {0})", "vfma(v, w, {0})"),
}
RESULTS = {
    "dot": "s0",
    "l1": "s0",
    "squared": "vmul(s0, vsplat(f4(0.5)))",
    "cosine": "vdiv(s2, vsqrt(vmul(vmax(s0, small), vmax(s1, small))))",
}
OPERATORS = {
    "DotProduct": "dot",
    "L1Distance": "l1",
    "SquaredL2Distance": "squared",
    "CosineSimilarity": "cosine",
}


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``reduce_pairs{what}``; parameters: x, y, z, elements of a row."""
    s, lanes, what = Lines(), target.lanes, str(spec["what"])
    whole = ACCUMULATORS * lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(("x", "y", "z", "n")):
            s(f"{name} = ld(p, {i})")
        s("small = vsplat(f4(1e-12))")
        s(f"many = n // {whole} * {whole}")
        s(f"whole = n // {lanes} * {lanes}")
        with s.block("for u in range(lo, hi):"):
            s("q = u * n")
            for k in range(SUMS[what]):
                for j in range(ACCUMULATORS):
                    s(f"a{k}_{j} = vzero()")
            with s.block(f"for i in range(q, q + many, {whole}):"):
                for j in range(ACCUMULATORS):
                    _add(s, what, j, f"vload({{0}}, i + {j * lanes})")
            with s.block(f"for i in range(q + many, q + whole, {lanes}):"):
                _add(s, what, 0, "vload({0}, i)")
            with s.block("if whole < n:"):
                _add(s, what, 1, "vloadm({0}, q + whole, n - whole)")
            for k in range(SUMS[what]):
                s(f"s{k} = vsplat(vhsum(vadd(vadd(a{k}_0, a{k}_1), vadd(a{k}_2, a{k}_3))))")
            s(f"sts(z, u, vlane({RESULTS[what]}, 0))")
    return s.text()


def _add(s: Lines, what: str, j: int, load: str) -> None:
    """Add a vector's terms; lanes behind the last element are zero, and so are their terms."""
    s(f"v = {load.format('x')}")
    s(f"w = {load.format('y')}")
    for k, term in enumerate(TERMS[what]):
        s(f"a{k}_{j} = {term.format(f'a{k}_{j}')}")


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x = call.type(0)
    if x.dtype is not DType.FLOAT or x.layout.block > 1 or call.type(1).layout.block > 1:
        return None
    spec = KernelSpec.make("reduce_pairs", what=OPERATORS[call.node.op])
    return Choice("reduce_pairs", spec, {}, 500 + costs.stream_ns(8 * x.size))


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    return Needs(dense=frozenset({0, 1}), dense_out=True)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, y, z = ins[0], ins[1], outs[0]
    assert x is not None
    assert y is not None
    assert choice.spec is not None
    rows, size = z.type.size, x.type.size
    if not rows:
        return []
    params = (x.address, y.address, z.address, size // rows)
    return [(Task(choice.spec, params, rows, call.node.results[0].name, 2 * size, 8 * size),)]


TEMPLATES = (Template("reduce_pairs", emit),)
RULES = (Rule("reduce_pairs", tuple(OPERATORS), _choose, _needs, _bind),)
