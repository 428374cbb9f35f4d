"""Sequences by hand: blocks, padding, masks; what is refused; strings, which loops move in Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal

from graphc.ir.errors import RunError

ROWS = f32([[1, 2], [3, 4], [5, 6]])


def lengths(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def test_packing_and_back() -> None:
    packed, mask = answers("PackSegments", lengths(1, 0, 2), ROWS, outputs=2, return_presence_mask=1)
    np.testing.assert_array_equal(packed, [[[1, 2], [0, 0]], [[0, 0], [0, 0]], [[3, 4], [5, 6]]])
    np.testing.assert_array_equal(mask, [[1, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(answer("UnpackSegments", lengths(1, 0, 2), packed), ROWS)


def test_long_sequences_are_cut_at_max_length() -> None:
    packed = answer("PackSegments", lengths(3), ROWS, max_length=2)
    np.testing.assert_array_equal(packed, [ROWS[:2]])
    np.testing.assert_array_equal(answer("UnpackSegments", lengths(3), packed, max_length=2), ROWS[:2])


def test_gaps_of_minus_infinity() -> None:
    packed = answer("PackSegments", lengths(1, 2), ROWS.astype(np.float16), pad_minf=1)
    assert packed.dtype == np.float16
    assert packed[0, 1].tolist() == [-math.inf] * 2
    assert answer("PackSegments", lengths(1, 2), ROWS.astype(np.int64), pad_minf=1)[0, 1].tolist() == [0, 0]


def test_no_sequences() -> None:
    assert answer("PackSegments", lengths(), np.zeros((0, 4), np.float32)).shape == (0, 0, 4)
    assert answer("PackRNNSequence", np.zeros((0, 4), np.float32), lengths()).shape == (0, 0, 4)
    assert answer("AddPadding", np.zeros((0, 4), np.float32), lengths()).shape == (0, 4)


def test_strings() -> None:
    words = np.array([b"a", b"b", b"c"], object)
    assert answer("PackSegments", lengths(1, 2), words).tolist() == [[b"a", b""], [b"b", b"c"]]
    assert answer("RemoveDataBlocks", words, lengths(1)).tolist() == [b"a", b"c"]


def test_lengths_that_do_not_fit() -> None:
    for op, operands in (
        ("PackSegments", (lengths(1, 1), ROWS)),
        ("PackSegments", (lengths(4, -1), ROWS)),
        ("UnpackSegments", (lengths(4), ROWS[None])),
        ("PackRNNSequence", (ROWS, lengths(2, 2))),
        ("UnpackRNNSequence", (ROWS[:, None], lengths(4))),
        ("ReversePackedSegs", (ROWS[:, None], lengths(4))),
        ("AddPadding", (ROWS, lengths(1, 1))),
        ("RemovePadding", (np.tile(ROWS, (2, 1)), lengths(1, 5))),
        ("GatherPadding", (ROWS, lengths(3, 1))),
        ("PadEmptySamples", (lengths(2, 0), ROWS)),
        ("VariableLengthSequencePadding", (ROWS[:, None], lengths(-1))),
    ):
        with pytest.raises(RunError, match="LENGTHS"):
            answers(op, *operands, outputs=2 if op == "PadEmptySamples" else 1)


def test_padding_around_runs() -> None:
    before, after = f32(7, 7), f32(9, 9)
    padded, longer = answers("AddPadding", ROWS, lengths(1, 2), before, after, outputs=2, end_padding_width=2)
    assert padded[:, 0].tolist() == [7, 1, 9, 9, 7, 3, 5, 9, 9]
    assert longer.tolist() == [4, 5]
    shorter = answers("RemovePadding", padded, longer, outputs=2, end_padding_width=2)
    np.testing.assert_array_equal(shorter[0], ROWS)
    assert shorter[1].tolist() == [1, 2]
    sums = answers("GatherPadding", padded, longer, outputs=2, end_padding_width=2)
    assert [s.tolist() for s in sums] == [[14, 14], [36, 36]]
    assert answer("GatherPadding", padded, longer, end_padding_width=2).tolist() == [50, 50]


def test_padding_without_lengths() -> None:
    padded = answer("AddPadding", np.array([[True]]), padding_width=2)
    assert padded.ravel().tolist() == [False, False, True, False, False]
    assert "would be left" in refusal("RemovePadding", "float[1,2]")
    assert "padding of input 2" in refusal("AddPadding", "float[3,2]", "int32[1]", "float[3]")


def test_empty_samples_of_several_types() -> None:
    found = answers("PadEmptySamples", lengths(0, 2), ROWS[:2], np.array([4, 5], np.int64), outputs=3)
    assert [a.tolist() for a in found] == [[1, 2], [[0, 0], [1, 2], [3, 4]], [0, 4, 5]]


def test_sequences_turned_round() -> None:
    x = np.arange(6, dtype=np.int64).reshape(3, 2, 1)
    assert answer("ReversePackedSegs", x, np.array([2, 3], np.int64))[..., 0].T.tolist() == [[2, 0, 4], [5, 3, 1]]


def test_masks() -> None:
    x, inf = np.ones((2, 3), np.float32), math.inf
    assert answer("SequenceMask", x, lengths(1, 3), mode="sequence").tolist() == [[1, -inf, -inf], [1, 1, 1]]
    window = answer("SequenceMask", x, lengths(0, 2), mode="window", radius=1, fill_val=0.0)
    assert window.tolist() == [[1, 1, 0], [0, 1, 1]]
    batch = answer("SequenceMask", np.ones((2, 2, 2), np.float32), mode="lower", axis=2, batch=0, fill_val=5.0)
    assert batch.tolist() == [[[1, 1], [5, 1]]] * 2
    repeated = answer(
        "SequenceMask", x[:, :, None] * f32(1, 1), lengths(1, 3), mode="sequence", repeat_from_axis=2, grad=1
    )
    assert repeated[:, :, 1].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert "mode 'left' is not known" in refusal("SequenceMask", "float[2,3]", mode="left")
    assert "one for each of 2 rows" in refusal("SequenceMask", "float[2,3]", "int32[1]", mode="sequence")


@pytest.mark.parametrize("op", ["GatherPadding", "AddPadding", "RemovePadding"])
def test_widths_of_padding_whose_sum_is_no_integer_are_refused(op: str) -> None:
    """2**62 at both ends add up to a negative number in machine code."""
    assert "padding_width" in refusal(op, "float[8,3]", "int32[2]", outputs=2, padding_width=2**62)
    assert "end_padding_width" in refusal(op, "float[8,3]", "int32[2]", outputs=2, end_padding_width=2**62)


def test_lengths_of_a_mask_are_integers_where_they_are_not_read_too() -> None:
    assert "int32" in refusal("SequenceMask", "float[2,3,4]", "float[2]", mode="upper", axis=2)
