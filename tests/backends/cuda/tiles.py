"""The tiles of products on tensor cores, and having one of them chosen."""

from __future__ import annotations

import pytest

from graphc.backends.cuda.kernels import tensor_tile, warpgroup_tile
from graphc.backends.cuda.kernels.tensor_tile import TensorTile

TILES = (*tensor_tile.TILES, *warpgroup_tile.TILES)


def use_only(monkeypatch: pytest.MonkeyPatch, tile: TensorTile) -> None:
    """Leave one tile to choose."""
    for module, kind in ((tensor_tile, "mma"), (warpgroup_tile, "wgmma")):
        monkeypatch.setattr(module, "TILES", (tile,) if tile.by == kind else ())
