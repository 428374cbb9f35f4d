"""Tiles of products on tensor cores, and which of them serves a layer: a model of a card, in clocks.

A block of threads computes a tile of the result; per step each of its pixels and maps takes ``ROW`` bytes of shared
memory, in a ring of ``stages``. The model: a multiprocessor has as many blocks at once as fit, all blocks of the launch
take their turns in rounds, and in a round whichever is slower counts, the products or what the second-level cache
delivers; on top of that comes filling the ring once a block, and writing the results.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.target import CudaTarget

ROW = 64
"""Bytes of a pixel or map that a step multiplies: four pieces of 16."""
STATIC_SHARED = 48 << 10
"""Bytes of shared memory that a block can have."""


@dataclass(frozen=True)
class TensorTile:
    """``pixels`` x ``maps`` results a block, ``warp_pixels`` x ``warp_maps`` of them a warp."""

    pixels: int
    maps: int
    warp_pixels: int
    warp_maps: int
    stages: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return 32 * (self.pixels // self.warp_pixels) * (self.maps // self.warp_maps)

    @property
    def stage(self) -> int:
        """Bytes of a stage of the ring."""
        return (self.pixels + self.maps) * ROW

    def static(self) -> dict[str, int]:
        """The parameters of a spec."""
        return {
            "pixels": self.pixels,
            "maps": self.maps,
            "warp_pixels": self.warp_pixels,
            "warp_maps": self.warp_maps,
            "stages": self.stages,
        }

    def resident(self, target: CudaTarget) -> int:
        """Blocks that a multiprocessor has at once."""
        return max(1, min(target.shared // (self.stages * self.stage + 1024), RESIDENT // self.threads))

    def clocks(self, pixels: int, maps: int, steps: int, groups: int, target: CudaTarget) -> float:
        """Predicted clocks of a product of ``steps`` times ``ROW`` bytes."""
        blocks = -(-pixels // self.pixels) * -(-maps // self.maps) * groups
        each = self.resident(target)
        rounds = -(-blocks // (target.processors * each))
        beside = min(each, -(-blocks // target.processors))
        products = self.pixels * self.maps * (ROW // 2) / target.products
        traffic = self.stage / target.cached
        alone = LATENCY / min(self.stages - 1, steps)  # a step that waits for what it needs
        step = max(beside * products, beside * traffic, alone)
        results = beside * self.pixels * self.maps * 2 / target.cached
        return rounds * (steps * step + LATENCY + results) + START


RESIDENT = 512
"""Threads of a multiprocessor for which there are registers."""
LATENCY, START = 700.0, 3000.0
"""Clocks from asking memory for a stage until it is there, and from a launch until its threads run."""

TILES = (
    TensorTile(128, 128, 64, 32, 3),
    TensorTile(128, 64, 64, 32, 4),
    TensorTile(64, 128, 32, 64, 4),
    TensorTile(64, 64, 32, 32, 4),
    TensorTile(64, 32, 32, 16, 4),
)


def tile_for(pixels: int, maps: int, steps: int, groups: int, target: CudaTarget) -> TensorTile:
    """The tile of the least predicted time; of equal ones the largest."""
    return min(TILES, key=lambda tile: tile.clocks(pixels, maps, steps, groups, target))
