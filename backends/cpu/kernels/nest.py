"""Loop nests (``backends/nest.py``) cut into units for threads.

A nest has an inner run of contiguous elements and up to five loops around it, four of them shared out as units. Its
parameters come first in a kernel's block; ``head`` writes the code that decodes a unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends import nest
from graphc.backends.lines import Lines
from graphc.ir import LoweringError
from graphc.ir.schedule import Address, Param

CHUNK = 8192
"""Elements of an inner run that one unit handles at most."""
UNIT_DIMS = 4


class Nest(nest.Nest):
    """A nest that is cut into units for threads."""

    def cut(self, straight: bool, unit: int) -> Units:
        """Units with runs along the innermost dimension, ``unit`` elements a step; of one step unless ``straight``."""
        if not straight:
            return cut(self.sizes, self.strides, unit)
        return cut(self.sizes[:-1], [s[:-1] for s in self.strides], self.sizes[-1] * unit)


@dataclass(frozen=True)
class Units:
    """A nest cut for threads: sizes of the unit dimensions, then rows and elements of a run, each with its chunk.

    strides: of every operand along the unit dimensions and the rows.
    """

    dims: tuple[int, ...]
    rows: int
    row_chunk: int
    run: int
    chunk: int
    strides: tuple[tuple[int, ...], ...]

    @property
    def count(self) -> int:
        """Number of units; none where the nest is empty."""
        return math.prod(self.dims) * -(-self.rows // self.row_chunk) * -(-self.run // self.chunk)

    def params(self, addresses: Sequence[Address]) -> tuple[Param, ...]:
        """The parameter block: sizes, then address and strides of each operand."""
        row_chunks, chunks = -(-self.rows // self.row_chunk), -(-self.run // self.chunk)
        block: list[Param] = [*self.dims[1:], row_chunks, self.rows, self.row_chunk, chunks, self.run, self.chunk]
        for address, strides in zip(addresses, self.strides):
            block += [address, *strides]
        return tuple(block)


def cut(sizes: Sequence[int], strides: Sequence[Sequence[int]], run: int, chunk: int = CHUNK) -> Units:
    """Units of the loops around an inner run of ``run`` elements, at most ``chunk`` of them in a unit.

    Short runs are taken several rows at a time. Raises ``LoweringError`` where more dimensions are left than a kernel
    has loops.
    """
    outer, steps = list(sizes), [list(s) for s in strides]
    rows, row_steps = 1, [0] * len(steps)
    if outer and (run * 4 < chunk or len(outer) > UNIT_DIMS):
        rows, row_steps = outer.pop(), [s.pop() for s in steps]
    if len(outer) > UNIT_DIMS:
        raise LoweringError(f"{len(sizes) + 1} dimensions do not merge into the loops of a kernel", "reshape first")
    pad = UNIT_DIMS - len(outer)
    full = tuple((*((0,) * pad), *s, r) for s, r in zip(steps, row_steps))
    row_chunk = max(1, min(rows, chunk // max(run, 1)))
    return Units((1,) * pad + tuple(outer), rows, row_chunk, run, max(1, min(run, chunk)), full)


HEAD = 9
"""Parameters before the operands."""
EACH = 6
"""Parameters of an operand: address, four unit strides, row stride."""


def head(s: Lines, names: Sequence[str]) -> int:
    """Code before the loop over units that reads the parameters; returns how many there are."""
    for i, size in enumerate(("d1", "d2", "d3", "row_chunks", "rows", "row_chunk", "chunks", "run", "chunk")):
        s(f"{size} = ld(p, {i})")
    for k, name in enumerate(names):
        for j, part in enumerate(("", "_0", "_1", "_2", "_3", "_r")):
            s(f"{name}{part} = ld(p, {HEAD + EACH * k + j})")
    return HEAD + EACH * len(names)


def decode(s: Lines, names: Sequence[str]) -> None:
    """Code at the start of unit ``u``: [start, stop) of the run, [top, bottom) of the rows, ``<name>_o`` offsets."""
    s("start = (u % chunks) * chunk")
    s("stop = min(run, start + chunk)")
    s("q = u // chunks")
    s("top = (q % row_chunks) * row_chunk")
    s("bottom = min(rows, top + row_chunk)")
    s("q = q // row_chunks")
    for i in (3, 2, 1):
        s(f"i{i} = q % d{i}")
        s(f"q = q // d{i}")
    for name in names:
        s(f"{name}_o = q * {name}_0 + i1 * {name}_1 + i2 * {name}_2 + i3 * {name}_3 + top * {name}_r")
