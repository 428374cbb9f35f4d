"""Quantisation of float nets after training: calibration data, the search for what to quantise, results and reports."""

from graphc.quantization.quantized import Quantized as Quantized
from graphc.quantization.quantized import quantize as quantize
