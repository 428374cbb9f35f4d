"""Copies for tensor cores: what their warps take of the sectors of 32 bytes that the second-level cache delivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from int8_calls import Case
from one_net import operator
from simt_tensor import TensorWords
from test_half_layers import data, halves, image
from test_int8_products import of_case, run
from test_tf32_layers import tf32
from tiles import TILES, use_only

from graphc.backends.cuda.kernels import tensor_tile
from graphc.backends.cuda.kernels.tensor_tile import TensorTile

WARP, SECTOR, PIECE = 32, 32, 16


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Gives the share that all copies since then took of the sectors that their warps touched."""
    counted = np.zeros(2, np.int64)
    copy = TensorWords.copy16

    def copy16(self: TensorWords, s: Any, a: Any, n: Any) -> None:
        some = self._active(n, np.int64) > 0
        warps, places = self.number[self.mask][some] // WARP, self._active(a, np.int64)[some]
        counted[:] += [len({*zip(warps.tolist(), (places // size).tolist())}) * size for size in (PIECE, SECTOR)]
        copy(self, s, a, n)

    monkeypatch.setattr(TensorWords, "copy16", copy16)
    monkeypatch.setattr(tensor_tile, "PARTS", (1,))
    return lambda: float(counted[0] / counted[1])


@pytest.fixture(params=[TILES[3], TILES[-1]], ids=str)
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TensorTile:
    """The only tile, of 64 x 64 results, by warps and by four of them."""
    use_only(monkeypatch, request.param)
    return request.param


def test_rows_of_halves(tile: TensorTile, taken: Callable[[], float]) -> None:
    ops = [operator("FC", "x v zero", "r"), operator("FC", "r w b", "y")]
    weights = {"v": data(128, 24), "w": data(64, 128), "b": data(64), "zero": np.zeros(128, np.float32)}
    assert "conv_tensor" in halves(ops, {"x": data(64, 24)}, weights)
    assert taken() == 1


def test_bytes_of_pixels(tile: TensorTile, taken: Callable[[], float]) -> None:
    """Under windows, too; what fills them up outside of the image is one piece, which is half a sector."""
    call, arrays = of_case(Case((1, 8, 8, 64), (64, 3, 3, 64), {"pad": 1}, 1 / 9000))
    run(call, arrays)
    assert taken() > 0.98


def test_blocks_of_halves(tile: TensorTile, taken: Callable[[], float]) -> None:
    """A piece of each of 32 neighbouring pixels."""
    first, weights = image(32)
    halves(
        [first, operator("Conv", "r w", "y", kernel=1)], {"x": data(1, 4, 8, 16)}, weights | {"w": data(64, 32, 1, 1)}
    )
    assert taken() == 1


def test_blocks_and_rows_of_floats(tile: TensorTile, taken: Callable[[], float]) -> None:
    """A block of eight float32 is two pieces, and a sector: both of each of 16 neighbouring pixels."""
    first, weights = image(32)
    ops = [first, operator("Conv", "r w", "y", kernel=3, pad=1)]
    tf32(ops, {"x": data(1, 4, 6, 32)}, weights | {"w": data(64, 32, 3, 3)})
    assert taken() == 1
    tf32([operator("FC", "x w b", "y")], {"x": data(64, 128)}, {"w": data(64, 128), "b": data(64)})
    assert taken() == 1


def test_windows_of_blocks_of_halves(tile: TensorTile, taken: Callable[[], float]) -> None:
    """Beside the window's middle column a warp's pixels begin and end in the middle of a sector."""
    first, weights = image(32)
    ops = [first, operator("Conv", "r w", "y", kernel=3, pad=1)]
    halves(ops, {"x": data(1, 4, 6, 64)}, weights | {"w": data(64, 32, 3, 3)})
    assert taken() > 0.97
