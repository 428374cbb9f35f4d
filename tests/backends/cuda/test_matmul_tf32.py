"""MatMul and BatchMatMul of computed float32 that multiply as TF32, in the emulator, beside NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import answers
from machine_code import instructions, require_compiler
from one_net import operator, reference
from test_half_layers import data, let_compile
from test_matmul_tensor import ORDERS, matmul, operands, templates
from test_tensor_machine_code import REGISTERS, matrix_kernels
from tiles import watch_memory

from graphc.backends.cuda.kernels import tensor_tile
from graphc.backends.cuda.kernels.tensor_tile import PIECES, TILES, TensorTile
from graphc.backends.cuda.target import TARGETS
from graphc.ir.fpmath import to_tf32
from graphc.passes import half_rule, tf32

TOLERANCE = 2e-3
"""What rounding both operands to 11 bits changes, of the largest element."""


def matrices(trans: tuple[int, int], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The operands as they are multiplied."""
    return [inputs[name].swapaxes(-1, -2) if turned else inputs[name] for name, turned in zip("ab", trans)]


def check(trans: tuple[int, int], inputs: dict[str, np.ndarray], got: np.ndarray, is_rounded: bool = True) -> None:
    """A result is the product of rounded operands, or of operands as they are.

    Products of two numbers of 11 bits are exact in float32, and each of n additions loses at most 2^-24 of what it
    gives: together no more than n / 2^24 of the sum of magnitudes.
    """
    a, b = (to_tf32(m).astype(np.float64) if is_rounded else m.astype(np.float64) for m in matrices(trans, inputs))
    bound = a.shape[-1] * 2.0**-24 * np.matmul(np.abs(a), np.abs(b))
    assert got.shape == bound.shape
    assert (np.abs(got - np.matmul(a, b)) <= bound).all()
    if is_rounded:  # which the bound would not allow had nothing been rounded
        assert (np.abs(got - np.matmul(*matrices(trans, inputs)).astype(np.float64)) > bound).any()


# lines are multiples of 4, whatever else is odd
SIZES = {(0, 0): (37, 36, 44), (0, 1): (29, 76, 45), (1, 0): (68, 37, 44), (1, 1): (44, 52, 19)}


@pytest.mark.parametrize("trans", ORDERS)
def test_every_order(trans: tuple[int, int]) -> None:
    inputs = operands(trans, *SIZES[trans])
    plan, (got,) = answers([matmul(trans)], inputs, "y", {}, TOLERANCE, "tf32")
    assert templates(plan) == ["matmul_tensor"]
    check(trans, inputs, got)


# both operands turned, and none, with more rows, columns and products than a tile and a ring have
@pytest.mark.parametrize("trans", [(1, 0), (0, 1)])
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile(tile: TensorTile, trans: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """No two of what is loaded or copied at once in one bank."""
    memories = watch_memory(monkeypatch)
    monkeypatch.setattr(tensor_tile, "TILES", (tile,))
    inputs = operands(trans, 136, 4 * 37, 140)
    _, (got,) = answers([matmul(trans)], inputs, "y", {}, TOLERANCE, "tf32")
    check(trans, inputs, got)
    assert any(m.end == tile.ring // 4 for m in memories)
    assert not any(m.conflicts for m in memories)


@pytest.mark.parametrize(
    ("a", "b", "trans", "launches"),
    [
        ((3, 9, 20), (3, 20, 28), (0, 0), 1),
        ((2, 3, 20, 36), (2, 3, 17, 20), (1, 1), 1),
        ((2, 1, 9, 20), (3, 20, 28), (0, 0), 6),  # what is broadcast lies at no constant distances
        ((9, 20), (3, 20, 28), (0, 0), 1),
    ],
    ids=str,
)
def test_batches(a: tuple[int, ...], b: tuple[int, ...], trans: tuple[int, int], launches: int) -> None:
    inputs = {"a": data(*a), "b": data(*b)}
    plan, (got,) = answers([matmul(trans, "BatchMatMul", broadcast=1)], inputs, "y", {}, TOLERANCE, "tf32")
    check(trans, inputs, got)
    tasks = [t for s in plan.schedules for step in s.steps for t in step]
    assert [t.kernel.template for t in tasks] == ["matmul_tensor"] * launches


def test_an_epilogue_and_a_product_that_is_multiplied_again() -> None:
    """A vector along columns and Relu behind the first product, a matrix and Sigmoid behind the second one."""
    ops = [
        matmul((0, 1), to="p"),
        operator("Add", "p c", "q", broadcast=1),
        operator("Relu", "q", "r"),
        operator("MatMul", "r d", "s"),
        operator("Add", "s e", "t"),
        operator("Sigmoid", "t", "y"),
    ]
    inputs = operands((0, 1), 19, 36, 20) | {"c": data(20), "d": data(20, 28), "e": data(19, 28)}
    inputs = {name: x / 4 for name, x in inputs.items()}
    plan, (got,) = answers(ops, inputs, "y", {}, TOLERANCE, "tf32")
    kernels = [k for k in plan.kernels if k.template == "matmul_tensor"]
    assert templates(plan) == ["matmul_tensor"] * 2
    assert [(k["kind"], k["y"], str(k["epilogue"]).count("max")) for k in kernels] == [("tf", "f4", 1), ("tf", "f4", 0)]
    a, b = (to_tf32(m) for m in matrices((0, 1), inputs))
    r = to_tf32(np.maximum(a @ b + inputs["c"], 0))
    want = 1 / (1 + np.exp(-(r @ to_tf32(inputs["d"]) + inputs["e"])))
    # of r a sum that lies between two numbers of 11 bits may be rounded to the other one
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)


def test_what_nobody_asks_for_stays_float32() -> None:
    inputs = operands((0, 0), 16, 36, 20)
    for precision in ("float", {"*": "tf32", "y": "float"}):
        plan, (got,) = answers([matmul((0, 0))], inputs, "y", {}, 2e-6, precision)
        assert "matmul_tensor" not in templates(plan)
        check((0, 0), inputs, got, is_rounded=False)


@pytest.mark.parametrize(("trans", "sizes"), [((1, 0), (1, 68, 36)), ((0, 0), (20, 68, 1))], ids=str)
def test_a_vector_as_a_column(
    trans: tuple[int, int], sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines are a number each: those behind the only one would lie at addresses that no copy may have."""
    monkeypatch.setattr(half_rule, "FEWEST", 1)
    monkeypatch.setattr(tf32, "PIECE", 1)
    inputs = operands(trans, *sizes)
    plan, (got,) = answers([matmul(trans)], inputs, "y", {}, TOLERANCE, "tf32")
    assert templates(plan) == ["matmul_tensor"]
    check(trans, inputs, got)


def test_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernels at hand; where lines are no whole pieces any more, with another one, in float32."""
    plan, _ = answers([matmul((0, 0))], operands((0, 0), 40, 32, 48), "y", {}, TOLERANCE, "tf32")
    known = {k.name for k in plan.kernels}
    for sizes in ((3, 32, 48), (1, 20, 4), (131, 28, 68)):
        inputs = operands((0, 0), *sizes)
        check((0, 0), inputs, plan.run(inputs)["y"])
        assert {k.name for k in plan.kernels} == known
    let_compile(plan, monkeypatch)
    for sizes in ((5, 33, 48), (5, 32, 47)):
        inputs = operands((0, 0), *sizes)
        check((0, 0), inputs, plan.run(inputs)["y"], is_rounded=False)
    plan, _ = answers([matmul((0, 1))], operands((0, 1), 40, 32, 48), "y", {}, TOLERANCE, "tf32")
    inputs = operands((0, 1), 40, 32, 45)
    check((0, 1), inputs, plan.run(inputs)["y"])


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
    plan, _ = answers(ops, inputs, "y", weights, TOLERANCE, "tf32")
    assert "matmul_tensor" in templates(plan)
    let_compile(plan, monkeypatch)
    for rows in (1, 3):
        inputs["x"] = data(rows, 24)
        (want,) = reference(ops, inputs, "y", weights)
        np.testing.assert_allclose(plan.run(inputs)["y"], want, rtol=0, atol=TOLERANCE * np.abs(want).max())


def test_a_column_that_is_part_of_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of the other operand."""
    ops = [
        operator("FC", "x u zu", "p"),
        operator("FC", "x v zv", "b"),
        operator("Concat", "p b", "c i", axis=1),
        operator("FC", "c w zw", "d"),
        matmul((0, 1)),
    ]
    weights = {"u": data(19, 24), "v": data(32, 24), "w": data(16, 51) / 4}
    weights |= {f"z{name}": data(len(w)) for name, w in weights.items()}
    inputs = {"x": data(40, 24), "a": data(48, 32)}
    plan, _ = answers(ops, inputs, "y d", weights, TOLERANCE, "tf32")
    assert "matmul_tensor" in templates(plan)
    let_compile(plan, monkeypatch)
    for rows in (1, 3):
        inputs["x"] = data(rows, 24)
        want, _ = reference(ops, inputs, "y d", weights)
        np.testing.assert_allclose(plan.run(inputs)["y"], want, rtol=0, atol=TOLERANCE * np.abs(want).max())


@pytest.mark.parametrize("target", TARGETS)
def test_machine_code(target: str) -> None:
    """Nothing spilled; as many products, loads and copies as the kernel's text has words, ``turns`` times in the loop
    over steps where the compiler unrolls it."""
    require_compiler()
    kernels = matrix_kernels(target, "tf", "f4", ((TILES[1], (0, 0)), (TILES[8], (1, 0))))
    for tile, along, text, cubin in kernels:
        found = instructions(cubin.code)
        assert cubin.stack == cubin.spilled == found["STL"] == found["LDL"] == 0
        assert cubin.registers <= REGISTERS
        products, sides = tile.warp_pixels // 16 * (tile.warp_maps // 8) * 2, (tile.warp_pixels, tile.warp_maps)
        matrices = sum(side // 16 * 2 for side, is_along in zip(sides, along) if is_along)
        registers = sum(side // 4 * 2 for side, is_along in zip(sides, along) if not is_along)
        copies, turns = (tile.pixels + tile.maps) * PIECES // tile.threads, found["HMMA"] // products
        words = ["mma_tf(", "matrices(", "register(", "copy16(", "tf32("]
        rounded = sum(sides) // 4 * 2
        assert [text.count(w) for w in words] == [products, matrices, registers, copies * (tile.ahead + 1), rounded]
        assert 0 < turns <= 4
        counts = [found[name] for name in ("HMMA", "LDSM", "LDS", "LDGSTS")]
        assert counts == [turns * products, turns * matrices, turns * registers, copies * (tile.ahead + turns)]
