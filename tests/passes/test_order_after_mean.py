from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import Graph
from graphc.ir.builder import Builder
from graphc.passes import OrderAfterMean

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]


def test_the_mean_comes_first(net: Net, check: Check, random: Callable[..., np.ndarray]) -> None:
    """Sums run in another order: a few units of the last place."""
    graph, b = net
    x = b.op("NHWC2NCHW", [b.input("x", "float[N,5,6,8]")])
    b.output(b.op("AveragePool", [x], {"global_pooling": 1}, "y"))
    left = check(OrderAfterMean(), graph, {"x": random(2, 5, 6, 8)}, tolerance=1e-6)
    assert left == ["ReduceMean", "NHWC2NCHW"]


@pytest.mark.parametrize("pool", [{"kernels": (5, 6)}, {"global_pooling": 1, "order": b"NHWC"}])
def test_other_windows_stay(net: Net, check: Check, random: Callable[..., np.ndarray], pool: dict) -> None:
    graph, b = net
    x = b.op("NHWC2NCHW", [b.input("x", "float[N,5,6,8]")])
    b.output(b.op("AveragePool", [x], pool, "y"))
    check(OrderAfterMean(), graph, {"x": random(2, 5, 6, 8)}, changed=False)


def test_an_image_that_others_read_stays(net: Net, check: Check, random: Callable[..., np.ndarray]) -> None:
    graph, b = net
    x = b.op("NHWC2NCHW", [b.input("x", "float[N,5,6,8]")])
    b.output(b.op("AveragePool", [x], {"global_pooling": 1}, "y"))
    b.output(x, "image")
    check(OrderAfterMean(), graph, {"x": random(2, 5, 6, 8)}, changed=False)
