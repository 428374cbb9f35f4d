"""One vector from a stretch of memory: four accumulators, so that additions need not wait for each other."""

from __future__ import annotations

from graphc.backends.lines import Lines

ACCUMULATORS = 4


def start_stretch(s: Lines, start: str) -> None:
    """Give the accumulators ``a0`` to ``a3`` the vector ``start``."""
    for j in range(ACCUMULATORS):
        s(f"a{j} = {start}")


def add_stretch(s: Lines, lanes: int, combine: str, term: str, start: str, count: str) -> None:
    """Combine into the accumulators the ``term`` of each ``v``: the ``count`` elements of ``x`` from ``q`` on.

    combine: the word for it, such as ``vadd``. start: its neutral vector, for lanes behind the last element.
    """
    whole = ACCUMULATORS * lanes
    s(f"many = {count} // {whole} * {whole}")
    s(f"whole = {count} // {lanes} * {lanes}")
    with s.block(f"for k in range(0, many, {whole}):"):
        for j in range(ACCUMULATORS):
            s(f"v = vload(x, q + k + {j * lanes})")
            s(f"a{j} = {combine}(a{j}, {term})")
    with s.block(f"for k in range(many, whole, {lanes}):"):
        s("v = vload(x, q + k)")
        s(f"a0 = {combine}(a0, {term})")
    with s.block(f"if whole < {count}:"):
        s(f"v = vloadm(x, q + whole, {count} - whole)")
        s(f"a1 = {combine}(a1, vwhere(vfirst({count} - whole), {term}, {start}))")


def join_stretch(s: Lines, combine: str) -> None:
    """All accumulators in ``a0``."""
    s(f"a0 = {combine}({combine}(a0, a1), {combine}(a2, a3))")
