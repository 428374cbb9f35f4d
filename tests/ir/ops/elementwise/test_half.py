"""Half numbers in loops against NumPy's, and numbers in byte rows."""

from __future__ import annotations

import numpy as np

from graphc.ir.ops import _half


def test_every_half_number_becomes_the_float_that_numpy_makes_of_it():
    bits = np.arange(65536).astype(np.uint16)
    want = bits.view(np.float16).astype(np.float32)
    with np.errstate(all="ignore"):
        got = np.array([_half.half_to_float(b) for b in bits], np.float32)
    np.testing.assert_array_equal(got.view(np.uint32)[~np.isnan(want)], want.view(np.uint32)[~np.isnan(want)])
    assert np.isnan(got[np.isnan(want)]).all()


def floats() -> np.ndarray:
    """Random floats of every exponent, and the halves' neighbours: ties, their next numbers, the limits."""
    random = np.random.default_rng(0).integers(0, 2**32, 20000).astype(np.uint32).view(np.float32)
    halves = np.arange(0, 31744, 7).astype(np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[1:] + halves[:-1]) / 2
    between = (halves + np.arange(1, 31744 + 1, 7).astype(np.uint16).view(np.float16).astype(np.float32)) / 2
    near = [np.nextafter(t, np.float32(s)) for t in (ties, between) for s in (0, np.inf)]
    limits = np.array([0, 65504, 65519.996, 65520, 1e30, np.inf, np.nan, 2**-14, 2**-24, 2**-25, 2**-26], np.float32)
    return np.concatenate([random, ties, between, *near, limits, -limits, -ties])


def test_floats_become_the_nearest_half_numbers_as_in_numpy():
    x = floats()
    with np.errstate(all="ignore"):
        want = x.astype(np.float16)
        got = np.array([_half.float_to_half(v) for v in x], np.uint16).view(np.float16)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(got.view(np.uint16)[number], want.view(np.uint16)[number])
    assert np.isnan(got[~number]).all()


def test_numbers_in_byte_rows_need_no_alignment():
    rows = np.zeros((2, 11), np.uint8)
    _half.put_flat_float(rows, 11 + 3, 1.5)
    _half.put_flat_half(rows, 11 + 7, -0.1)
    assert rows[1, 3:7].tobytes() == np.float32(1.5).tobytes()
    assert rows[1, 7:9].tobytes() == np.float16(-0.1).tobytes()
    assert _half.row_float(rows[1], 3) == _half.flat_float(rows, 14) == 1.5
    assert _half.row_half(rows[1], 7) == _half.flat_half(rows, 18) == np.float32(np.float16(-0.1))
    assert not rows[0].any()
    assert not rows[1, :3].any()
    assert not rows[1, 9:].any()
