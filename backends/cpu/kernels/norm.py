"""Normalisation by statistics of the input: InstanceNorm, GroupNorm, LayerNorm.

A unit is one stretch (``backends/norms.py``): its mean, then its variance around that mean, then the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends import norms
from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.kernels.accumulate import add_stretch, join_stretch, start_stretch
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import all_dense
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View
from graphc.ir.types import DType

PARAMS = ("epsilon", "x", "y", "scale", "bias", "mean_out", "deviation_out", "parts", "run", "groups")
"""epsilon: bits of float32. Addresses of results that are not wanted are 0."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``norm{affine, statistics, inverse}``; affine: ``none``, or scale and bias by ``channel``, ``element``.

    statistics: mean and deviation are wanted, the latter's inverse where ``inverse`` is 1.
    """
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = {f'vbcast(p, {2 * i})' if i == 0 else f'ld(p, {i})'}")
        s("total = parts * run")
        s("count = vsplat(f4(total))")
        with s.block("for u in range(lo, hi):"):
            s("q = u * total")
            _sum(s, lanes, "{0}")
            s("mean = vdiv(vsplat(vhsum(a0)), count)")
            _sum(s, lanes, "vmul(vsub({0}, mean), vsub({0}, mean))")
            s("deviation = vsqrt(vadd(vdiv(vsplat(vhsum(a0)), count), epsilon))")
            s("inverse = vdiv(vsplat(f4(1)), deviation)")
            if spec.int("statistics"):
                s("sts(mean_out, u, vlane(mean, 0))")
                s(f"sts(deviation_out, u, vlane({'inverse' if spec.int('inverse') else 'deviation'}, 0))")
            _results(s, str(spec["affine"]), lanes)
    return s.text()


def _sum(s: Lines, lanes: int, term: str) -> None:
    """``a0``: lanes whose sum is that of the terms of a stretch; term: that of a vector ``{0}``."""
    start_stretch(s, "vzero()")
    add_stretch(s, lanes, "vadd", term, "vzero()", "total")
    join_stretch(s, "vadd")


def _results(s: Lines, affine: str, lanes: int) -> None:
    with s.block("for c in range(parts):"):
        s("q = (u * parts + c) * run")
        if affine == "channel":
            s("factor = vmul(vbcast(scale, u % groups * parts + c), inverse)")
            s("offset = vbcast(bias, u % groups * parts + c)")
        s(f"whole = run // {lanes} * {lanes}")
        with s.block(f"for i in range(0, whole, {lanes}):"):
            _result(s, affine, "vload({0}, {1})", "vstore(y, q + i, {0})")
        with s.block("if whole < run:"):
            s("i = whole")
            _result(s, affine, "vloadm({0}, {1}, run - i)", "vstorem(y, q + i, run - i, {0})")


def _result(s: Lines, affine: str, load: str, store: str) -> None:
    s(f"v = vsub({load.format('x', 'q + i')}, mean)")
    if affine == "channel":
        s("v = vfma(v, factor, offset)")
    elif affine == "element":
        s(f"v = vfma(vmul(v, inverse), {load.format('scale', 'i')}, {load.format('bias', 'i')})")
    else:
        s("v = vmul(v, inverse)")
    s(store.format("v"))


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x, static = call.type(0), norms.static(call)
    if x.dtype is not DType.FLOAT or x.layout.block > 1 or static is None:
        return None
    spec = KernelSpec.make("norm", **static)
    return Choice("norm", spec, {}, 500 + costs.stream_ns(16 * x.size))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    cut, x = norms.stretches(call), call.type(0)
    operands: list[Param] = [v.address if v is not None else 0 for v in ins[: call.n_inputs]]
    results: list[Param] = [v.address for v in outs]
    operands, results = [*operands, 0, 0][:3], [*results, 0, 0][:3]
    epsilon = int(np.float32(call.arg("epsilon")).view(np.uint32))
    params = (epsilon, operands[0], results[0], *operands[1:], *results[1:], cut.parts, cut.run, cut.groups)
    name = call.node.results[0].name
    return [(Task(choice.spec, params, cut.count, name, 6 * x.size, 8 * x.size),)] if cut.count else []


TEMPLATES = (Template("norm", emit),)
RULES = (Rule("norm", norms.OPERATORS, _choose, all_dense, _bind),)
