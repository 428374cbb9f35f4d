"""Layers that Caffe2's int8 library would refuse stay in float: the numbers are those of QNNPACK's own checks."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir import Graph, Quant
from graphc.ir.builder import Builder
from graphc.passes.quantize import find_layers, unfit_layer, unfit_product
from graphc.passes.quantize.layers import Layer


def layers_of(op: str, **args: int | float) -> list[Layer]:
    """A convolution, then an operator of its result (of both, for a sum)."""
    graph = Graph("net", "typed")
    build = Builder(graph)
    x = build.input("x", "float[1,4,6,6]")
    weights = [build.constant("w", np.ones((4, 4, 1, 1), np.float32)), build.constant("b", np.zeros(4, np.float32))]
    y = build.op("Conv", [x, *weights], {"kernel": 1}, "y")
    build.output(build.op(op, [y, x] if op == "Sum" else [y], args, "z"))
    return find_layers(graph)


@pytest.mark.parametrize(
    ("op", "args", "found"),
    [
        ("LeakyRelu", {"alpha": 0.1}, True),
        ("LeakyRelu", {"alpha": 1.0}, True),
        ("LeakyRelu", {"alpha": 0.0}, False),
        ("LeakyRelu", {"alpha": 1.5}, False),
        ("LeakyRelu", {"alpha": -0.5}, False),
        ("MaxPool", {"kernel": 2, "stride": 2}, True),
        ("MaxPool", {"kernel": 1, "stride": 2}, False),
        ("AveragePool", {"kernel": 2, "stride": 2}, True),
        ("AveragePool", {"kernel": 1, "stride": 2}, False),
        ("AveragePool", {"global_pooling": 1}, True),
        ("ChannelShuffle", {"group": 2}, True),
        ("ChannelShuffle", {"group": 1}, False),
    ],
)
def test_what_has_no_int8_operator_is_no_layer(op: str, args: dict[str, int | float], found: bool) -> None:
    assert [layer.name for layer in layers_of(op, **args)] == ["y", "z"][: 1 + found]


@pytest.mark.parametrize(
    ("op", "args", "least", "bound"),
    [
        ("Sum", {}, 2.0**-14, 256),
        ("AveragePool", {"kernel": 2}, 2.0**-8, 256),
        ("LeakyRelu", {"alpha": 0.1}, 2.0**-8, 256),
    ],
)
def test_scales_that_are_too_far_apart(op: str, args: dict[str, int | float], least: float, bound: float) -> None:
    layer = layers_of(op, **args)[1]
    one = Quant(1.0, 0)
    others = [one] * (len(layer.inputs) - 1)
    for scale, fits in ((least, True), (bound * 0.999, True), (least * 0.999, False), (bound, False)):
        why = unfit_layer(layer, [Quant(scale, 3), *others], one)
        assert (why is None) == fits
        assert why is None or "X_scale / Y_scale would be" in why
        assert unfit_layer(layers_of("Relu")[0], [Quant(scale, 3)], one) is None


def test_products_whose_results_are_too_small_or_too_large_beside_their_terms() -> None:
    layer, own = layers_of("Sigmoid")[0], Quant(1.0, 0)
    assert unfit_product(layer, Quant(0.5, 0), 1.99, own) is None
    assert "would be 1, " in (unfit_product(layer, Quant(0.5, 0), 2.0, own) or "")
    assert unfit_product(layer, Quant(2.0**-16, 0), 2.0**-16, own) is None
    assert "would be 1.16e-10" in (unfit_product(layer, Quant(2.0**-17, 0), 2.0**-16, own) or "")
    assert "no normal float32" in (unfit_product(layer, Quant(1e-20, 0), 1e-20, Quant(1e-37, 0)) or "")
