"""Range rules: which numbers 8 bits shall cover, as functions of an ``Observation`` alone.

Sources: min-max and moving averages as in Jacob et al. 2018 (arXiv 1712.05877); the relative entropy of Migacz 2017
("8-bit inference with TensorRT"); percentiles and the mean squared error as in Wu et al. 2020 (arXiv 2004.09602).
Every range holds 0, which padding and Relu need exact. Elements outside of it are clamped.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from graphc.ir import GraphcError
from graphc.passes.quantize.observation import Observation

Range = tuple[float, float]

LEVELS = 256
MOMENTUM = 0.9
"""Weight of what is known, against each further batch, in a moving average."""
PERCENTILE = 99.99
FRACTIONS = np.linspace(1.0, 0.2, 33)
"""Parts of the distance from 0 to an end that are tried for the least error."""
CANDIDATES = 128
"""Ranges whose relative entropy is compared, at most."""


def min_max(seen: Observation) -> Range:
    """Everything that was seen."""
    return _with_zero(seen.low, seen.high)


def moving_average(seen: Observation) -> Range:
    """Batches' minima and maxima, averaged with weights that fall off with age: single outliers count less."""
    low, high = seen.batches[0]
    for batch_low, batch_high in seen.batches[1:]:
        low = MOMENTUM * low + (1 - MOMENTUM) * batch_low
        high = MOMENTUM * high + (1 - MOMENTUM) * batch_high
    return _with_zero(low, high)


def percentile(seen: Observation, percent: float = PERCENTILE) -> Range:
    """At most 100 - percent of the elements lie beyond each end, to the precision of a bin."""
    allowed = math.floor(seen.total * (100.0 - percent) / 100.0 + 1e-9)
    edges = (seen.first + np.arange(len(seen.counts) + 1)) * seen.width
    below = np.concatenate([[0], np.cumsum(seen.counts)])
    low = edges[np.searchsorted(below, allowed, side="right") - 1]
    high = edges[np.searchsorted(below, seen.total - allowed, side="left")]
    return _with_zero(max(float(low), seen.low), min(float(high), seen.high))


def least_error(seen: Observation) -> Range:
    """The ends, each at a fraction of what was seen, whose quantised elements have the least mean squared error."""
    full_low, full_high = min_max(seen)
    lows = full_low * FRACTIONS if full_low < 0 else np.zeros(1)
    highs = full_high * FRACTIONS if full_high > 0 else np.zeros(1)
    pairs = [(float(low), float(high)) for low in lows for high in highs]
    weights, centres = _weights(seen), seen.centres
    return min(pairs, key=lambda pair: squared_error(centres, weights, *pair))


def squared_error(values: np.ndarray, weights: np.ndarray, low: float, high: float) -> float:
    """Weighted sum of squared differences between values and their 8-bit form in a range that holds 0."""
    if high <= low:
        return float(weights @ np.square(values))
    scale = (high - low) / (LEVELS - 1)
    zero = np.rint(-low / scale)
    q = np.clip(np.rint(values / scale) + zero, 0, LEVELS - 1)
    return float(weights @ np.square((q - zero) * scale - values))


def entropy(seen: Observation) -> Range:
    """The range whose quantised distribution has the least relative entropy (Kullback-Leibler) to the clamped one.

    Candidates reach from 0 to a distance on both sides, as far as elements were seen there; the nearest holds a bin for
    each of the 256 levels.
    """
    low, high = min_max(seen)
    reach = max(-low, high)
    if reach == 0.0:
        return low, high
    start = min(LEVELS * seen.width, reach)
    pairs = [(max(low, -t), min(high, t)) for t in np.linspace(reach, start, CANDIDATES).tolist()]
    return min(pairs, key=lambda pair: divergence(seen, *pair))


def divergence(seen: Observation, low: float, high: float) -> float:
    """Relative entropy, in nats, of the histogram clamped to a range against the same in 256 equal levels.

    A level's share is spread evenly over those of its bins that hold any element. Elements that are exactly 0 are left
    out: behind a Relu they are most, have no error, and would hide all others.
    """
    middles = (seen.first + np.arange(len(seen.counts)) + 0.5) * seen.width
    inside = (middles >= low) & (middles <= high)
    if not inside.any():
        return math.inf
    weights = _weights(seen)
    own = weights[inside]
    clamped = own.copy()
    clamped[0] += weights[middles < low].sum()
    clamped[-1] += weights[middles > high].sum()
    level = np.minimum((np.arange(len(own)) * LEVELS) // len(own), LEVELS - 1)
    filled = own > 0
    bins = np.bincount(level, filled, LEVELS)
    share = np.bincount(level, own, LEVELS) / np.maximum(bins, 1)
    spread = np.where(filled, share[level], 0.0)
    p, q = clamped / max(clamped.sum(), 1.0), spread / max(spread.sum(), 1.0)
    if np.any((p > 0) & (q == 0)):
        return math.inf
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))


RULES: dict[str, Callable[[Observation], Range]] = {
    "min-max": min_max,
    "moving-average": moving_average,
    "percentile": percentile,
    "entropy": entropy,
    "mse": least_error,
}
"""Rules by the name that a user gives."""


def range_of(seen: Observation, rule: str) -> Range:
    """(low, high) by a rule, low <= 0 <= high. Raises ``GraphcError`` for an unknown rule, or a value never seen."""
    if rule not in RULES:
        raise GraphcError(f"there is no range rule '{rule}'", f"rules: {', '.join(RULES)}")
    if not seen.batches:
        raise GraphcError(f"blob '{seen.name}' was never observed", "give calibration data")
    return RULES[rule](seen)


def _with_zero(low: float, high: float) -> Range:
    return min(low, 0.0), max(high, 0.0)


def _weights(seen: Observation) -> np.ndarray:
    """Elements of each bin that have an error: not those that are exactly 0."""
    weights = seen.counts.astype(np.float64)
    if seen.zeros:
        weights[-seen.first] -= seen.zeros
    return weights
