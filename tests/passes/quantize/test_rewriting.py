"""Whole small nets in 8 bits against their float form; the pair that is written and read again."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from small_quantized_nets import branching_net, observed, samples

from graphc.frontends.netdef import import_net, read_net, write_net
from graphc.frontends.netdef.exporter import export_net
from graphc.ir import Graph, Quant, TensorType, UnsupportedError, Value
from graphc.ir.builder import Builder
from graphc.ir.infer import infer_types
from graphc.ir.reference import evaluate
from graphc.ir.verify import verify
from graphc.passes.quantize import (
    Moments,
    Observation,
    assign,
    choose_layers,
    find_layers,
    prepare,
    quantise_weights,
    rewrite,
    unused_mark,
)
from graphc.passes.quantize.layers import Kind


@cache
def quantised(native: bool, in_float: tuple[str, ...] = ()) -> tuple[Graph, Graph]:
    """The float graph and its 8-bit form."""
    graph = branching_net()
    layers = find_layers(graph)
    seen, moments = observed(graph, layers)
    table = assign(layers, seen, "mse")
    products = [layer for layer in layers if layer.kind is Kind.PRODUCT]
    weights = {n.name: quantise_weights(n, table.of(n.inputs[0].name), moments[n.name], native) for n in products}
    int8 = graph.clone()
    names = {layer.name for layer in choose_layers(layers, in_float)}
    rewrite(int8, [layer for layer in find_layers(int8) if layer.name in names], table, weights, native)
    verify(int8)
    return graph, int8


def relative_error(graph: Graph, int8: Graph, name: str) -> float:
    pairs = [(evaluate(graph, s)[name], evaluate(int8, s)[name]) for s in samples()]
    return float(np.sqrt(sum(np.sum((a - b) ** 2) for a, b in pairs) / sum(np.sum(a**2) for a, _ in pairs)))


@pytest.mark.parametrize("native", [False, True])
def test_outputs_stay_close(native: bool) -> None:
    graph, int8 = quantised(native)
    assert relative_error(graph, int8, "scores") < (0.02 if native else 0.03)
    assert relative_error(graph, int8, "prob") < 0.03
    assert [(v.name, v.type) for v in int8.inputs] == [(v.name, v.type) for v in graph.inputs]
    assert [v.type.shape for v in int8.outputs] == [v.type.shape for v in graph.outputs]


def test_operators_are_caffe2s() -> None:
    _, int8 = quantised(native=False)
    assert Counter(n.op for n in int8.nodes) == {
        "NCHW2NHWC": 1,
        "Int8Quantize": 1,
        "Int8ConvRelu": 3,
        "Int8Conv": 1,
        "Int8Concat": 1,
        "Int8MaxPool": 1,
        "Int8SumRelu": 1,
        "Int8AveragePool": 1,
        "Int8FC": 1,
        "Int8Dequantize": 1,
        "Softmax": 1,
    }


def test_native_products_give_floats_where_floats_are_read() -> None:
    _, int8 = quantised(native=True)
    products = {n.results[0].name: n for n in int8.nodes if n.op.startswith("g.int8")}
    assert set(products) == {"one_int8", "left_int8", "right_int8", "two_int8", "scores"}
    assert products["scores"].attrs["to_float"] == 1
    assert products["left_int8"].attrs["relu"] == 1
    assert products["two_int8"].attrs["relu"] == 0


def test_layers_in_float_are_left_alone() -> None:
    graph, int8 = quantised(native=False, in_float=("two", "scores"))
    found = Counter(n.op for n in int8.nodes)
    assert found["Conv"] == found["FC"] == found["Sum"] == found["AveragePool"] == 1
    assert found["Int8ConvRelu"] == 3
    assert relative_error(graph, int8, "scores") < 0.03


def test_tied_values_have_one_scale() -> None:
    _, int8 = quantised(native=False)
    quants = {v.name: v.type.quant for v in int8.values()}
    assert quants["left_int8"] == quants["right_int8"] == quants["joined_int8"] == quants["pooled_int8"]
    assert quants["two_int8"] != quants["added_int8"]
    weights = int8.blobs()["two_w_int8"]
    assert weights.data is not None
    assert weights.data.min() >= 1
    assert weights.type.quant is not None
    assert weights.type.quant.zero_point == 128
    bias = int8.blobs()["two_b_int8"].type.quant
    assert bias == Quant(float(np.float32(quants["pooled_int8"].scale) * np.float32(weights.type.quant.scale)), 0)


def test_the_pair_is_a_net_of_caffe2_that_computes_the_same() -> None:
    _, int8 = quantised(native=False)
    written = [write_net(part) for part in export_net(int8)]
    predict, init = map(read_net, written)
    again = import_net(predict, init, {"data": TensorType.parse("float[2,3,12,12]")})
    infer_types(again)
    verify(again)
    for sample in samples():
        before, after = evaluate(int8, sample), evaluate(again, sample)
        assert list(before) == list(after)
        assert all(np.array_equal(before[n], after[n]) for n in before)
    assert {op.type for op in init.ops} == {"Int8GivenTensorFill", "Int8GivenIntTensorFill"}
    assert set(predict.external_inputs) == {"data", *(op.outputs[0] for op in init.ops)}


def test_graphcs_own_operators_are_no_netdef() -> None:
    with pytest.raises(UnsupportedError, match=r"g\.int8_conv has no form in a NetDef"):
        export_net(quantised(native=True)[1])


def test_a_clip_is_the_end_of_a_range() -> None:
    """Relu6: nothing above 6 comes out, in a net whose convolutions give more."""
    rng = np.random.default_rng(0)
    graph = Graph("clipped", "typed")
    build = Builder(graph)
    x = build.input("data", "float[1,3,8,8]")
    weights = [build.constant(n, rng.normal(0, 2, s).astype(np.float32)) for n, s in (("w", (4, 3, 1, 1)), ("b", (4,)))]
    y = build.op("Conv", [x, *weights], {"kernel": 1}, "raw")
    clipped = build.op("Clip", [y], {"min": 0.0, "max": 6.0}, "clipped")
    more = [build.constant(n, rng.normal(0, 2, s).astype(np.float32)) for n, s in (("v", (2, 4, 1, 1)), ("c", (2,)))]
    build.output(build.op("Conv", [clipped, *more], {"kernel": 1}, "out"))
    data = {"data": rng.normal(0, 2, (1, 3, 8, 8)).astype(np.float32)}
    layers = find_layers(graph)
    assert [(n.name, n.relu.op if n.relu else "") for n in layers] == [("clipped", "Clip"), ("out", "")]
    values = evaluate(graph, data, keep_all=True)
    seen = {n: Observation(n) for n in ("data", "clipped", "out")}
    for name, record in seen.items():
        record.add(values[name])
    table = assign(layers, seen, "min-max")
    weights8 = {n.name: quantise_weights(n, table.of(n.inputs[0].name), Moments.of(n, False)) for n in layers}
    rewrite(graph, layers, table, weights8)
    found = evaluate(graph, data, keep_all=True)
    assert Counter(n.op for n in graph.nodes)["Int8ConvRelu"] == 1
    assert found["clipped_int8"].max() == 255
    assert table.of("clipped").scale * 255 == pytest.approx(6)
    assert np.abs(found["out"] - values["out"]).max() < 0.05 * np.abs(values["out"]).max()


def test_images_in_nhwc_and_a_relu_behind_an_fc() -> None:
    """A net in order NHWC keeps its order; Int8FC has no form with Relu in Caffe2's default engine."""
    rng = np.random.default_rng(1)
    graph = Graph("nhwc")
    build = Builder(graph)
    x = build.input("data", "float[2,6,6,3]")

    def constant(*shape: int) -> Value:
        return build.constant(f"w{len(graph.constants)}", rng.normal(0, 0.4, shape).astype(np.float32))

    y = build.op("Conv", [x, constant(4, 3, 3, 3), constant(4)], {"kernel": 3, "order": "NHWC"}, "conv")
    hidden = build.op("FC", [y, constant(7, 64), constant(7)], name="hidden_raw")
    hidden = build.op("Relu", [hidden], name="hidden")
    build.output(build.op("FC", [hidden, constant(5, 7), constant(5)], name="scores"))
    data = {"data": rng.normal(0, 1, (2, 6, 6, 3)).astype(np.float32)}
    expected = evaluate(graph, data)["scores"]
    prepare(graph)
    layers = find_layers(graph)
    values = data | evaluate(graph, data, keep_all=True)
    seen = {v.name: Observation(v.name) for layer in layers for v in (*layer.inputs, layer.result)}
    for name, record in seen.items():
        record.add(values[name])
    table = assign(layers, seen, "min-max")
    weights = {n.name: quantise_weights(n, table.of(n.inputs[0].name), Moments.of(n, False)) for n in layers}
    rewrite(graph, layers, table, weights)
    verify(graph)
    counts = Counter(n.op for n in graph.nodes)
    assert (counts["Int8Conv"], counts["Int8FC"], counts["Int8Relu"]) == (1, 2, 1)
    assert not {"Conv", "FC", "Relu", "Int8FCRelu"} & set(counts)
    found = evaluate(graph, data)["scores"]
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


def test_names_that_a_net_has_already() -> None:
    """``x_int8`` may be another value of the float net: names of 8-bit values then get a number more."""
    graph = Graph("clash", "typed")
    build = Builder(graph)
    x = build.input("x", "float[1,3,6,6]")
    for name in ("x_nhwc", "x_int8", "x_int8.1"):
        w = build.constant(f"{name}_w", np.full((3, 3, 1, 1), 0.3, np.float32))
        x = build.op("Conv", [x, w, build.constant(f"{name}_b", np.zeros(3, np.float32))], {"kernel": 1}, name)
    build.output(x)
    assert unused_mark(branching_net()) == ""
    assert unused_mark(graph) == ".2"
    layers = find_layers(graph)
    data = {"x": np.random.default_rng(0).normal(0, 1, (1, 3, 6, 6)).astype(np.float32)}
    values = data | evaluate(graph, data, keep_all=True)
    seen = {v.name: Observation(v.name) for layer in layers for v in (*layer.inputs, layer.result)}
    for name, record in seen.items():
        record.add(values[name])
    table = assign(layers, seen, "min-max")
    weights = {n.name: quantise_weights(n, table.of(n.inputs[0].name), Moments.of(n, False)) for n in layers}
    rewrite(graph, layers, table, weights, mark=".2")
    names = [v.name for v in graph.values()]
    assert len(set(names)) == len(names)
    assert {"x_int8.2", "x_nhwc_int8.2", "x_int8_int8.2"} <= set(names)
