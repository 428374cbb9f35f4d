"""FC on weights: a warp a result where there are few rows, the kernels of convolutions where there are many.

Few rows use each weight once or twice, so the time is that of reading the weights: a warp reads a row of them in
stretches of 512 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cuda.kernels import conv, conv_tensor
from graphc.backends.cuda.kernels.across import WARP, across_warp
from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.copy import copy_task
from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.images import Geometry
from graphc.backends.cuda.kernels.tensor_parts import workspace_of
from graphc.backends.cuda.kernels.tensor_tile import PIECE
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.kernels.typed import TF32, code_of, itemsize, multiplied, several, stored
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_floating
from graphc.backends.cuda.target import ALIGNMENT, BLOCK, CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.backends.lines import Lines
from graphc.backends.products import Product, matrix_of, product_of
from graphc.backends.weights import elements
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Static, Step, Task, View

FEW = 4
"""Rows that a warp multiplies with the weights of a column at a time; up to as many are few."""
EACH = {"f4": 4, "f2": 8, "bf": 8}
"""Weights that a thread reads at once, by their code: 16 bytes."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``fc_rows``; parameters: x, weights (columns, inner), y, rows, inner, columns, bias, the epilogue's.

    inner is a multiple of ``EACH``. A warp computes up to ``FEW`` rows of one column. kind: code of x and the weights;
    y: that of the result.
    """
    s, epilogue, kind = Lines(), Epilogue.of_spec(spec), str(spec["kind"])
    each, size = EACH[kind], itemsize(kind)
    bias = ["bias"] if spec.int("bias") else []
    names = ["x", "weights", "y", "rows", "inner", "columns", *bias, *epilogue.arguments()]
    with s.block(f"def {spec.name}({', '.join(names)}):"):
        s("lane = thread() & 31")
        s(f"u = i64(block()) * {spec.int('threads') // WARP} + (thread() >> 5)")
        s(f"column, first = rest(u, columns), quot(u, columns) * {FEW}")
        with s.block("if first < rows:"):
            for r in range(FEW):
                s(f"s{r} = f4(0.0)")
                # what is beyond the last row is not stored
                s(f"x{r} = x + {size} * inner * min(first + {r}, rows - 1)")
            s(f"w = weights + {size} * inner * column")
            with s.block("if x & 15 == 0:"), counting(s, "k", f"i64(lane * {each})", "inner", WARP * each):
                s(f"a = ld{several(kind, each)}(w, k)")
                for r in range(FEW):
                    s(f"b = ld{several(kind, each)}(x{r}, k)")
                    for i in range(each):
                        s(f"s{r} = fma(a[{i}], b[{i}], s{r})")
            with s.block("else:"), counting(s, "k", "i64(lane)", "inner", WARP):  # x is a part of a longer row
                s(f"a = ld_{kind}(w, k)")
                for r in range(FEW):
                    s(f"s{r} = fma(a, ld_{kind}(x{r}, k), s{r})")
            for r in range(FEW):
                across_warp(s, f"s{r}", "({} + {})")
            s("extra = " + ("ld_f4(bias, column)" if bias else "f4(0.0)"))
            for r in range(FEW):
                with s.block(f"if (lane == {r}) & (first + {r} < rows):"):
                    s(f"v{r} = s{r} + extra")
                    places = [f"(first + {r}) * e{k}n + column * e{k}c" for k in epilogue.same]
                    result = epilogue.apply(s, f"v{r}", "column", places)
                    s(f"st_{spec['y']}(y, (first + {r}) * columns + column, {result})")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_floating(call) or not call.is_weight(1) or (call.has(2) and not _is_plain_bias(call)):
        return None
    kind, weights, g = code_of(call.type(0)), elements(call, 1), product_of(call)
    if kind != code_of(call.type(1)):
        return None
    matrix = None if weights is None else matrix_of(weights, g).T
    if _has_few_rows(g, kind):
        return _choose_rows(call, matrix)
    if _kind(call, g) != "f4":
        return _choose_tensor(call, g, matrix, target)
    tiling = decide(_product(call), target)
    if tiling is None or not isinstance(tiling.tile, Tile):
        return None
    spec = conv.make_spec(tiling.tile, (1, 1), call.has(2), Epilogue.of_call(call))
    return Choice("fc", spec, {} if matrix is None else {1: conv.pack(matrix, 1, tiling.tile)}, 1.0)


def _is_plain_bias(call: Call) -> bool:
    """The bias is a weight in float32."""
    return call.is_weight(2) and code_of(call.type(2)) == "f4"


def _has_few_rows(g: Product, kind: str) -> bool:
    """A warp computes a result."""
    return g.rows <= FEW and g.inner % EACH[kind] == 0


def problem_of(call: Call) -> Problem | None:
    """What a tiling is chosen for, None where there is nothing to choose."""
    return None if _has_few_rows(product_of(call), code_of(call.type(0))) else _product(call)


def _product(call: Call) -> Problem:
    """The product as a convolution of pixels."""
    g, y = product_of(call), code_of(call.node.results[0].type)
    kind, others = _kind(call, g), len(Epilogue.of_call(call).same)
    return Problem("fc", kind, y, g.rows, g.columns, g.inner, others=others, cuts=kind != "f4")


def _kind(call: Call, g: Product) -> str:
    """The code of what is multiplied: not TF32 where rows are no whole pieces, which tensor cores cannot load."""
    kind = multiplied(call)
    return code_of(call.type(0)) if kind == TF32 and g.inner * itemsize(kind) % PIECE else kind


def _choose_rows(call: Call, matrix: np.ndarray | None) -> Choice:
    """A warp a result; matrix: (columns, inner)."""
    kind, y = code_of(call.type(0)), code_of(call.node.results[0].type)
    static: dict[str, Static] = {"bias": int(call.has(2)), "threads": THREADS, "kind": kind, "y": y}
    spec = KernelSpec.make("fc_rows", **static, **Epilogue.of_call(call).static())
    return Choice("fc", spec, {} if matrix is None else {1: stored(matrix, kind)}, 1.0)


def _choose_tensor(call: Call, g: Product, matrix: np.ndarray | None, target: CudaTarget) -> Choice | None:
    """Tensor cores, where rows are whole pieces; matrix: (columns, inner)."""
    if g.inner * itemsize(multiplied(call)) % PIECE:
        return None
    choice = conv_tensor.make_choice(call, "fc", _product(call), False, target)
    if choice is not None and matrix is not None:
        choice.packed[1] = conv_tensor.packed_weights(matrix[:, None], 1, choice)
    return choice


def _copied(call: Call, g: Product) -> int:
    """Bytes for a copy of a single row, which may be a part of a longer one, at any address.

    Of several rows each is whole pieces, and so is what lies before them in a larger value: only along its first
    dimension of more than one element do values lie side by side there.
    """
    return -(-call.type(0).nbytes // ALIGNMENT) * ALIGNMENT if g.rows == 1 else 0


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    assert choice.spec is not None
    nbytes, g = 0, product_of(call)
    if choice.spec.template == "conv_tensor":
        nbytes = workspace_of(choice.spec, _product(call), target) + _copied(call, g)
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=nbytes)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    g = product_of(call)
    x, weights, y = ins[0], ins[1], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert weights is not None
    if choice.spec.template == "conv":
        sizes, still = (g.rows, 1, 1, 1, 1, g.inner, g.columns), (1, 1, 1, 1, 0, 0)
        rows = Geometry((g.a_row, g.a_step, 0, 0), (g.columns, 1, 0, 0), sizes, still)
        return [(conv.product_task(call, choice, ins, outs, rows),)]
    if choice.spec.template == "conv_tensor":
        rows = Geometry((g.a_row, BLOCK, 0, 0), (g.columns, BLOCK, 0, 0), (g.rows, 1, 1, 1, 1), (*[1] * 6, 0, 0))
        problem, where, steps = _product(call), (workspace.plus(_copied(call, g)), target), []
        if x.address.offset % PIECE:
            assert g.rows == 1, "there is room for a copy of a single row"
            copy = View(workspace, x.type, x.strides)
            steps.append((copy_task(x, copy),))
            ins = [copy, *ins[1:]]
        return [*steps, *conv_tensor.product_steps(call, choice, ins, outs, problem, where, rows)]
    bias = [v.address for v in ins[2:3] if v is not None and choice.spec.int("bias")]
    extra = Epilogue.of_spec(choice.spec).params(call, ins)
    params = (x.address, weights.address, y.address, g.rows, g.inner, g.columns, *bias, *extra)
    units = blocks_for(-(-g.rows // FEW) * g.columns * WARP)
    flops, traffic = 2 * g.rows * g.inner * g.columns, x.type.nbytes + weights.type.nbytes + y.type.nbytes
    return [(Task(choice.spec, params, units, call.node.results[0].name, flops, traffic),)]


RULES = (Rule("fc", ("FC", "FCTransposed"), _choose, _needs, _bind, half=True),)
TEMPLATES = (Template("fc_rows", emit),)
