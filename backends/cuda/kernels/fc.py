"""FC on weights: a warp a result where there are few rows, the kernel of convolutions where there are many.

Few rows use each weight once or twice, so the time is that of reading the weights: a warp reads a row of them in
stretches of 512 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cuda.kernels import conv
from graphc.backends.cuda.kernels.across import WARP, across_warp
from graphc.backends.cuda.kernels.conv_tile import tile_for
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.products import matrix_of, product_of
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View

FEW = 4
"""Rows that a warp multiplies with the weights of a column at a time; up to as many are few."""
EACH = 4
"""Weights that a thread reads at once."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``fc_rows``; parameters: x, weights (columns, inner), y, rows, inner, columns, bias, the epilogue's.

    inner is a multiple of ``EACH``. A warp computes up to ``FEW`` rows of one column.
    """
    s, epilogue = Lines(), Epilogue.of_spec(spec)
    bias = ["bias"] if spec.int("bias") else []
    names = ["x", "weights", "y", "rows", "inner", "columns", *bias, *epilogue.arguments()]
    with s.block(f"def {spec.name}({', '.join(names)}):"):
        s("lane = thread() & 31")
        s(f"u = i64(block()) * {spec.int('threads') // WARP} + (thread() >> 5)")
        s(f"column, first = rest(u, columns), quot(u, columns) * {FEW}")
        with s.block("if first < rows:"):
            for r in range(FEW):
                s(f"s{r} = f4(0.0)")
                s(f"x{r} = x + 4 * inner * min(first + {r}, rows - 1)")  # what is beyond the last row is not stored
            s("w = weights + 4 * inner * column")
            with s.block(f"for k in range(lane * {EACH}, inner, {WARP * EACH}):"):
                s("w4 = ld4(w, k)")
                for r in range(FEW):
                    s(f"x4 = ld4(x{r}, k)")
                    for i in range(EACH):
                        s(f"s{r} = fma(w4[{i}], x4[{i}], s{r})")
            for r in range(FEW):
                across_warp(s, f"s{r}", "({} + {})")
            s("extra = " + ("ld_f4(bias, column)" if bias else "f4(0.0)"))
            for r in range(FEW):
                with s.block(f"if (lane == {r}) & (first + {r} < rows):"):
                    s(f"v{r} = s{r} + extra")
                    places = [f"(first + {r}) * e{k}n + column * e{k}c" for k in epilogue.same]
                    s(f"st_f4(y, (first + {r}) * columns + column, {epilogue.apply(s, f'v{r}', 'column', places)})")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_float32(call) or not call.is_weight(1) or (call.has(2) and not call.is_weight(2)):
        return None
    g, weights, epilogue, bias = product_of(call), call.constant(1), Epilogue.of_call(call), call.has(2)
    matrix = None if weights is None else matrix_of(weights, g)
    if g.rows <= FEW and g.inner % EACH == 0:
        spec = KernelSpec.make("fc_rows", bias=int(bias), threads=THREADS, **epilogue.static())
        return Choice("fc", spec, {} if matrix is None else {1: np.ascontiguousarray(matrix.T)}, 1.0)
    tile = tile_for(g.columns, g.rows, 1, target)
    spec = conv.make_spec(tile, (1, 1), bias, epilogue)
    return Choice("fc", spec, {} if matrix is None else {1: conv.pack(matrix.T, 1, tile)}, 1.0)


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    g = product_of(call)
    x, weights, y = ins[0], ins[1], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert weights is not None
    if choice.spec.template == "conv":
        strides = ((g.a_row, g.a_step, 0, 0), (g.columns, 1, 0, 0))
        sizes, still = (g.rows, 1, 1, 1, 1, g.inner, g.columns), (1, 1, 1, 1, 0, 0)
        return [(conv.product_task(call, choice, ins, outs, strides, sizes, still, 1),)]
    bias = [v.address for v in ins[2:3] if v is not None and choice.spec.int("bias")]
    extra = Epilogue.of_spec(choice.spec).params(call, ins)
    params = (x.address, weights.address, y.address, g.rows, g.inner, g.columns, *bias, *extra)
    units = blocks_for(-(-g.rows // FEW) * g.columns * WARP)
    flops, traffic = 2 * g.rows * g.inner * g.columns, x.type.nbytes + weights.type.nbytes + y.type.nbytes
    return [(Task(choice.spec, params, units, call.node.results[0].name, flops, traffic),)]


RULES = (Rule("fc", ("FC", "FCTransposed"), _choose, _needs, _bind),)
TEMPLATES = (Template("fc_rows", emit),)
