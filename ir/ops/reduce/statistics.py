"""Histograms, quantiles, percentiles and transforms by them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, bounded, count_of, product, require, require_rank
from graphc.ir.types import UNKNOWN, DType, TensorType

FLOAT = (DType.FLOAT,)
REAL = (DType.FLOAT, DType.DOUBLE)


def one_dtype(call: Call) -> DType | None:
    """The one dtype, float or double, of all inputs."""
    first = require(call, 0, REAL).dtype
    for i in range(1, call.n_inputs):
        other = require(call, i, REAL).dtype
        if first is not None and other is not None and first is not other:
            call.fail(f"input {i} is {other.text}, input 0 is {first.text}", "insert a Cast")
    return first


def upper_bound(edges: Any, n: Any, x: Any) -> Any:
    """How many of the first ``n`` edges are not above x: std::upper_bound; for loops."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if x < edges[middle]:
            high = middle
        else:
            low = middle + 1
    return low


def lower_bound(values: Any, first: Any, n: Any, x: Any) -> Any:
    """The first place from ``first`` on, before ``first + n``, of a value that is not below x; for loops."""
    low, high = first, first + n
    while low < high:
        middle = (low + high) // 2
        if values[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


def _histogram_infer(call: Call) -> list[TensorType]:
    """histogram: int64, an element for each interval between two edges."""
    one_dtype(call)
    edges = call.arg("bin_edges")
    if len(edges) < 2:
        call.fail(
            f"Number of bin edges must be greater than or equal to 2, not {len(edges)}", "give bin_edges more values"
        )
    if any(not a < b for a, b in pairwise(edges)):
        call.fail("bin_edges must be a strictly increasing sequence of values", "sort them, each once")
    return [TensorType(DType.INT64, (len(edges) - 1,))]


def _histogram_loop(xs: Any, histogram: Any, edges: Any, bin_edges: Any) -> None:
    n = len(bin_edges)
    for i in range(n):
        edges[i] = bin_edges[i]
    for k in range(len(xs)):
        x = xs[k]
        for i in range(x.size):
            at = upper_bound(edges, n, x.flat[i])
            if 0 < at < n:
                histogram[at - 1] += 1


op(
    "Histogram",
    _histogram_infer,
    inputs="X*",
    outputs="histogram",
    args=(Arg("bin_edges", "floats", (), "where the intervals begin, and the last ends"),),
    loop=_histogram_loop,
    scratch=lambda call: [TensorType(DType.DOUBLE, (len(call.arg("bin_edges")),))],
    doc="How many elements of all inputs lie in each interval.",
)


def _accumulated_infer(call: Call) -> list[TensorType]:
    """Both results: int64, an element for what is below, for each bucket and for what is above."""
    require(call, 0, FLOAT)
    n = bounded(call, call.arg("num_buckets"), 1, "num_buckets")
    if not (math.isfinite(call.arg("lower_bound")) and math.isfinite(call.arg("upper_bound"))):
        call.fail("lower_bound or upper_bound is not finite")
    return [TensorType(DType.INT64, (n + 2,))] * 2


def _accumulated_loop(x: Any, current: Any, every: Any, lower_bound: Any, upper_bound: Any, num_buckets: Any) -> int:
    low, high = np.float32(lower_bound), np.float32(upper_bound)
    width = (high - low) / np.float32(num_buckets)
    for i in range(x.size):
        value = x.flat[i]
        at = 0
        if value >= high:
            at = num_buckets + 1
        elif value >= low:
            place = (value - low) / width
            at = int(place) + 1 if place < num_buckets else num_buckets + 1
        elif value != value:
            return 1
        current[at] += 1
        every[at] += 1
    return 0


op(
    "AccumulateHistogram",
    _accumulated_infer,
    inputs="X",
    outputs="CurHist AccHist",
    args=(
        Arg("lower_bound", "float", 0.0, "where the first bucket begins"),
        Arg("upper_bound", "float", 1.0, "where the last one ends"),
        Arg("num_buckets", "int", 1, "how many there are in between"),
    ),
    loop=_accumulated_loop,
    errors=("X has an element that is not a number",),
    doc="How many elements lie in each bucket; AccHist is the same, as a run begins without a history.",
)


def _binning_infer(call: Call) -> list[TensorType]:
    """histogram_values: num_bins + 1 edges of the inputs' dtype; histogram_counts: as many int64."""
    dtype = one_dtype(call)
    if call.arg("num_bins") < 1:
        call.fail("Number of bins must be greater than or equal to 1.", "give num_bins a larger value")
    edges = bounded(call, call.arg("num_bins"), 1, "num_bins") + 1
    if call.arg("bin_spacing") not in ("linear", "logarithmic"):
        call.fail(f"bin_spacing is '{call.arg('bin_spacing')}'", "use linear or logarithmic")
    if not call.arg("logspace_start") > 0:
        call.fail(f"logspace_start is {call.arg('logspace_start')}", "give logspace_start a value above 0")
    return [TensorType(dtype, (edges,)), TensorType(DType.INT64, (edges,))]


def _range_of(xs: Any, found: Any, absolute: Any) -> Any:
    """Least and greatest element into found[0] and found[1]; how many elements there are. For loops."""
    count = 0
    for k in range(len(xs)):
        x = xs[k]
        for i in range(x.size):
            value = abs(x.flat[i]) if absolute else x.flat[i]
            if count == 0 or value < found[0]:
                found[0] = value
            if count == 0 or value > found[1]:
                found[1] = value
            count += 1
    return count


def _set_edges(edges: Any, work: Any, logarithmic: Any, start: Any) -> None:
    """The edges, in the precision of ``work``: least, greatest, scaled greatest, and two temporaries."""
    n = edges.shape[0] - 1
    work[3] = 1.0001  # the last edge lies beyond the greatest element
    if logarithmic:
        work[0], work[1] = max(work[0], start), max(work[1], start)
        work[2] = (work[1] - work[0]) * work[3]
        work[2] = work[0] + work[2]
        work[4] = math.log(work[2]) - math.log(work[0])
    else:
        work[2] = work[0] + (work[1] - work[0]) * work[3]
        work[4] = work[2] - work[0]
    for i in range(n + 1):
        work[3] = i / n
        if logarithmic:
            edges[i] = work[0] * math.exp(work[4] * work[3])
        else:
            edges[i] = work[0] + work[3] * work[4]


def _binning_loop(
    xs: Any, edges: Any, counts: Any, work: Any, num_bins: Any, bin_spacing: Any, logspace_start: Any, absolute: Any
) -> None:
    total = _range_of(xs, work, absolute)
    if total == 0:
        return
    _set_edges(edges, work, bin_spacing, logspace_start)
    if edges[num_bins] <= work[1]:
        edges[num_bins] = work[2]
        counts[0] = total
        return
    for k in range(len(xs)):
        x = xs[k]
        for i in range(x.size):
            at = upper_bound(edges, num_bins + 1, abs(x.flat[i]) if absolute else x.flat[i])
            if at <= num_bins:
                counts[max(at - 1, 0)] += 1


op(
    "SelfBinningHistogram",
    _binning_infer,
    inputs="X*",
    outputs="histogram_values histogram_counts",
    args=(
        Arg("num_bins", "int", 0, "number of bins"),
        Arg("bin_spacing", "string", b"linear", "how the edges lie", choices=("linear", "logarithmic")),
        Arg("logspace_start", "float", float(np.float32(1e-24)), "the least edge of logarithmic bins"),
        Arg("abs", "int", 0, "of the absolute values"),
    ),
    loop=_binning_loop,
    scratch=lambda call: [TensorType(call.type(0).dtype, (5,))],
    doc="Edges of bins between the least and the greatest element, and how many elements each bin has.",
)


def _quantile_infer(call: Call) -> list[TensorType]:
    """quantile_value: one element of the inputs' dtype."""
    dtype = one_dtype(call)
    if not 0 <= call.arg("quantile") <= 1:
        call.fail(f"quantile is {call.arg('quantile')}", "give quantile a value from 0 to 1")
    if not call.arg("tol") > 0:
        call.fail(f"tol is {call.arg('tol')}", "give tol a value above 0")
    sizes = [count_of(call.type(i).shape) for i in range(call.n_inputs) if call.type(i).shape != ()]
    if len(sizes) == call.n_inputs and all(n == 0 for n in sizes):
        call.fail("the inputs have no elements", "feed at least one element")
    return [TensorType(dtype, (1,))]


def _count_up_to(xs: Any, limit: Any, absolute: Any) -> Any:
    count = 0
    for k in range(len(xs)):
        x = xs[k]
        for i in range(x.size):
            count += int((abs(x.flat[i]) if absolute else x.flat[i]) <= limit)
    return count


def _quantile_loop(xs: Any, result: Any, work: Any, quantile: Any, absolute: Any, tol: Any) -> int:
    """Bisection between the least and the greatest element, work[0] and work[1]; work[2] is the middle."""
    total = _range_of(xs, work, absolute)
    target = math.ceil(np.float32(total) * np.float32(quantile))
    if target == 0 or _count_up_to(xs, work[0], absolute) >= target > 0:
        result[0] = work[0]
        return 0
    if target < total:
        while abs(work[1] - work[0]) > tol * (abs(work[1]) + abs(work[0])):
            work[2] = work[0] + (work[1] - work[0]) / 2
            count = _count_up_to(xs, work[2], absolute)
            if count == target:
                result[0] = work[2]
                return 0
            side = int(count > target)
            if work[side] == work[2]:
                return 1
            work[side] = work[2]
    result[0] = work[1]
    return 0


op(
    "Quantile",
    _quantile_infer,
    inputs="X*",
    outputs="quantile_value",
    args=(
        Arg("quantile", "float", -1.0, "the share of elements up to the result"),
        Arg("abs", "int", 1, "of the absolute values"),
        Arg("tol", "float", float(np.float32(1e-3)), "how exact the result is, relative"),
    ),
    loop=_quantile_loop,
    scratch=lambda call: [TensorType(call.type(0).dtype, (3,))],
    errors=("the elements are too close to one another for the precision of their type",),
    doc="A number up to which a share of the elements of all inputs is.",
)


def _percentile_infer(call: Call) -> list[TensorType]:
    """percentile_values has the type of original_values (N, K); lengths has K elements, value_to_pct is (., 2)."""
    x = require(call, 0, FLOAT)
    shape, pairs = require_rank(call, 0, 2), require_rank(call, 1, 2)
    require(call, 1, FLOAT)
    require(call, 2, (DType.INT32,))
    if pairs is not None:
        agree(call, pairs[1], 2, "number of columns of value_to_pct")
    if shape is not None:
        agree(call, count_of(call.type(2).shape), shape[1], "number of lengths")
    return [x]


def _percentile_loop(x: Any, pairs: Any, lengths: Any, y: Any, values: Any) -> int:
    total = 0
    for j in range(lengths.size):
        if lengths.flat[j] < 0:
            return 1
        total += lengths.flat[j]
    if total != pairs.shape[0]:
        return 1
    for k in range(pairs.shape[0]):
        values[k] = pairs[k, 0]
    for i in range(x.shape[0]):
        start = 0
        for j in range(x.shape[1]):
            n = lengths.flat[j]
            at = lower_bound(values, start, n, x[i, j])
            if at == start + n:
                y[i, j] = 1
            elif x[i, j] == values[at]:
                y[i, j] = pairs[at, 1]
            elif at > start:
                share = (x[i, j] - values[at - 1]) / (values[at] - values[at - 1])
                y[i, j] = pairs[at - 1, 1] + share * (pairs[at, 1] - pairs[at - 1, 1])
            start += n
    return 0


op(
    "Percentile",
    _percentile_infer,
    inputs="original_values value_to_pct lengths",
    outputs="percentile_values",
    loop=_percentile_loop,
    scratch=lambda call: [TensorType(DType.FLOAT, (call.type(1).static_shape[0],))],
    errors=("lengths has an element below 0, or their sum is not the number of rows of value_to_pct",),
    doc="Percentiles by interpolation in pairs of a value and its percentile, of which column j has lengths[j].",
)

_BISECT = ("percentile_raw", "percentile_mapping", "percentile_lower", "percentile_upper")


def _bisect_infer(call: Call) -> list[TensorType]:
    """percentile has the type of raw_values (N, K); lengths has K elements, their sum is that of each other list."""
    x, shape = require(call, 0, FLOAT), require_rank(call, 0, 2)
    lengths = call.arg("lengths")
    for name in _BISECT:
        if len(call.arg(name)) != sum(lengths):
            call.fail(f"{name} has {len(call.arg(name))} values, the sum of lengths is {sum(lengths)}")
    if min(lengths, default=1) < 1:
        call.fail(f"lengths has the element {min(lengths)}", "give every feature at least 1 value")
    if shape is not None:
        agree(call, shape[1], len(lengths), "number of features")
    return [x]


def _bisect_place(raw: Any, first: Any, n: Any, x: Any) -> Any:
    low, high = first, first + n - 1
    while low < high:
        middle = low + (high - low) // 2
        if x < raw[middle]:
            high = middle - 1
        elif x < raw[middle + 1]:
            return middle
        else:
            low = middle + 1
    return low


def _bisect_loop(x: Any, y: Any, tables: Any, raw: Any, mapping: Any, lower: Any, upper: Any, lengths: Any) -> None:
    for k in range(tables.shape[1]):
        tables[0, k], tables[1, k], tables[2, k], tables[3, k] = raw[k], mapping[k], lower[k], upper[k]
    for i in range(x.shape[0]):
        first = 0
        for j in range(x.shape[1]):
            n, value = lengths[j], x[i, j]
            k = _bisect_place(tables[0], first, n, value)
            if value > tables[0, first + n - 1]:
                y[i, j] = 1
            elif tables[0, k] == value:
                y[i, j] = tables[1, k]
            elif value >= tables[0, first] and k + 1 < first + n:
                share = (value - tables[0, k]) / (tables[0, k + 1] - tables[0, k] + np.float32(1e-10))
                y[i, j] = (1 - share) * tables[3, k] + share * tables[2, k + 1]
            first += n


def _bisect_constants(call: Call) -> list[Any]:
    """The lists, each with one element more, which makes them no empty tuples, for which Numba has no type."""
    return [*((*call.arg(name), 0.0) for name in _BISECT), (*call.arg("lengths"), 0)]


op(
    "BisectPercentile",
    _bisect_infer,
    inputs="raw_values",
    outputs="percentile",
    args=(
        Arg("percentile_raw", "floats", (), "values, sorted for each feature"),
        Arg("percentile_mapping", "floats", (), "their percentiles"),
        Arg("percentile_lower", "floats", (), "percentile that is approached from below"),
        Arg("percentile_upper", "floats", (), "percentile that is approached from above"),
        Arg("lengths", "ints", (), "how many values each feature has"),
    ),
    loop=_bisect_loop,
    scratch=lambda call: [TensorType(DType.FLOAT, (4, len(call.arg("percentile_raw"))))],
    constants=_bisect_constants,
    doc="Percentiles by interpolation between the values of a feature.",
)


def _stump_infer(call: Call) -> list[TensorType]:
    """Index_Low and Index_High: int64, as many as there are."""
    require(call, 0, FLOAT)
    return [TensorType(DType.INT64, (UNKNOWN,))] * 2


def _stump_sizes(x: Any, dims: Any, threshold: Any) -> None:
    for i in range(x.size):
        dims[int(not x.flat[i] <= np.float32(threshold))] += 1


def _stump_loop(x: Any, low: Any, high: Any, threshold: Any) -> None:
    n, m = 0, 0
    for i in range(x.size):
        if x.flat[i] <= np.float32(threshold):
            low[n] = i
            n += 1
        else:
            high[m] = i
            m += 1


op(
    "StumpFuncIndex",
    _stump_infer,
    inputs="X",
    outputs="Index_Low Index_High",
    args=(Arg("threshold", "float", 0.0, "the threshold"),),
    loop=_stump_loop,
    sizes=_stump_sizes,
    doc="The indices of the elements up to the threshold, and of those above.",
)


def _perplexity_infer(call: Call) -> list[TensorType]:
    """output: one element without dimensions."""
    require(call, 0, FLOAT)
    require_rank(call, 0, 1)
    return [TensorType(DType.FLOAT, ())]


def _perplexity_loop(x: Any, y: Any) -> None:
    total = 0.0
    for i in range(x.size):
        total += math.log(x[i]) if x[i] > 0 else (-math.inf if x[i] == 0 else math.nan)
    y.flat[0] = np.exp(-total / max(x.size, 1))


op(
    "Perplexity",
    _perplexity_infer,
    inputs="probabilities",
    outputs="output",
    loop=_perplexity_loop,
    doc="The inverse of the geometric mean of the probabilities.",
)


def _box_cox_infer(call: Call) -> list[TensorType]:
    """output has the type of data; lambda1 and lambda2 have an element for each column."""
    data = require(call, 0, REAL)
    one_dtype(call)
    if data.shape == ():
        call.fail("data has no dimensions, at least 1 is needed")
    if data.shape is not None and product(data.shape) != 0:
        for i in (1, 2):
            length = count_of(call.type(i).shape) if call.type(i).shape != () else 1
            agree(call, length, product(data.shape[1:]), f"number of elements of {call.input_name(i)}")
    return [data]


def _box_cox_loop(data: Any, lambda1: Any, lambda2: Any, output: Any, min_block_size: Any) -> None:
    columns = lambda1.size
    for r in range(data.size // max(columns, 1)):
        for c in range(columns):
            power = lambda1.flat[c]
            x = max(data.flat[r * columns + c] + lambda2.flat[c], 1e-6)
            output.flat[r * columns + c] = math.log(x) if power == 0 else (x**power - 1) / power


op(
    "BatchBoxCox",
    _box_cox_infer,
    inputs="data lambda1 lambda2",
    outputs="output",
    args=(Arg("min_block_size", "int", 256, "a preference, never changes the answer"),),
    loop=_box_cox_loop,
    inplace=((0, 0),),
    doc="With x = max(data + lambda2, 1e-6) of each column: (x^lambda1 - 1) / lambda1, or log(x) where lambda1 is 0.",
)
