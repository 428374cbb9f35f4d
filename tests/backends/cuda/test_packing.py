"""Rows moved between runs one after another and blocks, and what lengths say, on an emulated card, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import emulated_plan
from one_net import operator

import graphc
from graphc.plan import Plan

RNG = np.random.default_rng(5)
LENGTHS = np.array([0, 3, 1, 9, 0, 5], np.int32)
COUNT = int(LENGTHS.sum())


def packed(rows: np.ndarray, most: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """The block, and where it has rows."""
    block = np.full((len(LENGTHS), most, *rows.shape[1:]), gap, rows.dtype)
    there = np.arange(most) < LENGTHS[:, None]
    for run, (n, end) in enumerate(zip(LENGTHS, np.cumsum(LENGTHS))):
        block[run, : min(n, most)] = rows[end - n : end][:most]
    return block, there


def plan_of(op: str, inputs: dict[str, np.ndarray], outputs: str = "y", **args: int) -> Plan:
    """The plan of one operator on all inputs, whole on the card."""
    return emulated_plan([operator(op, " ".join(inputs), outputs, **args)], inputs, outputs, {})


@pytest.mark.parametrize("most", [-1, 4, 12, 0])
@pytest.mark.parametrize("kind", ["f4", "f2", "f8", "i8", "u1"])
def test_runs_become_a_block_and_runs_again(kind: str, most: int) -> None:
    rows = RNG.integers(0, 100, (COUNT, 3)).astype(kind)
    longest = 9 if most == -1 else most
    for minf in (0, 1):
        want, there = packed(rows, longest, -np.inf if minf and kind[0] == "f" else 0)
        inputs = {"n": LENGTHS, "x": rows}
        plan = plan_of("PackSegments", inputs, "y m", max_length=most, pad_minf=minf, return_presence_mask=1)
        got = plan.run(inputs)
        np.testing.assert_array_equal(got["y"], want)
        np.testing.assert_array_equal(got["m"], there)
    inputs = {"n": LENGTHS, "x": want}
    back = plan_of("UnpackSegments", inputs, max_length=most).run(inputs)["y"]
    np.testing.assert_array_equal(back, want[there])


@pytest.mark.parametrize("kind", ["f4", "i8"])
def test_blocks_whose_first_dimension_is_time(kind: str) -> None:
    rows = RNG.integers(1, 100, (COUNT, 3)).astype(kind)
    want = packed(rows, 9, 0)[0]
    inputs = {"x": np.append(rows, rows[:2], axis=0), "n": LENGTHS}  # rows behind the last run are left
    plan = plan_of("PackRNNSequence", inputs)
    got = plan.run(inputs)["y"]
    np.testing.assert_array_equal(got, want.swapaxes(0, 1))
    back = plan_of("UnpackRNNSequence", {"x": got, "n": LENGTHS})
    np.testing.assert_array_equal(back.run({"x": got, "n": LENGTHS})["y"], rows)
    for which, given, wrong in ((plan, inputs["x"], LENGTHS + 1), (back, got, LENGTHS + 1), (back, got, LENGTHS - 1)):
        with pytest.raises(graphc.RunError, match="LENGTHS"):
            which.run({"x": given, "n": wrong.astype(np.int32)})


@pytest.mark.parametrize("shape", [(), (1,), (2,), (5,), (3, 0)], ids=str)
def test_rows_of_any_width(shape: tuple[int, ...]) -> None:
    rows = RNG.standard_normal((COUNT, *shape)).astype(np.float32)
    inputs = {"n": LENGTHS, "x": rows}
    got = plan_of("PackSegments", inputs, "y m").run(inputs)
    want, there = packed(rows, 9, 0)
    np.testing.assert_array_equal(got["y"], want)
    np.testing.assert_array_equal(got["m"], there)


def test_other_lengths_and_sizes_than_those_compiled_for() -> None:
    inputs = {"n": LENGTHS, "x": np.arange(COUNT, dtype=np.float32)}
    plan = plan_of("PackSegments", inputs)
    for lengths in ([2], [], [1] * 40, RNG.integers(0, 2, 20000)):
        given = np.array(lengths, np.int32)
        rows = np.arange(given.sum(), dtype=np.float32) + 1
        got = plan.run({"n": given, "x": rows})["y"]
        assert got.shape == (len(given), given.max(initial=0))
        np.testing.assert_array_equal(got[got > 0], rows)


def test_wrong_lengths_are_told() -> None:
    inputs = {"n": LENGTHS, "x": np.ones((COUNT, 2), np.float32)}
    for most in (-1, 4):
        plan = plan_of("PackSegments", inputs, max_length=most)
        for wrong in (LENGTHS + 1, LENGTHS - np.array([1, -1, 0, 0, 0, 0], np.int32), LENGTHS * 0):
            with pytest.raises(graphc.RunError, match=r"PackSegments\('n', 'x'\) -> 'y'.*LENGTHS"):
                plan.run(inputs | {"n": wrong.astype(np.int32)})
        assert plan.run(inputs)["y"].sum() == 2 * np.minimum(LENGTHS, 9 if most == -1 else most).sum()


def test_runs_longer_than_their_block_are_told() -> None:
    inputs = {"n": LENGTHS, "x": np.ones((6, 9, 2), np.float32)}
    plan = plan_of("UnpackSegments", inputs)
    for wrong in (LENGTHS - 1, np.maximum(LENGTHS, 10)):
        with pytest.raises(graphc.RunError, match=r"UnpackSegments\('n', 'x'\) -> 'y'.*LENGTHS"):
            plan.run(inputs | {"n": wrong})
    assert plan.run(inputs)["y"].shape == (COUNT, 2)


@pytest.mark.parametrize("kind", ["f4", "u1", "i8"])
@pytest.mark.parametrize("width", [1, 2, 3, 0])
def test_rows_are_repeated(kind: str, width: int) -> None:
    inputs = {"x": RNG.integers(0, 100, (6, width)).astype(kind), "n": LENGTHS}
    got = plan_of("LengthsTile", inputs).run(inputs)["y"]
    np.testing.assert_array_equal(got, np.repeat(inputs["x"], LENGTHS, axis=0))


def said(op: str, n: np.ndarray) -> np.ndarray:
    """What an operator says of lengths."""
    ids, starts = np.repeat(np.arange(len(n)), n), np.cumsum(n) - n
    if op == "LengthsToSegmentIds":
        return ids
    if op == "LengthsRangeFill":
        return np.arange(n.sum()) - starts[ids]
    if op == "LengthsToWeights":
        return (1 / n[ids] ** 0.5).astype(np.float32)
    return np.stack([starts, n], 1) if op == "LengthsToRanges" else starts


OF_LENGTHS = ["LengthsToSegmentIds", "LengthsRangeFill", "LengthsToWeights", "LengthsToRanges", "LengthsToOffsets"]


@pytest.mark.parametrize("op", OF_LENGTHS)
def test_what_lengths_say(op: str) -> None:
    plan = plan_of(op, {"n": LENGTHS})
    for lengths in (LENGTHS, [0, 0], [], [7], RNG.integers(0, 3, 20000)):
        n = np.array(lengths, np.int32)
        np.testing.assert_allclose(plan.run({"n": n})["y"], said(op, n), rtol=1e-6 * (op == "LengthsToWeights"))
    for wrong in ([-1, 3], [3, -1], [0] * 5000 + [-1, 1]):
        with pytest.raises(graphc.RunError, match=rf"{op}\('n'\) -> 'y'.*length"):
            plan.run({"n": np.array(wrong, np.int32)})


@pytest.mark.parametrize("op", OF_LENGTHS[3:])
def test_starts_are_below_the_largest_number(op: str) -> None:
    plan = plan_of(op, {"n": LENGTHS})
    for last in (1, 2):
        n = {"n": np.array([2**30, 2**30 - 2, last], np.int32)}
        if last == 1:
            assert plan.run(n)["y"].ravel()[-(1 + (op == "LengthsToRanges"))] == 2**31 - 2
        else:
            with pytest.raises(graphc.RunError, match="LENGTHS"):
                plan.run(n)


def test_the_last_offset_is_the_sum() -> None:
    n = {"n": LENGTHS}
    got = plan_of("LengthsToOffsets", n, include_last_offset=1).run(n)["y"]
    np.testing.assert_array_equal(got, np.append(0, np.cumsum(LENGTHS)))
