"""Convolution kernels on every target against the reference, in poisoned memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from harness import Machine, Placement, build_call, run_call

from graphc.backends.cpu.kernels import winograd_rules
from graphc.backends.cpu.kernels.conv import Convolution
from graphc.frontends.netdef import Operator
from graphc.ir import LoweringError
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.opdef import Call
from graphc.ir.schedule import Choice
from graphc.ir.types import DType, Layout, TensorType
from graphc.operators import run_operator

DIRECT = 2e-6
"""Sums in float32 against float64: some hundred terms of size 1, relative to the largest result."""
WINOGRAD = 2e-5
"""F(4 x 4, 3 x 3) multiplies rounding errors by its matrices' sizes."""


def operands(shape: Sequence[int], weights: Sequence[int], maps: int, bias: bool = True) -> list[np.ndarray]:
    """Seeded x, weights and bias."""
    r = np.random.default_rng(sum(shape) + sum(weights))
    arrays = [r.standard_normal(s).astype(np.float32) for s in (shape, weights, (maps,))]
    return arrays if bias else arrays[:2]


def place_of(blocked_in: bool, blocked_out: bool) -> Placement:
    """Slices of bigger buffers, results inside a border."""
    return Placement(frozenset([0] if blocked_in else []), blocked_out, (1, 2, 1, 1), True)


def check(machine: Machine, call: Call, arrays: list[np.ndarray], place: Placement, tolerance: float = DIRECT) -> None:
    """Run a call and compare with its reference in double precision."""
    (got,) = run_call(machine, call, arrays, place)
    (want,) = call.opdef.reference(call, *(a.astype(np.float64) for a in arrays))
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


# shape, maps, kernel, stride, pad, dilation, group, blocked in, blocked out
DIRECT_CASES = [
    ((1, 16, 8, 8), 32, 1, 1, 0, 1, 1, True, True),
    ((3, 33, 1, 1), 17, 1, 1, 0, 1, 1, True, True),
    ((2, 24, 9, 31), 40, 3, 1, 1, 1, 1, True, True),
    ((1, 3, 20, 19), 33, 7, 2, 3, 1, 1, False, True),
    ((1, 33, 13, 13), 17, 3, 2, 1, 1, 1, True, True),
    ((1, 33, 13, 13), 17, 3, 2, 1, 1, 1, False, False),
    ((2, 24, 12, 13), 48, 3, 1, 2, 2, 3, True, True),
    ((1, 24, 12, 13), 30, 3, 1, 2, 2, 3, True, False),
    ((1, 5, 6, 20), 3, 5, 3, 2, 1, 1, False, False),
    ((1, 16, 3, 17), 16, 1, 2, 0, 1, 1, True, True),
    ((1, 6, 5, 4), 12, 3, 1, 1, 1, 6, False, False),
]


@pytest.mark.parametrize("case", DIRECT_CASES, ids=str)
def test_direct(machine: Machine, case: tuple) -> None:
    shape, maps, kernel, stride, pad, dilation, group, blocked_in, blocked_out = case
    arrays = operands(shape, (maps, shape[1] // group, kernel, kernel), maps, bias=maps % 2 == 0)
    attrs = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation, "group": group}
    place = place_of(blocked_in, blocked_out)
    call = build_call("Conv", arrays, constants=(1, 2), target=machine.target, place=place, attrs=attrs)
    check(machine, call, arrays, place, DIRECT if kernel != 3 or stride > 1 or dilation > 1 else WINOGRAD)


@pytest.mark.parametrize("way", range(4), ids=("fused2", "steps2", "fused4", "steps4"))
@pytest.mark.parametrize(
    ("blocks", "maps", "size", "pad", "images"),
    [
        (1, 1.0, (8, 8), 1, 1),
        (2, 2.8, (13, 7), 1, 2),
        (3, 5.0, (5, 18), 0, 1),
        (1, 2.0, (1, 1), 1, 3),
        (1, 2, (9, 19), 2, 1),
    ],
)
def test_winograd(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    way: int,
    blocks: int,
    maps: float,
    size: tuple,
    pad: int,
    images: int,
) -> None:
    lanes = machine.target.lanes

    def choose(call: Call) -> Choice:
        c = Convolution.of(call)
        assert c is not None
        return winograd_rules.candidates(call, c, machine.target)[way].make()

    monkeypatch.setattr(machine.library, "choose", choose)
    m = int(maps * lanes)
    arrays = operands((images, blocks * lanes, *size), (m, blocks * lanes, 3, 3), m)
    place = place_of(True, True)
    call = build_call(
        "Conv", arrays, constants=(1, 2), target=machine.target, place=place, attrs={"kernel": 3, "pad": pad}
    )
    check(machine, call, arrays, place, WINOGRAD if way > 1 else DIRECT)


@pytest.mark.parametrize(
    ("channels", "size", "kernel", "stride", "pad", "dilation", "images"),
    [
        (16, (8, 8), 3, 1, 1, 1, 1),
        (29, (15, 13), 3, 2, 1, 1, 2),
        (17, (9, 28), 5, 1, 2, 1, 1),
        (5, (20, 3), 3, 1, 1, 1, 1),
        (33, (12, 14), 3, 1, 2, 2, 1),
        (16, (7, 7), 7, 1, 0, 1, 1),
    ],
)
def test_depthwise(
    machine: Machine, channels: int, size: tuple, kernel: int, stride: int, pad: int, dilation: int, images: int
) -> None:
    arrays = operands((images, channels, *size), (channels, 1, kernel, kernel), channels)
    attrs = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation, "group": channels}
    place = place_of(True, True)
    call = build_call("Conv", arrays, constants=(1, 2), target=machine.target, place=place, attrs=attrs)
    assert machine.library.choose(call).rule == "depthwise"
    check(machine, call, arrays, place)


# shape, maps, kernel, stride, pad, adj, group, blocked in, blocked out
TRANSPOSED_CASES = [
    ((1, 16, 8, 7), 32, 2, 2, 0, 0, 1, True, True),
    ((1, 19, 8, 7), 31, 3, 2, 1, 1, 1, True, True),
    ((2, 16, 5, 6), 16, 4, 2, 1, 0, 1, True, True),
    ((1, 16, 5, 6), 16, 2, 3, 0, 0, 1, True, True),
    ((1, 16, 9, 9), 3, 4, 2, 1, 0, 1, True, False),
    ((1, 3, 9, 9), 5, 4, 2, 1, 0, 1, False, False),
    ((1, 32, 5, 4), 32, 3, 1, 1, 0, 2, True, True),
    ((1, 6, 5, 4), 4, 5, 3, 2, 1, 2, False, False),
]


@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_transposed(machine: Machine, case: tuple) -> None:
    shape, maps, kernel, stride, pad, adj, group, blocked_in, blocked_out = case
    arrays = operands(shape, (shape[1], maps // group, kernel, kernel), maps)
    attrs = {"kernel": kernel, "stride": stride, "pad": pad, "adj": adj, "group": group}
    place = place_of(blocked_in, blocked_out)
    call = build_call("ConvTranspose", arrays, constants=(1, 2), target=machine.target, place=place, attrs=attrs)
    check(machine, call, arrays, place)


def fuse(call: Call, residual: np.ndarray, scale: np.ndarray, block: int) -> Call:
    """The call with the epilogue relu((y + residual) * scale), scale along the channels."""
    node = call.node
    y = node.results[0].type
    assert node.graph is not None
    kinds = [TensorType(DType.FLOAT, y.shape, Layout(block)), TensorType(DType.FLOAT, scale.shape)]
    body = Graph("epilogue")
    bare, other, factor = (body.add_input(t, n) for t, n in zip((y, *kinds), ("y", "residual", "scale")))
    added = body.append(Node("Add", [bare, other], [Value(y, "added")])).results[0]
    scaled = body.append(Node("Mul", [added, factor], [Value(y, "scaled")], {"broadcast": 1, "axis": 1})).results[0]
    body.add_output(body.append(Node("Relu", [scaled], [Value(y, "z")])).results[0])
    extra = [node.graph.add_input(kinds[0], "residual"), node.graph.add_constant("scale", scale)]
    node.set_operands([*node.operands, *extra])
    node.attrs["epilogue"] = body
    return Call(node)


# operator, shape, weights, arguments: one case for each kernel that has an epilogue
EPILOGUE_CASES = [
    ("Conv", (2, 16, 9, 10), (24, 16, 3, 3), {"kernel": 3, "stride": 2, "pad": 1}, True),
    ("Conv", (1, 16, 9, 10), (24, 16, 3, 3), {"kernel": 3, "pad": 1}, True),
    ("Conv", (1, 16, 9, 10), (24, 16, 1, 1), {"kernel": 1}, True),
    ("Conv", (1, 16, 9, 10), (24, 16, 1, 1), {"kernel": 1}, False),
    ("Conv", (1, 20, 9, 10), (20, 1, 3, 3), {"kernel": 3, "pad": 1, "group": 20}, True),
    ("ConvTranspose", (1, 16, 5, 6), (16, 24, 3, 3), {"kernel": 3, "stride": 2, "pad": 1}, True),
]


@pytest.mark.parametrize("case", EPILOGUE_CASES, ids=str)
def test_epilogue(machine: Machine, case: tuple) -> None:
    """relu((conv + residual) * scale), the residual in the result's layout, the scale a vector along the channels."""
    op, shape, weights, attrs, blocked = case
    maps = weights[1] if op == "ConvTranspose" else weights[0]
    arrays = operands(shape, weights, maps)
    place = place_of(blocked, blocked)
    plain = build_call(op, arrays, constants=(1, 2), target=machine.target, place=place, attrs=attrs)
    (want,) = plain.opdef.reference(plain, *(a.astype(np.float64) for a in arrays))
    r = np.random.default_rng(5)
    residual = r.standard_normal(want.shape).astype(np.float32)
    scale = r.standard_normal(maps).astype(np.float32)
    call = fuse(plain, residual, scale, machine.target.lanes if blocked else 1)
    spots = Placement(place.blocked | ({3} if blocked else set()), place.blocked_out, place.halo_out, place.slices)
    (got,) = run_call(machine, call, [*arrays, residual, scale], spots)
    want = np.maximum((want + residual) * scale.reshape(-1, 1, 1), 0)
    assert np.abs(got - want).max() <= WINOGRAD * np.abs(want).max()


def test_choice_is_winograd_for_large_3x3(machine: Machine) -> None:
    arrays = operands((1, 64, 28, 28), (64, 64, 3, 3), 64)
    place = place_of(True, True)
    call = build_call(
        "Conv", arrays, constants=(1, 2), target=machine.target, place=place, attrs={"kernel": 3, "pad": 1}
    )
    assert machine.library.choose(call).rule.startswith("winograd")


@pytest.mark.parametrize(
    ("op", "shape", "weights", "attrs"),
    [
        ("Conv", (2, 5, 9, 8), (7, 5, 3, 2), {"kernel_h": 3, "kernel_w": 2, "stride": 2}),
        ("Conv", (1, 6, 9, 8), (40, 3, 3, 3), {"kernel": 3, "pad": 1, "group": 2}),
        ("Conv", (1, 3, 5, 6, 7), (18, 3, 3, 2, 3), {"kernels": (3, 2, 3), "pads": (1, 0, 1, 1, 1, 2)}),
        ("ConvTranspose", (1, 6, 5, 4), (6, 10, 5, 3), {"kernel_h": 5, "kernel_w": 3, "stride": 2, "group": 2}),
        ("ConvTranspose", (1, 5, 4, 3), (5, 6, 2, 2), {"kernel": 2, "stride": 3, "pad_l": 1, "adj": 1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("bias", [True, False])
def test_computed_weights(machine: Machine, op: str, shape: tuple, weights: tuple, attrs: dict, bias: bool) -> None:
    maps = weights[1] * attrs.get("group", 1) if op == "ConvTranspose" else weights[0]
    arrays = operands(shape, weights, maps, bias)
    call = build_call(op, arrays, target=machine.target, attrs=attrs)
    check(machine, call, arrays, Placement())


def test_phases_without_taps_stay_inside_the_weights() -> None:
    """A stride beyond the kernel: a plan that reads outside of its memory is refused."""
    x, w = operands((1, 5, 4, 3), (5, 6, 2, 2), 6)[:2]
    op = Operator("ConvTranspose", ["x", "w"], ["y"], {"kernel": 2, "stride": 3, "pad_l": 1, "adj": 1})
    found, want = (run_operator(op, [x, w], target)[0] for target in ("cpu", "reference"))
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


def test_computed_weights_want_plain_inputs(machine: Machine) -> None:
    arrays = operands((1, 16, 8, 8), (16, 16, 3, 3), 16)
    call = build_call("Conv", arrays, target=machine.target, place=place_of(True, True), attrs={"kernel": 3})
    with pytest.raises(LoweringError, match="has no kernel for these types"):
        machine.library.choose(call)


@pytest.mark.parametrize(
    ("shape", "weights", "attrs"),
    [
        ((2, 5, 17), (7, 5, 3), {"kernels": (3,), "pads": (1, 2), "strides": (2,)}),
        ((1, 4, 9), (20, 4, 2), {"kernels": (2,)}),
        ((1, 3, 5, 6, 7), (18, 3, 3, 2, 3), {"kernels": (3, 2, 3), "pads": (1, 0, 1, 1, 1, 2)}),
        ((2, 4, 6, 5, 9), (6, 2, 2, 3, 3), {"kernels": (2, 3, 3), "strides": (2, 1, 2), "group": 2}),
    ],
    ids=str,
)
def test_other_ranks(machine: Machine, shape: tuple, weights: tuple, attrs: dict) -> None:
    arrays = operands(shape, weights, weights[0])
    call = build_call("Conv", arrays, constants=(1, 2), target=machine.target, attrs=attrs)
    check(machine, call, arrays, Placement())
