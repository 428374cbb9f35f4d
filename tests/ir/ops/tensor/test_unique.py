"""Equal elements, hashes and keys: with NumPy, and with plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal, types

from graphc.ir.errors import RunError


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_unique_find_and_duplicates_against_numpy(dtype: type) -> None:
    x = np.random.default_rng(1).integers(-5, 6, 50).astype(dtype)
    values, places = answers("Unique", x, outputs=2)
    want, inverse = np.unique(x, return_inverse=True)
    np.testing.assert_array_equal(values, want)
    np.testing.assert_array_equal(places, inverse)
    _, first = np.unique(x, return_index=True)
    np.testing.assert_array_equal(answer("FindDuplicateElements", x), np.setdiff1d(np.arange(50), first))
    query = np.arange(-8, 8).astype(dtype)
    last = {v: i for i, v in enumerate(x.tolist())}
    np.testing.assert_array_equal(answer("Find", x, query, missing_value=-7), [last.get(v, -7) for v in query.tolist()])


def test_one_index_or_none_is_all_that_is_unique() -> None:
    assert types("Unique", "int64[1]", outputs=2) == ["int64[1]", "int32[1]"]
    assert [a.tolist() for a in answers("Unique", np.array([7]), outputs=2)] == [[7], [0]]
    assert [a.tolist() for a in answers("Unique", np.array([], np.int64), outputs=2)] == [[], []]


def test_what_is_not_a_number_has_no_duplicate() -> None:
    np.testing.assert_array_equal(answer("FindDuplicateElements", f32([np.nan, 1, np.nan, 1, 0, -0.0])), [3, 5])


def _hash(value: int, size: int, seed: int, modulo: int) -> int:
    wrap, half = 1 << 8 * size, 1 << 8 * size - 1
    h = seed * 0xDEADBEEF
    for byte in (value % wrap).to_bytes(size, "little"):
        h = h * 65537 + (byte - 256 if byte > 127 else byte)
    return ((h + half) % wrap - half) % modulo


@pytest.mark.parametrize(("dtype", "size"), [(np.int32, 4), (np.int64, 8)])
def test_hashes_wrap_around_as_the_element_type_does(dtype: type, size: int) -> None:
    x = np.array([0, 1, -1, 255, 128, 2**31 - 1, -(2**31)], dtype)
    got = answer("IndexHash", x, seed=12345, modulo=1000003)
    np.testing.assert_array_equal(got, [_hash(int(v), size, 12345, 1000003) for v in x])
    assert "modulo" in refusal("IndexHash", "int32[3]", modulo=2**31)


def test_keys_are_split() -> None:
    got = answers("KeySplit", np.array([1, 0, 1]), outputs=3, categorical_limit=3)
    assert [a.tolist() for a in got] == [[1], [0, 2], []]
    with pytest.raises(RunError, match="categorical_limit"):
        answers("KeySplit", np.array([3]), outputs=3, categorical_limit=3)
