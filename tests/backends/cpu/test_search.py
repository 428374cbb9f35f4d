"""ArgMax, ArgMin and TopK against the NumPy reference: ties, NaN, any dimension, too few elements."""

from __future__ import annotations

import numpy as np
from harness import Machine, build_call, run_call

from graphc.ir.reference import evaluate_node


def test_search(machine: Machine) -> None:
    rng = np.random.default_rng(13)
    ties = rng.integers(0, 5, (3, 7, 4)).astype(np.float32)
    holes = rng.standard_normal((4, 9)).astype(np.float32)
    holes[1, 3:5] = holes[2, 0] = np.nan
    cases: list[tuple[str, np.ndarray, dict]] = [
        ("ArgMax", ties, {"axis": axis, "keepdims": keep}) for axis, keep in ((0, 1), (1, 0), (-1, 1))
    ]
    cases += [("ArgMin", ties.astype(np.int64), {"axis": 1}), ("ArgMax", holes, {}), ("ArgMin", holes, {})]
    cases += [("TopK", ties, {"k": k, "axis": axis}) for k, axis in ((1, 0), (3, 1), (9, 2))]
    cases += [("TopK", holes, {"k": 5})]
    calls = [build_call(op, [x], target=machine.target, attrs=attrs) for op, x, attrs in cases]
    machine.compile([spec for call in calls if (spec := machine.library.choose(call).spec)])
    for call, (op, x, attrs) in zip(calls, cases):
        for got, want in zip(run_call(machine, call, [x]), evaluate_node(call.node, [x])):
            np.testing.assert_array_equal(got, want, err_msg=f"{op} {attrs}")
