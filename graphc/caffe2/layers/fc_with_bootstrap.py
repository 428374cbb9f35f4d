"""``caffe2.python.layers.fc_with_bootstrap``: fully connected layers that learn from rows drawn with replacement."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.helpers.arg_scope import get_current_scope
from graphc.caffe2.layers._rules import Fill, clip_arguments, clipped, row_shape, uniform
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.layers.sampling_trainable_mixin import SamplingTrainableMixin


def get_fc_predictor_version(fc_version: str) -> str:
    """What ``arg_scope`` sets for nets of prediction: fp32; raises ``AssertionError`` for another one."""
    require(fc_version == "fp32", f"a bootstrapped layer is fp32, not {fc_version}")
    return fc_version


class FCWithBootstrap(SamplingTrainableMixin, ModelLayer):
    """``num_bootstrap`` layers; fields ``bootstrap_iteration_i/indices`` and ``/preds`` are what each drew and gave.

    In nets of other kinds every layer sees all rows, and the indices mean nothing.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        output_dims: int,
        num_bootstrap: int,
        weight_init: Fill | None = None,
        bias_init: Fill | None = None,
        weight_optim: Any = None,
        bias_optim: Any = None,
        name: str = "fc_with_bootstrap",
        weight_reg: Any = None,
        bias_reg: Any = None,
        clip_param: Any = None,
        axis: int = 1,
        **kwargs: Any,
    ) -> None:
        """The other arguments are those of ``FC``."""
        super().__init__(model, name, input_record, **kwargs)
        shape = row_shape(input_record)
        require(axis >= 1, f"axis {axis} should >= 1.")
        self.axis, self.num_bootstrap = axis, num_bootstrap
        self.input_dims = int(np.prod(shape[axis - 1 :]))
        require(self.input_dims > 0, f"FC expects input dimensions > 0, got {self.input_dims}")
        self.clip_args = clip_arguments(clip_param)
        self.bootstrapped_FCs: list[Any] = []
        drawn = uniform(self.input_dims)
        record = schema.Struct()
        for i in range(num_bootstrap):
            scope = f"bootstrap_iteration_{i}"
            fields = [f"{scope}/indices", f"{scope}/preds"]
            record += schema.Struct(*((field, self.get_next_blob_reference(field)) for field in fields))
            w_shape = [output_dims, self.input_dims]
            w_fill, b_fill = weight_init or drawn, bias_init or drawn
            w = self.create_param(f"{scope}/w", w_shape, w_fill, weight_optim, regularizer=weight_reg)
            b = self.create_param(f"{scope}/b", [output_dims], b_fill, bias_optim, regularizer=bias_reg)
            self.bootstrapped_FCs += [w, b]
        self.output_schema = record

    def _draw(self, net: Any, iteration: int) -> Any:
        """Add what draws as many rows as there are; the first iteration finds out how many."""
        with core.NameScope(f"bootstrap_iteration_{iteration}"):
            if iteration == 0:
                shape = net.Shape(self.input_record.field_blobs()[0], "input_shape")
                first = net.Const(np.array([0]), "batch_size_index")
                self.batch_size = net.Gather([shape, first], "batch_size")
                self.lower_bound = net.Const(np.array([0]), "lower_bound", dtype=np.int32)
                one = net.Const(np.array([1]), "offset", dtype=np.int32)
                rows = net.Cast([self.batch_size], "int_batch_size", to=core.DataType.INT32)
                self.upper_bound = net.Sub([rows, one], "upper_bound")
            bounds = [self.batch_size, self.lower_bound, self.upper_bound]
            return net.UniformIntFill(bounds, self.output_schema[iteration * 2].field_blobs()[0], input_as_shape=1)

    def _add_layer(self, net: Any, features: Any, iteration: int, params: list[Any]) -> None:
        output = self.output_schema.field_blobs()[iteration * 2 + 1]
        net.FC([features, *clipped(net, params, self.clip_args)], [output], axis=self.axis, **self.kwargs)

    def _add_ops(self, net: Any, param_blobs: list[Any]) -> None:
        """Every layer on all rows."""
        for i in range(self.num_bootstrap):
            self._draw(net, i)
            self._add_layer(net, self.input_record.field_blobs()[0], i, param_blobs[i * 2 : i * 2 + 2])

    def add_ops(self, net: Any) -> None:
        """Add all layers."""
        version = get_current_scope().get(get_fc_predictor_version.__name__, {"fc_version": "fp32"})
        get_fc_predictor_version(version["fc_version"])
        self._add_ops(net, self.param_blobs)

    def add_train_ops(self, net: Any) -> None:
        """Add all layers, each behind the rows that it draws."""
        for i in range(self.num_bootstrap):
            rows = [self.input_record.field_blobs()[0], self._draw(net, i)]
            features = net.Gather(rows, net.NextScopedBlob(f"bootstrapped_features_{i}"))
            self._add_layer(net, features, i, self.train_param_blobs[i * 2 : i * 2 + 2])

    def get_fp16_compatible_parameters(self) -> list[Any]:
        """The weights."""
        return self.bootstrapped_FCs[::2]

    @property
    def param_blobs(self) -> list[Any]:
        """Weight and bias of each layer in turn."""
        return self.bootstrapped_FCs
