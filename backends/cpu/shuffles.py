"""Vocabulary that moves lanes between vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir

from graphc.backends.cpu.vector import I32, VectorType, define


@cache
def namespace(lanes: int) -> dict[str, Any]:
    """``vjoin_k(a, b)`` for every k below ``lanes``: the lanes of a from number k on, then the first k of b."""
    vt = VectorType(lanes, "f32")
    return {f"vjoin_{k}": define(f"vjoin_{k}", vt, (vt, vt), _join(lanes, k)) for k in range(lanes)}


def _join(lanes: int, k: int) -> Callable[..., Any]:
    picked = ir.Constant(ir.VectorType(I32, lanes), list(range(k, k + lanes)))
    return lambda b, x, y: b.shuffle_vector(x, y, picked)
