"""Fills, losses, metrics, optimisers, detection, int8, recurrence and gradients against real Caffe2's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import operator_cases
import pytest

from graphc.frontends.netdef.engines import engine_type
from graphc.ir.quant_array import array_quant

NAMES = """
GivenTensorFill GivenTensorIntFill GivenTensorInt64Fill GivenTensorBoolFill GivenTensorDoubleFill GivenTensorInt16Fill
GivenTensorStringFill GivenTensorByteStringToUInt8Fill ConstantFill Float16ConstantFill RangeFill Range DiagonalFill
LengthsRangeFill LabelCrossEntropy AveragedLoss AveragedLossGradient CrossEntropy SoftmaxWithLoss
SoftmaxWithLossGradient MakeTwoClass SigmoidCrossEntropyWithLogits MultiClassAccuracy
Iter LearningRate WeightedSum WeightedSumGradient MomentumSGD MomentumSGDUpdate Adagrad Adam
GenerateProposals BBoxTransform BoxWithNMSLimit CollectRpnProposals CollectAndDistributeFpnRpnProposals
Int8Quantize Int8Dequantize Int8GivenTensorFill Int8GivenIntTensorFill Int8Conv Int8ConvRelu Int8Relu Int8Sum Int8Add
Int8AddRelu Int8AveragePool Int8AveragePoolRelu Int8MaxPool Int8MaxPoolRelu Int8LeakyRelu Int8Sigmoid
ReluGradient SoftmaxGradient FCGradient FCTransposedGradient MaxPoolGradient MaxPool1DGradient MaxPool2DGradient
MaxPool3DGradient AveragePool1DGradient AveragePool3DGradient ConvGradient Conv1DGradient Conv2DGradient
LSTMUnit LSTMUnitGradient GRUUnit Summarize
InferenceLSTM Quantize Dequantize Int8ConvTranspose Int8BatchMatMul Int8ElementwiseLinear Int8FCPackWeight Int8Gather
Int8SpatialBN Int8SpatialBNRelu Int8Tanh ChannelShuffle
Int8Concat Int8Reshape Int8Slice Int8ResizeNearest Int8RoIAlign
RoIAlign RoIAlignRotated RoIPool BatchPermutation BatchPermutationGradient HeatmapMaxKeypoint
"""
OPERATORS = NAMES.split()


def _recorded(got: Any, want: Any, result: Any) -> Any:
    """``got`` in the form of the recorded value ``want``."""
    if isinstance(want, tuple) and want[0] == "int8":
        quant = array_quant(got) or result.type.quant
        return ("int8", got, quant.scale, quant.zero_point)
    return got


@pytest.mark.parametrize("name", OPERATORS)
def test_reference_equals_caffe2(name: str, shared: Path) -> None:
    golden = operator_cases.golden_io(shared)
    path = shared / "golden" / f"{name}.npz"
    checked = 0
    for case in golden.cases(path):
        op = operator_cases.operator(case.op)
        inputs = [v for _, v in case.inputs]
        call = operator_cases.make_call(engine_type(op.type, op.engine), inputs, [n for n, _ in case.outputs], op.args)
        outputs = operator_cases.run(call, inputs)
        for (blob, want), got, result in zip(case.outputs, outputs, call.node.results):
            answer = _recorded(got, want, result)
            assert golden.close(answer, want), f"{name} case {case.index} {op.args} output {blob}: {answer} != {want}"
        checked += 1
    assert checked
