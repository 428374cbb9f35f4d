"""Tiles of products on tensor cores by ``wgmma``, for cards of capability 9.0, in the model of ``tensor_tile.py``.

A warp computes 16 pixels, four of them together 64 (``warpgroup_product.py``). Their rings are dynamic shared memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.kernels.tensor_tile import TensorTile, tilings_of
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tiling import Problem, Tiling


@dataclass(frozen=True)
class WarpgroupTile(TensorTile):
    """``pixels`` x ``maps`` results a block, 16 x ``warp_maps`` of them a warp, 64 x ``warp_maps`` four warps."""

    by = "wgmma"
    together = 2

    @property
    def ahead(self) -> int:
        """The products from two barriers on may be under way."""
        return self.stages - 2 * self.together

    def rate(self, target: CudaTarget) -> float:
        """That of ``wgmma``."""
        return target.warpgroup_products

    def __str__(self) -> str:
        return f"warpgroup {self.pixels}x{self.maps}/64x{self.warp_maps}, {self.stages} stages"


TILES = (
    WarpgroupTile(256, 128, 16, 128, 8),
    WarpgroupTile(128, 256, 16, 128, 8),
    WarpgroupTile(128, 128, 16, 128, 6),
    WarpgroupTile(256, 64, 16, 64, 8),
    WarpgroupTile(128, 64, 16, 64, 8),
    WarpgroupTile(64, 128, 16, 128, 6),
    WarpgroupTile(64, 64, 16, 64, 8),
)
"""Larger ones have no room for their sums in registers: 128 a thread, 512 threads."""


def candidates(problem: Problem, target: CudaTarget) -> list[Tiling]:
    """Every tile, with every number of parts, on cards that have the instruction; none for ``matmul_tensor.py``."""
    served = target.warpgroup_products and not problem.op.startswith("matmul")
    return tilings_of(TILES, problem) if served else []
