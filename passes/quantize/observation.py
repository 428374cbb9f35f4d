"""Observation: what calibration remembers of a value, one record whatever range rule reads it later."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from graphc.ir import GraphcError

BINS = 8192
"""Most bins of a histogram: some 16 to 32 to a step of 8-bit numbers over the whole range."""

SMALLEST_EXPONENT = -120
"""Bins are at least 2**-120 wide, so that bounds of bins are normal float32 numbers."""


@dataclass
class Observation:
    """Minimum, maximum and histogram of all elements of a value seen so far.

    Bin ``i`` of ``counts`` holds elements in ``[first + i, first + i + 1) * 2**exponent``. Widths are powers of two and
    bounds multiples of the width, so that doubling the width, and joining two records, moves whole bins: nothing is
    ever spread by guess. zeros: elements that are exactly 0, which every 8-bit range represents without error (they
    are in their bin too). batches: minimum and maximum of each batch, in order.
    """

    name: str
    low: float = math.inf
    high: float = -math.inf
    exponent: int = SMALLEST_EXPONENT
    first: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    zeros: int = 0
    batches: list[tuple[float, float]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Elements seen."""
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def centres(self) -> np.ndarray:
        """The middle of each bin, float64, moved into minimum ... maximum."""
        middles = (self.first + np.arange(len(self.counts)) + 0.5) * self.width
        return np.asarray(np.clip(middles, self.low, self.high))

    def add(self, batch: np.ndarray) -> None:
        """Count the elements of a batch. Raises ``GraphcError`` for none at all, NaN and infinities."""
        if batch.size == 0:
            raise GraphcError(f"blob '{self.name}' is empty on the calibration data", "give data with elements")
        low, high = float(batch.min()), float(batch.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise GraphcError(
                f"blob '{self.name}' has NaN or infinite elements on the calibration data",
                "remove the samples that give them; graphc run --fetch shows which do",
            )
        self._include(low, high)
        places = np.floor(batch.reshape(-1) * math.ldexp(1.0, -self.exponent)).astype(np.int64) - self.first
        self.counts += np.bincount(places, minlength=len(self.counts))
        self.zeros += batch.size - int(np.count_nonzero(batch))
        self.batches.append((low, high))

    def merge(self, other: Observation) -> None:
        """Count what another record counted of the same batches: each gets the extremes of both values."""
        if not other.batches:
            return
        if not self.batches:
            self.batches = [(np.inf, -np.inf)] * len(other.batches)
        self._include(other.low, other.high, other.exponent)
        shift = self.exponent - other.exponent
        places = ((other.first + np.arange(len(other.counts))) >> shift) - self.first
        np.add.at(self.counts, places, other.counts)
        self.zeros += other.zeros
        self.batches = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(self.batches, other.batches, strict=True)]

    def _include(self, low: float, high: float, exponent: int = SMALLEST_EXPONENT) -> None:
        """Widen bins and add some at the ends: at most ``BINS``, of 2**exponent or wider, hold low ... high."""
        self.low, self.high = min(self.low, low), max(self.high, high)
        extent = max(self.high - self.low, abs(self.low) / BINS, abs(self.high) / BINS)
        fitting = math.frexp(extent / (BINS - 2))[1] if extent else SMALLEST_EXPONENT
        wanted = max(fitting, exponent, self.exponent, SMALLEST_EXPONENT)
        first, last = (math.floor(math.ldexp(x, -wanted)) for x in (self.low, self.high))
        if (wanted, first, last) == (self.exponent, self.first, self.first + len(self.counts) - 1):
            return
        counts = np.zeros(last - first + 1, np.int64)
        places = ((self.first + np.arange(len(self.counts))) >> (wanted - self.exponent)) - first
        np.add.at(counts, places, self.counts)
        self.exponent, self.first, self.counts = wanted, first, counts
