"""Plain images as one-dimensional runs of pixels, in which all elements of a window lie at fixed distances.

An image whose rows are ``pitch`` floats apart, with zeros between them, is one long row: a window that moves by one
pixel meets its element ``offset`` pixels behind the result's pixel, and a row's end runs on into zeros. Windows that
move by more see one image for each phase of their steps. Where an image does not lie like that already, it is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir.ops._window import Window
from graphc.ir.schedule import Address, KernelSpec, Param, Task

Pair = tuple[int, int]
"""Rows and columns."""


@dataclass(frozen=True)
class Tap:
    """An element of a window. index: its number in the filter; at: its distance from the result's pixel, in pixels of
    the image of its phase."""

    index: int
    phase: Pair
    at: Pair


@dataclass(frozen=True)
class Part:
    """Results that are ``spread`` pixels apart, from ``start`` on: size of them, and the taps that they have."""

    start: Pair
    spread: Pair
    size: Pair
    taps: tuple[Tap, ...]


def gather(w: Window) -> tuple[Tap, ...]:
    """The taps of a convolution: result r reads pixel r * stride + tap * dilation - head."""
    rows, columns = ([divmod(t * w.dilation[i] - w.heads[i], w.stride[i]) for t in range(w.kernel[i])] for i in (0, 1))
    return tuple(
        Tap(i * w.kernel[1] + j, (row_phase, column_phase), (row, column))
        for (i, (row, row_phase)), (j, (column, column_phase)) in product(enumerate(rows), enumerate(columns))
    )


def scatter(w: Window, image: Pair) -> tuple[Part, ...]:
    """The image of a convolution from its results: pixels with equal remainder by the stride have taps in common."""
    return tuple(
        Part(
            (row, column),
            (w.stride[0], w.stride[1]),
            (-(-(image[0] - row) // w.stride[0]), -(-(image[1] - column) // w.stride[1])),
            tuple(
                Tap(i * w.kernel[1] + j, (0, 0), (at, to))
                for (i, at), (j, to) in product(_meeting(w, 0, row), _meeting(w, 1, column))
            ),
        )
        for row, column in product(*(range(min(s, n)) for s, n in zip(w.stride, image)))
    )


def _meeting(w: Window, i: int, pixel: int) -> list[Pair]:
    """In direction ``i``, the taps by which a pixel meets results, with the result that it meets."""
    ends = ((t, pixel + w.heads[i] - t * w.dilation[i]) for t in range(w.kernel[i]))
    return [(t, end // w.stride[i]) for t, end in ends if end % w.stride[i] == 0]


@dataclass(frozen=True)
class Planes:
    """Images as runs. image: their size; stride: between the pixels of a phase; phases: those that are used.

    before: zero rows, and zeros in front of the first row; rows: all rows of a phase; pitch: floats from row to row.
    """

    image: Pair
    stride: Pair
    phases: tuple[Pair, ...]
    before: Pair
    rows: int
    pitch: int

    @staticmethod
    def of(image: Pair, stride: Pair, parts: Sequence[tuple[Pair, Sequence[Tap]]], pitch: int = 0) -> Planes:
        """What results of some sizes with their taps read; rows are ``pitch`` floats apart, or more."""
        phases = tuple(sorted({tap.phase for _, taps in parts for tap in taps})) or ((0, 0),)
        size = [-(-(n - min(p)) // s) for n, s, p in zip(image, stride, zip(*phases))]
        before, after = [0, 0], [0, 0]
        for results, taps in parts:
            for i, tap in product(range(2), taps):
                before[i] = max(before[i], -tap.at[i])
                after[i] = max(after[i], results[i] + tap.at[i] - size[i])
        width = max(size[1] + max(before[1], after[1]), *(results[1] for results, _ in parts), pitch)
        return Planes(image, stride, phases, (before[0], before[1]), before[0] + size[0] + after[0], width)

    @property
    def as_given(self) -> bool:
        """Dense images lie like that."""
        return self.stride == (1, 1) and self.before == (0, 0) and (self.rows, self.pitch) == self.image

    @property
    def phase_floats(self) -> int:
        """Floats of the run of a phase, to whole cache lines where it is a copy."""
        floats = self.before[1] + self.rows * self.pitch
        return floats if self.as_given else -(-floats // 16) * 16

    @property
    def floats(self) -> int:
        """Floats of an image of one channel."""
        return len(self.phases) * self.phase_floats

    @property
    def origin(self) -> int:
        """Where the first pixel of the first phase lies."""
        return self.before[0] * self.pitch + self.before[1]

    def offset(self, tap: Tap) -> int:
        """Distance of a tap from ``origin`` and the result's pixel."""
        return self.phases.index(tap.phase) * self.phase_floats + tap.at[0] * self.pitch + tap.at[1]

    def length(self, size: Pair) -> int:
        """Pixels of the run from the first to the last result."""
        return (size[0] - 1) * self.pitch + size[1] if size[0] else 0


PARAMS = ("x", "y", "plane", "row", "step", "phases", "phase_floats", "lead", "top", "rows", "pitch", "zero")
"""x: dense images of one channel, ``plane`` floats each, rows and pixels of a phase ``row`` and ``step`` apart; zero: a
number that the compiler does not know. Of each phase: its first pixel, and its rows and columns."""
SPEC = KernelSpec.make("planes")


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``planes``: a unit is an image of one channel."""
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        s(f"zeros = vbcast(p, {2 * PARAMS.index('zero')})")
        with s.block("for u in range(lo, hi):"), s.block("for f in range(phases):"):
            s(f"first = u * plane + ld(p, {len(PARAMS)} + 3 * f)")
            s(f"h = ld(p, {len(PARAMS) + 1} + 3 * f)")
            s(f"w = ld(p, {len(PARAMS) + 2} + 3 * f)")
            s("to = (u * phases + f) * phase_floats")
            _zero(s, lanes, "to", "lead + top * pitch")
            s("to += lead + top * pitch")
            with s.block("for i in range(h):"):
                s("source = first + i * row")
                _copy(s, lanes)
                _zero(s, lanes, "to + w", "pitch - w")
                s("to += pitch")
            _zero(s, lanes, "to", "(rows - top - h) * pitch")
    return s.text()


def _zero(s: Lines, lanes: int, start: str, count: str) -> None:
    s(f"n = {count}")
    with s.block(f"for j in range(0, n, {lanes}):"):
        s(f"vstorem(y, {start} + j, n - j, zeros)")


def _copy(s: Lines, lanes: int) -> None:
    with s.block("if step == 1:"):
        s(f"whole = w - w % {lanes}")
        with s.block(f"for j in range(0, whole, {lanes}):"):
            s("vstore(y, to + j, vload(x, source + j))")
        with s.block("if whole < w:"):
            s("vstorem(y, to + whole, w - whole, vloadm(x, source + whole, w - whole))")
    with s.block("else:"), s.block("for j in range(w):"):
        s("sts(y, to + j, lds(x, source + j * step))")


TEMPLATE = Template("planes", emit)


def planes_task(planes: Planes, x: Address, y: Address, count: int, label: str) -> Task:
    """The task that copies ``count`` dense images of one channel."""
    (h, w), (sh, sw) = planes.image, planes.stride
    table = [v for a, b in planes.phases for v in (a * w + b, -(-(h - a) // sh), -(-(w - b) // sw))]
    params: tuple[Param, ...] = (
        *(x, y, h * w, sh * w, sw, len(planes.phases), planes.phase_floats, planes.before[1], planes.before[0]),
        *(planes.rows, planes.pitch, 0, *table),
    )
    return Task(SPEC, params, count, f"{label} with zeros", 0, 4 * count * (h * w + planes.floats))
