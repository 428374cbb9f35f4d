"""A net of the benchmark in int8 by ONNX Runtime's static quantisation, as an ONNX file with Q and DQ operators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from model_files import ModelFiles
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from graphc.zoo.layers import Net


class OneBatch(CalibrationDataReader):  # type: ignore[misc]
    """The input of the measurements, once."""

    def __init__(self, batch: np.ndarray) -> None:
        self._rest = [{"data": batch}]

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        """The next batch, None after the last."""
        return self._rest.pop() if self._rest else None


def write(net: Net, files: ModelFiles) -> None:
    """Write ``NAME.int8.onnx``: uint8 values, int8 weights with a scale for each map."""
    prepared = files.path(".prepared.onnx")
    quant_pre_process(str(files.onnx), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(files.int8_onnx),
        OneBatch(net.example()),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
