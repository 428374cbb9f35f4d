"""Input shapes that are assumed: channels by the weights, in either order, behind conversions too."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.input_shapes import assume_input_shapes
from graphc.ir import Graph, Quant, TensorType, Value
from graphc.ir.builder import Builder

QUANT = {"Y_scale": 0.5, "Y_zero_point": 3}


def untyped() -> tuple[Graph, Builder, Value]:
    graph = Graph("net")
    return graph, Builder(graph), graph.add_input(TensorType(), "data")


def weight(graph: Graph, name: str, dtype: type, *shape: int) -> Value:
    data = np.ones(shape, dtype)
    quant = None if dtype is np.float32 else Quant(0.5, 0)
    type = TensorType.parse(f"{ {np.float32: 'float', np.uint8: 'uint8', np.int32: 'int32'}[dtype] }{list(shape)}")
    return graph.add_constant(name, data, TensorType(type.dtype, shape, quant=quant))


@pytest.mark.parametrize(
    ("before", "shape"),
    [
        (["NCHW2NHWC", "Int8Quantize"], "float[1,6,224,224]"),
        (["Int8Quantize"], "float[1,224,224,6]"),
    ],
)
def test_int8_nets(before: list[str], shape: str) -> None:
    graph, build, value = untyped()
    data = value
    for op in before:
        value = build.op(op, [value], QUANT if op == "Int8Quantize" else {})
    filters = [weight(graph, "w", np.uint8, 6, 3, 3, 2), weight(graph, "b", np.int32, 6)]
    build.output(build.op("Int8Conv", [value, *filters], {"kernel": 3, "group": 3, "order": "NHWC", **QUANT}, "y"))
    assert len(assume_input_shapes(graph)) == 1
    assert str(data.type) == shape


@pytest.mark.parametrize(
    ("order", "filter", "shape"),
    [("NCHW", (4, 2, 3, 3), "float[1,2,224,224]"), ("NHWC", (4, 3, 3, 2), "float[1,224,224,2]")],
)
def test_convolutions_in_both_orders(order: str, filter: tuple[int, ...], shape: str) -> None:
    graph, build, data = untyped()
    filters = [weight(graph, "w", np.float32, *filter), weight(graph, "b", np.float32, 4)]
    build.output(build.op("Conv", [data, *filters], {"kernel": 3, "order": order}, "y"))
    assert len(assume_input_shapes(graph)) == 1
    assert str(data.type) == shape


def test_rows_in_8_bits() -> None:
    graph, build, data = untyped()
    filters = [weight(graph, "w", np.uint8, 4, 7), weight(graph, "b", np.int32, 4)]
    build.output(build.op("Int8FC", [build.op("Int8Quantize", [data], QUANT), *filters], QUANT, "y"))
    assume_input_shapes(graph)
    assert str(data.type) == "float[1,7]"
