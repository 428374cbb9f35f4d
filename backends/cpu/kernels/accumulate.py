"""One vector from a stretch of memory, by accumulators enough that additions need not wait for each other."""

from __future__ import annotations

from graphc.backends.cpu.kernels.alignment import LONG, until_aligned
from graphc.backends.lines import Lines

ACCUMULATORS = 8


def start_stretch(s: Lines, start: str) -> None:
    """Give the accumulators ``a0`` to ``a7`` the vector ``start``."""
    for j in range(ACCUMULATORS):
        s(f"a{j} = {start}")


def add_stretch(s: Lines, lanes: int, combine: str, term: str, start: str, count: str) -> None:
    """Combine into the accumulators the ``term`` of each vector: the ``count`` elements of ``x`` from ``q`` on.

    combine: the word for it, such as ``vadd``. term: what is made of a vector ``{0}``. start: the neutral vector, for
    lanes outside of the stretch.
    """
    group = ACCUMULATORS * lanes
    s("skip = 0")
    with s.block(f"if {count} >= {LONG * lanes}:"):
        s(f"skip = {until_aligned('x', 'q', lanes)}")
    s(f"many = skip + ({count} - skip) // {group} * {group}")
    with s.block(f"for k in range(skip, many, {group}):"):
        for j in range(0, ACCUMULATORS, 2):
            s(f"v, w = vload(x, q + k + {j * lanes}), vload(x, q + k + {(j + 1) * lanes})")
            s(f"a{j} = {combine}({term.format('v')}, a{j})")
            s(f"a{j + 1} = {combine}({term.format('w')}, a{j + 1})")
    s(f"whole = skip + ({count} - skip) // {lanes} * {lanes}")
    with s.block(f"for k in range(many, whole, {lanes}):"):
        s("v = vload(x, q + k)")
        s(f"a0 = {combine}({term.format('v')}, a0)")
    with s.block("for end in range(2):"):
        s(f"at, left = (whole, {count} - whole) if end else (0, skip)")
        with s.block("if left > 0:"):
            s("v = vloadm(x, q + at, left)")
            s(f"a1 = {combine}(vwhere(vfirst(left), {term.format('v')}, {start}), a1)")


def join_stretch(s: Lines, combine: str) -> None:
    """All accumulators in ``a0``."""
    count = ACCUMULATORS
    while count > 1:
        count //= 2
        for j in range(count):
            s(f"a{j} = {combine}(a{j}, a{j + count})")
