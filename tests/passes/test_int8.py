"""Int8 operators: rewritten into fewer with the same integers, and into graphc's own with nearly the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import DType, Graph, Quant, TensorType, Value, evaluate
from graphc.ir.builder import Builder
from graphc.passes import O1, Dce, FoldConstants, FuseInt8, LowerInt8, with_native_int8
from graphc.passes.pipelines import O0

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
Random = Callable[..., np.ndarray]


@pytest.fixture
def x(net: Net) -> Value:
    return net[1].input("x", "float[N,5,6,8]")


def feed(random: Random) -> dict[str, np.ndarray]:
    return {"x": random(2, 5, 6, 8)}


def quantised(b: Builder, x: Value, scale: float = 0.03, zero: int = 120) -> Value:
    return b.op("Int8Quantize", [x], {"Y_scale": scale, "Y_zero_point": zero})


def weights(b: Builder, name: str, *shape: int, zero: int = 128) -> list[Value]:
    """Symmetric integers, and a bias in units of the sums of an X of scale 0.03."""
    rng = np.random.default_rng(len(name))
    parts = (
        (rng.integers(1, 256, shape).astype(np.uint8), DType.UINT8, Quant(0.01, zero)),
        (rng.integers(-900, 900, shape[0]).astype(np.int32), DType.INT32, Quant(0.0003, 0)),
    )
    return [b.graph.add_constant(f"{name}_{a.dtype}", a, TensorType(t, a.shape, quant=q)) for a, t, q in parts]


def conv(b: Builder, x: Value, name: str = "c", zero: int = 128, relu: bool = False, **attrs: object) -> Value:
    given = {"kernel": 3, "pad": 1, "Y_scale": 0.3, "Y_zero_point": 110, **attrs}
    return b.op(f"Int8Conv{'Relu' * relu}", [x, *weights(b, name, 8, 3, 3, 8, zero=zero)], given, name)


@pytest.mark.parametrize("op", ["Int8Conv", "Int8FC", "Int8Sum", "Int8Add", "Int8AveragePool", "Int8MaxPool"])
def test_relu_behind_gives_the_same_integers(net: Net, x: Value, check: Check, random: Random, op: str) -> None:
    graph, b = net
    q, quant = quantised(b, x), {"Y_scale": 0.05, "Y_zero_point": 110}
    if op == "Int8Conv":
        y = conv(b, q)
    elif op == "Int8FC":
        y = b.op(op, [q, *weights(b, "w", 3, 240)], quant)
    elif "Pool" in op:
        y = b.op(op, [q], {"kernel": 2, "order": b"NHWC", **(quant if op == "Int8AveragePool" else {})})
    else:
        y = b.op(op, [q, quantised(b, x, 0.02, 3)], quant)
    b.output(b.op("Int8Dequantize", [b.op("Int8Relu", [y])], name="y"))
    assert check(FuseInt8(), graph, feed(random))[-2:] == [f"{op}Relu", "Int8Dequantize"]


def test_relu_of_a_value_that_others_read_stays(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    y = conv(b, quantised(b, x))
    b.output(b.op("Int8Dequantize", [b.op("Int8Relu", [y])], name="y"))
    b.output(b.op("Int8Dequantize", [y], name="bare"))
    assert "Int8Relu" in check(FuseInt8(), graph, feed(random), changed=False)


def test_conversions_there_and_back(net: Net, x: Value, check: Check, random: Random) -> None:
    """Cancelled with the same scale and zero point; the scale of another one is a requantisation."""
    graph, b = net
    real = b.op("Int8Dequantize", [quantised(b, x)])
    b.output(b.op("Int8Dequantize", [b.op("Int8Relu", [quantised(b, real)])], name="same"))
    b.output(b.op("Int8Dequantize", [quantised(b, real, 0.04)], name="other"))
    assert check(FuseInt8(), graph, feed(random)).count("Int8Quantize") == 2


@pytest.mark.parametrize("channels", [3, 5])
def test_images(net: Net, check: Check, random: Random, channels: int) -> None:
    """Order and precision change at once; not for many channels."""
    graph, b = net
    x = b.input("x", f"float[N,{channels},6,8]")
    b.output(b.op("Int8Dequantize", [quantised(b, b.op("NCHW2NHWC", [x]))], name="y"))
    few = channels == 3
    left = check(FuseInt8(), graph, {"x": random(2, channels, 6, 8)}, changed=few)
    assert left[:-1] == (["g.int8_image"] if few else ["NCHW2NHWC", "Int8Quantize"])


def test_every_integer_comes_back(net: Net) -> None:
    """That the cancelled pair is the identity, for scales of every size."""
    values = np.arange(256, dtype=np.uint8)
    for scale in (1e-30, 1.17e-3, 0.1, 1 / 3, 7.7, 1e30):
        graph = Graph("pair", "typed")
        b = Builder(graph)
        q = b.graph.add_input(TensorType(DType.UINT8, (256,), quant=Quant(float(np.float32(scale)), 77)), "q")
        b.output(quantised(b, b.op("Int8Dequantize", [q]), scale, 77), "y")
        assert np.array_equal(evaluate(graph, {"q": values})["y"], values)


def test_fills_become_weights(net: Net, x: Value, check: Check, random: Random) -> None:
    graph, b = net
    fills = {"shape": (8, 3, 3, 8), "values": bytes(range(1, 193)) * 3, "Y_scale": 0.01, "Y_zero_point": 100}
    bias = {"shape": (8,), "values": tuple(range(8)), "Y_scale": 0.0003}
    operands = [quantised(b, x), b.op("Int8GivenTensorFill", [], fills), b.op("Int8GivenIntTensorFill", [], bias)]
    y = b.op("Int8Conv", operands, {"kernel": 3, "Y_scale": 0.05, "Y_zero_point": 110})
    b.output(b.op("Int8Dequantize", [y], name="y"))
    assert check(FoldConstants(), graph, feed(random)) == ["Int8Quantize", "Int8Conv", "Int8Dequantize"]


def lowered(graph: Graph, random: Random) -> tuple[list[str], float]:
    """What is left after the pass, and how far the answers moved at most."""
    given = feed(random)
    before = evaluate(graph, given)
    assert not LowerInt8().run(graph)
    assert LowerInt8(caffe2=True).run(graph)
    assert not LowerInt8(caffe2=True).run(graph)
    Dce().run(graph)
    after = evaluate(graph, given)
    return [n.op for n in graph.nodes], max(float(np.abs(after[k] - before[k]).max()) for k in before)


def test_a_residual_block(net: Net, x: Value, random: Random) -> None:
    """The later convolution takes the sum and its relu; a unit of rounding, twice, is what may differ."""
    graph, b = net
    q = quantised(b, x)
    left, right = conv(b, q, "left"), conv(b, conv(b, q, "first", relu=True, Y_zero_point=0), "right", Y_scale=3.0)
    total = b.op("Int8Relu", [b.op("Int8Sum", [left, right], {"Y_scale": 4.0, "Y_zero_point": 9})])
    b.output(b.op("Int8Dequantize", [total], name="y"))
    ops, moved = lowered(graph, random)
    assert ops == ["Int8Quantize", *["g.int8_conv"] * 3, "Int8Dequantize"]
    last = graph.nodes[-2]
    assert (last.attrs["relu"], last.attrs["Y_zero_point"], len(last.operands)) == (1, 9, 5)
    assert moved <= 1.01 * 4


def test_the_last_product_gives_floats(net: Net, x: Value, random: Random) -> None:
    graph, b = net
    y = b.op("Int8FC", [quantised(b, x), *weights(b, "w", 3, 5, 6, 8)], {"Y_scale": 0.2, "Y_zero_point": 128})
    b.output(b.op("Int8Dequantize", [y], name="y"))
    ops, moved = lowered(graph, random)
    assert ops == ["Int8Quantize", "g.int8_fc"]
    assert moved <= 0.1 * 1.001


def test_what_is_left_to_caffe2(net: Net, x: Value, random: Random) -> None:
    """Weights beyond int8; a conversion to float behind a Relu, whose greatest value may be meant."""
    graph, b = net
    b.output(
        b.op("Int8Dequantize", [conv(b, conv(b, quantised(b, x), zero=90, Y_scale=0.03), "d", relu=True)], name="y")
    )
    ops, _ = lowered(graph, random)
    assert ops == ["Int8Quantize", "Int8Conv", "g.int8_conv", "Int8Dequantize"]


def test_only_who_asks_gets_it() -> None:
    assert LowerInt8() in O1
    assert LowerInt8(caffe2=True) in with_native_int8(O1)
    assert with_native_int8(O0) == O0
