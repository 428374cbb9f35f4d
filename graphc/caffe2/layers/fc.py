"""``caffe2.python.layers.fc``: a fully connected layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.helpers.arg_scope import get_current_scope
from graphc.caffe2.layers._rules import Fill, clip_arguments, clipped, row_shape, uniform
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.layers.sampling_trainable_mixin import SamplingTrainableMixin


def get_fc_predictor_version(fc_version: str) -> str:
    """What ``arg_scope`` sets for nets of prediction: fp32 or fp16; raises ``AssertionError`` for another one."""
    require(fc_version in ("fp32", "fp16"), f"a fully connected layer is fp32 or fp16, not {fc_version}")
    return fc_version


class FC(SamplingTrainableMixin, ModelLayer):
    """``row w^T + b``; ``w row + b`` with a transposed weight.

    ``max_fc_size`` splits a layer of more elements along its outputs. ``clip_param``, a pair, limits the parameters
    whenever they are used. ``axis``: where a row begins.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        output_dims: int,
        weight_init: Fill | None = None,
        bias_init: Fill | None = None,
        weight_optim: Any = None,
        bias_optim: Any = None,
        name: str = "fc",
        weight_reg: Any = None,
        bias_reg: Any = None,
        clip_param: Any = None,
        max_fc_size: int | None = None,
        axis: int = 1,
        transposed: bool = False,
        uniform_weight_init_scale_numerator: float | None = 1.0,
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for a record whose dimensions are not known."""
        super().__init__(model, name, input_record, **kwargs)
        shape = row_shape(input_record)
        require(axis >= 1, f"axis {axis} should >= 1.")
        size = int(np.prod(shape[axis - 1 :]))
        require(size > 0, f"FC expects input dimensions > 0, got {size}")
        self.axis, self.transposed = axis, transposed
        self.clip_args = clip_arguments(clip_param)
        numerator = uniform_weight_init_scale_numerator
        drawn = uniform(size, 1.0 if numerator is None else numerator)
        weight, bias = (weight_init or drawn, weight_optim, weight_reg), (bias_init or drawn, bias_optim, bias_reg)
        self.output_dim_vec = FC.calculate_fc_output_dims(max_fc_size, size, output_dims)
        if self._is_whole:
            self.w, self.b = self._create_pair("", size, output_dims, weight, bias)
        else:
            parts = enumerate(self.output_dim_vec or ())
            # Caffe2 fills and trains the biases of parts like their weights.
            pairs = [self._create_pair(f"_sub_{i}", size, dims, weight, weight) for i, dims in parts]
            self.w_vec, self.b_vec = [w for w, _ in pairs], [b for _, b in pairs]
        rows = (output_dims,) if axis == 1 else (*shape[: axis - 1], output_dims)
        self.output_schema = schema.Scalar((np.float32, rows), self.get_next_blob_reference("output"))

    @property
    def _is_whole(self) -> bool:
        return self.output_dim_vec is None or len(self.output_dim_vec) == 1

    def _create_pair(self, suffix: str, size: int, outputs: int, weight: Any, bias: Any) -> tuple[Any, Any]:
        """A weight and a bias, each from (fill, optimizer, regularizer)."""
        shape = [size, outputs] if self.transposed else [outputs, size]
        made = []
        for name, dims, (fill, optimizer, regularizer) in (("w", shape, weight), ("b", [outputs], bias)):
            made.append(self.create_param(name + suffix, dims, fill, optimizer, regularizer=regularizer))
        return made[0], made[1]

    @staticmethod
    def calculate_fc_output_dims(max_fc_size: int | None, input_dim: int, output_dim: int) -> list[int] | None:
        """The outputs of each part, so that none has more than ``max_fc_size`` elements; None without a limit."""
        if not max_fc_size or max_fc_size < 0:
            return None
        require(max_fc_size >= input_dim, f"one output of {input_dim} inputs exceeds max_fc_size, {max_fc_size}")
        most = max_fc_size // input_dim
        return [min(most, output_dim - start) for start in range(0, output_dim, most)]

    def _insert_fc_ops(self, net: Any, params: list[Any], outputs: Any, version: str) -> Any:
        inputs = self.input_record.field_blobs() + params
        if version == "fp16":
            return net.FbFCPacked(inputs, outputs, axis=self.axis, **self.kwargs)
        require(version == "fp32", f"a fully connected layer is fp32 or fp16, not {version}")
        product = net.FCTransposed if self.transposed else net.FC
        return product(inputs, outputs, axis=self.axis, **self.kwargs)

    def _add_ops(self, net: Any, params: list[Any], version: str = "fp32") -> None:
        params = clipped(net, params, self.clip_args)
        outputs = self.output_schema.field_blobs()
        if self._is_whole:
            self._insert_fc_ops(net, params, outputs, version)
            return
        half = len(params) // 2
        parts = [
            self._insert_fc_ops(net, list(pair), [net.NextScopedBlob(f"output_sub_{i}")], version)
            for i, pair in enumerate(zip(params[:half], params[half:], strict=True))
        ]
        net.Concat(parts, [*outputs, outputs[0] + "_concat_dims"])

    def add_ops(self, net: Any) -> None:
        """Add the product, for prediction and evaluation of the version that ``arg_scope`` sets."""
        version = get_current_scope().get(get_fc_predictor_version.__name__, {"fc_version": "fp32"})
        self._add_ops(net, self.param_blobs, version["fc_version"])

    def add_train_ops(self, net: Any) -> None:
        """Add the product."""
        self._add_ops(net, self.train_param_blobs)

    def get_fp16_compatible_parameters(self) -> list[Any]:
        """The weights."""
        return [self.w] if self._is_whole else self.w_vec

    @property
    def param_blobs(self) -> list[Any]:
        """Weights, then biases."""
        return [self.w, self.b] if self._is_whole else self.w_vec + self.b_vec
