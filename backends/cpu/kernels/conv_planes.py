"""Convolution of images that lie as runs of pixels (``planes.py``) with filters as they are: pixels are lanes.

A register tile is some maps times some vectors of pixels. Results come in runs too, and lose their gaps on the way from
the thread's scratch memory to where they belong. It takes what changes in every call, images and filters, as it lies:
this is the kernel of training; ``conv_direct`` has filters packed in advance and writes blocked images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from graphc.backends.cpu.kernels.planes import Pair, Part, Planes
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Param, Task

PARAMS = (
    *("x", "weights", "y"),
    *("xn", "xc", "channels", "maps", "groups"),  # strides of image and channel; channels and maps of a group
    *("wg", "wm", "wc", "taps"),  # strides of the weights: group, map, channel
    *("rows", "columns", "pitch", "block", "row_blocks", "tiles"),  # of results; rows of a unit; tiles of maps
    *("yn", "yc", "yh", "yw", "flat"),  # strides of the result; flat: its rows follow each other as in the run
    *("scratch", "scratch_stride"),
)
"""Behind them of each tap: its distance in the run, and its place in the filter."""
UNALIGNED = 1.4
"""Cost of a load that may cross cache lines, by that of a broadcast."""
VECTORS = (3, 12, 30)
"""Vectors in the runs for which a tile is chosen, small and large ones: no size of an image changes the kernel."""
LOAD = 0.1
"""Cycles that a load takes from the multiply-adds beside it."""
RUN = 512
"""Pixels of a unit's results: those of a tile stay in the first-level cache."""


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``conv_planes{maps, vectors, single}``; single: filters have one tap."""
    return _Emitter(spec, target).source()


class _Emitter:
    def __init__(self, spec: KernelSpec, target: CpuTarget) -> None:
        self.spec, self.lanes = spec, target.lanes
        self.maps, self.vectors, self.single = spec.int("maps"), spec.int("vectors"), bool(spec.int("single"))
        self.s = Lines()

    def source(self) -> str:
        """The kernel."""
        s, width = self.s, self.vectors * self.lanes
        with s.block(f"def {self.spec.name}(p, lo, hi, tid):"):
            for i, name in enumerate(PARAMS):
                s(f"{name} = ld(p, {i})")
            s(f"table = p + {8 * len(PARAMS)}")
            s("scratch += tid * scratch_stride")
            with s.block("for u in range(lo, hi):"):
                self._place()
                s(f"whole = length // {width} * {width}")
                with s.block(f"for q in range(0, whole, {width}):"):
                    self._tile(self.vectors, False)
                if self.vectors > 1:
                    s(f"single = length // {self.lanes} * {self.lanes}")
                    with s.block(f"for q in range(whole, single, {self.lanes}):"):
                        self._tile(1, False)
                    s("whole = single")
                with s.block("if whole < length:"):
                    s("q = whole")
                    s("left = length - whole")
                    self._tile(1, True)
                with s.block("if flat == 0:"):
                    self._copy()
        return s.text()

    def _place(self) -> None:
        """From the unit: maps, group, rows, image."""
        s = self.s
        s("t = u // tiles")
        s(f"m0 = (u - t * tiles) * {self.maps}")
        s("g = t % groups")
        s("t = t // groups")
        s("n = t // row_blocks")
        s("row0 = (t - n * row_blocks) * block")
        s("count = min(block, rows - row0)")
        s("length = (count - 1) * pitch + columns")
        s("first = n * xn + g * channels * xc + row0 * pitch")
        s("y0 = n * yn + (g * maps + m0) * yc + row0 * yh")
        for m in range(self.maps):
            s(f"w{m} = weights + 4 * (g * wg + min(m0 + {m}, maps - 1) * wm)")
        s("to = y if flat != 0 else scratch")
        s("to0 = y0 if flat != 0 else 0")
        s("room = yc if flat != 0 else block * pitch")

    def _tile(self, vectors: int, masked: bool) -> None:
        s = self.s
        for m in range(self.maps):
            for v in range(vectors):
                s(f"a{m}_{v} = vzero()")
        with s.block("for c in range(channels):"):
            s("xo = first + c * xc + q")
            s("wo = c * wc")
            if self.single:
                self._multiply(vectors, masked, "xo + ld(table, 0)", "wo + ld(table, 1)")
            else:
                with s.block("for k in range(taps):"):
                    self._multiply(vectors, masked, "xo + ld(table, 2 * k)", "wo + ld(table, 2 * k + 1)")
        for m in range(self.maps):
            with s.block(f"if m0 + {m} < maps:"):
                for v in range(vectors):
                    at = f"to0 + {m} * room + q + {v * self.lanes}"
                    s(f"vstorem(to, {at}, left, a{m}_{v})" if masked else f"vstore(to, {at}, a{m}_{v})")

    def _multiply(self, vectors: int, masked: bool, x: str, w: str) -> None:
        s = self.s
        s(f"i = {x}")
        s(f"j = {w}")
        for v in range(vectors):
            s(f"x{v} = vloadm(x, i, left)" if masked else f"x{v} = vload(x, i + {v * self.lanes})")
        for m in range(self.maps):
            s(f"f = vbcast(w{m}, j)")
            for v in range(vectors):
                s(f"a{m}_{v} = vfma(f, x{v}, a{m}_{v})")

    def _copy(self) -> None:
        """Rows of the run to where they belong."""
        s, lanes = self.s, self.lanes
        with s.block(f"for m in range(min({self.maps}, maps - m0)):"), s.block("for r in range(count):"):
            s("i = m * room + r * pitch")
            s("j = y0 + m * yc + r * yh")
            with s.block("if yw == 1:"):
                s(f"e = columns - columns % {lanes}")
                with s.block(f"for k in range(0, e, {lanes}):"):
                    s("vstore(y, j + k, vload(scratch, i + k))")
                with s.block("if e < columns:"):
                    s("vstorem(y, j + e, columns - e, vloadm(scratch, i + e, columns - e))")
            with s.block("else:"), s.block("for k in range(columns):"):
                s("sts(y, j + k * yw, lds(scratch, i + k))")


TEMPLATE = Template("conv_planes", emit)


@cache
def make_spec(target: CpuTarget, maps: int, single: bool) -> KernelSpec:
    """The kernel for so many maps of a group."""
    spare = 2 if target.fma else 3

    def cost(tile: tuple[int, int]) -> tuple[float, int]:
        m, v = tile
        cycles = sum((n // v * _cycles(m, v) + n % v * _cycles(m, 1)) / n for n in VECTORS)
        return -(-maps // m) * cycles, -m * v

    tiles = [(m, v) for m in range(1, 13) for v in range(1, 13) if m * v + v + spare <= target.registers]
    m, v = min(tiles, key=cost)
    return KernelSpec.make("conv_planes", maps=m, vectors=v, single=int(single))


def _cycles(maps: int, vectors: int) -> float:
    """Those of a step of a tile: two multiply-adds a cycle, loads beside them, four cycles until a sum can go on."""
    loads = maps + UNALIGNED * vectors
    return max(maps * vectors / 2, loads / 2, 4) + LOAD * loads


@dataclass(frozen=True)
class Filters:
    """Weights of a convolution: strides of group, map, channel; channels and maps of a group."""

    address: Address
    strides: tuple[int, int, int]
    groups: int
    channels: int
    maps: int


def unit_rows(planes: Planes, part: Part) -> int:
    """Rows of results of a unit."""
    return max(1, min(part.size[0], RUN // max(planes.pitch, 1)))


def scratch_bytes(spec: KernelSpec, planes: Planes, part: Part) -> int:
    """Scratch memory of a thread: the run of a tile of maps."""
    return 4 * spec.int("maps") * (unit_rows(planes, part) * planes.pitch)


def make_task(
    spec: KernelSpec,
    planes: Planes,
    part: Part,
    x: Address,
    filters: Filters,
    y: Address,
    size: Pair,
    images: int,
    label: str,
) -> Task:
    """The task of one part of the results. x: runs of the images; y: the dense results, images of a size."""
    f, (rows, columns), yh = filters, part.size, size[1]
    yc = size[0] * yh
    yn = f.groups * f.maps * yc
    start = part.start[0] * yh + part.start[1]
    flat = part.spread == (1, 1) and planes.pitch == columns == yh
    block = unit_rows(planes, part)
    row_blocks, tiles = -(-rows // block), -(-f.maps // spec.int("maps"))
    table: Sequence[int] = [n for tap in part.taps for n in (planes.offset(tap), tap.index)]
    params: tuple[Param, ...] = (
        *(x.plus(4 * planes.origin), f.address, y.plus(4 * start)),
        *(f.groups * f.channels * planes.floats, planes.floats, f.channels, f.maps, f.groups),
        *(*f.strides, len(part.taps), rows, columns, planes.pitch, block, row_blocks, tiles),
        *(yn, yc, yh * part.spread[0], part.spread[1], int(flat), Address("scratch"), Address("stride")),
        *table,
    )
    units = images * row_blocks * f.groups * tiles
    count = images * rows * columns * f.groups * f.maps
    nbytes = 4 * (count + images * f.groups * f.channels * planes.floats)
    return Task(spec, params, units, label, 2 * count * f.channels * len(part.taps), nbytes)
