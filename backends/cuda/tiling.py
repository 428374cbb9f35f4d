"""Tilings: which tile of a matrix product serves an operator, and into how many parts its sums are cut.

How a family of kernels takes part, as ``kernels/conv_tile.py`` and ``kernels/tensor_tile.py`` do:

- Its tiles are a frozen dataclass with ``clocks(problem, parts, target)``, a model of the card, and a text form that no
  other family has: ``tensor 128x64/64x32, 4 stages``. Families that serve the same problem count in the same unit.
- Its function ``candidates(problem, target)`` lists every ``Tiling`` that its kernels are right for, none where they do
  not serve the problem. What a tile takes (shared memory, registers) is known from its sizes, so nothing is listed that
  cannot run.
- ``kernels/tilings.py`` lists these functions. The default is the candidate with the least ``clocks``; a table of what
  was measured (``tuning.py``) names another.
- A rule makes a ``Problem`` of its call and asks ``tilings.decide(problem, target)``. It applies where the tile is one
  of its family. In ``needs`` and ``bind``, where sizes may be others, it asks ``tilings.parts_for(tile, ...)``.
- ``kernels/problems.py`` lists, by the name of the rule, the function that makes the ``Problem``: what can be tuned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Protocol

from graphc.backends.cuda.target import CudaTarget

Pair = tuple[int, int]


@dataclass(frozen=True)
class Problem:
    """A product C[pixel, map] = sum over k of X[pixel, k] * W[map, k], X gathered under a window: what a tiling is
    chosen for. Operators with equal problems have the same tiling. Its text is the key of a table of tilings.

    op: conv, fc, conv_transpose; matmul_nn, _nt, _tn, _tt (t: an operand is transposed) on tensor cores; gemm_nn and so
    on by FFMA, where columns of the result are the pixels because they are neighbours in memory. kind: elements
    multiplied: f4, f2, bf, u1, tf. y: elements of the result. pixels: of all images. maps, channels: of a group.
    blocks: channels of a block of input and result. others: values of the result's shape that the epilogue reads.
    cuts: there are kernels for parts of its sums.
    """

    op: str
    kind: str
    y: str
    pixels: int
    maps: int
    channels: int
    groups: int = 1
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    blocks: Pair = (1, 1)
    others: int = 0
    cuts: bool = False

    @property
    def depth(self) -> int:
        """Products of a sum."""
        return self.channels * self.kernel[0] * self.kernel[1]

    @property
    def products(self) -> int:
        """Multiply-adds in all."""
        return self.pixels * self.maps * self.depth * self.groups

    def __str__(self) -> str:
        return f"{self.op} " + " ".join(f"{f.name}={_text(getattr(self, f.name))}" for f in fields(self)[1:])

    @staticmethod
    def parse(text: str) -> Problem:
        """Inverse of ``str``; raises ``ValueError``."""
        op, *rest = text.split(" ")
        pairs = dict(part.split("=") for part in rest)
        problem = Problem(op, **{name: _value(name, value) for name, value in pairs.items()})  # type: ignore[arg-type]
        if str(problem) != text:
            raise ValueError(f"'{text}' is no problem of a tiling")
        return problem


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


def _value(name: str, text: str) -> object:
    """The value of a field."""
    if name in ("kind", "y"):
        return text
    if name == "cuts":
        return bool(int(text))
    if name in ("kernel", "stride", "blocks"):
        if not re.fullmatch(r"\d{1,9}x\d{1,9}", text):
            raise ValueError(f"{name}={text} is no pair of numbers")
        return tuple(map(int, text.split("x")))
    if not re.fullmatch(r"\d{1,18}", text):
        raise ValueError(f"{name}={text} is no size")
    return int(text)


class Tile(Protocol):
    """The part of a result that a block of threads computes, and how. Equal tiles are one; its text names it."""

    def clocks(self, problem: Problem, parts: int, target: CudaTarget) -> float:
        """Predicted time of a problem whose sums are cut into so many parts."""


@dataclass(frozen=True)
class Tiling:
    """A tile, and into how many parts sums are cut. Text: ``tensor 128x64/64x32, 4 stages, in 2``."""

    tile: Tile
    parts: int = 1

    def clocks(self, problem: Problem, target: CudaTarget) -> float:
        """Predicted time."""
        return self.tile.clocks(problem, self.parts, target)

    def __str__(self) -> str:
        return f"{self.tile}, in {self.parts}"
