"""PadImage against the NumPy reference."""

from __future__ import annotations

import numpy as np
from harness import Machine, Placement, build_call, run_call

from graphc.ir.reference import evaluate_node

PLACES = (
    Placement(),
    Placement(slices=True, halo_out=(1, 0, 2, 1)),
    Placement(blocked=frozenset({0}), blocked_out=True, slices=True),
)


def test_pad_image(machine: Machine) -> None:
    cases = [
        ({"pads": pads, "mode": mode, "value": 1.5, "order": order}, place)
        for pads in ((1, 2, 3, 0), (-1, -2, 2, -3), (3, 5, -7, -9))
        for mode in (b"constant", b"reflect", b"edge")
        for order, place in [(b"NCHW", p) for p in PLACES] + [(b"NHWC", PLACES[0])]
    ]
    x = np.random.default_rng(14).standard_normal((2, 5, 6, 19)).astype(np.float32)
    calls = [build_call("PadImage", [x], target=machine.target, place=place, attrs=attrs) for attrs, place in cases]
    machine.compile([spec for call in calls if (spec := machine.library.choose(call).spec)])
    for call, (attrs, place) in zip(calls, cases):
        got, want = run_call(machine, call, [x], place)[0], evaluate_node(call.node, [x])[0]
        np.testing.assert_array_equal(got, want, err_msg=f"{attrs} {place}")
