"""Weights in 8 bits: scales, integers and bias of a product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.ir import Quant
from graphc.passes.quantize.layers import Layer
from graphc.passes.quantize.moments import Moments
from graphc.passes.quantize.refine import refined_weights
from graphc.passes.quantize.scales import least_weight_scales, rounded_weights, weight_scales
from graphc.passes.quantize.weights import float_bias, float_weight


@dataclass(frozen=True)
class Int8Weights:
    """integers: -127 ... 127 in the shape of ``float_weight``; scales: float32, one, or one a map (M,); bias: float64
    (M,).
    """

    integers: np.ndarray
    scales: np.ndarray
    bias: np.ndarray

    @property
    def real(self) -> np.ndarray:
        """The weights that the integers stand for, float64."""
        scales = self.scales.astype(np.float64)
        return self.integers * scales.reshape(-1, *(1,) * (self.integers.ndim - 1))


def quantise_weights(
    layer: Layer, x: Quant, moments: Moments, per_map: bool = False, correct_bias: bool = True
) -> Int8Weights:
    """Integers of a product's weights, rounded to the nearest, or so that errors cancel where second moments are known.

    x: the quantisation of what they meet. moments: of that, in float. per_map: a scale for each map instead of one.
    correct_bias: add to the bias what rounding takes from the mean of each map (Nagel et al. 2019, arXiv 1906.04721,
    section 4.2).
    """
    weight, bias = float_weight(layer), float_bias(layer)
    maps = len(weight)
    least = least_weight_scales(bias, x.scale)
    rows = weight.reshape(maps if per_map else 1, -1)
    scales = weight_scales(rows, least if per_map else least.max(initial=0.0, keepdims=True))
    parts = weight.reshape(layer.groups, maps // layer.groups, -1)
    units = np.broadcast_to(scales.astype(np.float64), maps).reshape(*parts.shape[:2], 1)
    covariance = moments.covariance
    if covariance is None:
        integers = rounded_weights(parts, units)
    else:
        integers = np.stack([refined_weights(w, c, u) for w, c, u in zip(parts, covariance, units)])
    if correct_bias:
        bias = bias + np.einsum("gmk,gk->gm", parts - integers * units, moments.mean).reshape(-1)
    return Int8Weights(integers.reshape(weight.shape), scales, bias)
