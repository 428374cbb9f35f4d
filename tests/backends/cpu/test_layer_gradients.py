"""Gradients of FC and pooling, and parameter updates, against the NumPy references."""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import build_call, run_call

from graphc.backends.cpu.kernels import updates
from graphc.ir.reference import evaluate_node


def _compare(machine: Any, op: str, operands: list[np.ndarray], attrs: dict[str, Any], outputs: int, rule: str) -> None:
    call = build_call(op, operands, target=machine.target, attrs=attrs, results=outputs)
    assert machine.library.choose(call).rule == rule
    for a, b in zip(run_call(machine, call, operands), evaluate_node(call.node, operands)):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * max(np.abs(b).max(initial=0), 1))


def _floats(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(6)
    return [rng.standard_normal(s).astype(np.float32) for s in shapes]


def test_layers(machine: Any) -> None:
    for m, k, n in ((5, 70, 77), (1, 66, 65)):
        for outputs in (3, 2):
            operands = _floats((m, k), (n, k), (m, n))
            _compare(machine, "FCGradient", operands, {}, outputs, "fc_gradient")
            operands = _floats((m, k), (k, n), (m, n))
            _compare(machine, "FCTransposedGradient", operands, {}, outputs, "fc_gradient")
    operands = _floats((2, 3, 7, 10), (77, 7, 10), (2, 3, 77))
    _compare(machine, "FCGradient", operands, {"axis": 2}, 3, "fc_gradient")


def test_pooling(machine: Any) -> None:
    """Elements that are maxima of several windows, or one of equal maxima; windows that do not overlap."""
    cases: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ((2, 3, 8, 11), (2, 3, 4, 5), {"kernel": 2, "stride": 2}),
        ((2, 3, 11, 13), (2, 3, 6, 7), {"kernel": 3, "stride": 2, "pad": 1}),
        ((1, 2, 5, 6), (1, 2, 1, 1), {"global_pooling": 1}),
    ]
    for shape, result, attrs in cases:
        x = np.random.default_rng(7).integers(0, 4, shape).astype(np.float32)
        call = build_call("MaxPool", [x], target=machine.target, attrs=attrs)
        (y,) = evaluate_node(call.node, [x])
        _compare(machine, "MaxPoolGradient", [x, y, *_floats(result)], attrs, 1, "pool_gradient")
    operands, attrs = _floats((2, 3, 20), (2, 3, 10), (2, 3, 10)), {"kernels": (3,), "strides": (2,), "pads": (1, 0)}
    _compare(machine, "AveragePool1DGradient", operands, attrs, 1, "pool_gradient")
    _compare(machine, "AveragePool1DGradient", operands, attrs | {"count_include_pad": 1}, 1, "pool_gradient")


def test_updates(machine: Any) -> None:
    """Arrays longer than a slice; those of one element are not cut."""
    g, m, p, v = (np.abs(a) for a in _floats(*[(updates.SLICE + 5,)] * 4))
    rate, counter = np.array([0.01], np.float32), np.array([3], np.int64)
    _compare(machine, "MomentumSGDUpdate", [g, m, rate, p], {"momentum": 0.9, "nesterov": 1}, 3, "update")
    _compare(machine, "Adam", [p, m, v, g, rate, counter], {}, 3, "update")
