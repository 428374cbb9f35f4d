"""Words of half precision: every number of 16 bits widened, floats of every exponent narrowed, dot products of pairs.

float16 against NumPy's own, bit for bit; bfloat16 against Python's arithmetic on bits, and exact fractions.
"""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest
from harness import KERNEL, Machine

from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.load import LoadedKernels
from graphc.ir.bfloat16 import from_bfloat16, to_bfloat16

TEXT = """
def half_words(p, lo, hi, tid):
    which, n, x, y, z = ld(p, 0), ld(p, 1), ld(p, 2), ld(p, 3), ld(p, 4)
    for i in range(0, n, {lanes}):
        if which == 0:
            vstore(y, i, vload_h(x, i))
        elif which == 1:
            vstore(y, i, vload_bf(x, i))
        elif which == 2:
            vstore_h(y, i, vload(x, i))
        elif which == 3:
            vstore_bf(y, i, vload(x, i))
        else:
            vstore(y, i, hdot(vload(y, i), hload(x, 2 * i), hload(z, 2 * i)))
    if which == 5:
        for i in range(n):
            sts_h(y, i, lds_h(x, i) + lds_bf(x, i))
            sts_bf(z, i, lds_bf(x, i))
    if which == 6:
        vstorem_bf(y, 0, 3, vloadm_h(x, 0, 2))
        vstorem_h(z, 0, 3, vloadm_bf(x, 0, 2))
        vstore(y, {lanes}, hdot(vzero(), hpair(x, 0), hpair(x, 2)))
        vstore(y, {twice}, hdot(vzero(), hsingle(x, 1), hpair(x, 2)))
        vstore(y, {thrice}, vadd(vbcast_h(x, 1), vbcast_bf(x, 2)))
"""
EVERY = np.arange(65536, dtype=np.uint16)


def run(machine: Machine, which: int, n: int, *arrays: np.ndarray) -> None:
    lanes = machine.target.lanes
    text = TEXT.format(lanes=lanes, twice=2 * lanes, thrice=3 * lanes)
    loaded = LoadedKernels(compile_kernels({"half_words": text}, machine.target, machine.cache))
    block = np.array([which, n, *(a.ctypes.data for a in arrays), 0, 0], np.int64)
    words = np.zeros(2, np.int64)
    KERNEL(loaded.addresses["half_words"])(words.ctypes.data, words.ctypes.data + 8, block.ctypes.data, 0, 1, 0)


def floats() -> np.ndarray:
    """Numbers of every exponent and sign, halves between neighbours and what is beside them, all that is special."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 200_000, dtype=np.uint32)
    ties = (rng.integers(0, 1 << 19, 40_000, dtype=np.uint32) << 13) | 0x1000
    brain = (rng.integers(0, 1 << 16, 40_000, dtype=np.uint32) << 16) | 0x8000
    near = np.concatenate([ties, ties + 1, ties - 1, brain, brain + 1, brain - 1])
    special = np.array(
        [0, 1 << 31, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x477FEFFF, 0x477FF000, 1], np.uint32
    )
    found = np.concatenate([bits, near, special])
    return found[: found.size // 16 * 16].view(np.float32)


def brain_float(x: float) -> int:
    """Bits of the nearest bfloat16 number of a finite one, by exact fractions; of two the even one."""
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    below = bits >> 16
    numbers = [Fraction(struct.unpack("<f", struct.pack("<I", b << 16))[0]) for b in (below, below + 1)]
    distances = [abs(n - Fraction(x)) for n in numbers]
    return below + int(distances[1] < distances[0] or (distances[0] == distances[1] and below % 2 == 1))


def test_every_half_is_widened(machine: Machine) -> None:
    y = np.zeros(EVERY.size, np.float32)
    run(machine, 0, EVERY.size, EVERY, y)
    np.testing.assert_array_equal(y, EVERY.view(np.float16).astype(np.float32))
    run(machine, 1, EVERY.size, EVERY, y)
    np.testing.assert_array_equal(y.view(np.uint32), EVERY.astype(np.uint32) << 16)


def test_floats_become_the_nearest_halves(machine: Machine) -> None:
    x = floats()
    y = np.zeros(x.size, np.uint16)
    run(machine, 2, x.size, x, y)
    with np.errstate(all="ignore"):
        want = x.astype(np.float16)
    same = (y == want.view(np.uint16)) | (np.isnan(y.view(np.float16)) & np.isnan(x))
    assert same.all(), x[~same][:5]
    run(machine, 3, x.size, x, y)
    np.testing.assert_array_equal(y, to_bfloat16(x))


def test_bfloat16_of_numpy_arrays_by_exact_fractions() -> None:
    x = floats()
    known = np.isfinite(x) & (np.abs(x) < 3.3e38)
    few = x[known][:: x.size // 4000]
    np.testing.assert_array_equal(to_bfloat16(few), np.array([brain_float(float(v)) for v in few], np.uint16))
    assert np.isnan(from_bfloat16(to_bfloat16(np.array([np.nan, -np.nan], np.float32)))).all()
    largest = np.array([3.4028235e38, -3.4028235e38, np.inf], np.float32)
    assert from_bfloat16(to_bfloat16(largest)).tolist() == [np.inf, -np.inf, np.inf]
    np.testing.assert_array_equal(to_bfloat16(from_bfloat16(EVERY[:0x7F81])), EVERY[:0x7F81])


def test_dot_products_of_pairs(machine: Machine) -> None:
    rng = np.random.default_rng(1)
    n = 4096
    x, z = (to_bfloat16(rng.standard_normal(2 * n).astype(np.float32)) for _ in range(2))
    start = rng.standard_normal(n).astype(np.float32)
    y = start.copy()
    run(machine, 4, n, x, y, z)
    a, b = (from_bfloat16(v).astype(np.float64).reshape(-1, 2) for v in (x, z))
    want = start + (a * b).sum(1)
    # two products of 16 bits, exact in float32, and two sums
    assert np.abs(y - want).max() <= 2 * 2.0**-24 * (np.abs(start) + np.abs(a * b).sum(1)).max()


def test_single_numbers_and_masks(machine: Machine) -> None:
    x = np.concatenate([to_bfloat16(np.array([1.5, -3.0, 0.25, 8.0], np.float32)), np.zeros(28, np.uint16)])
    y, z = np.full(4 * 32, 7, np.uint16), np.full(64, 7, np.uint16)
    lanes = machine.target.lanes
    run(machine, 6, 0, x, (out := np.zeros(4 * lanes, np.float32)), z)
    half = x.view(np.float16).astype(np.float32)
    assert out.view(np.uint16)[:4].tolist() == [*to_bfloat16(half[:2]).tolist(), 0, 0]
    assert z[:4].tolist() == [*np.array([1.5, -3.0, 0], np.float16).view(np.uint16).tolist(), 7]
    np.testing.assert_array_equal(out[lanes : 2 * lanes], 1.5 * 0.25 + -3.0 * 8.0)
    np.testing.assert_array_equal(out[2 * lanes : 3 * lanes], -3.0 * 0.25)
    np.testing.assert_array_equal(out[3 * lanes :], half[1] + np.float32(0.25))
    some = EVERY[0x3F00:0x3F20].copy()
    run(machine, 5, 32, some, y, z)
    np.testing.assert_array_equal(z[:32], some)
    both = some.view(np.float16).astype(np.float32) + from_bfloat16(some)
    np.testing.assert_array_equal(y[:32], both.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_shapes_of_numpy_arrays_stay(shape: tuple[int, ...]) -> None:
    assert to_bfloat16(np.ones(shape, np.float32)).shape == shape
    assert from_bfloat16(np.ones(shape, np.uint16)).shape == shape
