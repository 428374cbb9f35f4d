"""Copies for a card in the emulator, against NumPy: straight ones, tiles, and an element a thread."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import answers, emulated_plan
from emulated_card import EmulatedCard
from one_net import operator
from simt_memory import Fault


def data(*shape: int, kind: str = "f4") -> np.ndarray:
    """Seeded bytes; floats among them are not all numbers."""
    rng = np.random.default_rng(sum(shape))
    if kind == "f4":
        return rng.standard_normal(shape).astype(np.float32)
    return rng.integers(0, 256, (*shape, np.dtype(kind).itemsize)).astype(np.uint8).view(kind)[..., 0]


# shape, axes, kernel
TURNED = [
    ((40, 70), (1, 0), "transpose"),
    ((3, 33, 65), (0, 2, 1), "transpose"),
    ((9, 3, 2, 40), (3, 1, 2, 0), "transpose"),
    ((2, 5, 6, 33), (0, 3, 2, 1), "copy"),
    ((7, 90), (1, 0), "copy"),
    ((4, 3, 50), (1, 0, 2), "copy"),
]


@pytest.mark.parametrize("kind", ["f4", "i4"])
@pytest.mark.parametrize("case", TURNED, ids=str)
def test_transpositions(case, kind: str) -> None:
    shape, axes, template = case
    x = data(*shape, kind=kind)
    plan, (y,) = answers([operator("Transpose", "x", "y", axes=list(axes))], {"x": x}, "y")
    assert {k.template for k in plan.kernels} == {template}
    np.testing.assert_array_equal(y.view("i4"), x.transpose(axes).view("i4"))


@pytest.mark.parametrize("kind", ["u1", "i2", "i8", "f8"])
def test_elements_of_other_sizes(kind: str) -> None:
    x = data(12, 20, kind=kind)
    plan, (y,) = answers([operator("Transpose", "x", "y")], {"x": x}, "y")
    assert {k.template for k in plan.kernels} == {"copy"}
    assert y.tobytes() == np.ascontiguousarray(x.T).tobytes()


@pytest.mark.parametrize("kind", ["f4", "u1", "i8"])
@pytest.mark.parametrize("shape", [(4, 1, 5, 1), (4,), (1,), (2, 0, 3, 1)], ids=str)
def test_a_value_is_repeated_to_a_shape(kind: str, shape: tuple[int, ...]) -> None:
    x = data(2, 1, 4, kind=kind) if len(shape) != 4 or shape[1] else data(2, 1, 1, kind=kind)
    given = np.array(shape, np.int64)
    wide = np.maximum(shape, 1)  # numbers below 1 keep what is there
    want = np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(wide)))
    for op, inputs in (
        (operator("Expand", "x", "y", shape=list(shape)), {"x": x}),
        (operator("Expand", "x s", "y"), {"x": x, "s": given}),
    ):
        plan = emulated_plan([op], inputs, "y", {})
        np.testing.assert_array_equal(plan.run(inputs)["y"], want)


@pytest.mark.parametrize("kind", ["f4", "i8"])
@pytest.mark.parametrize("start", [0, 1])
def test_straight_copies_take_16_bytes_at_once(kind: str, start: int) -> None:
    """Also where the operand begins at no multiple of 16."""
    x = data(7, 13, kind=kind)
    plan, (y,) = answers([operator("Slice", "x", "y", starts=[start, 0], ends=[6, -1])], {"x": x}, "y")
    assert {k.template for k in plan.kernels} == {"pointwise"}
    assert y.tobytes() == x[start:6].tobytes()


@pytest.mark.parametrize("kind", ["f2", "u1"])
def test_an_odd_number_of_short_elements(kind: str) -> None:
    """Which are no whole words."""
    x = data(7, 13, kind=kind)
    _, (y,) = answers([operator("Slice", "x", "y", starts=[0, 0], ends=[5, -1])], {"x": x}, "y")
    assert y.tobytes() == x[:5].tobytes()


@pytest.mark.parametrize("kind", ["f4", "i8"])
def test_a_number_is_repeated(kind: str) -> None:
    x = data(1, kind=kind)
    _, (y,) = answers([operator("Expand", "x", "y", shape=[9])], {"x": x}, "y")
    assert y.tobytes() == x.repeat(9).tobytes()


def test_a_tile_waits_for_its_threads() -> None:
    x = data(40, 70)
    plan = emulated_plan([operator("Transpose", "x", "y")], {"x": x}, "y", {})
    ((spec, source),) = plan.kernels.items()
    plan.code.card = EmulatedCard({spec.name: source.replace("    barrier()\n", "")}.__getitem__)
    with pytest.raises(Fault, match="without a barrier"):
        plan.run({"x": x})
