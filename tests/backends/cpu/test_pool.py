"""Pooling against the NumPy reference: windows, pads, rounding, layouts, slices."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, Placement, build_call, run_call

from graphc.ir.reference import evaluate_node

BLOCKED = Placement(blocked=frozenset({0}), blocked_out=True)
TO_PLAIN = Placement(blocked=frozenset({0}))
PLACES = {
    "plain": Placement(),
    "plain_slice": Placement(slices=True, halo_out=(1, 0, 2, 1)),
    "blocked": BLOCKED,
    "blocked_slice": Placement(BLOCKED.blocked, True, slices=True, halo_out=(1, 2, 0, 1)),
    "to_plain": TO_PLAIN,
}
WINDOWS = [
    {"kernel": 3, "stride": 2},
    {"kernel": 2, "stride": 2},
    {"kernel": 3, "stride": 2, "pad": 1},
    {"kernel": 3, "stride": 1, "pad": 1},
    {"kernel": 3, "stride": 2, "pad": 0, "legacy_pad": 3},
    {"kernel": 3, "stride": 2, "pad": 1, "legacy_pad": 3},
    {"kernel": 2, "stride": 3, "legacy_pad": 2},
    {"kernels": (2, 5), "strides": (1, 3), "pads": (1, 0, 1, 4)},
    {"global_pooling": 1},
    {"kernel": 7},
]


def check(machine: Machine, op: str, x: np.ndarray, place: Placement, **attrs) -> None:
    call = build_call(op, [x], target=machine.target, place=place, attrs=attrs)
    np.testing.assert_allclose(
        run_call(machine, call, [x], place)[0], evaluate_node(call.node, [x])[0], rtol=2e-6, atol=1e-6
    )


@pytest.mark.parametrize("number", range(len(WINDOWS)))
def test_windows(machine, number) -> None:
    """Each window in two of the placements, which ones depends on the target: a kernel takes a second to compile."""
    x = np.random.default_rng(8).standard_normal((2, 19, 11, 8)).astype(np.float32)
    window = WINDOWS[number]
    for place in (list(PLACES)[(number + machine.target.lanes.bit_length()) % len(PLACES)], "blocked_slice"):
        check(machine, "MaxPool" if number % 2 else "AveragePool", x, PLACES[place], **window)
    if window.get("pad") == 1:
        check(machine, "AveragePool", x, BLOCKED, **window, count_include_pad=1)


@pytest.mark.parametrize("c", [1, 5, 16, 33])
def test_sizes(machine, c) -> None:
    for h, w in [(3, 3), (4, 20), (13, 1)]:
        x = np.random.default_rng(9).standard_normal((1, c, h, w)).astype(np.float32)
        for place in (BLOCKED, PLACES["plain"]):
            check(machine, "MaxPool", x, place, kernel=3, stride=2, pad=1)
            check(machine, "AveragePool", x, place, global_pooling=1)


def test_nhwc_and_one_dimension(machine) -> None:
    rng = np.random.default_rng(10)
    x = rng.standard_normal((2, 6, 9, 19)).astype(np.float32)
    check(machine, "MaxPool", x, PLACES["plain"], kernel=3, stride=2, pad=1, order=b"NHWC")
    check(machine, "AveragePool", x, PLACES["plain"], kernel=3, stride=2, pad=1, order=b"NHWC")
    line = rng.standard_normal((2, 5, 17)).astype(np.float32)
    check(machine, "MaxPool1D", line, PLACES["plain"], kernels=(3,), strides=(2,), pads=(1, 1))
    check(machine, "AveragePool1D", line, PLACES["plain"], kernels=(3,), strides=(2,), pads=(1, 1), order=b"NHWC")
