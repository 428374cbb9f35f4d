"""An operand of a product of plain matrices on its way into shared memory, for ``gemm.py``.

Where its lines are multiples of four numbers, a thread loads four at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.tile_share import Share
from graphc.backends.cuda.kernels.typed import itemsize, lane, several
from graphc.backends.lines import Lines
from graphc.ir.schedule import KernelSpec


@dataclass(frozen=True)
class Operand(Share):
    """``x`` or ``w`` in a tile. first, bound: names of the block's first row or column, and of the number of all. code:
    of its elements.
    """

    first: str
    bound: str
    code: str

    @staticmethod
    def of_spec(spec: KernelSpec, tile: Tile) -> tuple[Operand, Operand]:
        """Both of a kernel."""

        def made(o: str, tiles: str, width: int, first: str, bound: str) -> Operand:
            along, each = bool(spec.int(f"{o}_along")), spec.int(f"{o}_each")
            return Operand(o, tiles, width, tile.depth, tile.threads, along, each, first, bound, str(spec[o]))

        return made("x", "a", tile.maps, "m0", "rows"), made("w", "b", tile.pixels, "n0", "columns")

    def emit_place(self, s: Lines) -> None:
        """What thread ``t`` loads of the tile of ``batch``, and where it stores it.

        Instead of rows and columns behind the last one it loads the last one: what comes of it is not stored.
        """
        super().emit_place(s)
        o = self.name
        s(f"{o}_base = {o} + {itemsize(self.code)} * batch * {o}_batch")
        step, last = (f" * {o}_line", 1) if self.along else ("", self.each)
        for skip in sorted({skip for _, skip in self.spots}):
            s(f"{o}_at{skip} = i32(min({self.first} + {o}_lane + {skip}, {self.bound} - {last}){step})")

    def emit_fetch(self, s: Lines, k0: str) -> None:
        """Load this thread's share of the tile that begins at product ``k0``, zero behind ``end``."""
        o = self.name
        for j, (further, skip) in enumerate(self.spots):
            names, found = self.names(j), f"{o}_found"
            s(f"k = i32({k0} + {o}_k + {further})")
            s("; ".join(f"{name} = f4(0.0)" for name in names))
            with s.block("if k < i32(end):" if not self.busy else f"if (k < i32(end)) & ({self.busy}):"):
                place = f"{o}_at{skip} + k" if self.along else f"{o}_at{skip} + k * i32({o}_line)"
                s(f"{found} = ld{several(self.code, self.each)}({o}_base, i32({place}))")
                s("; ".join(f"{name} = {lane(found, i, self.each)}" for i, name in enumerate(names)))
