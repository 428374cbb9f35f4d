"""Tensor-core words in the emulator: what they compute, against NumPy, and the mistakes that have to be found."""

from __future__ import annotations

import re

import numpy as np
import pytest
import simt
from simt_memory import DeviceMemory, Fault

from graphc.ir.bfloat16 import from_bfloat16, to_bfloat16

PRODUCT = """
def k(x, w, y):
    t = thread()
    a, b = shared(128), shared(128)
    row, chunk = t & 15, t >> 4
    copy16(a + row * 32 + chunk * 16, x + row * 32 + chunk * 16, 16)
    copy16(b + row * 32 + chunk * 16, w + (row & 7) * 32 + chunk * 16, 16 if row < 8 else 0)
    commit()
    wait(0)
    barrier()
    p = matrices(a + row * 32 + chunk * 16)
    q = matrices(b + (t & 7) * 32 + (t >> 3 & 1) * 16)
    c = mma_KIND(p[0], p[1], p[2], p[3], q[0], q[1], ZERO, ZERO, ZERO, ONE)
    at = (t >> 2) * 8 + (t & 3) * 2
    st_TYPE(y, at, c[0])
    st_TYPE(y, at + 1, c[1])
    st_TYPE(y, at + 64, c[2])
    st_TYPE(y, at + 65, c[3])
"""


def product(kind: str, x: np.ndarray, w: np.ndarray, source: str = PRODUCT) -> np.ndarray:
    """The (16, 8) product of 16 rows of 32 bytes with 8 rows of as many; 1 is added to every fourth sum."""
    whole = kind == "u1"
    for old, new in (("KIND", kind), ("TYPE", "i4" if whole else "f4"), ("ZERO", "i32(0)" if whole else "f4(0.0)")):
        source = source.replace(old, new)
    source = source.replace("ONE", "i32(1)" if whole else "f4(1.0)")
    memory = DeviceMemory(1 << 14)
    places = [memory.allocate(n) for n in (x.nbytes, w.nbytes, 512)]
    for place, array in zip(places, (x, w)):
        memory.view(place, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
    simt.launch(memory, "k", source, 1, 32, places)
    return memory.view(places[2], 512).view(np.int32 if whole else np.float32).reshape(16, 8).copy()


def expected(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    made = x.astype(np.float64) @ w.astype(np.float64).T
    made[8:, 1::2] += 1  # rows g + 8, columns 2 t + 1: the last of a thread's four
    return made


def test_products_of_halves() -> None:
    r = np.random.default_rng(1)
    x, w = r.standard_normal((16, 16)).astype(np.float16), r.standard_normal((8, 16)).astype(np.float16)
    np.testing.assert_allclose(product("f2", x, w), expected(x, w), atol=1e-5)
    x, w = (to_bfloat16(v.astype(np.float32)) for v in (x, w))
    np.testing.assert_allclose(product("bf", x, w), expected(from_bfloat16(x), from_bfloat16(w)), atol=1e-5)


def rounding(source: str) -> str:
    """The kernel with every number that is multiplied rounded first."""
    return re.sub(r"([pq]\[\d\])(?=[,)])", r"tf32(\1)", source)


def test_products_of_tf32_are_those_of_rounded_numbers() -> None:
    r = np.random.default_rng(4)
    x, w = r.standard_normal((16, 8)).astype(np.float32), r.standard_normal((8, 8)).astype(np.float32)
    x[0], w[0] = 1 + 2**-11, 1 + 2**-12  # in the middle, and below it
    x[0, :2] *= -1
    a, b = (np.round(v.astype(np.float64) / 2.0 ** (e := np.floor(np.log2(np.abs(v))) - 10)) * 2.0**e for v in (x, w))
    a[0], b[0] = np.sign(x[0]) * (1 + 2**-10), 1
    got = product("tf", x, w, rounding(PRODUCT))
    np.testing.assert_allclose(got, expected(a, b), atol=1e-6)
    assert np.abs(got - expected(x, w)).max() > 1e-4


def test_numbers_that_are_not_rounded_are_not_multiplied_as_tf32() -> None:
    x, w = np.full((16, 8), 1 + 2**-20, np.float32), np.ones((8, 8), np.float32)
    with pytest.raises(Fault, match="not rounded to TF32"):
        product("tf", x, w)


def test_products_of_bytes_are_exact() -> None:
    r = np.random.default_rng(2)
    x, w = r.integers(0, 256, (16, 32), np.uint8), r.integers(-128, 128, (8, 32), np.int8)
    np.testing.assert_array_equal(product("u1", x, w), expected(x, w))


def test_matrices_that_are_turned() -> None:
    """The right operand by lines of the sum: line k has what eight columns have there."""
    turned = PRODUCT.replace(
        "w + (row & 7) * 32 + chunk * 16, 16 if row < 8 else 0", "w + row * 16, 16 if t < 16 else 0"
    )
    turned = turned.replace("copy16(b + row * 32 + chunk * 16", "copy16(b + row * 16 + chunk * 256")
    turned = turned.replace(
        "q = matrices(b + (t & 7) * 32 + (t >> 3 & 1) * 16)", "q = turned_matrices(b + (t & 15) * 16)"
    )
    r = np.random.default_rng(3)
    x, w = r.standard_normal((16, 16)).astype(np.float16), r.standard_normal((16, 8)).astype(np.float16)
    np.testing.assert_allclose(product("f2", x, w, turned), expected(x, w.T), atol=1e-5)


WAIT = "    wait(0)\n"
MISTAKES = {
    "to which a copy is under way": PRODUCT.replace(WAIT, ""),
    "copy is under way": PRODUCT.replace("wait(0)", "wait(1)"),
    "that another one stored, without a barrier": PRODUCT.replace("    barrier()\n", ""),
    "from or to an address that is no multiple of 16": PRODUCT.replace("row * 32 + chunk * 16, x", "row * 32 + 8, x"),
    "a row of a matrix at an address": PRODUCT.replace("matrices(a +", "matrices(a + 8 +"),
    "outside of what was allocated": PRODUCT.replace("x + row * 32", "x + row * 64"),
    "two threads store": PRODUCT.replace("copy16(a + row * 32", "copy16(a + (row & 7) * 32"),
    "a product that not all threads": PRODUCT.replace("    c = mma", "    if t > 3:\n        c = mma"),
    "a load of matrices that not all": PRODUCT.replace("    q = ", "    q = p\n    if t > 3:\n        q = "),
    "take less than none, or more": PRODUCT.replace("16 if row < 8 else 0", "18 if row < 8 else 0"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake: str) -> None:
    x, w = np.ones((16, 16), np.float16), np.ones((8, 16), np.float16)
    assert MISTAKES[mistake] != PRODUCT
    with pytest.raises(Fault, match=mistake):
        product("f2", x, w, MISTAKES[mistake])


def test_a_stage_may_not_be_fetched_while_it_is_read() -> None:
    source = PRODUCT.replace("    q = ", "    copy16(a + (31 - t) * 16, x, 16)\n    q = ")
    with pytest.raises(Fault, match="another one read, without a barrier"):
        product("f2", np.ones((16, 16), np.float16), np.ones((8, 16), np.float16), source)


HALVES = """
def k(x, y):
    t = thread()
    v = ld8_CODE(x, t * 8)
    st_CODE(y, t * 8, v[0])
    st_CODE(y, t * 8 + 1, ld_CODE(x, t * 8 + 1))
    st2_CODE(y, t * 8 + 2, v[2], v[3])
    st4_CODE(y, t * 8 + 4, v[4], v[5], v[6], v[7])
"""


@pytest.mark.parametrize("code", ["f2", "bf"])
def test_halves_are_loaded_and_stored(code: str) -> None:
    memory = DeviceMemory(1 << 14)
    x, y = memory.allocate(512), memory.allocate(512)
    numbers = np.random.default_rng(3).standard_normal(256).astype(np.float32)
    bits = to_bfloat16(numbers) if code == "bf" else numbers.astype(np.float16).view(np.uint16)
    memory.view(x, 512).view(np.uint16)[:] = bits
    simt.launch(memory, "k", HALVES.replace("CODE", code), 1, 32, [x, y])
    np.testing.assert_array_equal(memory.view(y, 512).view(np.uint16), bits)
    with pytest.raises(Fault, match="no multiple of 16"):
        simt.launch(memory, "k", f"def k(x):\n    v = ld8_{code}(x, 4)\n", 1, 32, [x])
