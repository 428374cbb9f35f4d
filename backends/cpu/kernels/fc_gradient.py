"""Gradients of FC and FCTransposed: two matrix products and a sum over rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.kernels.gemm import bare_tasks, panel_bytes, product_spec
from graphc.backends.cpu.kernels.reduce import Extent, reduction_spec, reduction_task
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.products import Product
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, Needs, Step, View
from graphc.ir.types import DType


@dataclass(frozen=True)
class _Part:
    """A product: Y is output ``result``, A and B are inputs."""

    product: Product
    a: int
    b: int
    result: int


def _parts(call: Call) -> list[_Part]:
    """dW = dY^T * X, dX = dY * W; for FCTransposed dW = X^T * dY, dX = dY * W^T. X is (m, k), dY is (m, n)."""
    x, dy = call.type(0), call.type(2)
    m = math.prod(x.static_shape[: call.arg("axis")])
    k = math.prod(x.static_shape[call.arg("axis") :])
    n = dy.size // m
    if call.node.op == "FCTransposedGradient":
        parts = [_Part(Product(k, m, n, 1, k, n, 1), 0, 2, 0), _Part(Product(m, n, k, n, 1, 1, n), 2, 1, 2)]
    else:
        parts = [_Part(Product(n, m, k, 1, n, k, 1), 2, 0, 0), _Part(Product(m, n, k, n, 1, k, 1), 2, 1, 2)]
    return parts[: call.n_outputs - 1]


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    types = [call.type(i) for i in range(3)]
    if any(t.dtype is not DType.FLOAT or t.layout.block > 1 or not t.size for t in types):
        return None
    parts = [part.product for part in _parts(call)]
    work = sum(costs.compute_ns(target, 2 * g.rows * g.inner * g.columns) for g in parts)
    streams = sum(costs.stream_ns(8 * g.inner * g.columns) for g in parts)
    return Choice("fc_gradient", product_spec(parts[0], target), {}, 500 + work + streams)


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    room = sum(_room(part.product, target) for part in _parts(call))
    return Needs(dense=frozenset({0, 1, 2}), dense_out=True, workspace=room)


def _room(g: Product, target: CpuTarget) -> int:
    return -(-panel_bytes(g, product_spec(g, target), target) // 64) * 64


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    """A step that packs, then the products."""
    views = [v for v in ins[:3] if v is not None]
    names = [r.name for r in call.node.results]
    n = call.node.results[1].type.size
    shape = (call.type(2).size // n, n)
    extent, spec = Extent.of(shape, (0,)), reduction_spec(shape, (0,), "sum")
    packs = [reduction_task(spec, views[2].address, outs[1].address, extent, 1.0, names[1])]
    products = []
    for part in _parts(call):
        g = part.product
        places = (views[part.a].address, views[part.b].address, outs[part.result].address)
        pack, task = bare_tasks(product_spec(g, target), g, *places, workspace, target, names[part.result])
        packs.append(pack)
        products.append(task)
        workspace = workspace.plus(_room(g, target))
    return [tuple(packs), tuple(products)]


RULES = (Rule("fc_gradient", ("FCGradient", "FCTransposedGradient"), _choose, _needs, _bind),)
