"""Tensors as rows: what stands before a dimension, along it and behind it."""

from __future__ import annotations

from math import prod


def around(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """Elements before a dimension, along it and behind it; axis: below 0 from the end."""
    axis %= len(shape)
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def flattened(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    """Rows and columns of the matrix that a tensor is when it is flattened before a dimension; axis: below 0 from the
    end, or the number of dimensions.
    """
    axis = axis % len(shape) if axis < len(shape) else axis
    return prod(shape[:axis]), prod(shape[axis:])
