"""Records' loops on an emulated card against the reference interpreter, which runs them in Python."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import TARGET, answers, emulated_plan
from one_net import nets, operator

import graphc
from graphc.frontends.netdef import Operator
from graphc.ir import DType, TensorType
from graphc.ir.opdef import lookup
from graphc.readiness import readiness

RNG = np.random.default_rng(11)


def data(*shape: int) -> np.ndarray:
    """Seeded floats."""
    return RNG.standard_normal(shape).astype(np.float32)


def test_one_thread_for_each_element() -> None:
    plan, _ = answers([operator("Gather", "x i", "y")], {"x": data(9, 7), "i": np.array([3, 0, 8, 3])}, "y")
    assert [k.template for k in plan.kernels] == ["loop"]  # every element is stored, nothing is zeroed before
    (launch,) = plan.code.card.launches
    assert launch.params[0] == 4 * 7


def test_an_index_outside_is_told() -> None:
    ops, inputs = [operator("Gather", "x i", "y")], {"x": data(9, 7), "i": np.array([3, 0, 8, 3])}
    plan = emulated_plan(ops, inputs, "y", {})
    with pytest.raises(graphc.RunError, match=r"Gather\('x', 'i'\) -> 'y'") as told:
        plan.run(inputs | {"i": np.array([3, 0, 9, 3])})
    assert lookup("Gather").errors[0] in told.value.message
    assert plan.run(inputs)["y"].shape == (4, 7)  # the next run is not touched


def test_stages_follow_one_another() -> None:
    x, scale = data(4, 6), np.abs(data(4))
    answers([operator("SquareRootDivide", "x s", "y")], {"x": x, "s": scale}, "y")
    ops = [operator("Append", "a b", "a")]
    plan, _ = answers(ops, {"a": data(3, 5), "b": data(2, 5)}, "a")
    assert len(plan.code.card.launches) == 3  # the output is stored by two stages, so it is zeroed first


def test_an_lstm_step() -> None:
    width, inputs = 5, {"h": data(1, 3, 5), "c": data(1, 3, 5), "g": data(1, 3, 20)}
    inputs |= {"n": np.array([4, 1, 3], np.int32), "t": np.array([2], np.int32)}
    plan, _ = answers([operator("LSTMUnit", "h c g n t", "y z")], inputs, "y z")
    assert plan.code.card.launches[-1].params[0] == 3 * width


@pytest.mark.parametrize("axis", [1, 2])
def test_the_largest_of_a_row(axis: int) -> None:
    x = np.round(2 * data(3, 70, 40)).astype(np.float32) / 2  # many are alike
    x[0, 5, 3], x[1, 60, :], x[2, 7] = np.nan, np.inf, np.nan
    for op in ("ArgMax", "ArgMin"):
        answers([operator(op, "x", "y", axis=axis, keepdims=0)], {"x": x}, "y")
    plan = emulated_plan([operator("TopK", "x", "v i", k=9, axis=axis)], {"x": x}, "v i", {})
    found = plan.run({"x": x})
    order = np.argsort(-np.where(np.isnan(x), -np.inf, x), axis=axis, kind="stable")
    order = np.take(order, range(9), axis)
    np.testing.assert_array_equal(found["i"], order)
    np.testing.assert_array_equal(found["v"], np.take_along_axis(x, order, axis))


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align(order: str, ratio: int) -> None:
    x = data(2, 3, 9, 11) if order == "NCHW" else data(2, 9, 11, 3)
    boxes = np.array([[0, 1, 1, 7, 6], [1, -3, 2, 30, 8], [1, 4, 4, 4, 4], [0, 2.2, 0.3, 9.7, 8.8]], np.float32)
    for box, aligned in ((boxes, 0), (boxes[:, 1:].copy(), 1)):
        op = operator(
            "RoIAlign", "x r", "y", order=order, pooled_h=3, pooled_w=4, sampling_ratio=ratio, aligned=aligned
        )
        answers([op], {"x": x, "r": box}, "y", tolerance=1e-6)


def test_boxes_that_are_none() -> None:
    x, op = data(1, 2, 5, 5), operator("RoIAlign", "x r", "y", pooled_h=2, pooled_w=2)
    inputs = {"x": x, "r": np.array([[0, 1, 1, 4, 4]], np.float32)}
    plan = emulated_plan([op], inputs, "y", {})
    for box, number in (([1, 1, 1, 4, 4], 0), ([0, np.nan, 1, 4, 4], 1)):
        with pytest.raises(graphc.RunError) as told:
            plan.run(inputs | {"r": np.array([box], np.float32)})
        assert lookup("RoIAlign").errors[number] in str(told.value)


def test_a_loop_that_runs_in_order_stays_on_the_cpu_with_the_reason() -> None:
    ops, inputs = [operator("AveragedLoss", "x", "y")], {"x": data(5000)}
    plan = emulated_plan(ops, inputs, "y", {}, beside=True)
    assert {n.device for n in plan.graph.nodes} == {"cpu:0"}
    assert "each thread would have to look at 5000 elements before it begins" in _reason(ops, inputs, "y")


def test_few_threads_stay_on_the_cpu() -> None:
    ops, inputs = [operator("ChannelStats", "x", "a b")], {"x": data(1, 2, 300, 300)}
    assert "only 2 threads could share out its 180004 turns or elements" in _reason(ops, inputs, "a b")


def _reason(ops: list[Operator], inputs: dict[str, np.ndarray], outputs: str) -> str:
    """What ``graphc check`` says of the only operator of a net."""
    predict, _ = nets(ops, inputs, outputs, {})
    types = {name: TensorType(DType.of(array.dtype), array.shape) for name, array in inputs.items()}
    return readiness(predict, None, types, TARGET).on_cpu[0][2]


def test_lengths_that_each_thread_adds_up() -> None:
    n = np.array([2, 0, 4, 3], np.int32)
    inputs = {"x": np.arange(9, dtype=np.float32), "n": n}
    plan, (y,) = answers([operator("LengthsPad", "x n", "y", target_length=4)], inputs, "y")
    assert y.reshape(4, 4).tolist() == [[0, 1, -1, -1], [-1] * 4, [2, 3, 4, 5], [6, 7, 8, -1]]
    with pytest.raises(graphc.RunError, match="look at 160000 elements"):
        plan.run({"x": np.zeros(9 * 20000, np.float32), "n": np.repeat(n, 20000)})


@pytest.mark.parametrize("count", [7, 60])
def test_rows_that_occur_several_times(count: int) -> None:
    rows = RNG.integers(0, 5, count)
    inputs = {"p": data(5, 3), "m": np.abs(data(5)), "i": rows, "g": data(count, 3), "l": data(1)}
    plan, _ = answers([operator("RowWiseSparseAdagrad", "p m i g l", "p m", epsilon=1e-3)], inputs, "p m")
    assert "keys" in {k.template for k in plan.kernels}
    launch = plan.code.card.launches[-1]
    assert launch.params[0] == count  # a thread for each row, of which those that repeat one have nothing to do
    with pytest.raises(graphc.RunError, match=lookup("RowWiseSparseAdagrad").errors[0]):
        plan.run(inputs | {"i": np.where(rows == rows[-1], 5, rows)})


def test_too_many_rows_are_not_compared() -> None:
    ops = [operator("RowWiseSparseAdagrad", "p m i g l", "p m")]
    inputs = {"p": data(5, 3), "m": np.abs(data(5)), "i": RNG.integers(0, 5, 20000), "g": data(20000, 3), "l": data(1)}
    assert "its 20000 turns would each be compared with all others" in _reason(ops, inputs, "p m")


def test_a_proof_for_the_sizes_at_hand() -> None:
    ops, x = [operator("FloatToFused8BitRowwiseQuantized", "x", "y")], data(5, 12)
    plan, _ = answers(ops, {"x": x}, "y")
    (kernel,) = (k for k in plan.kernels if k.template == "loop")
    assert kernel["sizes"].startswith("[5,12;[5,20;8;")
    given = {"x": data(2, 4, 3, 3), "g": data(4), "b": data(4), "m": data(2, 2), "s": np.abs(data(2, 2))}
    ops = [operator("GroupNormGradient", "d x g b m s", "dx dg db", group=2)]
    answers(ops, {"d": data(2, 4, 3, 3), **given}, "dx dg db")


def test_a_plan_for_other_sizes() -> None:
    ops = [operator("Gather", "x i", "y")]
    plan = emulated_plan(ops, {"x": data(9, 7), "i": np.array([3, 0])}, "y", {})
    x, i = data(4, 3), np.array([1, 3, 0])
    np.testing.assert_array_equal(plan.run({"x": x, "i": i})["y"], x[i])
    assert plan.target == TARGET
