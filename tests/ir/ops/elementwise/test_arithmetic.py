"""Activations and arithmetic by hand: broadcasting old and new, defaults, traits, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from operator_calls import answer, answers, call, f32, refusal, types

from graphc.ir.opdef import Trait, aligned_shape, registry

X = f32(-2, -0.5, 0, 1, 3)


@pytest.mark.parametrize(
    ("op", "args", "want"),
    [
        ("Relu", {}, [0, 0, 0, 1, 3]),
        ("LeakyRelu", {"alpha": 0.5}, [-1, -0.25, 0, 1, 3]),
        ("LeakyRelu", {}, [-0.02, -0.005, 0, 1, 3]),
        ("Elu", {"alpha": 2.0}, [2 * math.expm1(-2), 2 * math.expm1(-0.5), 0, 1, 3]),
        ("Clip", {"min": -1.0, "max": 2.0}, [-1, -0.5, 0, 1, 2]),
        ("Clip", {}, X.tolist()),
        ("ReluN", {"n": 2.0}, [0, 0, 0, 1, 2]),
        ("ThresholdedRelu", {}, [0, 0, 0, 0, 3]),
        ("HardSigmoid", {}, [0.1, 0.4, 0.5, 0.7, 1]),
        ("Softsign", {}, [-2 / 3, -1 / 3, 0, 0.5, 0.75]),
        ("Softplus", {}, [math.log1p(math.exp(v)) for v in X]),
        ("Swish", {}, [v / (1 + math.exp(-v)) for v in X]),
        ("Gelu", {}, [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in X]),
        ("Scale", {"scale": -2.0}, [4, 1, 0, -2, -6]),
        ("Sign", {}, [-1, -1, 0, 1, 1]),
        ("Cube", {}, [-8, -0.125, 0, 1, 27]),
        ("Negative", {}, [2, 0.5, 0, -1, -3]),
        ("Floor", {}, [-2, -1, 0, 1, 3]),
        ("Pow", {"exponent": 2.0}, [4, 0.25, 0, 1, 9]),
        ("Atan", {}, [math.atan(v) for v in X]),
    ],
)
def test_unary(op: str, args: dict[str, Any], want: list[float]) -> None:
    got = answer(op, X, **args)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_large_arguments_do_not_overflow() -> None:
    far = f32(-200, 200)
    assert answer("Softplus", far).tolist() == [0, 200]
    assert answer("Sigmoid", far).tolist() == [0, 1]


def test_prelu_has_one_slope_or_one_a_channel() -> None:
    x = -np.ones((1, 2, 1, 2), np.float32)
    assert answer("PRelu", x, f32([0.5])).ravel().tolist() == [-0.5] * 4
    assert answer("PRelu", x, f32(0.5, 2)).ravel().tolist() == [-0.5, -0.5, -2, -2]
    assert answer("PRelu", x.reshape(1, 1, 2, 2), f32(0.5, 2), order="NHWC").ravel().tolist() == [-0.5, -2, -0.5, -2]
    assert "slope" in refusal("PRelu", x, f32(1, 2, 3))


def test_dropout_is_the_identity_at_test_time_only() -> None:
    assert answer("Dropout", X, is_test=1).tolist() == X.tolist()
    made = call("Dropout", X, is_test=1)
    assert Trait.IDENTITY in made.opdef.traits_of(made)
    training = call("Dropout", X)
    assert Trait.IDENTITY not in training.opdef.traits_of(training)
    assert Trait.RANDOM in training.opdef.traits_of(training)
    y, mask = answers("Dropout", np.ones(1000, np.float32), outputs=2)
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (mask == (y == 2)).all()
    assert "ratio" in refusal("Dropout", X, ratio=1.0)


def test_legacy_broadcast_aligns_at_axis() -> None:
    a = np.zeros((2, 3, 4), np.float32)
    assert answer("Add", a, f32(1, 2, 3), broadcast=1, axis=1)[1, :, 3].tolist() == [1, 2, 3]
    assert answer("Add", a, f32(1, 2), broadcast=1, axis=0)[:, 2, 3].tolist() == [1, 2]
    assert answer("Add", a, f32(1, 2, 3, 4), broadcast=1)[1, 2].tolist() == [1, 2, 3, 4]
    assert answer("Add", a, f32([5]), broadcast=1).min() == 5
    assert answer("Add", a, f32([[1], [2], [3]]), broadcast=1)[0, :, 0].tolist() == [1, 2, 3]
    assert aligned_shape(call("Mul", a, f32(1, 2, 3), broadcast=1, axis=1), 1) == (1, 3, 1)


def test_legacy_broadcast_by_letter() -> None:
    a = np.zeros((1, 3, 2, 2), np.float32)
    assert answer("Mul", a + 1, f32(1, 2, 3), broadcast=1, axis_str="C")[0, :, 1, 1].tolist() == [1, 2, 3]
    assert "axis_str" in refusal("Mul", a, f32(1, 2, 3), broadcast=1, axis_str="X")


def test_legacy_broadcast_refusals() -> None:
    assert "axis" in refusal("Add", "float[2,3,4]", "float[3]", axis=1)
    assert "axis" in refusal("Add", "float[2,3,4]", "float[3]", broadcast=1, axis=3)
    assert "agree" in refusal("Add", "float[2,3,4]", "float[3]", broadcast=1)
    assert "agree" in refusal("Add", "float[2,1,4]", "float[3]", broadcast=1, axis=1)
    assert "more dimensions" in refusal("Add", "float[3]", "float[2,3]", broadcast=1)


def test_numpy_broadcast_without_the_argument() -> None:
    assert types("Add", "float[2,1,4]", "float[3,1]") == ["float[2,3,4]"]
    assert types("Sub", "float[N,3]", "float[N,1]") == ["float[N,3]"]
    assert types("Sub", "float[N]", "float[M]") == ["float[?]"]
    assert types("Sub", "float[N]", "float[5]") == ["float[5]"]
    assert types("Sub", "float[*]", "float[5]") == ["float[*]"]
    assert "broadcast" in refusal("Mul", "float[2]", "float[3]")
    assert "Cast" in refusal("Mul", "float[2]", "int32[2]")


def test_division_of_integers_cuts_off() -> None:
    a, b = np.array([7, -7, 7], np.int32), np.array([2, 2, -2], np.int32)
    assert answer("Div", a, b).tolist() == [3, -3, -3]


def test_comparisons_give_bools() -> None:
    a, b = f32(1, 2, 3), f32(2, 2, 2)
    wants = {"LT": [1, 0, 0], "LE": [1, 1, 0], "GT": [0, 0, 1], "GE": [0, 1, 1], "EQ": [0, 1, 0], "NE": [1, 0, 1]}
    for op, want in wants.items():
        got = answer(op, a, b)
        assert got.dtype == np.bool_
        assert got.tolist() == [bool(w) for w in want]


def test_logic_wants_bools() -> None:
    a, b = np.array([True, True, False]), np.array([True, False, False])
    assert answer("And", a, b).tolist() == [True, False, False]
    assert answer("Xor", a, b).tolist() == [False, True, False]
    assert answer("BitwiseXor", np.array([6], np.int32), np.array([3], np.int32)).tolist() == [5]
    assert "bool" in refusal("And", "float[2]", "float[2]")


def test_any_number_of_inputs() -> None:
    a, b, c = f32(1, 5), f32(2, 2), f32(3, 8)
    assert answer("Sum", a, b, c).tolist() == [6, 15]
    assert answer("Max", a, b, c).tolist() == [3, 8]
    assert answer("Min", a, b, c).tolist() == [1, 2]
    assert answer("Mean", a, b, c).tolist() == [2, 5]
    assert types("Sum", "float[N,3]", "float[4,3]") == ["float[4,3]"]
    assert "differ" in refusal("Sum", "float[2]", "float[3]")


def test_pow_takes_one_exponent() -> None:
    assert answer("Pow", f32(2, 3), f32(3, 2)).tolist() == [8, 9]
    assert "missing" in refusal("Pow", "float[2]")
    assert "twice" in refusal("Pow", "float[2]", "float[2]", exponent=2.0)


def test_where() -> None:
    c = np.array([True, False])
    assert answer("Where", c, f32(1, 2), f32(3, 4)).tolist() == [1, 4]
    rows = answer("Where", c, np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32), broadcast_on_rows=1)
    assert rows.tolist() == [[1, 1], [0, 0]]
    assert "float" in refusal("Where", "float[2]", "float[2]", "float[2]")


def test_every_pointwise_record_has_a_meaning() -> None:
    for record in registry().values():
        if Trait.POINTWISE in record.traits and Trait.INTERNAL not in record.traits:
            assert record.scalar, record.name


def test_one_element_broadcasts_with_none_of_the_dimensions_of_a_scalar() -> None:
    for op, want in (("LT", True), ("Add", 3.0)):
        y = answer(op, np.float32(1), f32([2]), broadcast=1)
        assert (y.shape, y.tolist()) == ((), want)


def test_a_gate_far_below_zero_is_shut() -> None:
    """exp(1e10) is infinite in machine code, an error in Python's ``math``."""
    assert answer("Glu", f32([[5, -1e10], [5, 1e10]]), dim=1).tolist() == [[0], [5]]
