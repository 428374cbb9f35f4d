"""``caffe2.python.layers.sampling_train``: a layer of very many outputs, trained with some of them at a time."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.layers._rules import require_scalar
from graphc.caffe2.layers.layers import ModelLayer, get_layer_class, require
from graphc.caffe2.layers.sampling_trainable_mixin import SamplingTrainableMixin


class SamplingTrain(ModelLayer):
    """``prediction_layer`` on the field ``input``; in training on the rows ``indices`` of its parameters.

    The logarithm of ``sampling_prob`` is subtracted from the outputs unless ``subtract_log_odd`` is off.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        prediction_layer: str,
        output_dims: int,
        subtract_log_odd: bool = True,
        name: str = "sampling_train",
        **kwargs: Any,
    ) -> None:
        """prediction_layer: the name of a layer that can be trained so, such as FC. Other arguments are for it."""
        super().__init__(model, name, input_record, **kwargs)
        layer_class = get_layer_class(prediction_layer)
        require(issubclass(layer_class, SamplingTrainableMixin), f"{prediction_layer} cannot be trained by samples")
        needed = ["indices", "input", *(["sampling_prob"] if subtract_log_odd else [])]
        require(all(field in input_record for field in needed), f"the fields {', '.join(needed)} are needed")
        require_scalar(input_record.indices)
        self.subtract_log_odd = subtract_log_odd
        layer = layer_class(model, input_record.input, output_dims=output_dims, **kwargs)
        layer.train_param_blobs = [model.net.NextBlob(f"{blob}_sampled") for blob in layer.param_blobs]
        self._prediction_layer = layer
        self.params = layer.params
        self.output_schema = layer.output_schema

    def add_ops(self, net: Any) -> None:
        """Add the layer."""
        self._prediction_layer.add_ops(net)

    def add_train_ops(self, net: Any) -> None:
        """Add the look-up of the rows, and the layer with them."""
        layer, record = self._prediction_layer, self.input_record
        for blob, sampled in zip(layer.param_blobs, layer.train_param_blobs, strict=True):
            net.Gather([blob, record.indices()], sampled)
        layer.add_train_ops(net)
        if self.subtract_log_odd:
            odds = net.Log(record.sampling_prob(), net.NextScopedBlob("log_q"))
            output = self.output_schema()
            net.Sub([output, odds], output, broadcast=1, use_grad_hack=1)
