from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.ir import DType, Graph
from graphc.ir.builder import Builder
from graphc.ir.graph import FIXED_SIZES
from graphc.passes import FoldConstants

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
X = {"x": np.array([-1, 2], np.float32)}


def test_arithmetic_on_weights_is_done_at_compile_time(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2]")
    w = b.op("Mul", [b.constant("w", [1.0, 2.0]), b.constant("s", [3.0, 4.0])], {}, "w")
    b.output(b.op("Add", [x, b.op("Tanh", [w], {}, "t")], {}, "y"))
    assert check(FoldConstants(), graph, X) == ["Add"]
    folded = graph.nodes[0].operands[1]
    assert folded is not None
    np.testing.assert_array_equal(folded.data, np.tanh(np.array([3, 8], np.float32)))


def test_a_constant_gets_a_name_of_its_own(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2]")
    w = b.op("Tanh", [b.constant("w", [1.0, 2.0])], {}, "w")
    b.output(b.op("Add", [x, w], {}, "y"))
    check(FoldConstants(), graph, X)
    assert [c.name for c in graph.constants] == ["w", "w_2"]


def test_fills_are_folded_up_to_a_size(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2]")
    small = b.op("ConstantFill", [], {"shape": (2,), "value": 3.0}, "small")
    large = b.op("ConstantFill", [], {"shape": (64, 2), "value": 1.0}, "large")
    b.output(b.op("Add", [b.op("Add", [x, small]), large], {}, "y"))
    assert check(FoldConstants(limit=8), graph, X) == ["ConstantFill", "Add", "Add"]


def test_weights_in_the_net_itself_are_folded_whatever_their_size(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2]")
    w = b.op("GivenTensorFill", [], {"shape": (50, 2), "values": tuple(float(i) for i in range(100))}, "w")
    b.output(b.op("Add", [x, w], {}, "y"))
    assert check(FoldConstants(limit=8), graph, X) == ["Add"]


def test_large_weights_in_float16_are_widened(net: Net, check: Check) -> None:
    graph, b = net
    halves = np.arange(50_000, dtype=np.float16).reshape(50, 1000)
    y = b.op("Add", [b.input("x", "float[50,1000]"), b.op("HalfToFloat", [b.constant("w", halves)])])
    b.output(y, "y")
    check(FoldConstants(), graph, {"x": np.zeros((50, 1000), np.float32)})
    assert [n.op for n in graph.nodes] == ["Add"]


def test_random_fills_and_weights_without_storage_stay(net: Net) -> None:
    graph, b = net
    w = graph.add_constant("w", None, b.constant("like", [1.0, 2.0]).type)
    b.output(b.op("Add", [b.op("Tanh", [w]), b.op("GaussianFill", [], {"shape": (2,)})], {}, "y"))
    assert not FoldConstants().run(graph)


def test_the_shape_of_a_static_value_is_known(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2,3]")
    b.output(b.op("Shape", [x], {}, "shape"))
    b.output(b.op("Shape", [b.op("Relu", [x])], {"axes": (1,)}, "columns"))
    check(FoldConstants(), graph, {"x": np.ones((2, 3), np.float32)})
    assert [(v.type.dtype, list(v.data)) for v in graph.outputs] == [(DType.INT64, [2, 3]), (DType.INT64, [3])]


def test_the_shape_of_a_symbolic_value_is_not(net: Net, check: Check) -> None:
    graph, b = net
    b.output(b.op("Shape", [b.input("x", "float[N]")], {}, "shape"))
    assert check(FoldConstants(), graph, X, changed=False) == ["Shape"]


def fixed_by(graph: Graph) -> list[str]:
    """The blobs that notes name as holding sizes of the inputs."""
    return [note.removeprefix(FIXED_SIZES).split("'")[1] for note in graph.notes if note.startswith(FIXED_SIZES)]


def test_a_size_of_an_input_binds_the_graph_to_it(net: Net, check: Check) -> None:
    graph, b = net
    b.output(b.op("Shape", [b.op("Relu", [b.input("x", "float[2,3]")])], {}, "shape"))
    b.output(b.op("Size", [graph.nodes[0].results[0]], {}, "size"))
    check(FoldConstants(), graph, {"x": np.ones((2, 3), np.float32)})
    assert [int(v) for v in np.ravel(graph.outputs[1].data)] == [6]
    assert fixed_by(graph) == ["shape", "size"]


def test_sizes_that_weights_fix_bind_to_nothing(net: Net, check: Check) -> None:
    graph, b = net
    rows = b.op("FC", [b.input("x", "float[2,3]"), b.constant("w", [[1.0] * 3] * 4), b.constant("b", [1.0] * 4)])
    b.output(b.op("Shape", [rows], {"axes": (1,)}, "columns"))
    check(FoldConstants(), graph, {"x": np.ones((2, 3), np.float32)})
    assert list(graph.outputs[0].data) == [4]
    assert not fixed_by(graph)


def test_second_results_that_tell_sizes_are_known(net: Net, check: Check) -> None:
    graph, b = net
    x, y = b.input("x", "float[2,3]"), b.input("y", "float[2,2]")
    joined = b.node("Concat", [x, y], {"axis": 1}, ["joined", "split_info"])
    flat = b.node("Reshape", [joined.results[0]], {"shape": (-1,)}, ["flat", "old_shape"])
    for result in (*joined.results, *flat.results):
        b.output(result)
    inputs = {"x": np.ones((2, 3), np.float32), "y": np.zeros((2, 2), np.float32)}
    assert check(FoldConstants(), graph, inputs) == ["Concat", "Reshape"]
    known = {v.name: (v.type.dtype, list(v.data)) for v in graph.outputs if v.data is not None}
    assert known == {"split_info": (DType.INT32, [3, 2]), "old_shape": (DType.INT64, [2, 5])}
    assert fixed_by(graph) == ["split_info", "old_shape"]


def test_second_results_that_nobody_reads_stay(net: Net, check: Check) -> None:
    graph, b = net
    flat = b.node("Reshape", [b.input("x", "float[2]")], {"shape": (1, -1)}, ["flat", "old_shape"])
    b.output(flat.results[0])
    check(FoldConstants(), graph, X, changed=False)
    assert not fixed_by(graph)


def test_types_behind_a_folded_size_become_known(net: Net, check: Check) -> None:
    graph, b = net
    x = b.input("x", "float[2,3]")
    shape = b.op("Shape", [b.op("Transpose", [x], {}, "t")], {}, "shape")
    turned = b.node("Reshape", [x, shape], {}, ["turned", ""]).results[0]
    b.output(b.op("Shape", [turned], {}, "again"))
    check(FoldConstants(), graph, {"x": np.ones((2, 3), np.float32)})
    assert list(graph.outputs[0].data) == [3, 2]
