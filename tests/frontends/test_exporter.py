"""Graphs written as NetDef pairs and read again."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.frontends.netdef import import_net, read_net, write_net
from graphc.frontends.netdef.exporter import export_net
from graphc.ir import Graph, Quant, TensorType, UnsupportedError
from graphc.ir.builder import Builder
from graphc.ir.infer import infer_types
from graphc.ir.printer import constant_arrays
from graphc.ir.reference import evaluate

ARRAYS = {
    "floats": np.array([[1.5, -2.0]], np.float32),
    "doubles": np.array([1e-300], np.float64),
    "halves": np.array([0.5, 65504.0], np.float16),
    "ints": np.array([-(2**31), 7], np.int32),
    "longs": np.array([2**40], np.int64),
    "shorts": np.array([-3], np.int16),
    "flags": np.array([True, False]),
    "bytes": np.array([[0, 255]], np.uint8),
    "words": np.array([b"a", b"\xff"], object),
    "nothing": np.zeros((0, 3), np.float32),
}


def test_weights_of_every_type_come_back() -> None:
    graph = Graph("weights", "typed")
    build = Builder(graph)
    for name, array in ARRAYS.items():
        build.output(build.op("Copy", [build.constant(name, array)], name=f"{name}_out"))
    quantised = (("q", np.array([3], np.uint8), Quant(0.25, 9)), ("b", np.array([-5], np.int32), Quant(0.125, 0)))
    for name, array, quant in quantised:
        value = graph.add_constant(name, array, TensorType.parse(f"{'uint8' if name == 'q' else 'int32'}[1]"))
        value.type = TensorType(value.type.dtype, (1,), quant=quant)
        build.output(build.op("Copy", [value], name=f"{name}_out"))
    pair = [read_net(write_net(part)) for part in export_net(graph)]
    again = import_net(*pair)
    for name, array in constant_arrays(graph).items():
        found = constant_arrays(again)[name]
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.tolist() == array.tolist()
    assert {v.name: v.type.quant for v in again.constants if v.type.quant} == {
        "q": Quant(0.25, 9),
        "b": Quant(0.125, 0),
    }
    assert again.output_names == graph.output_names


def test_values_of_one_name_become_blobs_of_two() -> None:
    graph = Graph("chain", "typed")
    build = Builder(graph)
    x = build.input("x", "float[2]")
    first = build.op("Relu", [x], name="x")
    build.output(build.op("Add", [first, x], {"broadcast": 0}, name="x"), "y")
    predict, init = export_net(graph)
    assert [(op.type, op.inputs, op.outputs) for op in predict.ops] == [
        ("Relu", ["x"], ["x.1"]),
        ("Add", ["x.1", "x"], ["y"]),
    ]
    assert (predict.external_inputs, predict.external_outputs, init.ops) == (["x"], ["y"], [])


def test_outputs_with_two_names_are_copied() -> None:
    """As after a Dropout that does nothing; an input and a weight may be outputs too."""
    graph = Graph("twice", "typed")
    build = Builder(graph)
    x = build.input("x", "float[2]")
    y = build.op("Relu", [x], name="y")
    for value, name in ((y, "y"), (y, "z"), (x, "same"), (build.constant("w", np.ones(2, np.float32)), "weight")):
        build.output(value, name)
    predict, init = export_net(graph)
    copies = {(op.inputs[0], op.outputs[0]) for op in predict.ops if op.type == "Copy"}
    assert {("y", "z"), ("x", "same")} <= copies
    assert predict.external_outputs == ["y", "z", "same", "weight"]
    again = import_net(*(read_net(write_net(part)) for part in (predict, init)), {"x": TensorType.parse("float[2]")})
    infer_types(again)
    data = {"x": np.array([-1, 2], np.float32)}
    assert {n: a.tolist() for n, a in evaluate(again, data).items()} == {
        n: a.tolist() for n, a in evaluate(graph, data).items()
    }


def test_what_a_netdef_cannot_say_is_told() -> None:
    graph = Graph("twice", "typed")
    build = Builder(graph)
    y = build.op("Int8Quantize", [build.input("x", "float[2]")], {"Y_scale": 0.5, "Y_zero_point": 0}, name="y")
    build.output(y)
    build.output(y, "z")
    with pytest.raises(UnsupportedError, match="'y' is the output 'z' too, and Copy takes no quantised values"):
        export_net(graph)
