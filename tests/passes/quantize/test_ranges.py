"""Range rules against brute force on the elements themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graphc.ir import GraphcError
from graphc.passes.quantize.observation import Observation
from graphc.passes.quantize.ranges import (
    FRACTIONS,
    RULES,
    divergence,
    entropy,
    least_error,
    min_max,
    moving_average,
    percentile,
    range_of,
    squared_error,
)

RNG = np.random.default_rng(5)
VALUES = {
    "relu": np.maximum(RNG.normal(0, 2, 20000), 0).astype(np.float32),
    "tails": RNG.standard_t(3, 20000).astype(np.float32),
    "negative": (-RNG.exponential(1, 20000)).astype(np.float32),
}


def observed(*batches: np.ndarray) -> Observation:
    record = Observation("blob")
    for batch in batches:
        record.add(batch)
    return record


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", VALUES)
def test_every_range_holds_zero_and_lies_in_what_was_seen(rule: str, name: str) -> None:
    values = VALUES[name]
    low, high = range_of(observed(values), rule)
    assert min(values.min(), 0) - 1e-6 <= low <= 0 <= high <= max(values.max(), 0) + 1e-6
    assert high > low


def test_min_max_includes_zero() -> None:
    assert min_max(observed(np.array([2, 5], np.float32))) == (0.0, 5.0)
    assert min_max(observed(np.array([-2, -1], np.float32))) == (-2.0, 0.0)


def test_moving_average_by_hand() -> None:
    record = observed(*(np.array(b, np.float32) for b in ([-1, 4], [-3, 14], [0, 4])))
    low = 0.9 * (0.9 * -1 + 0.1 * -3) + 0.1 * 0
    high = 0.9 * (0.9 * 4 + 0.1 * 14) + 0.1 * 4
    assert moving_average(record) == pytest.approx((low, high))


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("percent", [99.0, 99.9])
def test_percentile_against_sorted_elements(name: str, percent: float) -> None:
    values, record = np.sort(VALUES[name]), observed(VALUES[name])
    low, high = percentile(record, percent)
    allowed = math.floor(len(values) * (100 - percent) / 100 + 1e-9)
    wanted = (min(float(values[allowed]), 0.0), max(float(values[-1 - allowed]), 0.0))
    assert low == pytest.approx(wanted[0], abs=record.width)
    assert high == pytest.approx(wanted[1], abs=record.width)
    assert (values < low).sum() <= allowed
    assert (values > high).sum() <= allowed


def quantised_error(values: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of 8-bit numbers, element by element."""
    scale = (high - low) / 255
    zero = round(-low / scale)
    q = np.clip(np.rint(values.astype(np.float64) / scale) + zero, 0, 255)
    return float(np.mean(((q - zero) * scale - values) ** 2))


@pytest.mark.parametrize("name", VALUES)
def test_least_error_is_within_a_hundredth_of_the_best_of_all_pairs(name: str) -> None:
    values = VALUES[name]
    low, high = min_max(observed(values))
    pairs = [(a * low, b * high) for a in FRACTIONS[:: 1 if low == 0 or high == 0 else 4] for b in FRACTIONS[::4]]
    best = min(quantised_error(values, *p) for p in pairs if p[1] > p[0])
    assert quantised_error(values, *least_error(observed(values))) <= 1.01 * best


def test_outliers_are_clamped_where_it_pays() -> None:
    values = np.concatenate([VALUES["relu"], np.array([100], np.float32)])
    assert percentile(observed(values))[1] < 10
    assert entropy(observed(values))[1] < 60
    assert min_max(observed(values))[1] == 100
    many = np.append(np.tile(VALUES["relu"], 50), np.float32(40))  # a step for one of a million does not pay
    assert least_error(observed(many))[1] < 30


def naive_divergence(record: Observation, low: float, high: float) -> float:
    """The definition, bin by bin."""
    counts = record.counts.astype(float).tolist()
    if record.zeros:
        counts[-record.first] -= record.zeros
    inside = [i for i in range(len(counts)) if low <= (record.first + i + 0.5) * record.width <= high]
    p = [counts[i] for i in inside]
    q = [0.0] * len(p)
    for level in range(256):
        mine = [k for k in range(len(p)) if k * 256 // len(p) == level and p[k] > 0]
        for k in mine:
            q[k] = sum(p[j] for j in mine) / len(mine)
    p[0] += sum(counts[: inside[0]])
    p[-1] += sum(counts[inside[-1] + 1 :])
    total, spread = sum(p), sum(q)
    terms = [(a / total, b / spread) for a, b in zip(p, q) if a > 0]
    return sum(a * math.log(a / b) if b else math.inf for a, b in terms)


@pytest.mark.parametrize("name", VALUES)
def test_divergence_against_its_definition(name: str) -> None:
    record = observed(VALUES[name])
    low, high = min_max(record)
    for part in (1.0, 0.3):
        got = divergence(record, part * low, part * high)
        assert got == pytest.approx(naive_divergence(record, part * low, part * high), rel=1e-9)


def test_squared_error_of_no_range_is_that_of_zeros() -> None:
    assert squared_error(np.array([1.0, -2.0]), np.array([3.0, 1.0]), 0.0, 0.0) == 7.0


@pytest.mark.parametrize("rule", RULES)
def test_zeros_have_the_range_of_zeros(rule: str) -> None:
    assert range_of(observed(np.zeros(9, np.float32)), rule) == (0.0, 0.0)


def test_unknown_rules_and_unseen_values_are_refused() -> None:
    with pytest.raises(GraphcError, match="no range rule 'best'"):
        range_of(observed(np.ones(3, np.float32)), "best")
    with pytest.raises(GraphcError, match="'blob' was never observed"):
        range_of(Observation("blob"), "mse")
