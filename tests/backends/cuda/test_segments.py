"""Sums of runs of rows on an emulated card: all tables, widths that fill a group of threads and that do not."""

from __future__ import annotations

import numpy as np
import pytest
import ranking_net
from emulated import TARGET, answers, emulated_plan, on_emulated_card
from one_net import operator, reference

import graphc
from graphc.frontends.netdef import write_net

RNG = np.random.default_rng(4)
LENGTHS = np.array([0, 3, 1, 9, 0, 5], np.int32)
COUNT = int(LENGTHS.sum())


def table(rows: int, columns: int) -> np.ndarray:
    """Seeded floats of several sizes."""
    return (RNG.standard_normal((rows, columns)) * np.exp(RNG.normal(0, 1, (rows, 1)))).astype(np.float32)


def sums(data: np.ndarray, indices: np.ndarray, weights: np.ndarray, mean: bool) -> np.ndarray:
    """In float64."""
    ends = np.cumsum(LENGTHS)
    found = np.zeros((len(LENGTHS), data.shape[1]))
    for r, (n, end) in enumerate(zip(LENGTHS, ends)):
        for k in range(end - n, end):
            found[r] += weights[k] * data[indices[k]].astype(np.float64)
        found[r] /= max(n, 1) if mean else 1
    return found


@pytest.mark.parametrize("columns", [1, 5, 32, 64, 132])
def test_the_sum_of_rows_in_their_order(columns: int) -> None:
    data, indices = table(20, columns), RNG.integers(0, 20, COUNT)
    plan, (y,) = answers(
        [operator("SparseLengthsSum", "x i n", "y")], {"x": data, "i": indices, "n": LENGTHS}, "y", tolerance=0
    )
    np.testing.assert_allclose(y, sums(data, indices, np.ones(COUNT), False), rtol=0, atol=1e-5)
    assert [k.template for k in plan.kernels] == ["segment_parts", "segment_starts", "segment_sums"]


@pytest.mark.parametrize("op", ["LengthsSum", "LengthsMean", "LengthsMax"])
def test_rows_in_order(op: str) -> None:
    answers([operator(op, "x n", "y")], {"x": table(COUNT, 12), "n": LENGTHS}, "y", tolerance=1e-7)


def test_weights_and_halves() -> None:
    indices = RNG.integers(0, 20, COUNT).astype(np.int32)
    inputs = {"x": table(20, 8), "w": table(1, COUNT)[0], "i": indices, "n": LENGTHS}
    _, (y,) = answers([operator("SparseLengthsWeightedSum", "x w i n", "y")], inputs, "y", tolerance=1e-6)
    np.testing.assert_allclose(y, sums(inputs["x"], indices, inputs["w"], False), rtol=0, atol=1e-5)
    inputs["x"] = inputs["x"].astype(np.float16)
    answers([operator("SparseLengthsMean", "x i n", "y")], inputs, "y", tolerance=1e-6)
    inputs["w"] = inputs["w"][:9]
    answers([operator("SparseLengthsPositionalWeightedSum", "x w i n", "y")], inputs, "y", tolerance=1e-6)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_quantised_tables(bits: int) -> None:
    data, indices = table(20, 64), RNG.integers(0, 20, COUNT)
    (fused,) = reference([operator(f"FloatToFused{bits}BitRowwiseQuantized", "x", "q")], {"x": data}, "q", {})
    inputs = {"q": fused, "i": indices, "n": LENGTHS}
    op = operator(f"SparseLengthsMeanFused{bits}BitRowwise", "q i n", "y")
    _, (y,) = answers([op], inputs, "y", tolerance=1e-6)
    step = (data.max(1) - data.min(1)).max() / (2**bits - 1)
    np.testing.assert_allclose(y, sums(data, indices, np.ones(COUNT), True), rtol=0, atol=0.6 * step)


@pytest.mark.parametrize("op", ["SortedSegmentSum", "UnsortedSegmentMean"])
def test_rows_by_ids(op: str) -> None:
    ids = np.array([0, 0, 1, 2, 2, 2, 3], np.int32)
    ids = ids if op.startswith("Sorted") else ids[::-1].copy() * 2
    x = table(7, 6)
    plan, _ = answers([operator(op, "x i", "y")], {"x": x, "i": ids}, "y", tolerance=1e-6)
    bad = np.array([0, 1, -1, 0, 0, 0, 0], np.int32)
    with pytest.raises(graphc.RunError, match="SEGMENT_IDS"):
        plan.run({"x": x, "i": bad})


def test_wrong_lengths_and_indices_are_told() -> None:
    data, indices = table(20, 8), RNG.integers(0, 20, COUNT)
    inputs = {"x": data, "i": indices, "n": LENGTHS}
    plan = emulated_plan([operator("SparseLengthsSum", "x i n", "y")], inputs, "y", {})
    for wrong in (LENGTHS + 1, LENGTHS - np.array([1, -1, 0, 0, 0, 0], np.int32)):
        with pytest.raises(graphc.RunError, match=r"SparseLengthsSum\('x', 'i', 'n'\) -> 'y'.*LENGTHS"):
            plan.run(inputs | {"n": wrong.astype(np.int32)})
    for k, value in ((0, 20), (7, 20), (COUNT - 1, 20), (3, -1)):
        bad = indices.copy()
        bad[k] = value
        with pytest.raises(graphc.RunError, match="INDICES"):
            plan.run(inputs | {"i": bad})
    assert np.isfinite(plan.run(inputs)["y"]).all()


@pytest.mark.parametrize("missing", [1, 3])
def test_a_run_longer_than_the_weights_of_places_is_told(missing: int) -> None:
    longest = int(LENGTHS.max())
    inputs = {"x": table(20, 8), "w": np.ones(longest, np.float32), "i": RNG.integers(0, 20, COUNT), "n": LENGTHS}
    plan = emulated_plan([operator("SparseLengthsPositionalWeightedSum", "x w i n", "y")], inputs, "y", {})
    plan.run(inputs)
    with pytest.raises(graphc.RunError, match="SparseLengthsPositionalWeightedSum"):
        plan.run(inputs | {"w": np.ones(longest - missing, np.float32)})


def test_many_runs() -> None:
    lengths = RNG.integers(0, 3, 40000).astype(np.int32)
    data = table(int(lengths.sum()), 1)
    plan = emulated_plan([operator("LengthsSum", "x n", "y")], {"x": data, "n": lengths}, "y", {})
    y = plan.run({"x": data, "n": lengths})["y"]
    want = np.add.reduceat(np.append(data[:, 0].astype(np.float64), 0), np.cumsum(lengths) - lengths)
    np.testing.assert_allclose(y[:, 0], np.where(lengths > 0, want, 0), rtol=0, atol=1e-5)


def test_a_ranking_net() -> None:
    predict, init = (write_net(net) for net in ranking_net.pair())
    inputs = ranking_net.batch(1)
    plan = graphc.compile_graph(graphc.import_model(predict, init, inputs), target=TARGET, prepare=False)
    on_emulated_card(plan)
    for seed, samples in ((1, 12), (2, 40)):
        inputs = ranking_net.batch(seed, samples)
        want = ranking_net.forward(ranking_net.weights(), inputs)
        np.testing.assert_allclose(plan.run(inputs)["click"].ravel(), want.ravel(), rtol=0, atol=1e-6)
