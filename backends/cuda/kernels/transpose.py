"""Copies that turn dimensions of four-byte elements, in square tiles through shared memory.

The rows of the source are read by neighbouring threads, and so are those of the result written. A tile's row in shared
memory has one element more than it needs: neighbours in a column lie in different banks.
"""

from __future__ import annotations

from math import prod

from graphc.backends.cuda.kernels import nest
from graphc.backends.cuda.rules import THREADS, Template, blocks_for
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.nest import Nest
from graphc.ir.schedule import Address, KernelSpec, Param, Task

TILE = 32
"""Rows and columns of a tile; a power of two."""
LEAST = 8
"""Elements of either dimension with which a tile is worth it."""
NAMES = ("rows", "columns", "y_row", "x_column")
"""rows: along which the source runs straight; columns: along which the result does."""
PAIR = ["y", "x"]


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``transpose{dims}``; parameters: ``NAMES``, then the nest of all other dimensions, target first."""
    s, dims, each = Lines(), spec.int("dims"), THREADS // TILE
    with s.block(f"def {spec.name}({', '.join([*NAMES, *nest.arguments(PAIR, dims)])}):"):
        s(f"tile = shared({TILE * (TILE + 1)})")
        s(f"a, b = thread() & {TILE - 1}, quot(thread(), {TILE})")
        s(f"down, across = quot(rows + {TILE - 1}, {TILE}), quot(columns + {TILE - 1}, {TILE})")
        s("i = i64(block())")
        s(f"column, i = rest(i, across) * {TILE}, quot(i, across)")
        s(f"row, i = rest(i, down) * {TILE}, quot(i, down)")
        nest.decode(s, PAIR, dims)
        for k in range(0, TILE, each):
            s(f"k = b + {k}")
            with s.block("if (row + a < rows) & (column + k < columns):"):
                s(f"sst(tile, k * {TILE + 1} + a, ld_f4(x, x_o + (column + k) * x_column + row + a))")
        s("barrier()")
        for k in range(0, TILE, each):
            s(f"k = b + {k}")
            with s.block("if (row + k < rows) & (column + a < columns):"):
                s(f"st_f4(y, y_o + (row + k) * y_row + column + a, sld(tile, a * {TILE + 1} + k))")
    return s.text()


def transposed(made: Nest, places: tuple[Address, Address]) -> Task | None:
    """The task that copies four-byte elements along a nest of target and source, which lie at ``places``; None where no
    two dimensions are turned, or they are too short for tiles.
    """
    y, x = made.strides
    last = len(made.sizes) - 1
    found = [d for d in range(last) if x[d] == 1 and made.sizes[d] >= LEAST]
    if not found or y[last] != 1 or x[last] in (0, 1) or made.sizes[last] < LEAST:
        return None
    row = found[-1]
    kept = [d for d in range(last) if d != row]
    rest = Nest.make([made.sizes[d] for d in kept], [[s[d] for d in kept] for s in made.strides])
    rest = rest if rest.sizes else Nest((1,), ((0,), (0,)))
    rows, columns = made.sizes[row], made.sizes[last]
    spec = KernelSpec.make("transpose", dims=len(rest.sizes), threads=THREADS)
    params: tuple[Param, ...] = (rows, columns, y[row], x[last], *nest.params(rest, places))
    units = blocks_for(-(-rows // TILE) * -(-columns // TILE) * nest.elements(rest), 1)
    return Task(spec, params, units, "", 0, 8 * prod(made.sizes))


TEMPLATES = (Template("transpose", emit),)
