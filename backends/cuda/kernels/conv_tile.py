"""Tiles of the matrix product inside a convolution, and which of them serves a layer."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.target import CudaTarget


@dataclass(frozen=True)
class Tile:
    """A block of threads computes ``maps`` x ``pixels`` results, ``depth`` products at a time; a thread ``own_maps`` x
    ``own_pixels`` of them, in groups of four neighbours. rate: results of a multiprocessor in a unit of time, relative
    to the largest tile: what shared memory has to deliver for a multiply-add grows as tiles shrink."""

    maps: int
    pixels: int
    depth: int
    own_maps: int
    own_pixels: int
    rate: float = 1.0

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.maps * self.pixels // (self.own_maps * self.own_pixels)

    def static(self) -> dict[str, int]:
        """The parameters of a spec."""
        return {
            "maps": self.maps,
            "pixels": self.pixels,
            "depth": self.depth,
            "own_maps": self.own_maps,
            "own_pixels": self.own_pixels,
        }

    def time(self, maps: int, pixels: int, groups: int, target: CudaTarget) -> float:
        """Predicted time of a layer of so many products, as multiply-adds of the largest tile on one multiprocessor."""
        blocks = -(-maps // self.maps) * -(-pixels // self.pixels) * groups
        rounds = -(-blocks // target.processors)
        return rounds * self.maps * self.pixels / self.rate


TILES = (
    Tile(128, 128, 8, 8, 8, 1.0),
    Tile(64, 128, 16, 4, 8, 0.85),
    Tile(64, 64, 16, 4, 4, 0.7),
    Tile(32, 64, 16, 4, 4, 0.6),
    Tile(64, 16, 16, 4, 4, 0.4),
)


def tile_for(maps: int, pixels: int, groups: int, target: CudaTarget, others: int = 0) -> Tile:
    """The tile of the least predicted time; of equal ones the largest.

    others: values of the result's shape in the epilogue. The largest tile has registers for the places of one.
    """
    return min(TILES[others > 1 :], key=lambda tile: tile.time(maps, pixels, groups, target))


PIECES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Into how many a sum may be cut."""
STEPS = 8
"""Turns of a tile's loop that a piece has at least."""
JOIN = 500_000
"""What another launch takes, in multiply-adds of the largest tile on one multiprocessor. A guess, as is the next."""
SUM = 0.4
"""What it takes to store a sum and to load it again."""


def tile_and_pieces(maps: int, pixels: int, groups: int, depth: int, target: CudaTarget) -> tuple[Tile, int]:
    """The tile of the least predicted time for sums of ``depth`` products, and into how many pieces to cut these.

    Where a layer has fewer tiles of results than there are multiprocessors, pieces of sums keep the others busy.
    """
    cuts = [(tile, n) for tile in TILES for n in PIECES if n == 1 or depth >= n * STEPS * tile.depth]

    def time(cut: tuple[Tile, int]) -> float:
        tile, pieces = cut
        join = JOIN + SUM * pieces * maps * groups * pixels if pieces > 1 else 0
        return tile.time(maps, pixels, groups * pieces, target) * depth / pieces + join

    return min(cuts, key=time)
