"""Tiles of products on tensor cores by ``mma``, and a model of their time in clocks (``tiling.py``).

A block of threads computes a tile of the result; per step each of its pixels and maps takes ``ROW`` bytes of shared
memory, in a ring of ``stages``. Long sums of few results are cut into parts, added up by another launch.

The model: a multiprocessor has as many blocks at once as fit, and all blocks of the launch take their turns in rounds.
Of a step of a round whichever is slowest counts: the products, what the second-level cache delivers, or how long a
stage takes to come where nothing else runs beside. On top come filling the ring, writing the results, and launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tiling import Problem, Tiling

PIECE, PIECES = 16, 4
"""Bytes of a piece; pieces of a step."""
ROW = PIECE * PIECES
"""Bytes of a pixel or map that a step multiplies."""
ITEMSIZES = {"f2": 2, "bf": 2, "u1": 1, "tf": 4}
"""Bytes of an element of X, by its kind; tf: float32 that is multiplied as TF32."""
BESIDE = {"tf": 2}
"""Pieces of a block of channels, where it is not one: they lie behind one another, and a tap has whole blocks."""
STATIC_SHARED = 48 << 10
"""Bytes of shared memory that a kernel can declare; more have to be asked for at the launch."""


@dataclass(frozen=True)
class TensorTile:
    """``pixels`` x ``maps`` results a block, ``warp_pixels`` x ``warp_maps`` of them a warp."""

    pixels: int
    maps: int
    warp_pixels: int
    warp_maps: int
    stages: int

    by: ClassVar[str] = "mma"
    """The instruction, in specs."""
    together: ClassVar[int] = 1
    """Steps from barrier to barrier; stages are a multiple, and sums are filled up to one."""

    @property
    def threads(self) -> int:
        """Of a block."""
        return 32 * (self.pixels // self.warp_pixels) * (self.maps // self.warp_maps)

    @property
    def stage(self) -> int:
        """Bytes of a stage of the ring."""
        return (self.pixels + self.maps) * ROW

    @property
    def ring(self) -> int:
        """Bytes of shared memory of a block."""
        return self.stages * self.stage

    @property
    def ahead(self) -> int:
        """Steps by which copies run ahead of the products."""
        return self.stages - 1

    def steps(self, steps: int, parts: int = 1) -> int:
        """Steps of each of some parts of a sum."""
        turns = -(-steps // self.together)
        return -(-turns // parts) * self.together

    @property
    def sums(self) -> list[str]:
        """The names of a thread's sums, four for each product of matrices of 16 x 8 of a warp: two neighbouring maps of
        a pixel, and of the one eight further."""
        numbers = (range(self.warp_pixels // 16), range(self.warp_maps // 8), range(4))
        return [f"c{i}_{j}_{k}" for i, j, k in product(*numbers)]

    def rate(self, target: CudaTarget) -> float:
        """Multiply-adds of halves that a multiprocessor does in a clock."""
        return target.products

    def static(self) -> dict[str, int | str]:
        """The parameters of a spec; shared: bytes of dynamic shared memory."""
        return {
            "by": self.by,
            "shared": self.ring if self.ring > STATIC_SHARED else 0,
            "pixels": self.pixels,
            "maps": self.maps,
            "warp_pixels": self.warp_pixels,
            "warp_maps": self.warp_maps,
            "stages": self.stages,
        }

    def __str__(self) -> str:
        return f"tensor {self.pixels}x{self.maps}/{self.warp_pixels}x{self.warp_maps}, {self.stages} stages"

    def resident(self, target: CudaTarget) -> int:
        """Blocks that a multiprocessor has at once."""
        return max(1, min(target.shared // (self.ring + 1024), RESIDENT // self.threads))

    def clocks(self, problem: Problem, parts: int, target: CudaTarget) -> float:
        """Predicted clocks of a product cut into so many parts."""
        size = size_of(problem)
        blocks = -(-size.pixels // self.pixels) * -(-size.maps // self.maps) * size.groups * parts
        each, steps = self.resident(target), self.steps(size.steps, parts)
        rounds = -(-blocks // (target.processors * each))
        beside = min(each, -(-blocks // target.processors))
        products = beside * self.pixels * self.maps * (ROW // 2) / self.rate(target)
        traffic = beside * self.stage / target.cached
        step = max(products, traffic, LATENCY / self.ahead)
        results = beside * self.pixels * self.maps * 2 / target.cached
        made = rounds * (steps * step + LATENCY + results) + START
        if parts == 1:
            return made
        sums = size.pixels * size.maps * size.groups * 4 * (1 + parts) / (target.processors * target.cached)
        return made + sums + 2 * LATENCY + START


@dataclass(frozen=True)
class Size:
    """Of a product: pixels, maps of a group, steps, groups."""

    pixels: int
    maps: int
    steps: int
    groups: int


def pieces_of(kind: str, channels: int) -> int:
    """Pieces of so many channels of a kind."""
    beside = BESIDE.get(kind, 1)
    return -(-channels * ITEMSIZES[kind] // (PIECE * beside)) * beside


def size_of(problem: Problem) -> Size:
    """That of a problem: the channels of a tap are filled up to whole pieces."""
    pieces = pieces_of(problem.kind, problem.channels) * problem.kernel[0] * problem.kernel[1]
    return Size(problem.pixels, problem.maps, -(-pieces // PIECES), problem.groups)


RESIDENT = 512
"""Threads of a multiprocessor for which there are registers."""
LATENCY, START = 700.0, 3000.0
"""Clocks from asking memory for a stage until it is there, and from a launch until its threads run."""

PARTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
TILES = (
    TensorTile(128, 128, 64, 32, 3),
    TensorTile(128, 64, 64, 32, 4),
    TensorTile(64, 128, 32, 64, 4),
    TensorTile(64, 64, 32, 32, 6),
    TensorTile(64, 64, 32, 32, 4),
    TensorTile(64, 32, 32, 16, 8),
    TensorTile(64, 32, 32, 16, 5),
    TensorTile(32, 64, 16, 32, 8),
    TensorTile(32, 32, 16, 16, 8),
)
"""Their rings take at most what shared memory a block can have."""


def candidates(problem: Problem, target: CudaTarget) -> list[Tiling]:
    """Every tile, with every number of parts; of equal ones larger tiles and fewer parts come first."""
    return tilings_of(TILES, problem)


def tilings_of(tiles: Sequence[TensorTile], problem: Problem) -> list[Tiling]:
    """Tiles of products on tensor cores, with every number of parts; none for kinds that they do not multiply."""
    if problem.kind not in ITEMSIZES:
        return []
    return [Tiling(tile, parts) for tile in tiles for parts in (PARTS if problem.cuts else PARTS[:1])]
