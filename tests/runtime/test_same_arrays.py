"""Arrays of the same content are one."""

from __future__ import annotations

import gc

import numpy as np

from graphc.same_arrays import SameArrays


def test_what_was_shown_comes_back() -> None:
    arrays, first = SameArrays(), np.arange(6, dtype=np.float32).reshape(2, 3)
    assert arrays.same(first) is first
    assert arrays.same(first.copy()) is first
    for other in (first.reshape(3, 2).copy(), first.view(np.int32).copy(), first + 1, np.asfortranarray(first + 2)):
        assert arrays.same(other) is other
    assert arrays.same(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_nothing_is_held() -> None:
    arrays = SameArrays()
    arrays.same(np.ones(3))
    gc.collect()
    assert not arrays._known
