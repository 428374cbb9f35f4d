"""``caffe2.python.layers.homotopy_weight``: from an easy problem to the one that is meant, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layers._rules import constant
from graphc.caffe2.layers.layers import ModelLayer, require


class HomotopyWeight(ModelLayer):
    """``alpha x + beta y`` of two fields: alpha falls from the largest weight to the smallest, beta rises."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        name: str = "homotopy_weight",
        min_weight: float = 0.0,
        max_weight: float = 1.0,
        half_life: float = 1e6,
        quad_life: float = 3e6,
        atomic_iter: Any = None,
        **kwargs: Any,
    ) -> None:
        """half_life, quad_life: steps after which a half and about a quarter of the fall are left.

        atomic_iter: a counter of steps; the layer counts by itself without it. Raises ``AssertionError`` unless
        ``quad_life`` is more than twice ``half_life``.
        """
        super().__init__(model, name, input_record, **kwargs)
        self.output_schema = schema.Scalar(np.float32, self.get_next_blob_reference("homotopy_weight"))
        blobs = self.input_record.field_blobs()
        require(len(blobs) == 2, f"two blobs are weighed, not {len(blobs)}")
        self.x, self.y = blobs
        self.use_external_iter = atomic_iter is not None
        self.atomic_iter = atomic_iter if self.use_external_iter else self._create_iter()
        require(max_weight > min_weight, f"no weights between {min_weight} and {max_weight}")
        self.scale = float(max_weight - min_weight)
        self.offset = model.add_global_constant(f"{self.name}_offset_1dfloat", float(min_weight))
        self.gamma, self.power = self.solve_inv_lr_params(half_life, quad_life)

    def solve_inv_lr_params(self, half_life: float, quad_life: float) -> tuple[float, float]:
        """gamma and power of the policy ``inv``, ``(1 + gamma t)^-power``."""
        require(half_life > 0 and quad_life > 2 * half_life, "quad_life has to be more than twice half_life")
        t = float(quad_life) / float(half_life)
        x = t * (1.0 + np.sqrt(2.0)) / 2.0 - np.sqrt(2.0)
        return float((x - 1.0) / half_life), float(np.log(2.0) / np.log(x))

    def _create_iter(self) -> Any:
        none = self.model.NoOptim
        self.mutex = self.create_param(f"{self.name}_mutex", None, ("CreateMutex",), none)
        return self.create_param(f"{self.name}_atomic_iter", [1], constant(0, core.DataType.INT64), none)

    def update_weight(self, net: Any) -> tuple[Any, Any]:
        """Add both weights of this step."""
        names = ("alpha", "beta", "lr", "complementary_lr", "scaled_lr", "scaled_complementary_lr")
        alpha, beta, lr, rest, scaled, scaled_rest = (net.NextScopedBlob(name) for name in names)
        if not self.use_external_iter:
            net.AtomicIter([self.mutex, self.atomic_iter], [self.atomic_iter])
        net.LearningRate([self.atomic_iter], [lr], policy="inv", gamma=self.gamma, power=self.power, base_lr=1.0)
        net.Sub([self.model.global_constants["ONE"], lr], [rest])
        net.Scale([lr], [scaled], scale=self.scale)
        net.Scale([rest], [scaled_rest], scale=self.scale)
        net.Add([scaled, self.offset], [alpha])
        net.Add([scaled_rest, self.offset], [beta])
        return alpha, beta

    def add_ops(self, net: Any) -> None:
        """Add the weights and the sum."""
        alpha, beta = self.update_weight(net)
        net.WeightedSum([self.x, alpha, self.y, beta], self.output_schema())
