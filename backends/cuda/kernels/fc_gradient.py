"""Gradients of FC and FCTransposed in float32: two matrix products, and the sum of the rows of dY."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphc.backends.cuda.kernels import gemm
from graphc.backends.cuda.kernels.reduce import Reduction, dense_reduction, sum_bytes, sum_steps
from graphc.backends.cuda.rules import Rule, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.products import Product
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, Needs, Step, View

X, W, DY = 0, 1, 2


def _sizes(call: Call) -> tuple[int, int, int]:
    """Rows of X, its columns, and columns of dY."""
    x = call.type(X).static_shape
    axis = call.arg("axis") % len(x)
    rows = prod(x[:axis])
    return rows, prod(x[axis:]), call.type(DY).size // rows


def _products(call: Call) -> list[tuple[Product, int, int, int]]:
    """dW = dY^T * X, dX = dY * W; for FCTransposed dW = X^T * dY, dX = dY * W^T: product, operands, result."""
    m, k, n = _sizes(call)
    if call.node.op == "FCTransposedGradient":
        found = [(Product(k, m, n, 1, k, n, 1), X, DY, 0), (Product(m, n, k, n, 1, 1, n), DY, W, 2)]
    else:
        found = [(Product(n, m, k, 1, n, k, 1), DY, X, 0), (Product(m, n, k, n, 1, k, 1), DY, W, 2)]
    return found[: call.n_outputs - 1]


def _bias(call: Call) -> Reduction:
    m, _, n = _sizes(call)
    return dense_reduction((m, n), (0,))


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_float32(call) or not all(call.type(i).size for i in (X, W, DY)):
        return None
    return Choice("fc_gradient", gemm.bare_spec(_products(call)[0][0], target))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=frozenset({X, W, DY}), dense_out=True, workspace=sum_bytes(_bias(call), target))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    views, names = [v for v in ins[:3] if v is not None], [r.name for r in call.node.results]
    require_reach(*views)
    products = [gemm.bare_step(g, (views[a], views[b], outs[y]), names[y], target) for g, a, b, y in _products(call)]
    bias = sum_steps(_bias(call), outs[1].address, views[DY].address, workspace, target, names[1])
    return [(*sum(products, ()), *bias[0]), *bias[1:]]


RULES = (Rule("fc_gradient", ("FCGradient", "FCTransposedGradient"), _choose, _needs, _bind),)
