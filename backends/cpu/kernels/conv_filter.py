"""Gradient of the filters of a convolution: sums over all pixels of all images, of which each lane has a part.

dfilter[m, c, tap] is the sum of dY[n, m, pixel] * X[n, c, pixel + tap] over n and pixel; both lie as runs of one pitch
(``planes.py``), dY with zeros in its gaps. A register tile is some maps times some columns, which are channels with a
tap. A unit is a block of tiles, whose sums are in the thread's scratch memory while a chunk of pixels that fits the
first-level cache is used by all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from graphc.backends.cpu.kernels.conv_planes import LOAD, UNALIGNED
from graphc.backends.cpu.kernels.planes import Planes, Tap
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Param, Task

PARAMS = (
    *("dy", "x", "df"),
    *("yn", "ym", "xn", "xc"),  # strides of image and map of dY, of image and channel of X
    *("images", "part_images", "length"),  # images, and those of a part; pixels of a run
    *("groups", "maps", "columns", "channels", "taps"),  # of a group; columns: channels times taps
    *("map_blocks", "map_block", "column_blocks", "column_block"),  # blocks of tiles; tiles of a block
    *("chunk_images", "chunk", "add", "scratch", "scratch_stride"),  # add: to what the result holds
)
"""Behind them the distance of each tap. The result of a part follows that of the one before it."""
CHUNK = 768
"""Pixels that all tiles of a block use before the next are fetched."""
BLOCK = 16
"""Tiles of a block in each direction."""
UNITS = 8
"""Images are shared out among parts where there would be fewer units."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``conv_filter{maps, columns}``."""
    return _Emitter(spec, target).source()


class _Emitter:
    def __init__(self, spec: KernelSpec, target: CpuTarget) -> None:
        self.spec, self.lanes = spec, target.lanes
        self.m, self.k = spec.int("maps"), spec.int("columns")
        self.tile = self.m * self.k * target.lanes
        self.s = Lines()

    def source(self) -> str:
        """The kernel."""
        s = self.s
        with s.block(f"def {self.spec.name}(p, lo, hi, tid):"):
            for i, name in enumerate(PARAMS):
                s(f"{name} = ld(p, {i})")
            s(f"table = p + {8 * len(PARAMS)}")
            s("scratch += tid * scratch_stride")
            with s.block("for u in range(lo, hi):"):
                self._place()
                with s.block(f"for i in range(0, (m1 - m0) * (k1 - k0) * {self.tile}, {self.lanes}):"):
                    s("vstore(scratch, i, vzero())")
                with s.block("for n0 in range(image0, image1, chunk_images):"):
                    s("n1 = min(n0 + chunk_images, image1)")
                    with s.block("for q0 in range(0, length, chunk):"):
                        s("q1 = min(q0 + chunk, length)")
                        self._chunk()
                self._finish()
        return s.text()

    def _place(self) -> None:
        """From the unit: tiles of columns and of maps, group, images."""
        s = self.s
        s("k0 = u % column_blocks * column_block")
        s("t = u // column_blocks")
        s("m0 = t % map_blocks * map_block")
        s("t = t // map_blocks")
        s("g = t % groups")
        s("part = t // groups")
        s("image0 = part * part_images")
        s("image1 = min(image0 + part_images, images)")
        s(f"k1 = min(k0 + column_block, (columns + {self.k - 1}) // {self.k})")
        s(f"m1 = min(m0 + map_block, (maps + {self.m - 1}) // {self.m})")

    def _chunk(self) -> None:
        """All tiles of the block on a chunk of pixels."""
        s = self.s
        s(f"whole = q1 - (q1 - q0) % {self.lanes}")
        with s.block("for k in range(k0, k1):"):
            for j in range(self.k):
                s(f"i = min(k * {self.k} + {j}, columns - 1)")
                s("c = i // taps")
                s(f"x{j} = x + 4 * ((g * channels + c) * xc + ld(table, i - c * taps))")
            with s.block("for m in range(m0, m1):"):
                for i in range(self.m):
                    s(f"y{i} = dy + 4 * (g * maps + min(m * {self.m} + {i}, maps - 1)) * ym")
                s(f"at = ((k - k0) * (m1 - m0) + m - m0) * {self.tile}")
                for i, j in self._pairs():
                    s(f"a{i}_{j} = vload(scratch, at + {(i * self.k + j) * self.lanes})")
                with s.block("for n in range(n0, n1):"):
                    with s.block(f"for q in range(q0, whole, {self.lanes}):"):
                        self._multiply("vload({}, {})")
                    with s.block("if whole < q1:"):
                        s("q = whole")
                        s("left = q1 - whole")
                        self._multiply("vloadm({}, {}, left)")
                for i, j in self._pairs():
                    s(f"vstore(scratch, at + {(i * self.k + j) * self.lanes}, a{i}_{j})")

    def _pairs(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.m) for j in range(self.k)]

    def _multiply(self, load: str) -> None:
        s = self.s
        s("yo = n * yn + q")
        s("xo = n * xn + q")
        for i in range(self.m):
            s(f"d{i} = {load.format(f'y{i}', 'yo')}")
        for j in range(self.k):
            s(f"v = {load.format(f'x{j}', 'xo')}")
            for i in range(self.m):
                s(f"a{i}_{j} = vfma(d{i}, v, a{i}_{j})")

    def _finish(self) -> None:
        """Sum the lanes up."""
        s = self.s
        with s.block("for k in range(k0, k1):"), s.block("for m in range(m0, m1):"):
            s(f"at = ((k - k0) * (m1 - m0) + m - m0) * {self.tile}")
            s(f"to = ((part * groups + g) * maps + m * {self.m}) * columns + k * {self.k}")
            s(f"last = min({self.k}, columns - k * {self.k})")
            with s.block(f"for i in range(min({self.m}, maps - m * {self.m})):"), s.block("for j in range(last):"):
                s(f"total = vhsum(vload(scratch, at + (i * {self.k} + j) * {self.lanes}))")
                with s.block("if add != 0:"):
                    s("total += lds(df, to + i * columns + j)")
                s("sts(df, to + i * columns + j, total)")


TEMPLATE = Template("conv_filter", emit)


@cache
def make_spec(target: CpuTarget, maps: int, columns: int) -> KernelSpec:
    """The kernel for so many maps and columns of a group."""
    spare = 1 if target.fma else 2

    def cost(tile: tuple[int, int]) -> tuple[float, int]:
        m, k = tile
        loads = m + UNALIGNED * k
        cycles = max(m * k / 2, loads / 2, 4) + LOAD * loads
        return -(-maps // m) * -(-columns // k) * cycles, -m * k

    tiles = [(m, k) for m in range(1, 9) for k in range(1, 26) if m * k + m + spare <= target.registers]
    m, k = min(tiles, key=cost)
    return KernelSpec.make("conv_filter", maps=m, columns=k)


@dataclass(frozen=True)
class FilterGradient:
    """Sizes of a filter's gradient: (groups * maps, channels, taps), from images whose runs have ``length`` pixels."""

    spec: KernelSpec
    groups: int
    maps: int
    channels: int
    taps: tuple[Tap, ...]
    length: int

    @property
    def columns(self) -> int:
        """Columns of a group."""
        return self.channels * len(self.taps)

    @property
    def size(self) -> int:
        """Elements."""
        return self.groups * self.maps * self.columns

    @property
    def tiles(self) -> tuple[int, int]:
        """Tiles of a group: of maps, of columns."""
        return -(-self.maps // self.spec.int("maps")), -(-self.columns // self.spec.int("columns"))

    def parts(self, images: int) -> int:
        """Parts into which so many images are cut, each with sums of its own."""
        blocks = self.groups * math.prod(-(-n // BLOCK) for n in self.tiles)
        parts = max(1, min(-(-UNITS // blocks), images))
        return -(-images // -(-images // parts)) if parts > 1 else 1

    def scratch_bytes(self, target: CpuTarget) -> int:
        """Scratch memory of a thread: the sums of a block."""
        tile = self.spec.int("maps") * self.spec.int("columns") * target.lanes
        return 4 * tile * math.prod(min(n, BLOCK) for n in self.tiles)

    def task(
        self,
        dy: tuple[Address, Planes],
        x: tuple[Address, Planes],
        result: Address,
        images: int,
        parts: int,
        add: bool,
        lanes: int,
        label: str,
    ) -> Task:
        """The task for the first ``images`` of dY and X. result: (parts, *filter); add: to what it holds."""
        maps, columns = self.tiles
        map_blocks, column_blocks = -(-maps // BLOCK), -(-columns // BLOCK)
        y_floats, x_floats = dy[1].floats, x[1].floats
        chunk = -(-min(self.length, CHUNK) // lanes) * lanes
        params: tuple[Param, ...] = (
            *(dy[0].plus(4 * dy[1].origin), x[0].plus(4 * x[1].origin), result),
            *(self.groups * self.maps * y_floats, y_floats, self.groups * self.channels * x_floats, x_floats),
            *(images, -(-images // parts), self.length),
            *(self.groups, self.maps, self.columns, self.channels, len(self.taps)),
            *(map_blocks, -(-maps // map_blocks), column_blocks, -(-columns // column_blocks)),
            *(max(1, CHUNK // max(self.length, 1)), max(chunk, lanes), int(add)),
            *(Address("scratch"), Address("stride")),
            *(x[1].offset(tap) for tap in self.taps),
        )
        units = parts * self.groups * map_blocks * column_blocks
        nbytes = 4 * images * self.groups * (self.maps * y_floats + self.channels * x_floats) + 4 * self.size
        return Task(self.spec, params, units, label, 2 * images * self.length * self.size, nbytes)
