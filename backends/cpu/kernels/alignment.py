"""Long runs begin with a part of a vector, so that no other vector crosses a cache line, and none a streaming store's
bounds.
"""

from __future__ import annotations

LONG = 16
"""Vectors in a run from which on the part at its start is worth its time."""


def until_aligned(base: str, offset: str, lanes: int) -> str:
    """Source: how many floats lie between element ``offset`` of the array at ``base`` and the next whole vector."""
    return f"-({base} // 4 + {offset}) & {lanes - 1}"
