"""Masks, conditions, partitions and members, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal

from graphc.ir.errors import RunError

TRUE, FALSE = True, False


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def masks(*values: bool) -> np.ndarray:
    return np.array(values, np.bool_)


def test_masks() -> None:
    x, mask = f32([[1, 2], [3, 4], [5, 6]]), masks(TRUE, FALSE, TRUE)
    rows, at = answers("BooleanMask", x, mask, outputs=2)
    assert (rows.tolist(), at.tolist()) == ([[1, 2], [5, 6]], [0, 2])
    assert answer("BooleanMaskGradient", mask, f32(7, 8)).tolist() == [7, 0, 8]
    with pytest.raises(RunError, match="more true elements"):
        answer("BooleanMaskGradient", mask, f32([7.0]))
    assert answer("BooleanMaskLengths", ints(2, 0, 1), mask).tolist() == [1, 0, 1]
    for wrong in (ints(2, 2), ints(-1, 4), ints(1, 1)):
        with pytest.raises(RunError, match="length"):
            answer("BooleanMaskLengths", wrong, mask)
    assert "mask" in refusal("BooleanMask", "float[3]", "bool[1]")


def test_unmask_takes_the_first_mask() -> None:
    first, second = masks(TRUE, FALSE, FALSE), masks(TRUE, TRUE, TRUE)
    assert answer("BooleanUnmask", first, ints(1), second, ints(2, 3)).tolist() == [1, 2, 3]
    for values, message in ((ints(2), "more true"), (ints(2, 3, 4), "fewer true")):
        with pytest.raises(RunError, match=message):
            answer("BooleanUnmask", first, ints(1), second, values)
    with pytest.raises(RunError, match="every mask is false"):
        answer("BooleanUnmask", first, ints(1))
    assert "pairs" in refusal("BooleanUnmask", "bool[2]")


def test_conditional_chooses_rows() -> None:
    got = answer("Conditional", masks(TRUE, FALSE), ints(1, 2), ints(3, 4))
    assert got.tolist() == [1, 4]
    assert "rows of DataT" in refusal("Conditional", "bool[3]", "float[2]", "float[2]")


def test_partition_and_gather_by_key_are_inverse() -> None:
    keys, rows = ints(0, 5, -3, 4), f32([[0], [5], [3], [4]])
    parts = answers("Partition", keys, rows, outputs=4)
    assert [p.ravel().tolist() for p in parts] == [[0, 4], [0, 4], [5, -3], [5, 3]]
    assert answer("GatherByKey", keys, parts[1], parts[3]).tolist() == rows.tolist()
    packed = answers("Partition", keys.astype(np.int32), outputs=2, pack_first_input=1)
    assert [p.tolist() for p in packed] == [[0, 2], [2, -2]]
    with pytest.raises(RunError, match="more keys fall"):
        answer("GatherByKey", ints(0, 2, 4, 1), parts[1], parts[3])
    assert "multiple" in refusal("Partition", "int32[2]", "float[2]", outputs=3)
    assert "one for every key" in refusal("GatherByKey", "int32[3]", "float[1]", "float[1]")


def test_members() -> None:
    assert answer("IsMemberOf", ints(1, 2, 3), value=[1, 3]).tolist() == [True, False, True]
    assert answer("IsMemberOf", np.array([b"a", b"b"], object), value=(b"b",)).tolist() == [False, True]
    assert "float" in refusal("IsMemberOf", "float[3]", value=[1])
    assert "no list" in refusal("IsMemberOf", "int32[3]", value=1)
