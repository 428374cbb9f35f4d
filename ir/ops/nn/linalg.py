"""Matrix products: FC, FCTransposed, MatMul, BatchMatMul."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import HINTS, ORDER, Shape, agree, axis_of, broadcast_shapes, product, require, vector
from graphc.ir.types import UNKNOWN, Dim, TensorType

FC_ARGS = (
    Arg("axis", "int", 1, "X is flattened to a matrix before this dimension"),
    Arg("axis_w", "int", 1, "W is flattened to a matrix before this dimension"),
    Arg("float16_compute", "int", 0, "a preference of CUDA"),
    ORDER,
    *HINTS,
)


def _flat(call: Call, i: int, axis_name: str) -> tuple[Dim, Dim]:
    """Rows and columns of input ``i`` flattened at an axis argument; unknown while the rank is."""
    shape = call.type(i).shape
    if shape is None:
        return UNKNOWN, UNKNOWN
    axis = axis_of(call, call.arg(axis_name), len(shape), axis_name)
    return product(shape[:axis]), product(shape[axis:])


def _is_transposed(call: Call) -> bool:
    return call.opdef.name == "FCTransposed"


def _fc_infer(call: Call) -> list[TensorType]:
    """Y: X's dimensions before ``axis``, then N; W is (N, K), for FCTransposed (K, N); b is (N)."""
    x = require(call, 0)
    require(call, 1)
    require(call, 2)
    rows, columns = _flat(call, 1, "axis_w")
    n, k = (columns, rows) if _is_transposed(call) else (rows, columns)
    agree(call, _flat(call, 0, "axis")[1], k, "elements of a row of X against those of W", "check axis and the sizes")
    n = vector(call, 2, n, "length of the bias")
    if x.shape is None:
        return [x]
    return [x.with_shape((*x.shape[: axis_of(call, call.arg("axis"), len(x.shape))], n))]


def _fc_reference(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> Sequence[np.ndarray]:
    axis, axis_w = call.arg("axis") % x.ndim, call.arg("axis_w") % w.ndim
    matrix = w.reshape(math.prod(w.shape[:axis_w]), -1)
    matrix = matrix if _is_transposed(call) else matrix.T
    lead = x.shape[:axis]
    y = x.reshape(math.prod(lead), math.prod(x.shape[axis:])) @ matrix + b
    return [y.reshape(*lead, b.size)]


def _fc_flops(call: Call) -> int:
    """Two for each element of W and row of X, plus the bias."""
    (y,) = _fc_infer(call)
    n = y.static_shape[-1]
    return y.size * (2 * call.type(1).size // max(n, 1) + 1)


for _name, _formula in (("FC", "X * W^T + b"), ("FCTransposed", "X * W + b")):
    op(
        _name,
        _fc_infer,
        inputs="X W b",
        outputs="Y",
        args=FC_ARGS,
        reference=_fc_reference,
        traits=Trait.EPILOGUE,
        flops=_fc_flops,
        doc=f"Fully connected layer: {_formula}, X and W flattened to matrices.",
    )


def _matmul_sizes(call: Call) -> tuple[Dim, Dim, Dim]:
    m, k = _flat(call, 0, "axis_a")[:: -1 if call.arg("trans_a") else 1]
    k_b, n = _flat(call, 1, "axis_b")[:: -1 if call.arg("trans_b") else 1]
    return m, agree(call, k_b, k, "inner dimensions of A and B", "check the axes, trans_a and trans_b"), n


def _matmul_infer(call: Call) -> list[TensorType]:
    """Y: (M, N) float, A and B flattened to matrices; a third input, where given, lends Y its shape."""
    a = require(call, 0)
    require(call, 1)
    m, _, n = _matmul_sizes(call)
    if not call.has(2):
        return [TensorType(a.dtype, (m, n))]
    like = call.type(2).shape
    if like is not None:
        agree(call, product(like), product((m, n)), "elements of the third input, whose shape Y takes")
    return [TensorType(a.dtype, like)]


def _matmul_reference(call: Call, a: np.ndarray, b: np.ndarray, *like: np.ndarray) -> Sequence[np.ndarray]:
    axis_a, axis_b = call.arg("axis_a") % a.ndim, call.arg("axis_b") % b.ndim
    left = a.reshape(math.prod(a.shape[:axis_a]), math.prod(a.shape[axis_a:]))
    right = b.reshape(math.prod(b.shape[:axis_b]), math.prod(b.shape[axis_b:]))
    y = (left.T if call.arg("trans_a") else left) @ (right.T if call.arg("trans_b") else right)
    return [y.reshape(like[0].shape) if like else y]


def _matmul_flops(call: Call) -> int:
    """Two for each element of the product and of the inner dimension."""
    return 2 * math.prod(d for d in _matmul_sizes(call) if isinstance(d, int))


_TRANSPOSE = (Arg("trans_a", "int", 0, "A is used transposed"), Arg("trans_b", "int", 0, "B is used transposed"))

op(
    "MatMul",
    _matmul_infer,
    inputs="A B like?",
    outputs="Y",
    args=(
        Arg("axis_a", "int", 1, "A is flattened to a matrix before this dimension"),
        Arg("axis_b", "int", 1, "B is flattened to a matrix before this dimension"),
        *_TRANSPOSE,
    ),
    reference=_matmul_reference,
    traits=Trait.EPILOGUE,
    flops=_matmul_flops,
    doc="Matrix product.",
)


def _matrix(call: Call, i: int, trans: str) -> tuple[Shape, Dim, Dim] | None:
    """Batch dimensions, rows and columns of input ``i``; None while the rank is unknown. A vector is never turned."""
    shape = call.type(i).shape
    if shape is None:
        return None
    if len(shape) == 1:
        return ((), 1, shape[0]) if i == 0 else ((), shape[0], 1)
    if not shape:
        call.fail(f"input {i} has no dimensions, at least 1 is needed")
    rows, columns = (shape[-1], shape[-2]) if call.arg(trans) else (shape[-2], shape[-1])
    return shape[:-2], rows, columns


def _batch_infer(call: Call) -> list[TensorType]:
    """Y: (..., M, N) float; batch dimensions equal, or with ``broadcast=1`` by NumPy's rules; a vector loses its own.

    Missing batch dimensions count as 1, with and without ``broadcast``: Caffe2's ``batch_matmul_op.h``.
    """
    a = require(call, 0)
    require(call, 1)
    left, right = _matrix(call, 0, "trans_a"), _matrix(call, 1, "trans_b")
    if left is None or right is None:
        return [TensorType(a.dtype)]
    agree(call, right[1], left[2], "inner dimensions of A and B", "check trans_a and trans_b")
    if not call.arg("broadcast") and 1 not in (call.type(0).rank, call.type(1).rank):
        rank = max(len(left[0]), len(right[0]))
        padded = [(1,) * (rank - len(batch)) + batch for batch in (left[0], right[0])]
        for x, y in zip(*padded):
            agree(call, y, x, "batch dimensions of A and B", "set broadcast=1")
    batch = broadcast_shapes(call, left[0], right[0]) or ()
    rows = () if call.type(0).rank == 1 else (left[1],)
    columns = () if call.type(1).rank == 1 else (right[2],)
    return [TensorType(a.dtype, (*batch, *rows, *columns) or (1,))]


def _batch_reference(call: Call, a: np.ndarray, b: np.ndarray) -> Sequence[np.ndarray]:
    left = a.swapaxes(-1, -2) if call.arg("trans_a") and a.ndim > 1 else a
    right = b.swapaxes(-1, -2) if call.arg("trans_b") and b.ndim > 1 else b
    return [np.atleast_1d(np.matmul(left, right))]


def _batch_flops(call: Call) -> int:
    """Two for each element of the product and of the inner dimension."""
    left = _matrix(call, 0, "trans_a")
    inner = left[2] if left else 0
    return 2 * _batch_infer(call)[0].size * (inner if isinstance(inner, int) else 0)


op(
    "BatchMatMul",
    _batch_infer,
    inputs="A B",
    outputs="Y",
    args=(
        *_TRANSPOSE,
        Arg("broadcast", "int", 0, "batch dimensions broadcast by NumPy's rules"),
        Arg("constant_B", "int", 0, "a preference, never changes the answer"),
    ),
    reference=_batch_reference,
    flops=_batch_flops,
    doc="Products of the matrices in the last two dimensions.",
)
