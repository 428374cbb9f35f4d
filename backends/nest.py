"""Loop nests over strided operands: dimensions merged where all operands allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

N = TypeVar("N", bound="Nest")


@dataclass(frozen=True)
class Nest:
    """Sizes of the dimensions, outermost first, and for each operand its strides in elements."""

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @classmethod
    def make(cls: type[N], sizes: Sequence[int], strides: Sequence[Sequence[int]]) -> N:
        """A nest with dimensions of size 1 dropped and neighbours merged where every operand runs straight through."""
        kept = [i for i, n in enumerate(sizes) if n != 1]
        out_sizes: list[int] = []
        out_strides: list[list[int]] = [[] for _ in strides]
        for i in reversed(kept):
            mine = [s[i] for s in strides]
            if out_sizes and all(m == o[0] * out_sizes[0] for m, o in zip(mine, out_strides)):
                out_sizes[0] *= sizes[i]
                continue
            out_sizes.insert(0, sizes[i])
            for o, m in zip(out_strides, mine):
                o.insert(0, m)
        return cls(tuple(out_sizes), tuple(map(tuple, out_strides)))

    def with_a_dimension(self: N) -> N:
        """The same; where it has no dimension, that of a single element, with one."""
        return self if self.sizes else type(self)((1,), ((1,),) * len(self.strides))

    @property
    def inner(self) -> tuple[int, ...]:
        """Stride of the innermost dimension for every operand; 0 where there is none."""
        return tuple(s[-1] if s else 0 for s in self.strides)
