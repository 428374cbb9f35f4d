from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import Graph, Value
from graphc.ir.builder import Builder
from graphc.passes import BatchNormToAffine, FoldBatchNorm

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
Random = Callable[..., np.ndarray]
ROUNDING = 1e-5
"""The folded weights are rounded once more, and sums of products with them differently."""


def statistics(b: Builder, random: Random, channels: int) -> list[Value]:
    arrays = {"scale": random(channels), "bias": random(channels), "mean": random(channels)}
    arrays["var"] = np.abs(random(channels)) + np.float32(0.1)
    return [b.constant(f"bn_{name}", a) for name, a in arrays.items()]


def test_spatial_bn_goes_into_weights_and_a_new_bias(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    conv = b.op("Conv", [b.input("x", "float[N,3,6,6]"), b.constant("w", random(4, 3, 3, 3))], {"kernel": 3}, "c")
    b.output(b.op("SpatialBN", [conv, *statistics(b, random, 4)], {"is_test": 1, "epsilon": 1e-3}, "y"))
    assert check(FoldBatchNorm(), graph, {"x": random(2, 3, 6, 6)}, ROUNDING) == ["Conv"]
    assert graph.nodes[0].results[0].name == "y"
    assert len(graph.nodes[0].operands) == 3


def test_the_folded_weights_are_those_of_the_formula(net: Net, random: Random) -> None:
    graph, b = net
    w = random(4, 3, 1, 1)
    conv = b.op("Conv", [b.input("x", "float[N,3,6,6]"), b.constant("w", w)], {"kernel": 1})
    parameters = statistics(b, random, 4)
    scale, bias, mean, var = (v.data for v in parameters)
    b.output(b.op("SpatialBN", [conv, *parameters], {"is_test": 1, "epsilon": 1e-3}, "y"))
    FoldBatchNorm().run(graph)
    factor = scale / np.sqrt(var + 1e-3)
    _, new_w, new_b = graph.nodes[0].operands
    np.testing.assert_allclose(new_w.data, w * factor.reshape(4, 1, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(new_b.data, bias - mean * factor, rtol=1e-6)


def test_a_chain_folds_with_legacy_broadcasting(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    operands = [b.input("x", "float[N,3,6,6]"), b.constant("w", random(4, 3, 3, 3)), b.constant("b", random(4))]
    y = b.op("Conv", operands, {"kernel": 3})
    y = b.op("SpatialBN", [y, *statistics(b, random, 4)], {"is_test": 1})
    y = b.op("Mul", [y, b.constant("m", random(4))], {"broadcast": 1, "axis": 1})
    y = b.op("Add", [y, b.constant("a", random(4))], {"broadcast": 1, "axis": 1})
    y = b.op("Sub", [b.constant("one", np.ones((1, 4, 1, 1), np.float32)), y])
    y = b.op("Div", [y, b.constant("d", random(4, 1, 1))])
    y = b.op("AffineChannel", [y, b.constant("s2", random(4)), b.constant("b2", random(4))])
    b.output(b.op("Scale", [y], {"scale": 2.0}, "y"))
    assert check(FoldBatchNorm(), graph, {"x": random(2, 3, 6, 6)}, ROUNDING) == ["Conv"]


@pytest.mark.parametrize("group", [1, 2, 4])
def test_groups(net: Net, check: Check, random: Random, group: int) -> None:
    graph, b = net
    x, w = b.input("x", "float[N,4,6,6]"), b.constant("w", random(8, 4 // group, 3, 3))
    conv = b.op("Conv", [x, w], {"kernel": 3, "group": group, "pad": 1})
    b.output(b.op("SpatialBN", [conv, *statistics(b, random, 8)], {"is_test": 1}, "y"))
    assert check(FoldBatchNorm(), graph, {"x": random(2, 4, 6, 6)}, ROUNDING) == ["Conv"]


@pytest.mark.parametrize("group", [1, 2])
def test_conv_transpose(net: Net, check: Check, random: Random, group: int) -> None:
    graph, b = net
    x, w = b.input("x", "float[N,4,3,3]"), b.constant("w", random(4, 6 // group, 2, 2))
    conv = b.op("ConvTranspose", [x, w, b.constant("b", random(6))], {"kernel": 2, "stride": 2, "group": group})
    b.output(b.op("SpatialBN", [conv, *statistics(b, random, 6)], {"is_test": 1}, "y"))
    assert check(FoldBatchNorm(), graph, {"x": random(2, 4, 3, 3)}, ROUNDING) == ["ConvTranspose"]


def test_nhwc(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x, w = b.input("x", "float[N,5,5,3]"), b.constant("w", random(4, 3, 3, 3))
    conv = b.op("Conv", [x, w], {"kernel": 3, "order": "NHWC"})
    b.output(b.op("SpatialBN", [conv, *statistics(b, random, 4)], {"is_test": 1, "order": "NHWC"}, "y"))
    assert check(FoldBatchNorm(), graph, {"x": random(2, 5, 5, 3)}, ROUNDING) == ["Conv"]


@pytest.mark.parametrize(
    ("op", "shape", "attrs"),
    [
        ("FC", (5, 12), {}),
        ("FC", (1, 1, 5, 12), {"axis_w": 3}),
        ("FCTransposed", (12, 5), {}),
    ],
)
def test_fc(net: Net, check: Check, random: Random, op: str, shape: tuple[int, ...], attrs: dict[str, int]) -> None:
    graph, b = net
    operands = [b.input("x", "float[N,12]"), b.constant("w", random(*shape)), b.constant("b", random(5))]
    y = b.op("Mul", [b.op(op, operands, attrs), b.constant("m", random(5))])
    b.output(b.op("Add", [b.constant("a", random(5)), y], {}, "y"))
    assert check(FoldBatchNorm(), graph, {"x": random(3, 12)}, ROUNDING) == [op]


def test_shared_weights_are_copied_not_scaled_twice(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x, w = b.input("x", "float[N,3,4,4]"), b.constant("w", random(4, 3, 1, 1))
    first, second = (b.op("Conv", [x, w], {"kernel": 1}, n) for n in ("first", "second"))
    first = b.op("SpatialBN", [first, *statistics(b, random, 4)], {"is_test": 1})
    b.output(b.op("Add", [first, second], {}, "y"))
    assert check(FoldBatchNorm(), graph, {"x": random(2, 3, 4, 4)}, ROUNDING) == ["Conv", "Conv", "Add"]
    assert w in graph.nodes[0].operands
    assert w not in graph.nodes[1].operands


def conv(b: Builder, random: Random) -> Value:
    return b.op("Conv", [b.input("x", "float[N,3,6,6]"), b.constant("w", random(4, 3, 3, 3))], {"kernel": 3}, "c")


def refuse_other_reader(b: Builder, random: Random) -> None:
    c = conv(b, random)
    b.output(b.op("SpatialBN", [c, *statistics(b, random, 4)], {"is_test": 1}, "y"))
    b.output(b.op("Relu", [c], {}, "other"))


def refuse_output(b: Builder, random: Random) -> None:
    c = conv(b, random)
    b.output(c)
    b.output(b.op("SpatialBN", [c, *statistics(b, random, 4)], {"is_test": 1}, "y"))


def refuse_training(b: Builder, random: Random) -> None:
    node = b.node("SpatialBN", [conv(b, random), *statistics(b, random, 4)], {}, ["y", "m", "v", "sm", "sv"])
    b.output(node.results[0])


def refuse_fed_parameters(b: Builder, random: Random) -> None:
    b.output(b.op("Mul", [conv(b, random), b.input("m", "float[4,1,1]")], {}, "y"))


def refuse_other_dimension(b: Builder, random: Random) -> None:
    b.output(b.op("Mul", [conv(b, random), b.constant("m", random(4))], {}, "y"))


def refuse_negative_variance(b: Builder, random: Random) -> None:
    parameters = [b.constant(n, np.full(4, -1, np.float32)) for n in "sbmv"]
    b.output(b.op("SpatialBN", [conv(b, random), *parameters], {"is_test": 1}, "y"))


REFUSED = [
    refuse_other_reader,
    refuse_output,
    refuse_training,
    refuse_fed_parameters,
    refuse_other_dimension,
    refuse_negative_variance,
]


@pytest.mark.parametrize("build", REFUSED)
def test_refusals(net: Net, random: Random, build: Callable[[Builder, Random], None]) -> None:
    graph, b = net
    build(b, random)
    before = str(graph)
    assert not FoldBatchNorm().run(graph)
    assert str(graph) == before


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_a_spatial_bn_that_is_left_becomes_mul_and_add(net: Net, check: Check, random: Random, order: str) -> None:
    graph, b = net
    shape = (2, 4, 5, 3) if order == "NCHW" else (2, 5, 3, 4)
    x = b.input("x", "float[" + ",".join(map(str, shape)) + "]")
    attrs = {"is_test": 1, "order": order}
    b.output(b.op("SpatialBN", [x, *statistics(b, random, 4)], attrs, "y"))
    assert check(BatchNormToAffine(), graph, {"x": random(*shape)}, 1e-6) == ["Mul", "Add"]
    assert graph.outputs[0].name == "y"


def test_a_spatial_bn_in_training_stays(net: Net, random: Random) -> None:
    graph, b = net
    refuse_training(b, random)
    assert not BatchNormToAffine().run(graph)
