"""Scales, zero points and integers by hand and against the operators' own meaning."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir import GraphcError, Quant, evaluate, parse
from graphc.passes.quantize.scales import (
    affine,
    bias_integers,
    dequantised,
    least_weight_scales,
    quantised,
    rounded_weights,
    stored_weights,
    weight_scales,
)


@pytest.mark.parametrize(
    ("low", "high", "quant"),
    [
        (0.0, 255.0, Quant(1.0, 0)),
        (-128.0, 127.0, Quant(1.0, 128)),
        (-51.0, 0.0, Quant(float(np.float32(0.2)), 255)),
        (3.0, 51.0, Quant(float(np.float32(0.2)), 0)),  # widened to hold 0
        (-1.0, 3.0, Quant(float(np.float32(4 / 255)), 64)),
        (0.0, 0.0, Quant(1.0, 0)),
        (0.0, 1e-44, Quant(float(np.finfo(np.float32).tiny), 0)),
    ],
)
def test_affine_by_hand(low: float, high: float, quant: Quant) -> None:
    assert affine(low, high) == quant


@pytest.mark.parametrize(("low", "high"), [(0.0, float("inf")), (float("-inf"), 0.0)])
def test_infinite_ranges_are_refused(low: float, high: float) -> None:
    with pytest.raises(GraphcError, match="is not finite"):
        affine(low, high)


def test_numbers_are_those_of_the_operators() -> None:
    values = np.linspace(-3, 9, 4001, dtype=np.float32)
    quant = affine(-1.7, 6.1)
    graph = parse(
        'graph "g" stage=typed {\n  input %x : float[4001]\n'
        f"  %q : uint8[4001]{{scale={quant.scale!r},zero={quant.zero_point}}} = Int8Quantize(%x) "
        f"{{Y_scale={quant.scale!r}, Y_zero_point={quant.zero_point}}}\n"
        "  %y : float[4001] = Int8Dequantize(%q)\n  output %q\n  output %y\n}\n"
    )
    found = evaluate(graph, {"x": values})
    assert np.array_equal(found["q"], quantised(values, quant))
    assert np.array_equal(found["y"], dequantised(quantised(values, quant), quant))


def test_weights_clamp_only_where_it_pays() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (3, 4000))
    rows[1, 0] = 8.0  # one outlier among many
    rows[2] = 0.0
    scales = weight_scales(rows, np.zeros(3)).astype(np.float64)
    assert 0.9 * np.abs(rows[0]).max() / 127 <= scales[0] <= np.abs(rows[0]).max() / 127 * 1.000001
    assert scales[2] == np.float32(1 / 127)
    for row, scale in zip(rows[:2], scales):
        error = np.sum((rounded_weights(row, scale) * scale - row) ** 2)
        tried = [np.abs(row).max() / 127 * f for f in np.linspace(0.5, 1, 51)]
        assert error <= 1.001 * min(np.sum((rounded_weights(row, s) * s - row) ** 2) for s in tried)


def test_stored_weights_are_1_to_255() -> None:
    integers = rounded_weights(np.array([-9.0, -1.27, 0.0, 0.005, 0.015, 1.27, 9.0]), 0.01)
    assert integers.tolist() == [-127, -127, 0, 0, 2, 127, 127]
    assert stored_weights(integers).tolist() == [1, 1, 128, 128, 130, 255, 255]


def test_scales_leave_room_for_the_bias() -> None:
    bias, x_scale = np.array([1000.0, -1e-3]), 1e-3
    least = least_weight_scales(bias, x_scale)
    scales = weight_scales(np.full((2, 5), 1e-6), least).astype(np.float64)
    assert (scales >= least * 0.9999).all()
    assert np.abs(bias_integers(bias, scales * x_scale)).max() <= 2**30 * 1.001


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(GraphcError, match="NaN or infinite"):
        weight_scales(np.array([[1.0, value]]), np.zeros(1))
