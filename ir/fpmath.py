"""Floating-point math mode: products of float32 whose operands a card rounds to TF32, where a user asks for it.

A node with the attribute ``fpmath`` multiplies so (oneDNN's name for it); operands 0 and 1 are float32. TF32 is float32
with 10 bits of the significand instead of 23: the operands are rounded to the nearest such number, of two equally near
ones to the one further from 0 (PTX: ``cvt.rna.tf32.f32``); products are exact, sums float32. Values stay float32
everywhere else.
"""

from __future__ import annotations

import numpy as np

from graphc.ir.graph import Node

FPMATH = "fpmath"
"""The attribute."""
TF32 = "tf32"
"""The only mode that is asked for."""
OPERATORS = ("Conv", "Conv2D", "FC", "FCTransposed", "MatMul", "BatchMatMul")
"""Operators that multiply operand 0 with operand 1."""
_DROPPED = 13
"""Bits of float32 that TF32 does not have."""


def is_tf32(node: Node) -> bool:
    """The node multiplies in TF32; raises ``ValueError`` for another mode, and for an operator that has none."""
    given = node.attrs.get(FPMATH)
    if given is None:
        return False
    if given != TF32.encode():
        raise ValueError(f"the attribute {FPMATH} is {given!r}, not {TF32}")
    if node.op not in OPERATORS:
        raise ValueError(f"it cannot multiply in {TF32}")
    return True


def to_tf32(array: np.ndarray) -> np.ndarray:
    """float32 numbers rounded to TF32, as float32; what is too large becomes infinite.

    NaN becomes one that has all its bits in TF32: without the others some would be infinite.
    """
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    half, kept = np.uint32(1 << _DROPPED - 1), np.uint32(0xFFFFFFFF << _DROPPED & 0xFFFFFFFF)
    rounded = ((bits + half) & kept).view(np.float32)
    numbers: np.ndarray = np.where(np.isnan(array), np.float32(np.nan), rounded)
    return numbers.reshape(array.shape)
