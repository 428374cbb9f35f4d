"""Packed tables against the operators that pack and unpack, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer

from graphc.passes.quantize import fused_rows
from graphc.passes.quantize.fused_rows import packed, row_bytes, unpacked


def table() -> np.ndarray:
    """Rows of many sizes; of one number throughout; of halves between two integers; tiny, and with one that differs."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(30, 12)) * np.exp(rng.normal(0, 3, (30, 1)))).astype(np.float32)
    x[0], x[1], x[2], x[3] = 0, 3, 1e-30, np.arange(12) + 0.5
    x[4] *= np.float32(1e-9)
    x[1, 5] = 4
    return np.clip(x, -3e4, 3e4)


@pytest.mark.parametrize("bits", [8, 4])
def test_bytes_are_those_of_the_operators(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = table()
    monkeypatch.setattr(fused_rows, "PIECE", 100)  # several pieces
    rows = packed(x, bits)
    assert rows.shape == (30, row_bytes(12, bits))
    np.testing.assert_array_equal(rows, answer(f"FloatToFused{bits}BitRowwiseQuantized", x))
    np.testing.assert_array_equal(unpacked(rows, bits), answer(f"Fused{bits}BitRowwiseQuantizedToFloat", rows))


def test_eight_bits_by_caffe2s_formula() -> None:
    """FloatToFused8BitRowwiseQuantized: scale (max - min) / 255, codes lrint((x - min) * 255 / (max - min + 1e-8))."""
    x = table()
    low, high = x.min(1), x.max(1)
    rows = packed(x, 8)
    np.testing.assert_array_equal(rows[:, 12:].copy().view(np.float32), np.stack([(high - low) / 255, low], 1))
    inverse = np.float32(255) / (high - low + np.float32(1e-8))
    np.testing.assert_array_equal(rows[:, :12], np.rint((x - low[:, None]) * inverse[:, None]))


def test_a_table_without_rows() -> None:
    assert packed(np.zeros((0, 8), np.float32), 8).shape == (0, 16)
