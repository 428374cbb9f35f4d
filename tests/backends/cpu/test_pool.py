"""Pooling against the NumPy reference: windows, pads, rounding, layouts, slices."""

from __future__ import annotations

import numpy as np
from harness import Machine, Placement, build_call, run_call

from graphc.ir.opdef import Call
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
CASES = [
    ("MaxPool", "blocked", {"kernel": 3, "stride": 2}),
    ("MaxPool", "blocked_slice", {"kernel": 3, "stride": 2, "pad": 1}),
    ("MaxPool", "blocked_slice", {"kernel": 3, "stride": 2, "legacy_pad": 3}),
    ("MaxPool", "blocked", {"kernel": 3, "stride": 2, "pad": 1, "legacy_pad": 3}),
    ("MaxPool", "plain_slice", {"kernel": 3, "stride": 2, "pad": 1}),
    ("MaxPool", "plain", {"kernel": 3, "stride": 2, "pad": 1, "legacy_pad": 3}),
    ("AveragePool", "blocked_slice", {"kernel": 2, "stride": 3, "legacy_pad": 2}),
    ("AveragePool", "blocked_slice", {"kernel": 3, "stride": 1, "pad": 1}),
    ("AveragePool", "plain_slice", {"kernels": (2, 5), "strides": (1, 3), "pads": (1, 0, 1, 4)}),
    ("AveragePool", "blocked", {"kernel": 3, "stride": 1, "pad": 1, "count_include_pad": 1}),
    ("AveragePool", "blocked_slice", {"global_pooling": 1}),
    ("AveragePool", "to_plain", {"global_pooling": 1}),
    ("AveragePool", "to_plain", {"kernel": 7}),
    ("AveragePool", "plain", {"global_pooling": 1}),
    ("MaxPool", "plain", {"kernel": 3, "stride": 2, "pad": 1, "order": b"NHWC"}),
]
SHAPES = [(2, 19, 11, 8), (1, 33, 7, 20), (3, 16, 8, 7)]
LINES = [("MaxPool1D", {"pads": (1, 1)}), ("AveragePool1D", {"pads": (1, 1), "order": b"NHWC"})]


def calls(machine: Machine) -> list[tuple[Call, np.ndarray, Placement]]:
    rng = np.random.default_rng(8)
    found = []
    for op, place, attrs in CASES:
        for shape in SHAPES:
            x = rng.standard_normal(shape).astype(np.float32)
            found.append(
                (build_call(op, [x], target=machine.target, place=PLACES[place], attrs=attrs), x, PLACES[place])
            )
    for op, attrs in LINES:
        x = rng.standard_normal((2, 5, 17)).astype(np.float32)
        attrs = {"kernels": (3,), "strides": (2,), **attrs}
        found.append((build_call(op, [x], target=machine.target, attrs=attrs), x, Placement()))
    return found


def test_pooling(machine) -> None:
    cases = calls(machine)
    machine.compile([spec for call, _, _ in cases if (spec := machine.library.choose(call).spec)])
    for call, x, place in cases:
        got, want = run_call(machine, call, [x], place)[0], evaluate_node(call.node, [x])[0]
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6, err_msg=f"{call.node.op} {call.node.attrs} {place}")
