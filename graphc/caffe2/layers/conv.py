"""``caffe2.python.layers.conv``: a convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import Fill, constant, require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class Conv(ModelLayer):
    """A convolution of pictures whose number of channels is known; the output record knows its channels alone.

    Pads that are not given keep the size where the stride is 1, and are 0 elsewhere.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        output_dim: int,
        kernel_h: int,
        kernel_w: int,
        stride_h: int,
        stride_w: int,
        pad_b: int | None = None,
        pad_l: int | None = None,
        pad_r: int | None = None,
        pad_t: int | None = None,
        order: str = "NHWC",
        kernel_init: Fill | None = None,
        bias_init: Fill | None = None,
        kernel_optim: Any = None,
        bias_optim: Any = None,
        name: str = "conv",
        **kwargs: Any,
    ) -> None:
        """order: NHWC or NCHW."""
        super().__init__(model, name, input_record, **kwargs)
        require_scalar(input_record)
        sizes = {"kernel_h": kernel_h, "kernel_w": kernel_w, "stride_h": stride_h, "stride_w": stride_w}
        for what, size in sizes.items():
            require(isinstance(size, int) and size > 0, f"{what} should be positive integer")
            setattr(self, what, size)
        rows, columns = (kernel_h, stride_h), (kernel_w, stride_w)
        given = {
            "pad_t": (pad_t, *rows),
            "pad_l": (pad_l, *columns),
            "pad_b": (pad_b, *rows),
            "pad_r": (pad_r, *columns),
        }
        pads = {what: _pad(*values) for what, values in given.items()}
        for what, pad in pads.items():
            require(isinstance(pad, int) and pad >= 0, f"{what} should be int >= 0")
            setattr(self, what, pad)
        require(order in ("NHWC", "NCHW"), "order should either 'NHWC' or 'NCHW'")
        self.order = order
        self._window = {**sizes, **pads}
        shape = input_record.field_type().shape
        channels = shape[-1] if order == "NHWC" else shape[0]
        require(channels > 0, "Number of input channels in conv parameters should be positive")
        window = [kernel_h, kernel_w]
        kernel = [output_dim, *window, channels] if order == "NHWC" else [output_dim, channels, *window]
        self.kernel = self.create_param("conv_kernel", kernel, kernel_init or ("XavierFill", {}), kernel_optim)
        self.bias = self.create_param("conv_bias", [output_dim], bias_init or constant(0.0), bias_optim)
        self.output_schema = schema.Scalar((np.float32, (output_dim,)), self.get_next_blob_reference("output"))

    def add_ops(self, net: Any) -> None:
        """Add the operator."""
        inputs = [*self.input_record.field_blobs(), self.kernel, self.bias]
        net.Conv(inputs, self.output_schema.field_blobs(), **self._window, order=self.order)


def _pad(given: int | None, kernel: int, stride: int) -> int:
    if given is not None:
        return given
    return (kernel - 1) // 2 if stride == 1 else 0
