"""Plans run other sizes than they were compiled for: what is equal by coincidence must not be used."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir import Graph, TensorType, Value
from graphc.ir.builder import Builder
from graphc.ir.infer import infer_types
from graphc.ir.reference import evaluate
from graphc.ir.verify import verify
from graphc.passes import LEVELS, run_pipeline, with_block
from graphc.passes.variants import Variants

Random = Callable[..., np.ndarray]
Build = Callable[[Builder, Value, Random], Value]


def conv(b: Builder, x: Value, random: Random) -> Value:
    return b.op("Conv", [x, b.constant("w", random(4, 4, 3, 3))], {"kernel": 3, "pad": 1})


def gate(b: Builder, x: Value, random: Random) -> Value:
    """(1, C, 1, 1) of one image is one element per channel; of two images it is not."""
    return b.op("Mul", [conv(b, x, random), b.op("AveragePool", [x], {"global_pooling": 1})])


def constant_of_one_image(b: Builder, x: Value, random: Random) -> Value:
    """Has the shape of one image, and is the same for all."""
    return b.op("Relu", [b.op("Add", [conv(b, x, random), b.constant("c", random(1, 4, 5, 5))])])


def row(b: Builder, x: Value, random: Random) -> Value:
    """A bias of shape (1, K) has the shape of the result of one image."""
    fc = b.op("FC", [x, b.constant("w", random(6, 100)), b.constant("b", random(6))])
    return b.op("Add", [fc, b.constant("row", random(1, 6))])


def pooled(b: Builder, x: Value, random: Random) -> Value:
    """As many pixels as the pool leaves of an image of 5 x 5."""
    one = b.op("AveragePool", [conv(b, x, random)], {"global_pooling": 1})
    return b.op("Tanh", [b.op("Add", [one, b.op("MaxPool", [x], {"kernel": 5})])])


def slice_of_one_image(b: Builder, x: Value, random: Random) -> Value:
    return b.op("Relu", [b.op("Slice", [x], {"starts": (0, 0, 0, 0), "ends": (1, -1, -1, -1)})])


@pytest.mark.parametrize("build", [gate, constant_of_one_image, row, pooled, slice_of_one_image])
@pytest.mark.parametrize("shape", [(1, 4, 5, 5), (3, 4, 5, 5), (1, 4, 9, 6), (2, 4, 10, 10)])
def test_an_optimised_graph_takes_other_sizes(build: Build, shape: tuple[int, ...], random: Random) -> None:
    graph = Graph("net", "typed")
    b = Builder(graph)
    b.output(build(b, b.input("x", "float[1,4,5,5]"), random), "y")
    plain = graph.clone()
    run_pipeline(graph, with_block(LEVELS[2], 4), check=2)
    try:
        expected = resized(plain, shape, random)
    except Exception:
        pytest.skip("the net itself does not take this size")
    np.testing.assert_allclose(resized(graph, shape, random), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def resized(graph: Graph, shape: tuple[int, ...], random: Random) -> np.ndarray:
    graph.inputs[0].type = graph.inputs[0].type.with_shape(shape)
    infer_types(graph)
    verify(graph)
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    return evaluate(graph, {"x": x})["y"]


def test_kinds_of_operands_hold_for_all_sizes(random: Random) -> None:
    graph = Graph("net", "typed")
    b = Builder(graph)
    x = b.input("x", TensorType.parse("float[1,4,1,1]"))
    y = b.input("y", TensorType.parse("float[1,4,5,5]"))
    spread = b.op("Mul", [y, x])
    row = b.op("Mul", [x, b.constant("row", random(1, 4, 1, 1))])
    variants = Variants(graph)
    assert spread.producer is not None
    assert row.producer is not None
    assert variants.operand_kinds(spread.producer, 1) == ["full", "other"]
    assert variants.operand_kinds(row.producer, 1) == ["full", "channel"]
    assert not variants.same_shape(x, y)
    assert variants.same_shape(x, row)


def test_sizes_that_the_net_refuses_are_left_out(random: Random) -> None:
    graph = Graph("net", "typed")
    b = Builder(graph)
    x = b.input("x", "float[1,4,5,5]")
    b.output(b.op("FC", [x, b.constant("w", random(6, 100)), b.constant("b", random(6))], {}, "y"))
    assert [s[1:] for s in Variants(graph).shapes(x)] == [(4, 5, 5), (4, 5, 5)]  # type: ignore[index]
