"""The tiles of products on tensor cores, having one of them chosen, and looking at the shared memory of kernels."""

from __future__ import annotations

import pytest
from simt_memory import SharedMemory

from graphc.backends.cuda.kernels import tensor_tile, warpgroup_tile
from graphc.backends.cuda.kernels.tensor_tile import TensorTile

TILES = (*tensor_tile.TILES, *warpgroup_tile.TILES)


def use_only(monkeypatch: pytest.MonkeyPatch, tile: TensorTile) -> None:
    """Leave one tile to choose."""
    for module, kind in ((tensor_tile, "mma"), (warpgroup_tile, "wgmma")):
        monkeypatch.setattr(module, "TILES", (tile,) if tile.by == kind else ())


def watch_memory(monkeypatch: pytest.MonkeyPatch) -> list[SharedMemory]:
    """The shared memory of all launches from now on."""
    memories: list[SharedMemory] = []
    make = SharedMemory.__init__
    monkeypatch.setattr(SharedMemory, "__init__", lambda self, *n: (make(self, *n), memories.append(self))[0])
    return memories
