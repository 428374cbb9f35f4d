"""Boxes that cannot be sampled."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, refusal

from graphc.ir.errors import RunError

MAPS = np.ones((1, 1, 4, 4), np.float32)


@pytest.mark.parametrize(("op", "columns"), [("RoIAlign", 5), ("RoIAlignRotated", 6)])
def test_samples_of_a_bin_are_bounded(op: str, columns: int) -> None:
    assert "sampling_ratio" in refusal(op, "float[1,1,4,4]", f"float[2,{columns}]", sampling_ratio=2**31 - 1)
    assert answer(op, MAPS, np.zeros((1, columns), np.float32), sampling_ratio=2).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("size", [1e5, np.inf, np.nan])
def test_huge_rotated_boxes_are_refused(size: float) -> None:
    with pytest.raises(RunError, match="too large to be sampled"):
        answer("RoIAlignRotated", MAPS, np.array([[0, 2, 2, size, size, 30]], np.float32))
