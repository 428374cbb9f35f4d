"""Reductions of float32 over any dimensions.

Where the innermost dimension is reduced, a warp reduces a result; where it is kept, a thread does, and its neighbours
read its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cuda.kernels import nest
from graphc.backends.cuda.kernels.across import WARP, across_warp
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.nest import Nest
from graphc.backends.reductions import OPERATORS, divisor_of, meaning, merged
from graphc.backends.rules import float_bits
from graphc.ir import LoweringError
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

ELEMENT = {"abs": "absolute({0})", "square": "({0} * {0})"}
COMBINE = {"max": "largest({}, {})", "min": "smallest({}, {})"}
START = {"max": "f4(-1e999)", "min": "f4(1e999)"}
REDUCED = 3
"""Reduced dimensions after merging that a kernel has loops for."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``reduce{what, root, rows, dims}``.

    Parameters: the nest of the kept dimensions (result first), (size, stride) of the reduced ones, innermost first, and
    the bits of the float64 by which sums are divided. rows: threads of a result.
    """
    s, what, dims, rows = Lines(), str(spec["what"]), spec.int("dims"), spec.int("rows")
    combine = COMBINE.get(what, "({} + {})")
    reduced = [f"{letter}{k}" for k in range(REDUCED) for letter in "nt"]
    with s.block(f"def {spec.name}({', '.join([*nest.arguments(['y', 'x'], dims), *reduced, 'divisor'])}):"):
        s(f"i = i64(block()) * {spec.int('threads') // rows} + quot(thread(), {rows})")
        s(f"lane = thread() & {rows - 1}")
        with s.block("if i < total:"):
            nest.decode(s, ["y", "x"], dims)
            s(f"a = {START.get(what, 'f4(0.0)')}")
            with s.block("for k2 in range(n2):"), s.block("for k1 in range(n1):"):
                s("from_ = x_o + k2 * t2 + k1 * t1")
                with s.block(f"for k0 in range(lane, n0, {rows}):"):
                    s("v = ld_f4(x, from_ + k0 * t0)")
                    s(f"a = {combine.format('a', ELEMENT.get(what, '{0}').format('v'))}")
            across_warp(s, "a", combine, rows)
            s("a = div(a, f4(double(divisor)))")
            with s.block("if lane == 0:"):
                s(f"st_f4(y, y_o, {'sqrt(a)' if spec.int('root') else 'a'})")
    return s.text()


def _parts(call: Call) -> tuple[Nest, list[tuple[int, int]]]:
    """The kept dimensions as a nest of result and operand, and (size, stride) of the reduced ones, innermost first."""
    shape = call.type(0).static_shape
    dims = merged(shape, meaning(call)[1](call, len(shape)))
    kept = [(n, stride) for n, stride, reduced in reversed(dims) if not reduced]
    dense = [int(np.prod([n for n, _ in kept[i + 1 :]])) for i in range(len(kept))]
    made = Nest(tuple(n for n, _ in kept) or (1,), (tuple(dense) or (1,), tuple(t for _, t in kept) or (1,)))
    return made, [(n, stride) for n, stride, reduced in dims if reduced]


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    x = call.type(0)
    if not is_float32(call) or call.has(1):
        return None
    what, axes = meaning(call)
    made, reduced = _parts(call)
    if len(reduced) > REDUCED:
        return None
    dims = merged(x.static_shape, axes(call, len(x.static_shape)))
    static = {"root": int(what == "root"), "rows": WARP if not dims or dims[0][2] else 1, "dims": len(made.sizes)}
    what = {"root": "square", "mean": "sum"}.get(what, what)
    return Choice("reduce", KernelSpec.make("reduce", what=what, threads=THREADS, **static))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=frozenset({0}), dense_out=True)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y, spec = ins[0], outs[0], choice.spec
    assert spec is not None
    assert x is not None
    require_reach(x)
    if not x.type.size and str(spec["what"]) in START:  # sums of nothing are 0
        raise LoweringError(f"{call.node.location}: {call.node.op} of no elements", "feed at least one element")
    made, reduced = _parts(call)
    loops = [part for pair in (*reduced, *[(1, 0)] * (REDUCED - len(reduced))) for part in pair]
    params: tuple[Param, ...] = (*nest.params(made, [y.address, x.address]), *loops, float_bits(divisor_of(call)))
    spec = KernelSpec.make(spec.template, **{**dict(spec.params), "dims": len(made.sizes)})
    units = blocks_for(nest.elements(made) * spec.int("rows"))
    label = call.node.results[0].name
    return [(Task(spec, params, units, label, x.type.size, x.type.nbytes + y.type.nbytes),)]


RULES = (Rule("reduce", tuple(OPERATORS), _choose, _needs, _bind),)
TEMPLATES = (Template("reduce", emit),)
