"""Pointwise operators on other element types than float32, comparisons, logic and conversions."""

from __future__ import annotations

import numpy as np
from harness import Machine, Placement, build_call, run_call

from graphc.ir.opdef import Call
from graphc.ir.reference import evaluate_node

rng = np.random.default_rng(12)


def ints(dtype: type, *shape: int) -> np.ndarray:
    return rng.integers(-9, 9, shape).astype(dtype)


def truth(*shape: int) -> np.ndarray:
    return rng.integers(0, 2, shape).astype(np.bool_)


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


CASES: list[tuple[str, list[np.ndarray], dict]] = [
    ("Add", [ints(np.int32, 3, 5), ints(np.int32, 5)], {}),
    ("Mul", [ints(np.int64, 2, 3, 5), ints(np.int64, 3, 1)], {}),
    ("Add", [rng.standard_normal((4, 7)), rng.standard_normal((4, 1))], {}),
    ("Negative", [ints(np.int64, 9)], {}),
    ("Sign", [ints(np.int32, 9)], {}),
    ("Sqrt", [np.abs(rng.standard_normal(9))], {}),
    ("LT", [floats(4, 5), floats(4, 5)], {}),
    ("GE", [ints(np.int32, 4, 5), ints(np.int32, 5)], {}),
    ("EQ", [ints(np.int64, 4, 5), ints(np.int64, 4)], {"broadcast": 1, "axis": 0}),
    ("NE", [truth(9), truth(9)], {}),
    ("And", [truth(4, 5), truth(5)], {}),
    ("Xor", [truth(9), truth(9)], {}),
    ("Not", [truth(9)], {}),
    ("BitwiseXor", [ints(np.int32, 9), ints(np.int32, 9)], {}),
    ("IsNaN", [np.array([1, np.nan, np.inf], np.float32)], {}),
    ("Where", [truth(4, 5), floats(4, 5), floats(4, 5)], {}),
    ("Where", [truth(4), ints(np.int64, 4, 5), ints(np.int64, 4, 5)], {"broadcast_on_rows": 1}),
    ("Cast", [floats(3, 4) * 10], {"to": b"INT32"}),
    ("Cast", [np.abs(floats(3, 4)) * 90], {"to": b"UINT8"}),
    ("Cast", [floats(3, 4)], {"to": b"DOUBLE"}),
    ("Cast", [ints(np.int64, 7)], {"to": b"FLOAT"}),
    ("Cast", [ints(np.int32, 7)], {"to": b"BOOL"}),
    ("Cast", [np.array([300, -1, 5], np.int64)], {"to": b"UINT8"}),
]


def test_types(machine: Machine) -> None:
    """A third of the cases on each target: the source is one for all, and a kernel takes a second to compile."""
    cases = CASES[{16: 0, 8: 1, 4: 2}[machine.target.lanes] :: 3]
    calls: list[Call] = [build_call(op, xs, target=machine.target, attrs=attrs) for op, xs, attrs in cases]
    machine.compile([spec for call in calls if (spec := machine.library.choose(call).spec)])
    for call, (op, operands, _) in zip(calls, cases):
        got, want = run_call(machine, call, operands)[0], evaluate_node(call.node, operands)[0]
        assert got.dtype == want.dtype, op
        np.testing.assert_array_equal(got, want, err_msg=op)


def test_strides(machine: Machine) -> None:
    place = Placement(slices=True, halo_out=(1, 0, 2, 1))
    operands = [floats(2, 3, 4, 5), floats(2, 3, 4, 5)]
    call = build_call("LT", operands, target=machine.target, place=place)
    np.testing.assert_array_equal(run_call(machine, call, operands, place)[0], operands[0] < operands[1])
