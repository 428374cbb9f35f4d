"""Words of products by four warps in the emulator: what they compute, against NumPy, and the mistakes to be found."""

from __future__ import annotations

import numpy as np
import pytest
import simt
from simt_memory import DeviceMemory, Fault

from graphc.ir.bfloat16 import from_bfloat16, to_bfloat16
from graphc.ir.fpmath import to_tf32

ROWS, COLUMNS = 128, 32
"""Of the product: two warpgroups of 64 rows."""
# rows of 32 bytes come to shared memory as halves of 16 bytes, (half, row), and are multiplied twice
PRODUCT = """
def k(x, w, y):
    t = i64(thread())
    side, row = t >> 7, t & 127
    a, b = shared(1024), shared(256)
    copy16(a + t * 16, x + row * 32 + side * 16, 16)
    if t < 64:
        copy16(b + t * 16, w + (t & 31) * 32 + (t >> 5) * 16, 16)
    commit()
    wait(0)
    publish()
    barrier()
    m, n = descriptor(a + side * 1024, 2048, 128), descriptor(b, 512, 128)
    sums = zeros_SUM(16)
    wgmma_fence()
    sums = wgmma_KIND(sums, m, n)
    wgmma_commit()
    sums = wgmma_KIND(sums, m, n)
    wgmma_commit()
    sums = wgmma_wait(sums, 0)
    at = (side * 64 + (row >> 5) * 16 + (t >> 2 & 7)) * 32 + (t & 3) * 2
"""
STORES = "".join(
    f"    st_SUM(y, at + {8 * j + 256 * h + k}, sums[{4 * j + 2 * h + k}])\n"
    for j in range(4)
    for h in range(2)
    for k in range(2)
)


def product(kind: str, x: np.ndarray, w: np.ndarray, source: str = PRODUCT + STORES, shared: int = 0) -> np.ndarray:
    """The sums (128, 32) of twice 128 rows of 32 bytes with 32 rows of as many."""
    code = "i4" if kind == "u1" else "f4"
    memory = DeviceMemory(1 << 16)
    places = [memory.allocate(n) for n in (x.nbytes, w.nbytes, 4 * ROWS * COLUMNS)]
    for place, array in zip(places, (x, w)):
        memory.view(place, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
    simt.launch(memory, "k", source.replace("KIND", kind).replace("SUM", code), 1, 256, places, shared)
    dtype = np.int32 if kind == "u1" else np.float32
    return memory.view(places[2], 4 * ROWS * COLUMNS).view(dtype).reshape(ROWS, COLUMNS).copy()


def test_products_of_halves() -> None:
    r = np.random.default_rng(1)
    x, w = (r.standard_normal((n, 16)).astype(np.float16) for n in (ROWS, COLUMNS))
    np.testing.assert_allclose(product("f2", x, w), 2 * x.astype(np.float64) @ w.T, atol=1e-4)
    x, w = (to_bfloat16(v.astype(np.float32)) for v in (x, w))
    want = 2 * from_bfloat16(x).astype(np.float64) @ from_bfloat16(w).T
    np.testing.assert_allclose(product("bf", x, w), want, atol=1e-4)


def test_products_of_tf32_are_those_of_numbers_rounded_in_place() -> None:
    r = np.random.default_rng(5)
    x, w = (r.standard_normal((n, 8)).astype(np.float32) for n in (ROWS, COLUMNS))
    with pytest.raises(Fault, match="not rounded to TF32"):
        product("tf", x, w)
    rounded = "    wait(0)\n    round_tf32(a + t * 16)\n    if t < 64:\n        round_tf32(b + t * 16)\n"
    got = product("tf", x, w, (PRODUCT + STORES).replace("    wait(0)\n", rounded))
    np.testing.assert_allclose(got, 2 * to_tf32(x).astype(np.float64) @ to_tf32(w).T, atol=1e-5)
    assert np.abs(got - 2 * x.astype(np.float64) @ w.T).max() > 1e-4


def test_what_is_rounded_behind_the_publication_is_not_there_for_products() -> None:
    x, w = np.ones((ROWS, 8), np.float32), np.ones((COLUMNS, 8), np.float32)
    late = (PRODUCT + STORES).replace("    publish()\n", "    publish()\n    round_tf32(a + t * 16)\n")
    with pytest.raises(Fault, match="was not published"):
        product("tf", x, w, late)


def test_products_of_bytes_are_exact() -> None:
    r = np.random.default_rng(2)
    x, w = r.integers(0, 256, (ROWS, 32), np.uint8), r.integers(-128, 128, (COLUMNS, 32), np.int8)
    np.testing.assert_array_equal(product("u1", x, w), 2 * x.astype(np.int64) @ w.astype(np.int64).T)


def test_dynamic_shared_memory() -> None:
    """A piece beyond what kernels declare has to be asked for at the launch."""
    source = (PRODUCT + STORES).replace("shared(1024), shared(256)", "shared(20000), 0")
    source = source.replace("    copy16(a", "    b = a + 65536\n    copy16(a", 1)
    x, w = np.ones((ROWS, 16), np.float16), np.ones((COLUMNS, 16), np.float16)
    assert (product("f2", x, w, source, 80000) == 32).all()
    with pytest.raises(Fault, match="80000 bytes of dynamic shared memory where the launch gives a block 79999"):
        product("f2", x, w, source, 79999)


FIRST = "    sums = wgmma_KIND(sums, m, n)\n    wgmma_commit()\n"
WAIT = "    sums = wgmma_wait(sums, 0)\n"
PUBLISHED = "that was not published, with a barrier behind"
TOUCHED = "sums that threads touched, without a fence"
MISTAKES = [
    ("to which a copy is under way", "    wait(0)\n", ""),
    (PUBLISHED, "    publish()\n", ""),
    (PUBLISHED, "    publish()\n    barrier()\n", "    barrier()\n    publish()\n"),
    (PUBLISHED, "    publish()\n    barrier()\n", "    publish()\n"),
    (PUBLISHED, "    wait(0)\n    publish()\n", "    publish()\n    wait(0)\n"),
    ("touches sums while products are under way", WAIT, ""),
    ("touches sums while products are under way", WAIT, "    sums = wgmma_wait(sums, 1)\n"),
    ("touches sums while products are under way", FIRST + WAIT, FIRST.replace("    wgmma_commit()\n", "") + WAIT),
    (TOUCHED, "    wgmma_fence()\n", ""),
    (TOUCHED, WAIT, WAIT + "    st_SUM(y, t, sums[0])\n" + FIRST + WAIT),
    ("that went into a product", FIRST + WAIT, FIRST.replace("sums =", "more =") + WAIT),
    ("that products under way read", WAIT, "    sums = wgmma_wait(sums, 1)\n    barrier()\n    sst(a, t, f4(0.0))\n"),
    ("that another one read, without a barrier", WAIT, WAIT + "    sst(a, t ^ 128, f4(0.0))\n"),
    (
        "that another one read, without a barrier",
        WAIT,
        WAIT + "    copy16(a + (t ^ 128) * 16, x, 16)\n    commit()\n    wait(0)\n",
    ),
    ("a product that not all threads", WAIT, "    if t & 127 > 3:\n        sums = wgmma_KIND(sums, m, n)\n" + WAIT),
    ("a wait for products that not all", WAIT, "    if t & 127 > 3:\n    " + WAIT),
    ("have different descriptors", "descriptor(b, 512, 128)", "descriptor(b + (t & 1) * 16, 512, 128)"),
    ("at no multiple of 16 bytes", "descriptor(b, 512", "descriptor(b + 8, 512"),
    ("a descriptor of another layout", "descriptor(b, 512, 128)", "descriptor(b, 512, 128) | 1 << 62"),
    ("outside of what was declared", "descriptor(b, 512", "descriptor(b, 1024"),
]


@pytest.mark.parametrize(("message", "old", "new"), MISTAKES, ids=lambda part: part.strip()[:40])
def test_mistakes_are_found(message: str, old: str, new: str) -> None:
    before, found, after = (PRODUCT + STORES).rpartition(old)
    assert found, old
    x, w = np.ones((ROWS, 16), np.float16), np.ones((COLUMNS, 16), np.float16)
    with pytest.raises(Fault, match=message):
        product("f2", x, w, before + new + after)


def test_what_products_have_read_may_be_stored_to() -> None:
    source = (PRODUCT + STORES).replace(WAIT, WAIT + "    barrier()\n    sst(a, t, f4(0.0))\n")
    x, w = np.ones((ROWS, 16), np.float16), np.ones((COLUMNS, 16), np.float16)
    assert (product("f2", x, w, source) == 32).all()


def test_a_block_of_whole_warpgroups() -> None:
    source = "def k(x):\n    sums = zeros_f4(16)\n    wgmma_fence()\n"
    memory = DeviceMemory(1 << 12)
    with pytest.raises(Fault, match="not made of warpgroups"):
        simt.launch(memory, "k", source, 1, 64, [0])


@pytest.mark.parametrize(("kind", "code", "right", "wrong"), [("f2", "f4", 40, 44), ("u1", "i4", 48, 40)])
def test_columns_that_products_may_have(kind: str, code: str, right: int, wrong: int) -> None:
    """Of bytes no odd multiple of eight from 40 on."""
    source = """
def k(x):
    s = shared(1024)
    for i in range(8):
        sst(s, i64(thread()) + 128 * i, f4(0.0))
    publish()
    barrier()
    m = descriptor(s, 1024, 128)
    sums = zeros_CODE(NUMBER)
    wgmma_fence()
    sums = wgmma_KIND(sums, m, m)
    wgmma_commit()
    sums = wgmma_wait(sums, 0)
"""
    source = source.replace("CODE", code).replace("KIND", kind)
    simt.launch(DeviceMemory(1 << 12), "k", source.replace("NUMBER", str(right // 2)), 1, 128, [0])
    with pytest.raises(Fault, match=f"a product with {wrong} columns"):
        simt.launch(DeviceMemory(1 << 12), "k", source.replace("NUMBER", str(wrong // 2)), 1, 128, [0])
