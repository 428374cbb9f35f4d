"""Look-ups in tables that are tensor trains of three cores. Rules from Caffe2's lengths_reducer_ops.h."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, bounded, product, require, require_rank
from graphc.ir.ops._segments import BAD_LENGTHS, FLOAT, first_dim, int_vector, rows_of, total_length
from graphc.ir.types import DType, TensorType

Array = np.ndarray


def multiply(a: Array, b: Array, y: Array, rows: Any, inner: Any, columns: Any, a0: Any, b0: Any, y0: Any) -> None:
    """Add the product of two matrices, flat from ``a0`` and ``b0`` on, to the one from ``y0`` on."""
    for r in range(rows):
        for m in range(inner):
            for c in range(columns):
                y.flat[y0 + r * columns + c] += a.flat[a0 + r * inner + m] * b.flat[b0 + m * columns + c]


def _look_up(
    core0: Array,
    core1: Array,
    core2: Array,
    indices: Array,
    lengths: Array,
    y: Array,
    out0: Array,
    out1: Array,
    places: Array,
    n0: int,
    n1: int,
) -> int:
    """A row is core0[i] core1[j] core2[k] for the index i + n0 (j + n1 k); out0, out1: products of one and two."""
    if total_length(lengths) != indices.shape[0]:
        return 1
    rows0, rank1 = out0.shape[1], out0.shape[2]
    rows1, rank2 = out1.shape[1], out1.shape[2]
    columns1, columns2 = rows1 // max(rows0, 1) * rank2, y.shape[1] // max(rows1, 1)
    b = 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            index = indices[b]
            places[b, 0], places[b, 1], places[b, 2] = index % n0, index // n0 % n1, index // (n0 * n1)
            if index < 0 or places[b, 2] >= core2.shape[0]:
                return 2
            for j in range(rows0 * rank1):
                out0.flat[b * rows0 * rank1 + j] = core0.flat[places[b, 0] * rows0 * rank1 + j]
            at1, at2 = places[b, 1] * rank1 * columns1, places[b, 2] * rank2 * columns2
            multiply(out0, core1, out1, rows0, rank1, columns1, b * rows0 * rank1, at1, b * rows0 * columns1)
            multiply(out1, core2, y, rows1, rank2, columns2, b * rows1 * rank2, at2, i * y.shape[1])
            b += 1
    return 0


def _factors(call: Call) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Factors of the number of rows and of the width, and ranks; fails unless they are those of three cores."""
    i, j, ranks = (tuple(bounded(call, d, 1, n) for d in call.arg(n)) for n in ("factor_i", "factor_j", "ranks"))
    if len(i) != 3 or len(j) != 3 or len(ranks) != 4:
        call.fail("there are three cores: give three factor_i, three factor_j and four ranks")
    if ranks[0] != 1 or ranks[-1] != 1:
        call.fail("the first and the last of ranks must be 1")
    if product(j) != call.arg("emb_size"):
        call.fail(f"emb_size is {call.arg('emb_size')}, the product of factor_j is {product(j)}")
    return i, j, ranks


def _look_up_infer(call: Call) -> list[TensorType]:
    """OUTPUT (lengths, emb_size); the products of one and of two cores for every index; int64 indices into the cores.

    Core k has factor_i[k] slices of ranks[k] * factor_j[k] * ranks[k + 1] numbers.
    """
    slices, width, ranks = _factors(call)
    for k in range(3):
        shape = require(call, k, FLOAT).shape
        if shape is not None:
            wanted = slices[k] * ranks[k] * width[k] * ranks[k + 1]
            agree(call, product(shape), wanted, f"number of elements of core {k}")
            agree(call, shape[0], slices[k], f"slices of core {k}")
    count, lengths = int_vector(call, 3, (DType.INT64,)), int_vector(call, 4)
    return [
        TensorType(DType.FLOAT, (lengths, call.arg("emb_size"))),
        TensorType(DType.FLOAT, (count, width[0], ranks[1])),
        TensorType(DType.FLOAT, (count, width[0] * width[1], ranks[2])),
        TensorType(DType.INT64, (count, 3)),
    ]


_FACTORS = (
    Arg("factor_i", "ints", (1, 1, 1), "factors of the number of rows"),
    Arg("factor_j", "ints", (1, 1, 1), "factors of the width"),
    Arg("ranks", "ints", (1, 1, 1, 1), "ranks between the cores, 1 at both ends"),
    Arg("emb_size", "int", 64, "width of a row"),
)
BAD_PLACE = "an index is negative, or not below the number of rows of the table"
op(
    "TTSparseLengthsSum",
    _look_up_infer,
    inputs="core0 core1 core2 index lengths",
    outputs="OUTPUT core0_output core1_output indices",
    args=_FACTORS,
    loop=_look_up,
    constants=lambda call: call.arg("factor_i")[:2],
    errors=(BAD_LENGTHS, BAD_PLACE),
    doc="Sums of runs of rows, which indices choose from a table that is a tensor train.",
)


def outer(a: Array, b: Array, y: Array, inner: Any, rows: Any, columns: Any, a0: Any, b0: Any, y0: Any) -> None:
    """Add the product of a matrix's transpose (``inner`` rows) and another matrix to the one from ``y0`` on."""
    for m in range(inner):
        for r in range(rows):
            for c in range(columns):
                y.flat[y0 + r * columns + c] += a.flat[a0 + m * rows + r] * b.flat[b0 + m * columns + c]


def back(a: Array, b: Array, y: Array, rows: Any, inner: Any, columns: Any, a0: Any, b0: Any) -> None:
    """``y`` is the product of a matrix and the transpose of another one, which has ``columns`` rows."""
    for r in range(rows):
        for c in range(columns):
            total = np.float32(0)
            for m in range(inner):
                total += a.flat[a0 + r * inner + m] * b.flat[b0 + c * inner + m]
            y.flat[r * columns + c] = total


def _look_up_gradient(
    core0: Array,
    core1: Array,
    core2: Array,
    lengths: Array,
    out0: Array,
    out1: Array,
    places: Array,
    grads: Array,
    d0: Array,
    d1: Array,
    d2: Array,
    slope1: Array,
    slope0: Array,
) -> int:
    if total_length(lengths) != places.shape[0]:
        return 1
    rows0, rank1, rows1, rank2 = out0.shape[1], out0.shape[2], out1.shape[1], out1.shape[2]
    columns1, columns2 = rows1 // max(rows0, 1) * rank2, grads.shape[1] // max(rows1, 1)
    b = 0
    for i in range(lengths.shape[0]):
        for _ in range(lengths[i]):
            p0, p1, p2 = places[b, 0], places[b, 1], places[b, 2]
            if min(p0, p1, p2) < 0 or p0 >= core0.shape[0] or p1 >= core1.shape[0] or p2 >= core2.shape[0]:
                return 2
            at1, at2 = p1 * rank1 * columns1, p2 * rank2 * columns2
            outer(out1, grads, d2, rows1, rank2, columns2, b * rows1 * rank2, i * grads.shape[1], at2)
            back(grads, core2, slope1, rows1, columns2, rank2, i * grads.shape[1], at2)
            outer(out0, slope1, d1, rows0, rank1, columns1, b * rows0 * rank1, 0, at1)
            back(slope1, core1, slope0, rows0, columns1, rank1, 0, at1)
            for j in range(rows0 * rank1):
                d0.flat[p0 * rows0 * rank1 + j] += slope0.flat[j]
            b += 1
    return 0


def _look_up_gradient_infer(call: Call) -> list[TensorType]:
    """Gradients of the cores, like the cores; the other inputs are TTSparseLengthsSum's outputs."""
    for i in (0, 1, 2, 4, 5, 7):
        require(call, i, FLOAT)
    cores = [call.type(i) for i in range(3)]
    count = int_vector(call, 3)
    first_dim(call, 7, count, "number of rows")
    require(call, 6, (DType.INT64,))
    shapes = [require_rank(call, i, r) for i, r in ((0, 4), (1, 4), (2, 4), (4, 3), (5, 3), (6, 2), (7, 2))]
    if all(s is not None for s in shapes):
        c0, c1, c2, o0, o1, places, grads = (s or () for s in shapes)
        n = agree(call, places[1], 3, "columns of the indices") and places[0]
        pairs = (
            (o0, (n, c0[2], c0[3])),
            (o1, (n, product((c0[2], c1[2])), c1[3])),
            ((c0[1], c1[1], c2[1], c2[3]), (1, c0[3], c1[3], 1)),
            ((grads[1],), (product((c0[2], c1[2], c2[2])),)),
        )
        for got, want in pairs:
            for a, b in zip(got, want):
                agree(call, a, b, "dimensions of the cores and of what was computed from them")
    rows_of(call, 6)
    return cores


def _slopes(call: Call) -> list[TensorType]:
    out0, out1 = call.type(4).shape, call.type(5).shape
    return [TensorType(DType.FLOAT, s and s[1:]) for s in (out1, out0)]


op(
    "TTSparseLengthsSumGradient",
    _look_up_gradient_infer,
    inputs="core0 core1 core2 lengths core0_output core1_output indices dY",
    outputs="dCore0 dCore1 dCore2",
    args=_FACTORS,
    loop=_look_up_gradient,
    scratch=_slopes,
    constants=lambda call: (),
    errors=(BAD_LENGTHS, BAD_PLACE),
    doc="Gradient of TTSparseLengthsSum with respect to the cores.",
)
