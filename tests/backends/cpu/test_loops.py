"""Operators that are a loop over arrays: compiled, against the same function run by Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from harness import Machine, Placement, build_call, run_call

from graphc.backends.cpu.worker import compile_kernel
from graphc.backends.loop_source import loop_source
from graphc.ir import opdef
from graphc.ir.opdef import Arg, Call
from graphc.ir.reference import evaluate_node
from graphc.ir.types import DType, TensorType


def segment_loop(
    x: np.ndarray, ids: np.ndarray, scale: np.ndarray, y: np.ndarray, count: np.ndarray, power: float, skip: tuple
) -> None:
    """Sum of the rows of a segment, and how many there are."""
    total: int = 0
    for i in range(x.shape[0]):
        k = ids[i]
        if k in skip:
            continue
        for j in range(x.shape[1]):
            factor = scale[j] if scale.size > 0 else np.float32(1)
            y[k, j] += factor * abs(x[i, j]) ** power
        count[k] += 1
        total += 1
    count[y.shape[0]] = total


def infer_segments(call: Call) -> list[TensorType]:
    rows, columns = 4, call.type(0).static_shape[1]
    return [call.type(0).with_shape((rows, columns)), TensorType(DType.INT64, (rows + 1,))]


@pytest.fixture(scope="module", autouse=True)
def records() -> Iterator[None]:
    opdef.registry()
    args = (Arg("power", "float", 2.0), Arg("skip", "ints", (9, 9)))
    opdef.op("TestSegments", infer_segments, inputs="X ids scale?", outputs="Y count", args=args, loop=segment_loop)
    yield
    del opdef._REGISTRY["TestSegments"]


@pytest.mark.parametrize("shape", [(1, 1), (7, 33), (40, 5)])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_loop(machine: Machine, shape: tuple[int, int], scaled: bool) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(np.float32)
    ids = rng.integers(0, 4, shape[0]).astype(np.int32)
    scale = rng.standard_normal(shape[1]).astype(np.float32) if scaled else None
    call = build_call("TestSegments", [x, ids, scale], target=machine.target, attrs={"power": 3.0, "skip": (2, 5)})
    got = run_call(machine, call, [x, ids, scale], Placement())
    want = evaluate_node(call.node, [x, ids, scale])
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    np.testing.assert_array_equal(got[1], want[1])
    assert got[1].dtype == np.int64


FACTOR = 2.0


def scaled(value: float) -> float:
    return value * FACTOR


def scaled_thrice(value: float) -> float:
    return value * 3


def scale_loop(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        y.flat[i] = scaled(x.flat[i])


def test_the_source_of_a_loop_follows_what_its_module_says(monkeypatch: pytest.MonkeyPatch) -> None:
    record = opdef.OpDef("TestScale", "", (), (), infer_segments, loop=scale_loop)
    assert loop_source(record).startswith("def scaled(value):\n    return value * 2.0\n\ndef loop(x, y):\n")
    monkeypatch.setitem(globals(), "FACTOR", 2)
    assert "return value * 2\n" in loop_source(record)
    monkeypatch.setitem(globals(), "scaled", scaled_thrice)
    assert "return value * 3\n" in loop_source(record)


@pytest.mark.parametrize("kernel", [3, 5])
def test_windows_are_no_part_of_a_kernel(machine: Machine, kernel: int) -> None:
    x = np.random.default_rng(kernel).standard_normal((1, 2, 7, 6, 9)).astype(np.float32)
    attrs = {"kernels": (kernel, 2, kernel), "strides": (1, 2, kernel - 1), "order": b"NCHW"}
    call = build_call("MaxPool", [x], target=machine.target, attrs=attrs)
    spec = machine.library.choose(call).spec
    assert (spec["op"], spec["args"]) == ("MaxPool", "i;i;i;3i;3i;3i")
    np.testing.assert_array_equal(run_call(machine, call, [x])[0], evaluate_node(call.node, [x])[0])


@pytest.mark.parametrize("text", ["open('f')", "[1, __import__('os')]", "[].append"])
def test_arguments_of_a_foreign_plan_are_literals_alone(machine: Machine, text: str) -> None:
    from graphc.ir.schedule import KernelSpec

    spec = KernelSpec.make("loop", op="TestSegments", ins="f4:2;i4:1;-", outs="f4:2;i8:1", work="", args=text)
    with pytest.raises(ValueError, match="malformed"):
        machine.library.source(spec)


def test_infinite_arguments(machine: Machine) -> None:
    x, ids = np.ones((2, 3), np.float32), np.zeros(2, np.int32)
    call = build_call("TestSegments", [x, ids], target=machine.target, attrs={"power": float("-inf")})
    np.testing.assert_array_equal(run_call(machine, call, [x, ids])[0], evaluate_node(call.node, [x, ids])[0])


def test_object_code_needs_nothing_but_the_c_library(machine: Machine) -> None:
    call = build_call(
        "TestSegments", [np.ones((2, 3), np.float32), np.zeros(2, np.int32)], target=machine.target, attrs={}
    )
    spec = machine.library.choose(call).spec
    _, code = compile_kernel(spec.name, machine.library.source(spec), machine.target.lanes, machine.target.fma)
    for word in (b"NRT_", b"Py", b"numba_unpickle"):
        assert word not in code
