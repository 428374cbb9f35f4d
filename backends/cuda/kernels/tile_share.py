"""What each thread of a block brings of an operand's tile from memory into shared memory, for ``tile_sums.py``.

The operand's lines lie in memory along the sum, or across it: then a line has one number of each sum. Tiles in shared
memory have a line for each product of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.lines import Lines

RUN = 8
"""Numbers of a line along the sum that neighbouring threads load: a sector of 32 bytes."""
PAD = 4
"""Floats behind each line in shared memory of such an operand. A warp stores four numbers of 16 sums or one of four, at
two or eight neighbouring products, so that the lines of all of them begin in different banks."""


@dataclass(frozen=True)
class Share:
    """That of a thread ``t``.

    name: what the names in the source begin with. tiles: the name of the place in shared memory. width: rows or columns
    of a tile, depth: products. along: lines run along the sum. each: numbers of a line that are loaded at once, 1 or 4.
    """

    name: str
    tiles: str
    width: int
    depth: int
    threads: int
    along: bool
    each: int

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

    def names(self, j: int) -> list[str]:
        """The registers of a load."""
        return [f"{self.name}{j}_{i}" for i in range(self.each)]

    def emit_place(self, s: Lines) -> None:
        """The product ``<name>_k`` and the row or column ``<name>_lane`` of the first load."""
        o, by = self.name, self.beside
        s(f"line, part = quot(t, {by}), (t & {by - 1}) * {self.each}")
        if self.along:
            s(f"{o}_k, {o}_lane = i32(part + quot(line, {self.width}) * {RUN}), i32(line & {self.width - 1})")
        else:
            s(f"{o}_k, {o}_lane = i32(line), i32(part)")
        s(f"{o}_to = i32({o}_k * {self.pitch} + {o}_lane)")

    def emit_keep(self, s: Lines, side: str) -> None:
        """Store what was loaded into a side of shared memory."""
        if self.busy:
            with s.block(f"if {self.busy}:"):
                self._emit_stores(s, side)
        else:
            self._emit_stores(s, side)

    def _emit_stores(self, s: Lines, side: str) -> None:
        for j, (further, skip) in enumerate(self.spots):
            names = self.names(j)
            place = f"{side} * {self.floats} + {self.name}_to + {further * self.pitch + skip}"
            if self.each > 1 and not self.along:
                s(f"sst4({self.tiles}, {place}, {', '.join(names)})")
            else:
                for i, name in enumerate(names):
                    s(f"sst({self.tiles}, {place} + {i * self.pitch}, {name})")
