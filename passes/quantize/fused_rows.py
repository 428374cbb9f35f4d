"""Fused rows: a matrix of floats as rows of 8- or 4-bit numbers with their scale and bias behind them.

The bytes are those of Caffe2's FloatToFused8BitRowwiseQuantized and FloatToFused4BitRowwiseQuantized
(``ir/ops/sparse/rowwise_quantized.py``), here for whole tables at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BITS = (8, 4)
TAIL = {8: 8, 4: 4}
"""Bytes of a row for its scale and bias: two of float32 behind 8-bit numbers, two of half behind 4-bit numbers."""
PIECE = 1 << 20
"""Numbers that are worked on at once, so that tables of gigabytes need little more memory."""


def row_bytes(columns: int, bits: int) -> int:
    """Bytes of a fused row. columns: an even number for 4 bits."""
    return columns * bits // 8 + TAIL[bits]


def pieces(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows of about ``PIECE`` numbers each."""
    step = max(PIECE // max(columns, 1), 1)
    return (slice(i, i + step) for i in range(0, rows, step))


def packed(table: np.ndarray, bits: int) -> np.ndarray:
    """The fused rows, uint8 (R, ``row_bytes``), of finite float32 numbers (R, C). bits: 8 or 4."""
    fused = np.empty((len(table), row_bytes(table.shape[1], bits)), np.uint8)
    for rows in pieces(*table.shape):
        fused[rows] = _packed_8(table[rows]) if bits == 8 else _packed_4(table[rows])
    return fused


def unpacked(fused: np.ndarray, bits: int) -> np.ndarray:
    """The float32 numbers that fused rows stand for: number * scale + bias, in float32."""
    tail, kind = fused[:, -TAIL[bits] :], np.float32 if bits == 8 else np.float16
    scale, bias = np.ascontiguousarray(tail).view(kind).astype(np.float32).T[:, :, None]
    return np.asarray(_codes(fused[:, : -TAIL[bits]], bits).astype(np.float32) * scale + bias)


def _codes(body: np.ndarray, bits: int) -> np.ndarray:
    if bits == 8:
        return body
    return np.stack([body & 15, body >> 4], axis=-1).reshape(len(body), -1)


def _packed_8(x: np.ndarray) -> np.ndarray:
    """Scale span / 255 and bias, the smallest number, as float32."""
    low = x.min(axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        span = x.max(axis=1, keepdims=True) - low
        codes = np.clip(np.rint((x - low) * (np.float32(255) / (span + np.float32(1e-8)))), 0, 255)
    return np.concatenate([codes.astype(np.uint8), _bytes(span / np.float32(255)), _bytes(low)], axis=1)


def _packed_4(x: np.ndarray) -> np.ndarray:
    """Scale and bias as half, so that 0 ... 15 cover what these, rounded, still reach; even columns in the low bits."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        low = x.min(axis=1, keepdims=True).astype(np.float16)
        span = x.max(axis=1, keepdims=True) - low.astype(np.float32)
        scale = np.where(span == 0, 1, span / np.float32(15)).astype(np.float16)
        scale[(scale == 0) | np.isinf(np.float32(1) / scale.astype(np.float32))] = 1
        inverse = np.float32(1) / scale.astype(np.float32)
        codes = np.clip(np.rint((x - low.astype(np.float32)) * inverse), 0, 15).astype(np.uint8)
    return np.concatenate([codes[:, ::2] | codes[:, 1::2] << 4, _bytes(scale), _bytes(low)], axis=1)


def _bytes(column: np.ndarray) -> np.ndarray:
    """The bytes of one number a row."""
    return np.ascontiguousarray(column).view(np.uint8)
