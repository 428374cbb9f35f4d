"""Matrix products for loops, on parts of arrays of any rank: element ``i`` of an array is ``x.flat[i]``."""

from __future__ import annotations

import numpy as np

ROWS = 64
"""Rows of the second factor that are used together: with ``COLUMNS`` of each they stay in the second-level cache."""
COLUMNS = 512


def add_product(
    a: np.ndarray,
    a_at: int,
    a_row: int,
    a_column: int,
    b: np.ndarray,
    b_at: int,
    b_row: int,
    c: np.ndarray,
    c_at: int,
    c_row: int,
    m: int,
    k: int,
    n: int,
) -> None:
    """C += A * B: C is m by n, A m by k, B k by n.

    ``*_at`` is where a matrix begins, ``*_row`` the distance of its rows. The columns of B and C lie side by side,
    those of A ``a_column`` apart, so that A may be used transposed.
    """
    for j in range(0, n, COLUMNS):
        width = min(COLUMNS, n - j)
        for p in range(0, k, ROWS):
            depth = min(ROWS, k - p)
            i = 0
            while i + 4 <= m:
                _add_four(
                    a, a_at + i * a_row + p * a_column, a_row, a_column, b, b_at + p * b_row + j, b_row,
                    c, c_at + i * c_row + j, c_row, depth, width,
                )  # fmt: skip
                i += 4
            while i < m:
                _add_rows(
                    a, a_at + i * a_row + p * a_column, a_column, b, b_at + p * b_row + j, b_row,
                    c, c_at + i * c_row + j, depth, width,
                )  # fmt: skip
                i += 1


def _add_four(
    a: np.ndarray,
    a_at: int,
    a_row: int,
    step: int,
    b: np.ndarray,
    b_at: int,
    b_row: int,
    c: np.ndarray,
    c_at: int,
    c_row: int,
    k: int,
    n: int,
) -> None:
    """As ``_add_rows`` for four rows of C, which share the elements of B."""
    p = 0
    while p + 4 <= k:
        q, r = a_at + p * step, b_at + p * b_row
        a00, a01, a02, a03 = a.flat[q], a.flat[q + step], a.flat[q + 2 * step], a.flat[q + 3 * step]
        q += a_row
        a10, a11, a12, a13 = a.flat[q], a.flat[q + step], a.flat[q + 2 * step], a.flat[q + 3 * step]
        q += a_row
        a20, a21, a22, a23 = a.flat[q], a.flat[q + step], a.flat[q + 2 * step], a.flat[q + 3 * step]
        q += a_row
        a30, a31, a32, a33 = a.flat[q], a.flat[q + step], a.flat[q + 2 * step], a.flat[q + 3 * step]
        r1, r2, r3 = r + b_row, r + 2 * b_row, r + 3 * b_row
        c1, c2, c3 = c_at + c_row, c_at + 2 * c_row, c_at + 3 * c_row
        for j in range(n):
            b0, b1, b2, b3 = b.flat[r + j], b.flat[r1 + j], b.flat[r2 + j], b.flat[r3 + j]
            c.flat[c_at + j] += a00 * b0 + a01 * b1 + (a02 * b2 + a03 * b3)
            c.flat[c1 + j] += a10 * b0 + a11 * b1 + (a12 * b2 + a13 * b3)
            c.flat[c2 + j] += a20 * b0 + a21 * b1 + (a22 * b2 + a23 * b3)
            c.flat[c3 + j] += a30 * b0 + a31 * b1 + (a32 * b2 + a33 * b3)
        p += 4
    while p < k:
        q, r = a_at + p * step, b_at + p * b_row
        for t in range(4):
            add_scaled(a.flat[q + t * a_row], b, r, c, c_at + t * c_row, n)
        p += 1


def _add_rows(
    a: np.ndarray,
    a_at: int,
    step: int,
    b: np.ndarray,
    b_at: int,
    b_row: int,
    c: np.ndarray,
    c_at: int,
    k: int,
    n: int,
) -> None:
    """n elements of c from ``c_at`` on += sum over k of an element of a times a row of b; four rows at a time."""
    p = 0
    while p + 4 <= k:
        q, r = a_at + p * step, b_at + p * b_row
        a0, a1, a2, a3 = a.flat[q], a.flat[q + step], a.flat[q + 2 * step], a.flat[q + 3 * step]
        r1, r2, r3 = r + b_row, r + 2 * b_row, r + 3 * b_row
        for j in range(n):
            c.flat[c_at + j] += a0 * b.flat[r + j] + a1 * b.flat[r1 + j] + (a2 * b.flat[r2 + j] + a3 * b.flat[r3 + j])
        p += 4
    while p < k:
        add_scaled(a.flat[a_at + p * step], b, b_at + p * b_row, c, c_at, n)
        p += 1


def add_scaled(factor: float, b: np.ndarray, b_at: int, c: np.ndarray, c_at: int, n: int) -> None:
    """n elements of c from ``c_at`` on += factor times those of b from ``b_at`` on."""
    for j in range(n):
        c.flat[c_at + j] += factor * b.flat[b_at + j]


def dot(a: np.ndarray, a_at: int, b: np.ndarray, b_at: int, n: int) -> float:
    """Sum of the products of n elements of a and of b, in double precision."""
    total = 0.0
    for j in range(n):
        total += a.flat[a_at + j] * b.flat[b_at + j]
    return total


def span(shape: tuple[int, ...], low: int, high: int) -> int:
    """Product of the dimensions from ``low`` to before ``high``."""
    total = 1
    for i in range(low, high):
        total *= shape[i]
    return total
