"""Operators of the engine DNNLOWP rewritten into those with kernels: every integer stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import DType, Graph, Quant, TensorType, Value
from graphc.ir.builder import Builder
from graphc.passes import O1, LowerDnnlowp, LowerInt8

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
Random = Callable[..., np.ndarray]
Y = {"Y_scale": 0.3, "Y_zero_point": 110}


@pytest.fixture
def q(net: Net) -> Value:
    b = net[1]
    x = b.input("x", "float[N,4,5,6]")
    return b.op("Int8Quantize_ENGINE_DNNLOWP", [x], {"Y_scale": 0.03, "Y_zero_point": 120})


def feed(random: Random) -> dict[str, np.ndarray]:
    return {"x": random(2, 4, 5, 6)}


def constant(b: Builder, name: str, data: np.ndarray, quant: Quant | None = None) -> Value:
    return b.graph.add_constant(name, data, TensorType(DType.of(data.dtype), data.shape, quant=quant))


def weights(b: Builder, *shape: int, zero: int = 128, bias: str = "int32") -> list[Value]:
    rng = np.random.default_rng(len(shape))
    w = constant(b, "w", rng.integers(0, 256, shape).astype(np.uint8), Quant(0.01, zero))
    if bias == "float":
        numbers = rng.uniform(-1, 1, shape[0]).astype(np.float32)
        numbers[:2] = 0.00045, np.nan  # half of a unit of the sums, and no number
        return [w, constant(b, "b", numbers)]
    return [w, constant(b, "b", rng.integers(-900, 900, shape[0]).astype(np.int32), Quant(0.0003, 0))]


@pytest.mark.parametrize("bias", ["int32", "float", ""])
@pytest.mark.parametrize("op", ["Int8Conv", "Int8ConvRelu", "Conv"])
def test_convolutions(net: Net, q: Value, check: Check, random: Random, op: str, bias: str) -> None:
    graph, b = net
    operands = weights(b, 5, 3, 2, 6, bias=bias)[: 2 if bias else 1]
    attrs = {"kernels": (3, 2), "pads": (1, 0, 1, 1), "stride": 2, "order": b"NHWC", **Y}
    b.output(b.op("Int8Dequantize", [b.op(f"{op}_ENGINE_DNNLOWP", [q, *operands], attrs)], name="y"))
    assert check(LowerDnnlowp(), graph, feed(random))[1:] == ["g.int8_conv", "Int8Dequantize"]


@pytest.mark.parametrize("op", ["FC_ENGINE_DNNLOWP", "Int8FCRelu_ENGINE_DNNLOWP", "Int8FC_ENGINE_DNNLOWP_ROWWISE"])
def test_matrix_products(net: Net, q: Value, check: Check, random: Random, op: str) -> None:
    graph, b = net
    y = b.op(op, [q, *weights(b, 7, 120)], Y)
    b.output(b.op("Int8Dequantize_ENGINE_DNNLOWP", [y], name="y"))
    assert check(LowerDnnlowp(), graph, feed(random))[1:] == ["g.int8_fc", "Int8Dequantize"]


def test_the_range_that_an_activation_reads(net: Net, q: Value, check: Check, random: Random) -> None:
    """Sigmoid behind gives the result a scale of its own."""
    graph, b = net
    y = b.op("Int8FC_ENGINE_DNNLOWP", [q, *weights(b, 7, 120)], {"followed_by": b"Sigmoid"})
    b.output(b.op("Int8Dequantize", [y], name="y"))
    assert "g.int8_fc" in check(LowerDnnlowp(), graph, feed(random))


def test_what_means_the_same_without_the_engine(net: Net, q: Value, check: Check, random: Random) -> None:
    graph, b = net
    pooled = b.op("Int8MaxPool_ENGINE_DNNLOWP", [q], {"kernel": 3, "stride": 2, "pad": 1, "order": b"NHWC", **Y})
    y = b.op("Int8Relu_ENGINE_DNNLOWP", [pooled])
    b.output(b.op("Int8Dequantize_ENGINE_DNNLOWP", [y], name="y"))
    assert check(LowerDnnlowp(), graph, feed(random))[1:] == ["Int8MaxPool", "Int8Relu", "Int8Dequantize"]


@pytest.mark.parametrize("case", ["order", "zero point", "scale", "result"])
def test_what_stays_with_the_engine(net: Net, q: Value, check: Check, random: Random, case: str) -> None:
    """Planes, weights that do not fit int8, a scale that data decides, a result in float."""
    graph, b = net
    channels = 4 if case == "order" else 6
    shape = (channels, 1, 1) if case == "order" else (1, 1, channels)
    operands = [q, *weights(b, 5, *shape, zero=99 if case == "zero point" else 128)]
    attrs: dict[str, object] = {"kernel": 1, "order": b"NCHW" if case == "order" else b"NHWC"}
    attrs |= {"dequantize_output": 1} if case == "result" else {} if case == "scale" else Y
    y = b.op("Int8Conv_ENGINE_DNNLOWP", operands, attrs)
    b.output(y if case == "result" else b.op("Int8Dequantize", [y]), "y")
    check(LowerDnnlowp(), graph, feed(random), changed=False)


def test_products_take_nothing_that_follows() -> None:
    """A conversion that a product does itself would round once less."""
    assert O1.index(LowerDnnlowp()) > O1.index(LowerInt8())


def test_types_are_those_of_the_engine(net: Net, q: Value) -> None:
    graph, b = net
    y = b.op("Int8FC_ENGINE_DNNLOWP", [q, *weights(b, 7, 120)], Y)
    b.output(y, "y")
    assert LowerDnnlowp().run(graph)
    assert graph.outputs[0].type == TensorType(DType.UINT8, y.type.shape, quant=y.type.quant)
