"""An operand of a product of plain matrices on its way into shared memory, for ``gemm.py``.

Its lines lie in memory along the sum, or across it: then a line has one number of each sum. Where lines are multiples
of four numbers, a thread loads four at once. Tiles in shared memory have a line for each product of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.typed import itemsize, lane, several
from graphc.backends.lines import Lines
from graphc.ir.schedule import KernelSpec

RUN = 8
"""Numbers of a line along the sum that neighbouring threads load: a sector of 32 bytes."""
PAD = 4
"""Floats behind each line in shared memory of such an operand. A warp stores four numbers of 16 sums or one of four, at
two or eight neighbouring products, so that the lines of all of them begin in different banks."""


@dataclass(frozen=True)
class Operand:
    """One of both in a tile.

    name: ``x`` or ``w``. tiles: name of its place in shared memory. width: its rows or columns. first, bound: names of
    the block's first one, and of the number of all. code: of its elements. along: its lines run along the sum. each:
    numbers that a thread loads at once.
    """

    name: str
    tiles: str
    width: int
    first: str
    bound: str
    depth: int
    threads: int
    code: str
    along: bool
    each: int

    @staticmethod
    def of_spec(spec: KernelSpec, tile: Tile) -> tuple[Operand, Operand]:
        """Both of a kernel."""

        def made(o: str, tiles: str, width: int, first: str, bound: str) -> Operand:
            how = str(spec[o]), bool(spec.int(f"{o}_along")), spec.int(f"{o}_each")
            return Operand(o, tiles, width, first, bound, tile.depth, tile.threads, *how)

        return made("x", "a", tile.maps, "m0", "rows"), made("w", "b", tile.pixels, "n0", "columns")

    @property
    def pitch(self) -> int:
        """Floats from a line in shared memory to the next one."""
        return self.width + (PAD if self.along else 0)

    @property
    def floats(self) -> int:
        """Of a tile in shared memory."""
        return self.depth * self.pitch

    @property
    def busy(self) -> str:
        """The condition that a thread has something to load, empty where all have."""
        loads = self.depth * self.width // self.each
        return f"t < {loads}" if loads < self.threads else ""

    @property
    def beside(self) -> int:
        """Neighbouring threads that load from one line."""
        return (RUN if self.along else self.width) // self.each

    @property
    def spots(self) -> list[tuple[int, int]]:
        """For each load of a thread the product, and the row or column, beside those of its first one."""
        found = []
        for start in range(0, self.depth * self.width // self.each, self.threads):
            line = start // self.beside
            found.append((line // self.width * RUN, line % self.width) if self.along else (line, 0))
        return found

    def emit_place(self, s: Lines) -> None:
        """What thread ``t`` loads of the tile of ``batch``, and where it stores it.

        Instead of rows and columns behind the last one it loads the last one: what comes of it is not stored.
        """
        o, by = self.name, self.beside
        s(f"line, part = quot(t, {by}), (t & {by - 1}) * {self.each}")
        if self.along:
            s(f"{o}_k, lane = i32(part + quot(line, {self.width}) * {RUN}), line & {self.width - 1}")
        else:
            s(f"{o}_k, lane = i32(line), part")
        s(f"{o}_to = i32({o}_k * {self.pitch} + lane)")
        s(f"{o}_base = {o} + {itemsize(self.code)} * batch * {o}_batch")
        step, last = (f" * {o}_line", 1) if self.along else ("", self.each)
        for skip in sorted({skip for _, skip in self.spots}):
            s(f"{o}_at{skip} = i32(min({self.first} + lane + {skip}, {self.bound} - {last}){step})")

    def emit_fetch(self, s: Lines, k0: str) -> None:
        """Load this thread's share of the tile that begins at product ``k0``, zero behind ``end``."""
        o = self.name
        for j, (further, skip) in enumerate(self.spots):
            names, found = self._names(j), f"{o}_found"
            s(f"k = i32({k0} + {o}_k + {further})")
            s("; ".join(f"{name} = f4(0.0)" for name in names))
            with s.block("if k < i32(end):" if not self.busy else f"if (k < i32(end)) & ({self.busy}):"):
                place = f"{o}_at{skip} + k" if self.along else f"{o}_at{skip} + k * i32({o}_line)"
                s(f"{found} = ld{several(self.code, self.each)}({o}_base, i32({place}))")
                s("; ".join(f"{name} = {lane(found, i, self.each)}" for i, name in enumerate(names)))

    def emit_keep(self, s: Lines, side: str) -> None:
        """Store what was loaded into a side of shared memory."""
        if self.busy:
            with s.block(f"if {self.busy}:"):
                self._emit_stores(s, side)
        else:
            self._emit_stores(s, side)

    def _emit_stores(self, s: Lines, side: str) -> None:
        for j, (further, skip) in enumerate(self.spots):
            names = self._names(j)
            place = f"{side} * {self.floats} + {self.name}_to + {further * self.pitch + skip}"
            if self.each > 1 and not self.along:
                s(f"sst4({self.tiles}, {place}, {', '.join(names)})")
            else:
                for i, name in enumerate(names):
                    s(f"sst({self.tiles}, {place} + {i * self.pitch}, {name})")

    def _names(self, j: int) -> list[str]:
        """The registers of a load."""
        return [f"{self.name}{j}_{i}" for i in range(self.each)]
