"""Int8 sums, pools, activations, conversions and Concat against the reference, bit for bit, on every target."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, run_call
from int8_calls import assert_exact, int8_call, kernels, quantised

import graphc
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import native
from graphc.frontends.netdef import Net, Operator, write_net
from graphc.ir import RunError
from graphc.ir.reference import evaluate_node
from graphc.ir.types import Quant

Y = {"Y_scale": 0.3, "Y_zero_point": 77}
SHAPES = [(3, 5, 7, 19), (1, 2, 4, 64), (2, 9, 8, 130)]
POOLS = [
    ("Int8MaxPool", {"kernel": 3, "stride": 2}),
    ("Int8MaxPoolRelu", {"kernel": 3, "stride": 2, "pad": 1, "dilation": 1}),
    ("Int8MaxPool", {"kernels": (2, 3), "strides": (1, 2), "pads": (0, 2, 1, 1), "dilations": (1, 2)}),
    ("Int8MaxPool", {"kernels": (4, 5), "stride": 3}),
    ("Int8AveragePool", {"kernel": 3, "stride": 2, "pad": 1}),
    ("Int8AveragePoolRelu", {"kernels": (2, 3), "pads": (0, 1, 1, 2)}),
    ("Int8AveragePool", {"global_pooling": 1}),
]
ONE = [
    ("Int8Relu", {}),
    ("Int8LeakyRelu", {"alpha": 0.2, **Y}),
    ("Int8Sigmoid", {"Y_scale": 1 / 256}),
    ("Int8Dequantize", {}),
]
MOVES = [
    ("Int8Transpose", (2, 3, 5, 70), {"axes": (0, 3, 1, 2)}),
    ("Int8Transpose", (2, 33, 4, 5), {"axes": (0, 2, 3, 1)}),
    ("Int8Transpose", (3, 4, 65), {"axes": (1, 0, 2)}),
    ("Int8Transpose", (2, 3, 4), {}),
    ("Int8ChannelShuffle", (2, 3, 4, 12), {"group": 3, "order": b"NHWC"}),
    ("Int8ChannelShuffle", (2, 132, 3, 5), {"group": 2, "order": b"NCHW"}),
    ("Int8Slice", (2, 5, 6, 70), {"starts": (0, 1, 0, 3), "ends": (-1, 4, -1, -1)}),
    ("Int8Slice", (4, 9), {"dim": 0, "start_idx": 1, "end_idx": 3}),
]
RESIZED = [((2, 3, 5, 70), 2.0, 2.0), ((1, 5, 4, 3), 1.6, 0.7), ((2, 2, 3, 64), 3.0, 1.0)]
SUMS = [("Int8Sum", 0.5, 0.25), ("Int8AddRelu", 0.01, 0.02), ("Int8Add", 3e-5, 2e-5), ("Int8SumRelu", 76.0, 0.1)]


def test_pools(int8_machine: Machine) -> None:
    made = []
    for op, attrs in POOLS:
        for shape in SHAPES[:1] + SHAPES[2:]:
            x = quantised(np.random.default_rng(1), shape, 0.7, 130)
            quant = {} if op.startswith("Int8Max") else Y
            made.append((int8_call(op, [x], {"order": b"NHWC", **attrs, **quant}, ()), [x]))
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_pool")


def test_windows_that_are_the_image_have_no_size_of_their_own() -> None:
    """Their kernel serves the images of other sizes, to which a plan is bound."""
    library = CpuLibrary(native())
    for size in (2, 3):
        x = quantised(np.random.default_rng(1), (1, size, size, 8), 0.7, 130)
        spec = library.choose(int8_call("Int8MaxPool", [x], {"order": b"NHWC", "global_pooling": 1}, ())).spec
        assert spec is not None
        assert spec.int("kh") == spec.int("kw") == 0


def test_one_input(int8_machine: Machine) -> None:
    made = []
    for op, attrs in ONE:
        for shape in SHAPES:
            x = quantised(np.random.default_rng(2), shape, 0.05, 130)
            made.append((int8_call(op, [x], attrs, ()), [x]))
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_pointwise")


def test_sums(int8_machine: Machine) -> None:
    made = []
    for op, a_scale, b_scale in SUMS:
        for shape in SHAPES:
            rng = np.random.default_rng(4)
            operands = [quantised(rng, shape, a_scale, 3), quantised(rng, shape, b_scale, 255)]
            made.append((int8_call(op, operands, Y, ()), operands))
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_pointwise")


def test_softmax(int8_machine: Machine) -> None:
    """Rows of few and of many classes, equal ones, all 256 values, and sums beyond 2**32 units."""
    probability = {"Y_scale": 1 / 256, "order": b"NHWC"}
    rng, made = np.random.default_rng(4), []
    for scale, shape, axis in ((0.05, (5, 7), 1), (0.1, (2, 3, 300), 2), (1.0, (3, 256), 1), (1e-3, (2, 4, 400), 1)):
        made.append(
            (int8_call("Int8Softmax", [x := quantised(rng, shape, scale, 3)], {"axis": axis} | probability), [x])
        )
    equal = (np.full((2, 600), 9, np.uint8), Quant(0.1, 0))
    made.append((int8_call("Int8Softmax", [equal], probability), [equal]))
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_softmax")
        row = operands[0][0].reshape(-1, call.opdef.loop_arguments(call)[0])[0].astype(np.float64)
        share = np.exp(call.type(0).quant.scale * (row - row.max()))
        got = evaluate_node(call.node, [operands[0][0]])[0].reshape(-1)[: row.size]
        np.testing.assert_allclose(got, np.minimum(256 * share / share.sum(), 255), atol=0.51)


def test_what_only_moves_values(int8_machine: Machine) -> None:
    made = []
    for op, shape, attrs in MOVES:
        x = quantised(np.random.default_rng(5), shape, 0.1, 3)
        made.append((int8_call(op, [x], attrs, ()), [x], "int8_moves"))
    for shape, height, width in RESIZED:
        x = quantised(np.random.default_rng(6), shape, 0.1, 3)
        scales = {"height_scale": height, "width_scale": width}
        made.append((int8_call("Int8ResizeNearest", [x], scales, ()), [x], "int8_resize"))
    kernels(int8_machine, [(call, operands) for call, operands, _ in made])
    for call, operands, rule in made:
        assert_exact(int8_machine, call, operands, rule)


@pytest.mark.parametrize("ratio", [2, 0])
def test_boxes(machines: dict[str, Machine], ratio: int) -> None:
    """Boxes inside, across the border and beyond it, of both images."""
    x = quantised(np.random.default_rng(8), (2, 7, 9, 19), 0.1, 3)
    corners = [[0, 1, 2, 9, 8], [1, -8, -3, 30, 40], [1, 20, 5, 3, 90], [0, 4, 4, 4, 4]]
    operands = [x, (np.array(corners, np.float32), None)]
    attrs = {"spatial_scale": 0.5, "pooled_h": 2, "pooled_w": 3, "sampling_ratio": ratio, "order": b"NHWC"} | Y
    call = int8_call("Int8RoIAlign", operands, attrs, ())
    assert_exact(machines[native().name], call, operands, "int8_roi")


def test_quantisation_of_every_kind_of_number(int8_machine: Machine) -> None:
    """Halves, what lies beyond the ends, infinities and NaN."""
    rng = np.random.default_rng(5)
    rest = rng.uniform(-100, 100, 40).astype(np.float32)
    x = np.concatenate([np.arange(-300, 300, dtype=np.float32) / 4, [np.inf, -np.inf, np.nan, 3e38, -0.0], rest])
    operands = [(x.astype(np.float32), None)]
    for scale in (0.5, 0.3, 1e-30):
        call = int8_call("Int8Quantize", operands, {"Y_scale": scale, "Y_zero_point": 9}, ())
        with np.errstate(over="ignore", invalid="ignore"):
            assert_exact(int8_machine, call, operands, "int8_pointwise")


def test_images_of_few_channels(int8_machine: Machine) -> None:
    """Planes to pixels: the same integers as of NCHW2NHWC and Int8Quantize, infinities and NaN among them."""
    made = []
    for channels in (1, 2, 3, 4):
        x = np.random.default_rng(channels).uniform(-9, 9, (2, channels, 7, 11)).astype(np.float32)
        x[0, 0, 0, :4] = np.inf, -np.inf, np.nan, 0.25
        made.append((int8_call("g.int8_image", [(x, None)], {"Y_scale": 0.05, "Y_zero_point": 77}, ()), [(x, None)]))
    kernels(int8_machine, made)
    for call, operands in made:
        assert_exact(int8_machine, call, operands, "int8_image")
        order = np.ascontiguousarray(operands[0][0].transpose(0, 2, 3, 1))
        plain = int8_call("Int8Quantize", [(order, None)], {"Y_scale": 0.05, "Y_zero_point": 77}, ())
        with np.errstate(invalid="ignore"):
            want = evaluate_node(plain.node, [order])[0]
        np.testing.assert_array_equal(evaluate_node(call.node, [operands[0][0]])[0], want)


def test_a_plan_for_images_refuses_other_channels() -> None:
    """Their number is a part of the kernel."""
    made = (Operator("NCHW2NHWC", ["x"], ["n"]), Operator("Int8Quantize", ["n"], ["q"], Y))
    net = Net("net", [*made, Operator("Int8Dequantize", ["q"], ["y"])], ["x"], ["y"])
    plan = graphc.compile(write_net(net), inputs={"x": (1, 3, 4, 5)}, threads=1)
    image = np.ones((2, 3, 6, 7), np.float32)
    assert np.allclose(plan.run({"x": image})["y"], 1, atol=0.15)
    with pytest.raises(RunError, match="3 channels, these have 2"):
        plan.run({"x": image[:, :2]})


@pytest.mark.parametrize(("axis", "shapes"), [(3, [(2, 3, 4, 5), (2, 3, 4, 70)]), (1, [(2, 3, 4, 5), (2, 1, 4, 5)])])
def test_concat(int8_machine: Machine, axis: int, shapes: list[tuple[int, ...]]) -> None:
    operands = [quantised(np.random.default_rng(6), shape, 0.5, 7) for shape in shapes]
    call = int8_call("Int8Concat", operands, {"axis": axis}, ())
    assert_exact(int8_machine, call, operands, "int8_concat")


def test_an_open_scale_leaves_the_loop(int8_machine: Machine) -> None:
    """A scale that only the data decides is no number that a kernel could hold."""
    x = quantised(np.random.default_rng(7), (1, 4), 0.5, 7)
    call = int8_call("Int8Relu", [x], {}, ())
    call.node.operands[0].type = type(call.type(0))(call.type(0).dtype, call.type(0).shape, quant=Quant(0.0, 0))
    assert int8_machine.library.choose(call).rule == "loop"
    assert np.array_equal(run_call(int8_machine, call, [x[0]])[0], evaluate_node(call.node, [x[0]])[0])
