"""MatMul and BatchMatMul of computed halves on tensor cores, in the emulator, beside NumPy in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated import answers
from one_net import operator, reference
from test_half_layers import data, let_compile
from tiles import watch_memory

from graphc.backends.cuda.kernels import tensor_tile
from graphc.backends.cuda.kernels.tensor_tile import TensorTile
from graphc.passes import half_rule
from graphc.plan import Plan

ORDERS = [(0, 0), (0, 1), (1, 0), (1, 1)]
HALF = {"*": "float16"}


@pytest.fixture(autouse=True)
def small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have matrices made halves that are too small for it to pay."""
    monkeypatch.setattr(half_rule, "MANY", 0)


def templates(plan: Plan) -> list[str]:
    return [k.template for k in plan.kernels]


def operands(trans: tuple[int, int], rows: int, inner: int, columns: int) -> dict[str, np.ndarray]:
    """Random matrices as the arguments want them."""
    a, b = data(rows, inner), data(inner, columns)
    return {"a": a.T.copy() if trans[0] else a, "b": b.T.copy() if trans[1] else b}


def product(trans: tuple[int, int], inputs: dict[str, np.ndarray]) -> np.ndarray:
    a, b = inputs["a"].astype(np.float32), inputs["b"].astype(np.float32)
    return np.matmul(a.swapaxes(-1, -2) if trans[0] else a, b.swapaxes(-1, -2) if trans[1] else b)


def matmul(trans: tuple[int, int], op: str = "MatMul", to: str = "y", **more: int) -> Any:
    return operator(op, "a b", to, trans_a=trans[0], trans_b=trans[1], **more)


def close(got: np.ndarray, want: np.ndarray, tolerance: float = 2e-3) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())


# lines are multiples of 8, whatever else is odd
SIZES = {(0, 0): (37, 40, 56), (0, 1): (29, 72, 45), (1, 0): (72, 37, 40), (1, 1): (40, 56, 19)}


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("trans", ORDERS)
def test_every_order(trans: tuple[int, int], precision: str) -> None:
    inputs = operands(trans, *SIZES[trans])
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2}[precision]
    plan, (got,) = answers([matmul(trans)], inputs, "y", {}, tolerance, {"*": precision})
    assert "matmul_tensor" in templates(plan)
    assert "gemm" not in templates(plan)
    close(got, product(trans, inputs), tolerance)


# tile, order, with more rows, columns and products than a tile and a ring have
TILED = [(tile, ORDERS[i % 4]) for i, tile in enumerate(tensor_tile.TILES)]
TILED += [(tensor_tile.TILES[0], (1, 0)), (tensor_tile.TILES[-1], (1, 1)), (tensor_tile.TILES[5], (1, 0))]


@pytest.mark.parametrize(("tile", "trans"), TILED, ids=str)
def test_every_tile(tile: TensorTile, trans: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """No two lines of a matrix in one bank."""
    memories = watch_memory(monkeypatch)
    monkeypatch.setattr(tensor_tile, "TILES", (tile,))
    inputs = operands(trans, 136, 8 * 29, 152)
    _, (got,) = answers([matmul(trans)], inputs, "y", {}, 2e-3, HALF)
    close(got, product(trans, inputs))
    assert any(m.end == tile.ring // 4 for m in memories)
    assert not any(m.conflicts for m in memories)


@pytest.mark.parametrize(
    ("a", "b", "trans", "launches"),
    [
        ((3, 9, 24), (3, 24, 16), (0, 0), 1),
        ((2, 3, 24, 40), (2, 3, 17, 24), (1, 1), 1),
        ((2, 1, 9, 24), (3, 24, 16), (0, 0), 6),  # what is broadcast lies at no constant distances
        ((9, 24), (3, 24, 16), (0, 0), 1),
    ],
    ids=str,
)
def test_batches(a: tuple[int, ...], b: tuple[int, ...], trans: tuple[int, int], launches: int) -> None:
    inputs = {"a": data(*a), "b": data(*b)}
    plan, (got,) = answers([matmul(trans, "BatchMatMul", broadcast=1)], inputs, "y", {}, 2e-3, HALF)
    close(got, product(trans, inputs))
    tasks = [t for s in plan.schedules for step in s.steps for t in step]
    assert sum(t.kernel.template == "matmul_tensor" for t in tasks) == launches


def test_an_epilogue_and_halves_that_are_read_again() -> None:
    """The second product reads what the first one has written as halves; the sum is a residual of the second one."""
    ops = [
        matmul((0, 1), to="p"),
        operator("Add", "p c", "q"),
        operator("Relu", "q", "r"),
        operator("MatMul", "r d", "s"),
        operator("Add", "s e", "t"),
        operator("Sigmoid", "t", "y"),
    ]
    inputs = operands((0, 1), 19, 40, 24) | {"c": data(24), "d": data(24, 32), "e": data(19, 32)}
    inputs = {name: x / 4 for name, x in inputs.items()}
    ops[1] = operator("Add", "p c", "q", broadcast=1)
    plan, (got,) = answers(ops, inputs, "y", {}, 2e-3, HALF)
    kernels = [k for k in plan.kernels if k.template == "matmul_tensor"]
    assert [(k["y"], str(k["epilogue"]).count("max")) for k in kernels] == [("f2", 1), ("f4", 0)]
    r = np.maximum(product((0, 1), inputs) + inputs["c"], 0)
    close(got, 1 / (1 + np.exp(-(r @ inputs["d"] + inputs["e"]))))


def test_lines_that_are_no_whole_pieces_stay_float32() -> None:
    """And so do few columns, weights, and on a CPU everything."""
    for sizes in ((16, 36, 16), (16, 40, 36), (16, 8, 16), (16, 40, 8)):
        plan, _ = answers([matmul((0, 0))], operands((0, 0), *sizes), "y", {}, 2e-6, HALF)
        assert templates(plan) == ["gemm"]
    plan, _ = answers([matmul((0, 0))], {"a": data(16, 40)}, "y", {"b": data(40, 24)}, 2e-6, HALF)
    assert templates(plan) == ["gemm"]


@pytest.mark.parametrize(("trans", "sizes"), [((1, 0), (1, 72, 40)), ((0, 0), (24, 72, 1))], ids=str)
def test_a_vector_as_a_column(
    trans: tuple[int, int], sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines are a number each: those behind the only one would lie at addresses that no copy may have. No net has
    it made halves, but a kernel takes it."""
    for name in ("PIECE", "FEWEST"):
        monkeypatch.setattr(half_rule, name, 1)
    inputs = operands(trans, *sizes)
    plan, (got,) = answers([matmul(trans)], inputs, "y", {}, 2e-3, HALF)
    assert "matmul_tensor" in templates(plan)
    close(got, product(trans, inputs))


def test_small_products_of_float32_are_not_worth_making_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = operands((0, 0), 32, 32, 32)
    monkeypatch.setattr(half_rule, "MANY", 32**3 + 1)
    plan, _ = answers([matmul((0, 0))], inputs, "y", {}, 2e-6, HALF)
    assert templates(plan) == ["gemm"]
    monkeypatch.setattr(half_rule, "MANY", 32**3)
    plan, _ = answers([matmul((0, 0))], inputs, "y", {}, 2e-3, HALF)
    assert "matmul_tensor" in templates(plan)


def test_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernels at hand; where lines are no whole pieces any more, with another one."""
    plan, _ = answers([matmul((0, 0))], operands((0, 0), 40, 32, 48), "y", {}, 2e-3, HALF)
    known = {k.name for k in plan.kernels}
    for sizes in ((3, 32, 48), (1, 40, 16), (131, 24, 72)):
        inputs = operands((0, 0), *sizes)
        close(plan.run(inputs)["y"], product((0, 0), inputs))
        assert {k.name for k in plan.kernels} == known
    let_compile(plan, monkeypatch)
    for sizes in ((5, 33, 48), (5, 32, 47)):
        inputs = operands((0, 0), *sizes)
        close(plan.run(inputs)["y"], product((0, 0), inputs))
    plan, _ = answers([matmul((0, 1))], operands((0, 1), 40, 32, 48), "y", {}, 2e-3, HALF)
    let_compile(plan, monkeypatch)
    inputs = operands((0, 1), 40, 32, 45)
    close(plan.run(inputs)["y"], product((0, 1), inputs))


def test_a_row_that_is_part_of_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one row, pieces of a Concat lie at addresses that are multiples of nothing."""
    ops = [
        operator("FC", "x u zu", "p"),
        operator("FC", "x v zv", "a"),
        operator("Concat", "p a", "c i", axis=1),
        operator("FC", "c w zw", "f"),
        matmul((0, 0), to="m"),
        operator("Add", "m f", "y"),
    ]
    weights = {"u": data(19, 24), "v": data(32, 24), "w": data(48, 51) / 4}
    weights |= {f"z{name}": data(len(w)) for name, w in weights.items()}
    inputs = {"x": data(40, 24), "b": data(32, 48)}
    asked = dict.fromkeys(("*", "p", "a", "f"), "float16")
    plan, _ = answers(ops, inputs, "y", weights, 2e-3, asked)
    assert "matmul_tensor" in templates(plan)
    let_compile(plan, monkeypatch)
    for rows in (1, 3):
        inputs["x"] = data(rows, 24)
        (want,) = reference(ops, inputs, "y", weights)
        close(plan.run(inputs)["y"], want)
