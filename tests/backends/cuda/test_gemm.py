"""Products of computed matrices in float32, in the emulator, beside NumPy in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from emulated import answers, data
from one_net import operator
from simt_words import WARP, Words
from test_half_layers import let_compile

from graphc.backends.cuda.kernels import conv_tile, gemm
from graphc.backends.cuda.kernels.conv_tile import TILES, Tile
from graphc.backends.cuda.kernels.tilings import candidates, decide
from graphc.backends.cuda.target import TARGETS, find
from graphc.backends.cuda.tiling import Problem
from graphc.ir.schedule import KernelSpec, Task
from graphc.plan import Plan

ORDERS = [(0, 0), (0, 1), (1, 0), (1, 1)]
BANKS, SECTOR = 32, 32
"""Of shared memory; bytes that the second-level cache delivers together."""


def operands(trans: tuple[int, int], rows: int, inner: int, columns: int) -> dict[str, np.ndarray]:
    """Random matrices as the arguments want them."""
    a, b = data(rows, inner), data(inner, columns)
    return {"a": a.T.copy() if trans[0] else a, "b": b.T.copy() if trans[1] else b}


def product(trans: tuple[int, int], inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    a, b = inputs["a"].astype(np.float64), inputs["b"].astype(np.float64)
    return np.matmul(a.swapaxes(-1, -2) if trans[0] else a, b.swapaxes(-1, -2) if trans[1] else b)


def matmul(trans: tuple[int, int], op: str = "MatMul", to: str = "y", **more: int) -> Any:
    return operator(op, "a b", to, trans_a=trans[0], trans_b=trans[1], **more)


def close(got: np.ndarray, want: np.ndarray, tolerance: float = 2e-6) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max(initial=1e-30))


def tasks(plan: Plan, template: str = "gemm") -> list[Task]:
    return [t for s in plan.schedules for step in s.steps for t in step if t.kernel.template == template]


def at_once(spec: KernelSpec) -> tuple[int, int]:
    """Numbers of both operands that a thread loads at once."""
    return spec.int("x_each"), spec.int("w_each")


@pytest.fixture
def conflicts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often threads that shared memory serves at once meet in a bank, other than at one place: of each access."""
    found: list[int] = []
    nested: list[str] = []  # the emulator stores four numbers one by one

    def watch(name: str, together: int, each: int) -> None:
        word = getattr(Words, name)

        def watched(self: Words, s: Any, i: Any, *values: Any) -> Any:
            if not nested:
                at = (self._spread(s) // 4 + self._spread(i)).reshape(-1, together) // each
                banks = [np.unique(row) % (BANKS // each) for row in at]
                found.append(sum(row.size - np.unique(row).size for row in banks))
            nested.append(name)
            try:
                return word(self, s, i, *values)
            finally:
                nested.pop()

        monkeypatch.setattr(Words, name, watched)

    watch("sst", WARP, 1)
    watch("sst4", WARP // 4, 4)  # 128 bytes at once
    watch("sld4", WARP // 4, 4)
    return found


# each tile with two orders, by loads of four and of single numbers; more rows, columns and products than a tile has
TILED = [(tile, ORDERS[(i + k) % 4], 4 - 3 * k) for i, tile in enumerate(TILES) for k in range(2)]
TILED += [(TILES[3], order, each) for order in ORDERS for each in (1, 4)]


@pytest.mark.parametrize(("tile", "trans", "each"), TILED, ids=str)
def test_every_tile(
    tile: Tile, trans: tuple[int, int], each: int, monkeypatch: pytest.MonkeyPatch, conflicts: list[int]
) -> None:
    """Nothing meets in a bank of shared memory."""
    monkeypatch.setattr(conv_tile, "TILES", (tile,))
    inputs = operands(trans, *((132, 44, 136) if each == 4 else (131, 43, 135)))
    plan, (got,) = answers([matmul(trans)], inputs, "y")
    close(got, product(trans, inputs))
    (spec,) = plan.kernels
    assert at_once(spec) == (each, each)
    assert {(name, value) for name, value in tile.static().items()} <= set(spec.params)
    assert conflicts
    assert not any(conflicts)


@pytest.mark.parametrize("trans", ORDERS)
def test_loads_are_of_whole_sectors(trans: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a warp loads at once fills the sectors of the second-level cache that it touches."""
    taken = np.zeros(2, np.int64)
    load = Words.load

    def watched(self: Words, code: str, count: int, a: Any, i: Any) -> Any:
        at = self._active(a, np.int64) + 4 * self._active(i, np.int64)
        warps = self.number[self.mask] // WARP
        taken[:] += [len({*zip(warps.tolist(), (at // size).tolist())}) * size for size in (4 * count, SECTOR)]
        return load(self, code, count, a, i)

    monkeypatch.setattr(Words, "load", watched)
    inputs = operands(trans, 128, 32, 128)
    plan, _ = answers([matmul(trans)], inputs, "y")
    assert {at_once(spec) for spec in plan.kernels} == {(4, 4)}
    assert taken[0] == taken[1] > 0


SIZES = [(1, 40, 1), (1, 1, 1), (3, 8, 250), (250, 8, 3), (70, 300, 2), (2, 0, 3), (0, 4, 4)]


@pytest.mark.parametrize("trans", ORDERS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_thin_ones(sizes: tuple[int, int, int], trans: tuple[int, int]) -> None:
    inputs = operands(trans, *sizes)
    _, (got,) = answers([matmul(trans)], inputs, "y", tolerance=4e-6)
    close(got, product(trans, inputs), 4e-6)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("a", "b", "launches"),
    [((3, 12, 300), (3, 300, 16), 1), ((2, 1, 9, 300), (3, 300, 20), 6), ((9, 300), (3, 300, 17), 1)],
    ids=str,
)
def test_batches(
    a: tuple[int, ...], b: tuple[int, ...], launches: int, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what follows, whose operand lies as the result does; also where sums are cut and added up."""
    monkeypatch.setattr(conv_tile, "JOIN", 0 if cut else 1e12)
    inputs = {"a": data(*a), "b": data(*b)}
    want = np.matmul(inputs["a"].astype(np.float64), inputs["b"])
    inputs["r"] = data(*want.shape)
    ops = [matmul((0, 0), "BatchMatMul", "p", broadcast=1), operator("Add", "p r", "s"), operator("Relu", "s", "y")]
    plan, (got,) = answers(ops, inputs, "y", tolerance=4e-6)
    close(got, np.maximum(want + inputs["r"], 0), 4e-6)
    assert len(tasks(plan)) == launches
    assert len(tasks(plan, "gemm_join")) == cut
    assert (tasks(plan)[0].params[gemm.NAMES.index("pieces")] > 1) == cut


@pytest.mark.parametrize("cut", [False, True])
def test_a_bias_and_vectors_along_the_columns(cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_tile, "JOIN", 0 if cut else 1e12)
    inputs = {"x": data(37, 280), "w": data(22, 280), "b": data(22), "c": data(22), "r": data(37, 22)}
    ops = [
        operator("Relu", "w", "v"),
        operator("FC", "x v b", "f"),
        operator("Mul", "f c", "g", broadcast=1),
        operator("Add", "g r", "y"),
    ]
    plan, (got,) = answers(ops, inputs, "y", tolerance=4e-6)
    sums = inputs["x"].astype(np.float64) @ np.maximum(inputs["w"], 0).T
    close(got, (sums + inputs["b"]) * inputs["c"] + inputs["r"], 4e-6)
    assert len(tasks(plan, "gemm_join")) == cut


def test_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels at hand serve them, but where lines are multiples of four numbers no more."""
    plan, _ = answers([matmul((0, 1))], operands((0, 1), 40, 32, 48), "y")
    known = {k.name for k in plan.kernels}
    for sizes in ((3, 32, 47), (1, 40, 16), (131, 24, 1)):
        inputs = operands((0, 1), *sizes)
        close(plan.run(inputs)["y"], product((0, 1), inputs))
    assert {k.name for k in plan.kernels} == known
    let_compile(plan, monkeypatch)
    inputs = operands((0, 1), 40, 33, 48)
    close(plan.run(inputs)["y"], product((0, 1), inputs))
    plan, _ = answers([matmul((1, 0))], operands((1, 0), 1, 33, 48), "y")  # which is read as a row
    let_compile(plan, monkeypatch)
    for sizes in ((1, 32, 48), (5, 33, 48), (8, 32, 9)):
        inputs = operands((1, 0), *sizes)
        close(plan.run(inputs)["y"], product((1, 0), inputs))


def test_pieces_for_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """More, fewer, one."""
    monkeypatch.setattr(conv_tile, "JOIN", 0)
    plan, _ = answers([matmul((0, 0))], operands((0, 0), 12, 600, 12), "y", tolerance=4e-6)
    assert tasks(plan, "gemm_join")
    for inner in (2000, 300, 8, 0):
        inputs = operands((0, 0), 12, inner, 12)
        close(plan.run(inputs)["y"], product((0, 0), inputs), 4e-6)


def test_a_row_that_is_part_of_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins at a multiple of nothing, where numbers are loaded one by one."""
    ops = [
        operator("FC", "x u zu", "p"),
        operator("FC", "x v zv", "a"),
        operator("Concat", "p a", "c i", axis=1),
        matmul((0, 0), to="m"),
        operator("ReduceSum", "c", "s", axes=[0, 1], keepdims=0),
        operator("Add", "m s", "y", broadcast=1),
    ]
    weights = {"u": data(19, 24), "v": data(32, 24)}
    weights |= {f"z{name}": data(len(w)) for name, w in weights.items()}
    x, b = data(1, 24), data(32, 48)
    plan, (got,) = answers(ops, {"x": x, "b": b}, "y", weights, tolerance=4e-6)
    p, a = (x @ weights[n].T + weights[f"z{n}"] for n in "uv")
    close(got, a @ b + p.sum() + a.sum(), 4e-6)
    (task,) = tasks(plan)
    assert at_once(task.kernel) == (1, 4)


@pytest.mark.parametrize("target", TARGETS)
def test_problems(target: str) -> None:
    """They are not those of tensor cores; only tiles of FFMA serve them. Few results of long sums are cut."""
    found = {
        str(gemm._problem(gemm.Product(64, 32, 16, *strides), cuts=True))
        for strides in ((32, 1, 16, 1), (32, 1, 1, 32), (1, 64, 16, 1), (1, 64, 1, 32))
    }
    assert {text.partition(" ")[0] for text in found} == {"gemm_nn", "gemm_nt", "gemm_tn", "gemm_tt"}
    for text in found:
        assert str(Problem.parse(text)) == text
        assert {type(tiling.tile) for tiling in candidates(Problem.parse(text), find(target))} == {Tile}

    def best(pixels: int, maps: int, channels: int, groups: int = 1) -> str:
        return str(decide(Problem("gemm_nn", "f4", "f4", pixels, maps, channels, groups, cuts=True), find(target)))

    assert best(4096, 4096, 4096).startswith(str(TILES[0]))
    assert not best(64, 64, 8192).endswith("in 1")
    assert best(64, 64, 64, 96).endswith("in 1")
