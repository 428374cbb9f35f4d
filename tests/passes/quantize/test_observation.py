"""Observations against counts by hand and NumPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from graphc.ir import GraphcError
from graphc.passes.quantize.observation import BINS, Observation


def observed(*batches: np.ndarray) -> Observation:
    record = Observation("blob")
    for batch in batches:
        record.add(batch)
    return record


def test_bins_hold_what_lies_in_them() -> None:
    values = np.random.default_rng(0).normal(3, 10, 5000).astype(np.float32)
    record = observed(values)
    edges = (record.first + np.arange(len(record.counts) + 1)) * record.width
    assert len(record.counts) <= BINS
    assert record.counts.tolist() == [int(((values >= low) & (values < high)).sum()) for low, high in pairwise(edges)]
    assert (record.low, record.high) == (float(values.min()), float(values.max()))
    assert record.batches == [(record.low, record.high)]


def test_ranges_that_grow_give_the_record_of_all_at_once() -> None:
    rng = np.random.default_rng(1)
    batches = [rng.normal(0, scale, 400).astype(np.float32) for scale in (1e-6, 1, 3, 0.1, 5000)]
    grown, whole = observed(*batches), observed(np.concatenate(batches))
    assert (grown.exponent, grown.first) == (whole.exponent, whole.first)
    assert np.array_equal(grown.counts, whole.counts)
    assert grown.total == 2000


def test_merging_is_observing_both() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.uniform(-1, 7, 300).astype(np.float32), rng.uniform(-40, 0.5, 500).astype(np.float32)
    b[:50] = 0.0
    merged, whole = Observation("group"), observed(np.concatenate([a, b]))
    merged.merge(observed(a))
    merged.merge(observed(b))
    assert np.array_equal(merged.counts, whole.counts)
    assert (merged.first, merged.exponent, merged.zeros) == (whole.first, whole.exponent, 50)
    assert merged.batches == whole.batches


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-30, 1e30])
def test_constants_take_one_bin(value: float) -> None:
    record = observed(np.full((2, 3), value, np.float32))
    assert record.counts.tolist() == [6]
    assert record.low == record.high == record.centres[0] == np.float32(value)
    assert record.zeros == (6 if value == 0 else 0)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (np.zeros((0, 3), np.float32), "'blob' is empty"),
        (np.array([1, np.nan], np.float32), "'blob' has NaN or infinite"),
        (np.array([1, np.inf], np.float32), "'blob' has NaN or infinite"),
    ],
)
def test_what_no_range_follows_from_is_refused(batch: np.ndarray, said: str) -> None:
    with pytest.raises(GraphcError, match=said):
        observed(batch)
