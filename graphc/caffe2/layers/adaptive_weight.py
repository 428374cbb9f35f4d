"""``caffe2.python.layers.adaptive_weight``: a sum of losses whose weights are learned from their noise.

Kendall, Gal and Cipolla 2017, "Multi-Task Learning Using Uncertainty to Weigh Losses".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.regularizer import BoundedGradientProjection, LogBarrier, Regularizer


class AdaptiveWeight(ModelLayer):
    """``sum x_i / 2 e^mu_i + mu_i / 2`` (``log_std``), or ``sum k_i x_i / 2 - log(k_i) / 2`` (``inv_var``)."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        name: str = "adaptive_weight",
        optimizer: Any = None,
        weights: Sequence[float] | None = None,
        enable_diagnose: bool = False,
        estimation_method: str = "log_std",
        pos_optim_method: str = "log_barrier",
        reg_lambda: float = 0.1,
        **kwargs: Any,
    ) -> None:
        """weights: at the beginning, equal ones unless given. enable_diagnose: each weight is a metric.

        pos_optim_method: what keeps k above zero, ``log_barrier`` (times ``reg_lambda``) or ``pos_grad_proj``. Raises
        ``AssertionError`` for weights that are not positive, ``TypeError`` for methods of other names.
        """
        super().__init__(model, name, input_record, **kwargs)
        self.output_schema = schema.Scalar(np.float32, self.get_next_blob_reference("adaptive_weight"))
        self.data = self.input_record.field_blobs()
        self.num = len(self.data)
        self.optimizer = optimizer
        values = weights if weights is not None else [1.0 / self.num] * self.num
        require(len(values) == self.num and min(values) > 0, f"{self.num} positive weights are needed, not {values}")
        self.weights = np.array(values, np.float32)
        self.estimation_method = str(estimation_method).lower()
        self.pos_optim_method = str(pos_optim_method).lower()
        self.reg_lambda = float(reg_lambda)
        self.enable_diagnose = enable_diagnose
        if self.estimation_method == "log_std":
            self.mu = self._create("mu", np.log(1.0 / 2.0 / self.weights), None)
        elif self.estimation_method == "inv_var":
            self.k = self._create("k", 2.0 * self.weights, self._bound())
        else:
            raise TypeError(f"unknown estimation method: {self.estimation_method}; known are log_std and inv_var")
        if enable_diagnose:
            self.weight_i = [self.get_next_blob_reference(f"adaptive_weight_{i}") for i in range(self.num)]
            for blob in self.weight_i:
                model.add_ad_hoc_plot_blob(blob)

    def _bound(self) -> Regularizer:
        if self.pos_optim_method == "log_barrier":
            return LogBarrier(reg_lambda=self.reg_lambda)
        if self.pos_optim_method == "pos_grad_proj":
            return BoundedGradientProjection(lb=0, left_open=True)
        raise TypeError(f"unknown positivity optimization method: {self.pos_optim_method}")

    def _create(self, name: str, values: np.ndarray, regularizer: Regularizer | None) -> Any:
        fill = ("GivenTensorFill", {"values": values, "dtype": core.DataType.FLOAT})
        return self.create_param(name, [self.num], fill, self.optimizer, regularizer=regularizer)

    def concat_data(self, net: Any) -> Any:
        """Add what makes one vector of the losses."""
        names = [net.NextScopedBlob(f"reshaped_data_{i}") for i in range(self.num)]
        for i, name in enumerate(names):
            net.Reshape([self.data[i]], [name, net.NextScopedBlob(f"new_shape_{i}")], shape=[1])
        concated = net.NextScopedBlob("concated_data")
        net.Concat(names, [concated, net.NextScopedBlob("concated_new_shape")], axis=0)
        return concated

    def _add_weight(self, net: Any, weight: Any, penalty: Any) -> None:
        """Add the weights and what is paid for them."""
        if self.estimation_method == "log_std":
            negative, power = net.NextScopedBlob("mu_neg"), net.NextScopedBlob("mu_neg_exp")
            net.Scale(net.Exp(net.Negative(self.mu, negative), power), weight, scale=0.5)
            net.Scale(self.mu, penalty, scale=0.5)
        else:
            net.Scale(self.k, weight, scale=0.5)
            net.Scale(net.Log(self.k, net.NextScopedBlob("log_k")), penalty, scale=-0.5)

    def add_ops(self, net: Any) -> None:
        """Add the weights and the sum."""
        x = self.concat_data(net)
        names = ("weight", "reg", "weighted_x", "weighted_x_add_reg")
        weight, penalty, product, total = (net.NextScopedBlob(name) for name in names)
        self._add_weight(net, weight, penalty)
        net.Mul([weight, x], product)
        net.Add([product, penalty], total)
        net.SumElements(total, self.output_schema())
        if self.enable_diagnose:
            for i, blob in enumerate(self.weight_i):
                net.Slice(weight, blob, starts=[i], ends=[i + 1])
