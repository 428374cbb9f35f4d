"""The pass tf32: which operators it covers, what is asked for by blob, half precision beside it, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graphc.ir import Graph, GraphcError, Location, Origin, Value, evaluate
from graphc.ir.builder import Builder
from graphc.ir.fpmath import FPMATH, to_tf32
from graphc.ir.precision import PRECISION
from graphc.ir.verify import verify
from graphc.passes import AssignLayout, Dce, FuseEpilogue, Half, HoldDevices, Tf32, parse_pipeline, run_pipeline

Net = tuple[Graph, Builder]
Check = Callable[..., list[str]]
Random = Callable[..., np.ndarray]
NEAR = 4e-3
"""Some roundings of 11 bits, relative to the largest result."""


def conv(b: Builder, random: Random, x: Value, maps: int, name: str, group: int = 1) -> Value:
    channels = int(str((x.type.shape or ())[1]))
    w = b.constant(f"{name}_w", 0.2 * random(maps, channels // group, 1, 1))
    return b.op("Conv", [x, w, b.constant(f"{name}_b", random(maps))], {"kernel": 1, "group": group}, name)


def fc(b: Builder, random: Random, x: Value, columns: int, inner: int, name: str) -> Value:
    return b.op("FC", [x, b.constant(f"{name}_w", random(columns, inner)), b.constant(f"{name}_b", random(columns))])


def blocked(graph: Graph) -> Graph:
    run_pipeline(graph, (AssignLayout(block=8),))
    return graph


def covered(graph: Graph) -> list[str]:
    """The blobs that are computed by products of numbers in TF32."""
    return [n.results[0].name for n in graph.walk() if FPMATH in n.attrs]


def test_convolutions_and_products(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    y = conv(b, random, b.input("x", "float[2,3,6,6]"), 16, "first")  # reads a plain image
    y = conv(b, random, b.op("Relu", [y]), 32, "c")
    y = conv(b, random, y, 32, "depthwise", group=32)
    y = conv(b, random, y, 32, "grouped", group=2)
    y = b.op("AveragePool", [y], {"global_pooling": 1})
    y = b.op("FC", [y, b.constant("v", random(20, 32)), b.constant("u", random(20))], {}, "f")
    y = b.op("FCTransposed", [y, b.constant("t", random(20, 16)), b.constant("s", random(16))], {}, "g")
    y = b.op("FC", [y, b.constant("few", random(10, 16)), b.constant("r", random(10))], {}, "last")
    b.output(b.op("Softmax", [y], {}, "y"))
    types = [str(n.results[0].type) for n in blocked(graph).nodes]
    check(Tf32(), graph, {"x": random(2, 3, 6, 6)}, NEAR)
    assert covered(graph) == ["c", "grouped", "f", "g"]
    assert [str(n.results[0].type) for n in graph.nodes] == types  # nothing is converted
    assert graph.stage == "optimised"


def test_values_are_those_of_numpy(net: Net, random: Random) -> None:
    graph, b = net
    x, w, bias, v = random(20, 20), random(16, 20), random(16), random(20, 16)
    y = b.op("FC", [b.input("x", "float[20,20]"), b.constant("w", w), b.constant("b", bias)], {}, "y")
    b.output(b.op("MatMul", [y, b.input("v", "float[20,16]")], {"trans_a": 1}, "z"))
    Tf32().run(graph)
    found = evaluate(graph, {"x": x, "v": v}, keep_all=True)
    np.testing.assert_allclose(found["y"], to_tf32(x) @ to_tf32(w).T + bias, atol=1e-5)
    np.testing.assert_allclose(found["z"], to_tf32(found["y"]).T @ to_tf32(v), atol=1e-4)
    assert np.abs(found["y"] - x @ w.T - bias).max() > 1e-4


def test_fused_operators(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x = b.input("x", "float[2,16,4,4]")
    y = b.op("Relu", [b.op("Add", [conv(b, random, x, 16, "c"), x])], {}, "y")
    b.output(y)
    run_pipeline(graph, (FuseEpilogue(),))
    check(Tf32(), blocked(graph), {"x": random(2, 16, 4, 4)}, NEAR)
    assert covered(graph) == ["y"]


MATRICES = [
    # a, b, transposed, covered
    ("[16,20]", "[20,16]", "", True),
    ("[5,20]", "[20,16]", "", True),
    ("[20,16]", "[20,16]", "a", True),
    ("[16,20]", "[24,20]", "b", True),
    ("[2,16,20]", "[2,20,16]", "", True),
    ("[3,2,16,20]", "[3,2,20,16]", "", True),
    ("[16,18]", "[18,16]", "", False),  # lines of a are no multiple of 4
    ("[16,20]", "[20,18]", "", False),  # those of b
    ("[16,12]", "[12,16]", "", False),  # sums of 12
    ("[16,20]", "[20,12]", "", False),  # columns
    ("[16,20]", "[12,20]", "b", False),
    ("[12,16]", "[12,16]", "a", False),
    ("[16,N]", "[N,16]", "", False),
]


@pytest.mark.parametrize(("a", "b", "transposed", "expected"), MATRICES)
def test_products_of_matrices(net: Net, a: str, b: str, transposed: str, expected: bool) -> None:
    graph, builder = net
    op = "MatMul" if max(a.count(","), b.count(",")) == 1 else "BatchMatMul"
    operands = [builder.input("a", f"float{a}"), builder.input("b", f"float{b}")]
    builder.output(builder.op(op, operands, {f"trans_{t}": 1 for t in transposed}, "y"))
    assert Tf32().run(graph) is expected
    assert covered(graph) == (["y"] if expected else [])
    verify(graph)


def test_what_the_rule_leaves_alone(net: Net, check: Check, random: Random) -> None:
    graph, b = net
    x = b.input("x", "float[2,16,4,4]")
    b.output(b.op("Relu", [b.op("MaxPool", [x], {"kernel": 2})], {}, "p"))
    b.output(b.op("Conv", [x, b.input("w", "float[16,16,1,1]")], {"kernel": 1}), "computed")
    b.output(conv(b, random, x, 15, "few_maps"))
    b.output(fc(b, random, b.input("a", "float[2,18]"), 20, 18, "rows"))
    b.output(b.op("MatMul", [b.input("m", "float[20,20]"), b.constant("k", random(20, 20))]), "weights")
    inputs = {"x": random(2, 16, 4, 4), "w": random(16, 16, 1, 1), "a": random(2, 18), "m": random(20, 20)}
    check(Tf32(), blocked(graph), inputs, changed=False)


# ---- requests --------------------------------------------------------------------------------------------------------


def chain(net: Net, random: Random, names: Sequence[str] = ("c1", "c2", "c3")) -> Graph:
    graph, b = net
    y = b.input("x", "float[2,16,4,4]")
    for name in names:
        y = conv(b, random, y, 16, name)
    b.output(b.op("Softmax", [y], {}, "y"))
    for i, node in enumerate(graph.nodes):
        node.location = Location((Origin("n", i, node.op, f"operator{i}"),))
    return blocked(graph)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Tf32(), ["c1", "c2", "c3"]),
        (Tf32("float", "c2:tf32"), ["c2"]),
        (Tf32("float", "operator0:tf32;c3:tf32"), ["c1", "c3"]),
        (Tf32("tf32", "c2:float"), ["c1", "c3"]),
        (Tf32("tf32", "c2:tf32;y:float"), ["c1", "c2", "c3"]),
        (*parse_pipeline("tf32{precision=float,requests=c1:tf32;c3:tf32}"), ["c1", "c3"]),
        (*parse_pipeline("tf32"), ["c1", "c2", "c3"]),
    ],
)
def test_requests(net: Net, check: Check, random: Random, step: Tf32, expected: list[str]) -> None:
    graph = chain(net, random)
    check(step, graph, {"x": random(2, 16, 4, 4)}, NEAR)
    assert covered(graph) == expected


def test_beside_half_precision(net: Net, check: Check, random: Random) -> None:
    graph = chain(net, random)
    run_pipeline(graph, (Half("float16", "c2:float;c3:float16"), Dce()))
    check(Tf32("float", "c2:tf32"), graph, {"x": random(2, 16, 4, 4)}, NEAR)
    assert covered(graph) == ["c2"]
    assert [n.results[0].name for n in graph.nodes if n.op == "Conv" and PRECISION in n.attrs] == ["c1", "c3"]
    run_pipeline(graph, (Tf32(),))
    assert covered(graph) == ["c2"]


def other_nets(net: Net, random: Random) -> Graph:
    """One operator for each reason that there is."""
    graph, b = net
    x = b.input("x", "float[2,16,4,4]")
    b.output(conv(b, random, b.input("image", "float[2,3,4,4]"), 16, "image_conv"))
    b.output(conv(b, random, x, 8, "maps"))
    b.output(conv(b, random, conv(b, random, x, 8, "narrow"), 16, "channels"))
    b.output(conv(b, random, x, 16, "depthwise", group=16))
    b.output(b.op("Conv", [x, b.input("w", "float[16,16,1,1]")], {"kernel": 1}, "computed"))
    a = b.input("a", "float[2,18]")
    b.output(b.op("FC", [a, b.input("v", "float[20,18]"), b.input("u", "float[20]")], {}, "learned"))
    b.output(b.op("FC", [a, b.constant("vv", random(20, 18)), b.constant("uu", random(20))], {}, "rows"))
    b.output(b.op("MatMul", [a, b.input("m", "float[18,20]")], {}, "product"))
    b.output(b.op("Relu", [a], {}, "relu"))
    here = b.op("FC", [x, b.constant("hw", random(20, 256)), b.constant("hb", random(20))], {}, "here")
    assert here.producer is not None
    here.producer.device = "cpu:0"
    b.output(here)
    for i, node in enumerate(graph.nodes):
        node.location = Location((Origin("n", i, node.op),))
    run_pipeline(graph, (HoldDevices(),))
    return blocked(graph)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("image_conv", "Conv -> 'image_conv' cannot multiply in TF32: it reads an image as it is"),
        ("maps", "it has fewer than 16 maps"),
        ("channels", "it has fewer than 16 channels"),
        ("depthwise", "its groups are no whole blocks"),
        ("computed", "its result does not lie in blocks of channels"),
        ("learned", "its weights are not constant"),
        ("rows", "its sums are of no multiple of 4 products"),
        ("product", "it is not of two computed matrices"),
        ("relu", "Relu -> 'relu' cannot multiply in TF32: it multiplies no matrices"),
        ("here", "FC -> 'here' cannot multiply in TF32: the CPU runs it"),
    ],
)
def test_reasons(net: Net, random: Random, name: str, message: str) -> None:
    graph = other_nets(net, random)
    with pytest.raises(GraphcError, match=message) as raised:
        Tf32("float", f"{name}:tf32").run(graph)
    assert "n op #" in raised.value.message
    assert "Conv of blocked values" in raised.value.help
    Tf32().run(graph)
    assert covered(graph) == []


def test_levels_without_blocks(net: Net, random: Random) -> None:
    graph, b = net
    b.output(conv(b, random, b.input("x", "float[2,16,4,4]"), 16, "c"))
    with pytest.raises(GraphcError, match=r"as those of 2-D convolutions do at -O2"):
        Tf32("float", "c:tf32").run(graph)


def test_nets_that_the_cpu_runs(net: Net) -> None:
    graph, b = net
    inner = Graph("then", "typed")
    i = Builder(inner)
    inner.add_output(i.op("MatMul", [i.input("a", "float[16,20]"), i.input("m", "float[20,16]")], {}, "y"), "y")
    values = [b.input("flag", "bool[1]"), b.input("a", "float[16,20]"), b.input("m", "float[20,16]")]
    y = b.op("If", values, {"then_net": inner, "else_net": inner.clone()}, "z")
    b.output(b.op("MatMul", [y, values[2]], {"trans_b": 1}, "w"))
    with pytest.raises(GraphcError, match="MatMul -> 'y' cannot multiply in TF32: the CPU runs the net that it is in"):
        Tf32("float", "y:tf32").run(graph)
    assert Tf32().run(graph)
    assert covered(graph) == ["w"]


@pytest.mark.parametrize(
    ("step", "message", "remedy"),
    [
        (Tf32("float", "operatro1:tf32"), "'operatro1', which no operator computes", "near names: operator1"),
        (Tf32("float", "unheard_of:tf32"), "'unheard_of', which no operator computes", "graphc dump"),
        (Tf32("float", "c1:float16"), "'float16' is no precision", "tf32, float"),
        (Tf32("half"), "'half' is no precision", "tf32, float"),
        (Half("float", "c1:tf32"), "'tf32' is no precision", "float16, bfloat16, float"),
    ],
)
def test_requests_that_nothing_meets(net: Net, random: Random, step: Tf32 | Half, message: str, remedy: str) -> None:
    with pytest.raises(GraphcError, match=message) as raised:
        step.run(chain(net, random))
    assert remedy in raised.value.help


def test_what_is_in_half_precision(net: Net, random: Random) -> None:
    graph = chain(net, random)
    run_pipeline(graph, (Half("float16", "c3:float16"), Dce()))
    with pytest.raises(GraphcError, match="Conv -> 'c2' cannot multiply in TF32: it is in half precision"):
        Tf32("float", "c2:tf32").run(graph)
