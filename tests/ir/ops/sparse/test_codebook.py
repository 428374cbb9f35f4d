"""Codes that choose numbers, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32

from graphc.ir.errors import RunError


def test_codes_choose_numbers_and_the_codebook_has_a_gradient() -> None:
    book, a, b = f32([10, 20, 30]), np.array([[2, 0]], np.uint8), np.array([1], np.int32)
    got = answers("QuantDecode", book, a, b, outputs=2)
    assert [g.tolist() for g in got] == [[[30, 10]], [20]]
    np.testing.assert_array_equal(answer("QuantDecodeGradient", book, a, b, f32([[1, 2]]), f32([4])), [2, 4, 1])
    with pytest.raises(RunError, match="codebook"):
        answer("QuantDecode", book, np.array([3], np.uint8))
