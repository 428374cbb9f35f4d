"""Tiles of float32 products by FFMA (``conv.py``), and a model of their time (``tiling.py`` says what both are for)."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tiling import Problem, Tiling


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
    rate: float = field(default=1.0, compare=False)

    def __str__(self) -> str:
        return f"float {self.maps}x{self.pixels}x{self.depth}/{self.own_maps}x{self.own_pixels}"

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

    def clocks(self, problem: Problem, parts: int, target: CudaTarget) -> float:
        """Predicted time, as multiply-adds of the largest tile on one multiprocessor."""
        blocks = -(-problem.maps // self.maps) * -(-problem.pixels // self.pixels) * problem.groups * parts
        rounds = -(-blocks // target.processors)
        join = JOIN + SUM * parts * problem.maps * problem.groups * problem.pixels if parts > 1 else 0
        return rounds * self.maps * self.pixels / self.rate * problem.depth / parts + join


TILES = (
    Tile(128, 128, 8, 8, 8, 1.0),
    Tile(64, 128, 16, 4, 8, 0.85),
    Tile(128, 64, 8, 8, 4, 0.85),
    Tile(64, 64, 16, 4, 4, 0.7),
    Tile(32, 64, 16, 4, 4, 0.6),
    Tile(64, 32, 16, 4, 4, 0.65),
    Tile(32, 32, 16, 4, 4, 0.35),
    Tile(64, 16, 16, 4, 4, 0.4),
)
FIRST = TILES[0]
"""The largest one; it has registers for the places of one value of the result's shape in the epilogue."""
PIECES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Into how many a sum may be cut."""
STEPS = 8
"""Turns of a tile's loop that a piece has at least."""
JOIN = 500_000
"""What another launch takes, in multiply-adds of the largest tile on one multiprocessor. A guess, as is the next."""
SUM = 0.4
"""What it takes to store a sum and to load it again."""


def candidates(problem: Problem, target: CudaTarget) -> list[Tiling]:
    """Every tile, with every number of parts that have some turns each; of equal ones larger tiles come first.

    A kernel for parts has no epilogue, which the launch that adds them up computes.
    """
    if problem.kind != "f4":
        return []
    whole = [Tiling(tile) for tile in TILES if problem.others <= 1 or tile != FIRST]
    cuts = [n for n in PIECES if n > 1] if problem.cuts else []
    return whole + [Tiling(t, n) for t in TILES for n in cuts if problem.depth >= n * STEPS * t.depth]
