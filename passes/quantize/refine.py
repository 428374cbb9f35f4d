"""Rounding of weights: up or down so that the errors of a map's weights cancel on the data, not each alone.

Source: the layer-wise second-order scheme of optimal brain quantisation with a fixed order (Frantar et al. 2022, arXiv
2210.17323): weights are rounded one after another, and the error of each is made up for by those that are left, by the
inverse of the inputs' second moment.
"""

from __future__ import annotations

import numpy as np

from graphc.passes.quantize.scales import WEIGHT_LIMIT, rounded_weights

DAMPING = 0.01
"""Added to the moment's diagonal, in parts of its mean: few windows do not tell all directions."""


def refined_weights(weight: np.ndarray, covariance: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Integers -127 ... 127 (M, K), as float64, for weights (M, K) in units of ``scale`` (one, or (M, 1)).

    covariance: (K, K) of what the weights meet; the mean is left to the bias. A map keeps its nearest integers where
    the others have no smaller error on the data.
    """
    units = weight / scale
    nearest = rounded_weights(units, 1.0)
    diagonal = np.diagonal(covariance)
    if not np.any(diagonal > 0):
        return nearest
    order = np.argsort(-diagonal, kind="stable")
    damped = covariance[np.ix_(order, order)] + np.eye(len(order)) * DAMPING * diagonal.mean()
    found = np.empty_like(nearest)
    found[:, order] = _in_order(units[:, order].copy(), np.linalg.cholesky(np.linalg.inv(damped)).T)
    better = data_error(found - units, covariance) < data_error(nearest - units, covariance)
    return np.where(better[:, None], found, nearest)


def data_error(difference: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(M,): the mean squared error of results for differences (M, K) of the weights."""
    return np.asarray(np.einsum("mk,mk->m", difference @ covariance, difference))


def _in_order(units: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Round column by column; ``upper`` is the upper Cholesky factor of the inverse moment. Destroys ``units``."""
    found = np.empty_like(units)
    for k in range(units.shape[1]):
        found[:, k] = np.clip(np.rint(units[:, k]), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        error = (units[:, k] - found[:, k]) / upper[k, k]
        units[:, k + 1 :] -= error[:, None] * upper[k, k + 1 :]
    return found
