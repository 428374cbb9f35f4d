"""Rounding against all roundings, windows against loops, bias correction against means."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from small_quantized_nets import branching_net, observed, samples

from graphc.ir.reference import evaluate
from graphc.passes.quantize import Moments, find_layers, quantise_weights
from graphc.passes.quantize.layers import Kind
from graphc.passes.quantize.moments import windows
from graphc.passes.quantize.refine import data_error, refined_weights
from graphc.passes.quantize.scales import affine, rounded_weights
from graphc.passes.quantize.weights import float_bias, float_weight


def test_refined_weights_lie_between_nearest_and_best() -> None:
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(20):
        data = rng.normal(0, 1, (200, 4)) @ rng.normal(0, 1, (4, 4))
        covariance, units = data.T @ data / 200, rng.normal(0, 3, (1, 4))
        found = refined_weights(units, covariance, 1.0)
        nearest = data_error(rounded_weights(units, 1.0) - units, covariance)[0]
        options = [np.array([o]) for o in product(*((np.floor(u), np.ceil(u)) for u in units[0]))]
        best = min(data_error(o - units, covariance)[0] for o in options)
        error = data_error(found - units, covariance)[0]
        assert error <= nearest
        gains.append((error, nearest, best))
    error, nearest, best = np.sum(gains, axis=0)
    assert error < 0.6 * nearest
    assert error < 1.7 * best


def test_refined_weights_without_data_are_nearest() -> None:
    units = np.array([[0.4, -1.6, 200.0]])
    assert refined_weights(units, np.zeros((3, 3)), 1.0).tolist() == [[0, -2, 127]]


def test_windows_meet_the_weights_in_their_order() -> None:
    """Products of windows and weights, as a matrix product, are the layer's results."""
    graph = branching_net()
    values = evaluate(graph, samples()[0], keep_all=True)
    for layer in find_layers(graph):
        if layer.kind is not Kind.PRODUCT:
            continue
        x, weight = values[layer.inputs[0].name], float_weight(layer)
        found = windows(layer, x, most=10**6)
        rows = weight.reshape(layer.groups, len(weight) // layer.groups, -1)
        results = np.einsum("gpk,gmk->pgm", found, rows).reshape(found.shape[1], -1) + float_bias(layer)
        expected = values[layer.node.results[0].name]
        image = expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected
        flat = image.reshape(-1, len(weight))
        order = np.lexsort(np.round(flat, 3).T), np.lexsort(np.round(results, 3).T)
        np.testing.assert_allclose(results[order[1]], flat[order[0]], atol=2e-3)


def test_moments_are_means_over_windows() -> None:
    graph = branching_net()
    layer = next(n for n in find_layers(graph) if n.name == "right")
    _, moments = observed(graph, find_layers(graph))
    drawn = [windows(layer, evaluate(graph, s, keep_all=True)["one"]) for s in samples()]
    everything = np.concatenate(drawn, axis=1).astype(np.float64)
    record = moments["right"]
    np.testing.assert_allclose(record.mean, everything.mean(1), rtol=1e-5)
    for g in range(2):
        np.testing.assert_allclose(record.covariance[g], np.cov(everything[g].T, bias=True), atol=1e-4)


@pytest.mark.parametrize(("centre", "spread"), [(0.0, 1e-30), (0.0, 1e30), (1e5, 1.0), (-3e-20, 1e-25), (0.3, 0.0)])
def test_moments_of_numbers_far_from_one(centre: float, spread: float) -> None:
    """Squares leave float32, or nearly cancel: the spread is that of float64, 0 for a constant, and rounding works."""
    graph = branching_net()
    layer = next(n for n in find_layers(graph) if n.name == "left")
    rng, record = np.random.default_rng(2), Moments.of(layer, True)
    images = [(centre + spread * rng.normal(0, 1, (2, 8, 12, 12))).astype(np.float32) for _ in range(4)]
    for image in images:
        record.add(layer, image)
    exact = np.concatenate([windows(layer, image)[0] for image in images]).astype(np.float64)
    expected = np.cov(exact.T, bias=True) if spread else np.zeros((8, 8))
    assert record.covariance is not None
    np.testing.assert_allclose(record.covariance[0], expected, atol=1e-3 * expected.max())
    own = quantise_weights(layer, affine(float(exact.min()), float(exact.max())), record)
    assert np.abs(own.real - float_weight(layer)).max() < 2 * own.scales.max()
    assert np.isfinite(own.bias).all()


def test_corrected_biases_keep_the_means() -> None:
    graph = branching_net()
    layer = next(n for n in find_layers(graph) if n.name == "two")
    _, moments = observed(graph, find_layers(graph), with_products=False)
    record: Moments = moments["two"]
    own = quantise_weights(layer, affine(0, 5), record)
    plain = quantise_weights(layer, affine(0, 5), record, correct_bias=False)
    mean = float_weight(layer).reshape(16, -1) @ record.mean[0] + float_bias(layer)
    np.testing.assert_allclose(own.real.reshape(16, -1) @ record.mean[0] + own.bias, mean, atol=1e-9)
    assert np.abs(plain.real.reshape(16, -1) @ record.mean[0] + plain.bias - mean).max() > 1e-4
