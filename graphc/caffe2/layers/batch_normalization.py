"""``caffe2.python.layers.batch_normalization``: normalisation over the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import constant, require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class BatchNormalization(ModelLayer):
    """SpatialBN of pictures or, as pictures of one pixel, of rows; nets that do not train use running statistics."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        name: str = "batch_normalization",
        scale_optim: Any = None,
        bias_optim: Any = None,
        momentum: float = 0.9,
        order: str = "NCHW",
        scale_init_value: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """Raises ``ValueError`` for another order than NCHW and NHWC."""
        super().__init__(model, name, input_record, **kwargs)
        require_scalar(input_record)
        self.input_shape = input_record.field_type().shape
        require(len(self.input_shape) in (1, 3), "This layer supports only 4D or 2D tensors")
        if order not in ("NCHW", "NHWC"):
            raise ValueError(f"order is NCHW or NHWC, not {order}")
        is_last = len(self.input_shape) == 3 and order == "NHWC"
        size = [self.input_shape[-1 if is_last else 0]]
        self.output_schema = schema.Scalar((np.float32, self.input_shape), self.get_next_blob_reference("output"))
        self.momentum, self.order = momentum, order
        self.scale = self.create_param("scale", size, constant(scale_init_value), scale_optim)
        self.bias = self.create_param("bias", size, constant(0.0), bias_optim)
        self.rm = self.create_param("running_mean", size, constant(0.0), model.NoOptim)
        self.riv = self.create_param("running_inv_var", size, constant(1.0), model.NoOptim)

    def _add_ops(self, net: Any, is_test: bool, out_blob: Any = None) -> None:
        (blob,) = self.input_record.field_blobs()
        is_row = len(self.input_shape) == 1
        # Caffe2 names a blob that it never makes; the numbers of later names follow from it.
        net.NextScopedBlob("expand_input")
        if is_row:
            blob = net.ExpandDims([blob], dims=[2, 3])
        outputs = self.output_schema.field_blobs() if out_blob is None else out_blob
        saved = []
        if not is_test:
            saved = [self.rm, self.riv, *(net.NextScopedBlob(name) for name in ("bn_saved_mean", "bn_saved_iv"))]
        net.SpatialBN(
            [blob, self.scale, self.bias, self.rm, self.riv],
            outputs + saved,
            momentum=self.momentum,
            is_test=is_test,
            order=self.order,
        )
        if is_row:
            net.Squeeze(outputs, outputs, dims=[2, 3])

    def add_train_ops(self, net: Any) -> None:
        """Add the operator, which updates the running statistics."""
        self._add_ops(net, is_test=False)

    def add_eval_ops(self, net: Any) -> None:
        """Add the operator, which uses the running statistics."""
        self._add_ops(net, is_test=True)

    def add_ops(self, net: Any) -> None:
        """The same as for evaluation."""
        self.add_eval_ops(net)
