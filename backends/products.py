"""Matrix products as kernels see them: what FC, FCTransposed, MatMul and BatchMatMul multiply."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graphc.backends.rows import flattened
from graphc.ir.opdef import Call

OPERATORS = ("FC", "FCTransposed", "MatMul", "BatchMatMul")


@dataclass(frozen=True)
class Product:
    """Y[b] = A[b] * B[b] (rows, columns), strides in elements. batches: offsets (a, b) of each product."""

    rows: int
    inner: int
    columns: int
    a_row: int
    a_step: int
    b_row: int
    b_column: int
    batches: tuple[tuple[int, int], ...] = ((0, 0),)

    @property
    def regular(self) -> tuple[int, int] | None:
        """Distances between the batches' matrices where they are constant."""
        if len(self.batches) == 1:
            return 0, 0
        a, b = self.batches[1]
        steady = all(x == (i * a, i * b) for i, x in enumerate(self.batches))
        return (a, b) if steady else None

    @property
    def groups(self) -> list[tuple[tuple[int, int], ...]]:
        """The batches of each task: all in one where their matrices lie at constant distances, else one each."""
        return [self.batches] if self.regular else [(one,) for one in self.batches]


def product_of(call: Call) -> Product:
    """The product that a call computes."""
    a, b = call.type(0).static_shape, call.type(1).static_shape
    if call.node.op == "BatchMatMul":
        return _batched(call, a, b)
    if call.node.op == "MatMul":
        m, k = flattened(a, call.arg("axis_a"))
        k_b, n = flattened(b, call.arg("axis_b"))
        return _with_transposes(call, (m, k), (k_b, n))
    rows, k = flattened(a, call.arg("axis"))
    first, second = flattened(b, call.arg("axis_w"))
    if call.node.op == "FCTransposed":
        return Product(rows, k, second, k, 1, second, 1)
    return Product(rows, k, first, k, 1, 1, k)


def _with_transposes(
    call: Call, a: tuple[int, int], b: tuple[int, int], batches: tuple[tuple[int, int], ...] = ((0, 0),)
) -> Product:
    """The product of stored matrices ``a`` and ``b``, either used transposed as the arguments say."""
    (rows, inner), a_row, a_step = a, a[1], 1
    columns, b_row, b_column = b[1], b[1], 1
    if call.arg("trans_a"):
        rows, inner, a_row, a_step = a[1], a[0], 1, a[1]
    if call.arg("trans_b"):
        columns, b_row, b_column = b[0], 1, b[1]
    return Product(rows, inner, columns, a_row, a_step, b_row, b_column, batches)


def _batched(call: Call, a: tuple[int, ...], b: tuple[int, ...]) -> Product:
    if len(a) == 1:
        a = (a[0], 1) if call.arg("trans_a") else (1, a[0])
    if len(b) == 1:
        b = (1, b[0]) if call.arg("trans_b") else (b[0], 1)
    shape = np.broadcast_shapes(a[:-2], b[:-2])
    offsets = []
    for part in (a, b):
        numbers = np.arange(math.prod(part[:-2])).reshape(part[:-2]) * (part[-2] * part[-1])
        offsets.append(np.broadcast_to(numbers, shape).reshape(-1).tolist())
    return _with_transposes(call, (a[-2], a[-1]), (b[-2], b[-1]), tuple(zip(*offsets)))


def matrix_of(b: np.ndarray, g: Product) -> np.ndarray:
    """B as a (inner, columns) view of the weight."""
    flat = np.ascontiguousarray(b, np.float32).reshape(-1)
    matrix = flat.reshape(g.inner, g.columns) if g.b_column == 1 else flat.reshape(g.columns, g.inner).T
    return np.asarray(matrix)
