"""Elementary functions on vectors, built from the arithmetic of vector.py."""

from __future__ import annotations

from typing import Any


def namespace(lanes: int, fma: bool) -> dict[str, Any]:
    """The names that kernel source may use beyond those of ``vector.namespace``."""
    return {}
