"""Rows of few bits: against NumPy, by hand, and look-ups against their decoded tables."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal, types

from graphc.ir.errors import RunError
from graphc.ir.ops.sparse import _greedy

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(6, 16)).astype(np.float32)


def i32(*x: int) -> np.ndarray:
    return np.array(x, np.int32)


def encoded(bits: int) -> np.ndarray:
    return answer(f"FloatToFused{bits}BitRowwiseQuantized", TABLE)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rows_come_back_within_half_a_step(bits: int):
    rows = encoded(bits)
    assert rows.shape == (6, 16 * bits // 8 + (8 if bits == 8 else 4))
    back = answer(f"Fused{bits}BitRowwiseQuantizedToFloat", rows)
    step = (TABLE.max(1) - TABLE.min(1)) / (2**bits - 1)
    assert (np.abs(back - TABLE) <= step[:, None] * 0.52 + 2e-3).all()


def test_a_row_of_eight_bits_by_hand():
    row = answer("FloatToFused8BitRowwiseQuantized", f32([[0, 1, 2.55, -0.0]]))
    assert row[0, :4].tolist() == [0, 100, 255, 0]
    np.testing.assert_allclose(row[0, 4:].view(np.float32), [0.01, 0], rtol=1e-6)


def test_packed_rows_have_the_first_number_in_the_low_bits():
    row = answer("FloatToFused2BitRowwiseQuantized", f32([[0, 1, 2, 3, 3, 0, 0, 0]]))
    assert row[0, :2].tolist() == [0b11100100, 0b00000011]
    assert row[0, 2:].view(np.float16).tolist() == [1, 0]
    fake = answer("FloatToFused2BitFakeRowwiseQuantized", f32([[0, 1, 2, 3]]))
    assert fake[0, :4].tolist() == [0, 1, 2, 3]
    assert fake[0, 4:].view(np.float32).tolist() == [1, 0]


def test_equal_numbers_have_a_scale_that_can_be_divided_by():
    for name in ("FloatToFused4BitRowwiseQuantized", "HalfToFused4BitRowwiseQuantized"):
        x = np.full((1, 4), 2, np.float16 if name.startswith("Half") else np.float32)
        rows = answer(name, x)
        np.testing.assert_array_equal(answer("Fused4BitRowwiseQuantizedToHalf", rows), x.astype(np.float16))
    codes, scales = answers("FloatToRowwiseQuantized8Bits", f32([[9, 9], [0, 255]]), outputs=2)
    assert codes.tolist() == [[0, 0], [0, 255]]
    assert scales.tolist() == [[1, 9], [1, 0]]
    np.testing.assert_array_equal(answer("Rowwise8BitQuantizedToFloat", codes, scales), [[9, 9], [0, 255]])


def test_types_of_rows():
    assert types("FloatToFused4BitRowwiseQuantized", "float[N,3,6]") == ["uint8[N,3,7]"]
    assert types("Fused2BitRowwiseQuantizedToHalf", "uint8[N,7]") == ["float16[N,12]"]
    assert types("SparseLengthsSumFused8BitRowwise", "uint8[N,24]", "int64[K]", "int32[M]") == ["float[M,16]"]
    assert "multiple of 4" in refusal("FloatToFused2BitRowwiseQuantized", "float[2,6]")
    assert "no numbers" in refusal("SparseLengthsSumFused4BitRowwise", "uint8[2,4]", "int64[1]", "int32[1]")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_look_ups_are_those_in_the_decoded_table(bits: int):
    rows, weights = encoded(bits), f32([1, -2, 0.5, 3])
    table = answer(f"Fused{bits}BitRowwiseQuantizedToFloat", rows)
    indices, lengths = np.array([5, 0, 5, 2]), i32(3, 0, 1)
    for how, extra in (("Sum", []), ("Mean", []), ("WeightedSum", [weights])):
        want = answer(f"SparseLengths{how}", table, *extra, indices, lengths)
        got = answer(f"SparseLengths{how}Fused{bits}BitRowwise", rows, *extra, indices, lengths)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        kept = np.array([5, -1, 1, 0, 2], np.int32)
        pruned = np.array([0, 3, 0, 4])
        got = answer(f"SparseLengths{how}{bits}BitRowwiseSparse", rows, *extra, pruned, lengths, kept)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        whole = answer(f"SparseLengths{how}{bits}BitRowwiseSparse", rows, *extra, indices, lengths, i32(0))
        np.testing.assert_allclose(whole, want, rtol=1e-5, atol=1e-5)


def test_lost_rows_count_in_means_but_add_nothing():
    rows, mapping = encoded(8), np.array([2, -1], np.int32)
    got = answer("SparseLengthsMean8BitRowwiseSparse", rows, np.array([0, 1]), i32(2), mapping)
    table = answer("Fused8BitRowwiseQuantizedToFloat", rows)
    np.testing.assert_allclose(got[0], table[2] / 2, rtol=1e-5)
    for bad, names in ((np.array([2]), mapping), (np.array([-1]), mapping), (np.array([0]), i32(6, 0))):
        with pytest.raises(RunError, match="MAPPING"):
            answer("SparseLengthsSum8BitRowwiseSparse", rows, bad, i32(1), names)
    ids, lengths, weights = answers(
        "SparseLengthsSumSparseLookup", np.array([1, 0, 0]), i32(2, 1), mapping, f32([1, 2, 3]), outputs=3
    )
    assert [ids.tolist(), lengths.tolist(), weights.tolist()] == [[2, 2], [1, 1], [2, 3]]


def test_look_ups_with_separate_scales():
    codes, scales = answers("FloatToRowwiseQuantized8Bits", TABLE, outputs=2)
    table = answer("Rowwise8BitQuantizedToFloat", codes, scales)
    indices, lengths, weights = i32(1, 4, 4), i32(2, 1), f32([2, 3, 4])
    got = answer("SparseLengthsWeightedMean8BitsRowwise", codes, weights, indices, lengths, scales)
    np.testing.assert_allclose(got, [(2 * table[1] + 3 * table[4]) / 2, 4 * table[4]], rtol=1e-4, atol=1e-5)
    got = answer("SparseLengthsSum8BitsRowwise", codes, indices, lengths, scales)
    np.testing.assert_allclose(got[0], table[1] + table[4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("index", [-1, 6])
def test_indices_outside_of_the_table_are_an_error(index: int):
    for op in ("SparseLengthsSumFused8BitRowwise", "SparseLengthsMeanFused4BitRowwise"):
        with pytest.raises(RunError, match="INDICES"):
            answer(op, encoded(int(op[op.index("Bit") - 1])), np.array([0, index]), i32(2))
    with pytest.raises(RunError, match="INDICES"):
        answer("GatherFused8BitRowwise", encoded(8), np.array([index]))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_rows_rounded_to_the_nearest_or_at_random(bits: int):
    x = RNG.normal(size=(3, 13)).astype(np.float32)
    gap = (x.max(1) - x.min(1))[:, None] / (2**bits - 1)
    for random, most in ((0, 0.5), (1, 1.0)):
        rows = answer("FloatToFusedRandRowwiseQuantized", x, bitwidth=bits, random=random)
        assert rows.shape == (3, 10 + -(-13 * bits // 8))
        back = answer("FusedRandRowwiseQuantizedToFloat", rows)
        assert (np.abs(back - x) <= most * gap * 1.001).all()
    with pytest.raises(RunError, match="begin"):
        answer("FusedRandRowwiseQuantizedToFloat", rows ^ 4)


def test_random_rounding_is_right_on_average():
    x = np.full((1, 4000), 0.25, np.float32)
    x[0, :2] = 0, 1
    rows = answer("FloatToFusedRandRowwiseQuantized", x, bitwidth=1)
    assert answer("FusedRandRowwiseQuantizedToFloat", rows).mean() == pytest.approx(0.25, abs=0.03)


def test_searched_limits_lose_less():
    x = f32([*np.linspace(-1, 1, 62), 8, -3])
    low, high = _greedy.search_limits(x, 0, 64, x.min(), x.max(), 3)
    before = _greedy.rounding_loss(x, 0, 64, x.min(), x.max(), 3)
    assert x.min() <= low < high <= x.max()
    assert _greedy.rounding_loss(x, 0, 64, low, high, 3) < before


def test_bytes_as_weights():
    got = answer("ByteWeightDequant", np.array([0, 255, 51], np.uint8), min=-1.0, max=4.0, shape=[3, 1])
    np.testing.assert_allclose(got, [[-1], [4], [0]], atol=1e-6)


def test_what_is_not_a_number_has_code_0() -> None:
    codes, _ = answers("FloatToRowwiseQuantized8Bits", f32([[0, np.nan, 255, 9.4]]), outputs=2)
    assert codes.tolist() == [[0, 0, 255, 9]]
