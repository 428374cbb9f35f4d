"""nhwc_to_nchw: nets in NHWC order become nets in NCHW order with the same answers, in real Caffe2's cases too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import operator_cases
import pytest

import graphc
from graphc.ir import Graph
from graphc.ir.builder import Builder
from graphc.ir.reference import evaluate
from graphc.passes import Canonicalize, NhwcToNchw, parse_pipeline, run_pipeline

NHWC = {"order": "NHWC"}
TWO_WAYS = ["NHWC2NCHW", "NHWC2NCHW"]  # of the image and of a weight
ROUNDING = 1e-5
"""Relative to the largest output: sums of up to a few hundred products in another order."""

Net = tuple[Graph, Builder]
Random = Callable[..., np.ndarray]
Check = Callable[..., list[str]]


def _classifier(net: Net, random: Random) -> Graph:
    graph, b = net
    x = b.input("x", "float[2,9,9,3]")
    conv = b.op(
        "Conv", [x, b.constant("w", random(8, 3, 3, 3)), b.constant("b", random(8))], {"kernel": 3, **NHWC}, "c"
    )
    pool = b.op("MaxPool", [b.op("Relu", [conv], name="r")], {"kernel": 2, "stride": 2, **NHWC}, "p")
    b.output(b.op("FC", [pool, b.constant("fw", random(5, 72)), b.constant("fb", random(5))], {}, "y"))
    return graph


def test_classifier_has_two_transpositions(net: Net, random: Random, check: Check) -> None:
    """What lies between the first convolution and FC, which takes the image's elements in their order, is in NCHW."""
    left = check(NhwcToNchw(), _classifier(net, random), {"x": random(2, 9, 9, 3)}, tolerance=ROUNDING)
    live = [op for op in left if op != "NCHW2NHWC"]
    assert live == [*TWO_WAYS, "Conv", "Relu", "MaxPool", "FC"]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_classifier_compiled(net: Net, random: Random, level: int) -> None:
    graph = _classifier(net, random)
    x = random(2, 9, 9, 3)
    want = evaluate(graph, {"x": x})
    plan = graphc.compile_graph(graph.clone(), level=level, threads=1)
    assert [n.op for n in plan.graph.nodes].count("NHWC2NCHW") == 1
    got = plan.run({"x": x})
    np.testing.assert_allclose(got["y"], want["y"], rtol=0, atol=ROUNDING * float(np.abs(want["y"]).max()))
    more = plan.run({"x": np.concatenate([x, x[:1]])})["y"]
    np.testing.assert_array_equal(more, np.concatenate([got["y"], got["y"][:1]]))


CALLS = {
    "1-D": ("Conv1D", (2, 9, 4), (6, 3, 4), {"kernels": [3], "strides": [2]}),
    "3-D": ("Conv3D", (1, 4, 5, 6, 2), (3, 2, 2, 2, 2), {"kernels": [2, 2, 2]}),
    "groups": ("Conv", (2, 6, 6, 8), (8, 3, 3, 4), {"kernel": 3, "pad": 1, "group": 2}),
    "transposed": ("ConvTranspose", (2, 4, 5, 6), (6, 3, 3, 2), {"kernel": 3, "stride": 2, "adj": 1}),
    "with Relu": ("ConvRelu", (1, 5, 5, 3), (4, 2, 3, 3), {"kernel_h": 2, "kernel_w": 3}),
}


@pytest.mark.parametrize("case", list(CALLS))
def test_forms_of_convolutions(net: Net, random: Random, check: Check, case: str) -> None:
    op, image, weight, args = CALLS[case]
    graph, b = net
    x = b.input("x", f"float[{','.join(map(str, image))}]")
    b.output(b.op(op, [x, b.constant("w", random(*weight))], {**args, **NHWC}, "y"))
    left = check(NhwcToNchw(), graph, {"x": random(*image)}, tolerance=ROUNDING)
    assert left == [*TWO_WAYS, op, "NCHW2NHWC"]


def test_weights_at_run_time_and_symbols(net: Net, random: Random, check: Check) -> None:
    graph, b = net
    x, w = b.input("x", "float[N,H,W,3]"), b.input("w", "float[4,3,3,3]")
    b.output(b.op("Conv", [x, w], {"kernel": 3, "pad": 1, **NHWC}, "y"))
    check(NhwcToNchw(), graph, {"x": random(2, 6, 5, 3), "w": random(4, 3, 3, 3)}, tolerance=ROUNDING)
    assert str(graph.outputs[0].type) == "float[N,H,W,4]"
    assert graph.outputs[0].name == "y"


def test_residual_and_operands_of_channels(net: Net, random: Random, check: Check) -> None:
    """Operands that come from NCHW go along, and constants, however they broadcast; joins follow their dimension."""
    graph, b = net
    x = b.input("x", "float[2,5,6,4]")
    first = b.op("Conv", [x, b.constant("w", random(4, 1, 1, 4))], {"kernel": 1, **NHWC})
    second = b.op("LRN", [first], {"size": 3, "alpha": 0.1, "beta": 0.5, **NHWC})
    added = b.op("Sum", [first, second])
    scaled = b.op("Mul", [added, b.constant("s", random(4))], {"broadcast": 1, "axis": 3})
    rows = b.op("Add", [scaled, b.constant("rows", random(5, 6))], {"broadcast": 1, "axis": 1})
    shifted = b.op("Sub", [rows, b.constant("t", random(6, 1))])
    sloped = b.op("PRelu", [shifted, b.constant("slope", random(4))], {**NHWC})
    parts = b.node("Split", [b.op("Concat", [sloped, first], {"axis": -1})], {"axis": 1, "split": (2, 3)}, ("p", "q"))
    b.output(parts.results[0])
    b.output(parts.results[1])
    left = check(NhwcToNchw(), graph, {"x": random(2, 5, 6, 4)}, tolerance=ROUNDING)
    assert left.count("NHWC2NCHW") == 2
    assert [n.attrs.get("axis") for n in graph.nodes if n.op in ("Concat", "Split")] == [1, 2]


def test_other_results(net: Net, random: Random, check: Check) -> None:
    """Images among the results are transposed, vectors are not."""
    graph, b = net
    x = b.input("x", "float[2,5,6,4]")
    made = b.node(
        "GroupNorm",
        [x, b.constant("g", random(4)), b.constant("o", random(4))],
        {"group": 2, **NHWC},
        ("y", "mean", "deviation"),
    )
    for r in made.results:
        b.output(r)
    left = check(NhwcToNchw(), graph, {"x": random(2, 5, 6, 4)}, tolerance=ROUNDING)
    assert left == ["NHWC2NCHW", "GroupNorm", "NCHW2NHWC"]


def test_unread_results_stay_behind(net: Net, random: Random, check: Check) -> None:
    """The mask of a Dropout that nobody reads does not keep it from being an identity."""
    graph, b = net
    x = b.input("x", "float[1,4,4,3]")
    conv = b.op("Conv", [x, b.constant("w", random(2, 3, 3, 3))], {"kernel": 3, **NHWC})
    b.output(b.node("Dropout", [conv], {"is_test": 1}, ("y", "mask")).results[0])
    left = check(NhwcToNchw(), graph, {"x": random(1, 4, 4, 3)}, tolerance=ROUNDING)
    assert left == [*TWO_WAYS, "Conv", "NCHW2NHWC", "Dropout", "NCHW2NHWC"]
    check(Canonicalize(), graph, {"x": random(1, 4, 4, 3)})
    assert "Dropout" not in [n.op for n in graph.nodes]


def test_refused(net: Net, random: Random, check: Check) -> None:
    """Pooling alone has a kernel of its own; nothing in NCHW is touched; an operand in NHWC only ends a chain."""
    graph, b = net
    x, y = b.input("x", "float[1,6,6,4]"), b.input("y", "float[1,4,6,6]")
    b.output(b.op("MaxPool", [x], {"kernel": 2, **NHWC}, "p"))
    b.output(b.op("Conv", [y, b.constant("w", random(4, 4, 1, 1))], {"kernel": 1}, "c"))
    inputs = {"x": random(1, 6, 6, 4), "y": random(1, 4, 6, 6)}
    check(NhwcToNchw(), graph, inputs, changed=False)
    conv = b.op("Conv", [x, b.constant("v", random(4, 1, 1, 4))], {"kernel": 1, **NHWC}, "d")
    b.output(b.op("Add", [conv, x], name="sum"))
    left = check(NhwcToNchw(), graph, inputs, tolerance=ROUNDING)
    assert left[-2:] == ["NCHW2NHWC", "Add"]


def _answer(graph: Graph, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The compiled answer; for images without elements, which no kernel is asked for, the rewritten graph's."""
    if all(a.size for a in arrays.values()):
        return graphc.compile_graph(graph, threads=1).run(arrays)
    run_pipeline(graph, parse_pipeline("infer_types,nhwc_to_nchw"))
    return evaluate(graph, arrays)


@pytest.mark.parametrize("name", ["Conv", "Conv1D", "Conv2D", "Conv3D", "ConvTranspose", "LRN", "GroupNorm"])
def test_caffe2_cases(shared: Path, name: str) -> None:
    """Real Caffe2's NHWC cases, compiled: the rewritten call gives its answers."""
    io = operator_cases.golden_io(shared)
    ran = 0
    for case in io.cases(shared / "golden" / f"{name}.npz"):
        op = operator_cases.operator(case.op)
        if op.args.get("order") != b"NHWC":
            continue
        ran += 1
        graph = Graph("case", "imported")
        b = Builder(graph)
        arrays = {f"in{i}": operator_cases.array_of(value) for i, (_, value) in enumerate(case.inputs)}
        operands = [b.input(key, operator_cases.type_of(value)) for key, (_, value) in zip(arrays, case.inputs)]
        outputs = [f"out{i}" for i in range(len(case.outputs))]
        for result in b.node(op.type, operands, operator_cases.coerced(op.type, op.args), outputs).results:
            b.output(result)
        got = _answer(graph, arrays)
        for key, (_, want) in zip(outputs, case.outputs):
            assert io.close(got[key], want), (case.index, key)
    if not ran:
        pytest.skip(f"no case of {name} in NHWC order")
