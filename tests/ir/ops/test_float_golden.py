"""The float network families against real Caffe2's answers: values, dtypes, shapes, and what inference said before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import operator_cases
import pytest

from graphc.ir.reference import evaluate_node
from graphc.ir.types import DType, Sym, TensorType, dims_agree

NAMES = """
Conv Conv1D Conv2D Conv3D ConvTranspose ConvRelu Im2Col Col2Im LC1D LC2D LC3D StumpFunc SquareRootDivide
MaxPool MaxPool1D MaxPool2D MaxPool3D AveragePool AveragePool1D AveragePool2D AveragePool3D LpPool
Relu Sigmoid Tanh LeakyRelu Elu Selu Softplus Softsign Swish Mish HardSigmoid Gelu Logit ReluN ThresholdedRelu
PRelu Dropout Glu
Abs Sqrt Rsqrt Sqr Cube Exp Log Negative Sign Floor Ceil Reciprocal Sin Cos Tan Erf Scale Asin Acos Sinh Cosh
Cbrt Log1p Not ReplaceNaN IsNaN
Add Sub Mul Div EQ NE LE GT GE And Or Xor BitwiseAnd BitwiseOr SumInt Max Min Mean Where RowMul
FC FCTransposed MatMul BatchMatMul
Copy Alias AliasWithName StopGradient ZeroGradient EnsureDense EnsureCPUOutput CopyFromCPUInput CopyOnDeviceLike
Reshape Flatten FlattenToVec ExpandDims ResizeLike PrependDim MergeDim Transpose NHWC2NCHW
Shape Size IsEmpty HasElements
Concat DepthConcat Split DepthSplit SplitByLengths Slice Tile NumpyTile Expand
Softmax Normalize NormalizeL1 SpatialBN LRN GroupNorm LayerNorm
ReduceSum ReduceMean ReduceMin ReduceL1 ReduceL2 ReduceFrontSum ReduceFrontMean ReduceFrontMax
ReduceBackSum ReduceBackMean ReduceBackMax ReduceFrontWeightedSum ReduceTailSum SumElements SumElementsInt
SumSqrElements LpNorm RowwiseMax ColwiseMax DotProduct L1Distance SquaredL2Distance CosineSimilarity
SumReduceLike ChannelStats
Gather BatchGather OneHot TopK ArgMax ArgMin Scatter
PadImage ResizeNearest ResizeNearest3D UpsampleNearest UpsampleBilinear ChannelShuffle SpaceToBatch BatchToSpace
PackedInt8BGRANHWCToNCHWCStylizerPreprocess BRGNCHWCToPackedInt8BGRAStylizerDeprocess NormalizePlanarYUV
"""


def is_float_call(case: Any) -> bool:
    """Int8 tensors belong to other records; the engines DNNLOWP and FAKE_FP16 compute in lower precision."""
    is_int8 = any(isinstance(v, tuple) for _, v in case.inputs)
    return not is_int8 and not operator_cases.operator(case.op).engine.startswith(("DNNLOWP", "FAKE_FP16"))


def complaints(golden: Any, case: Any) -> list[str]:
    """What is wrong with graphc's answer to one recorded case."""
    op = operator_cases.operator(case.op)
    arrays = [v for _, v in case.inputs]
    try:
        call = operator_cases.make_call(op.type, arrays, [n for n, _ in case.outputs], op.args)
        outputs = evaluate_node(call.node, arrays)
    except Exception as error:
        return [f"case {case.index} {op.args}: {type(error).__name__}: {error}"]
    found = []
    for (blob, want), got, result in zip(case.outputs, outputs, call.node.results):
        where = f"case {case.index} {op.args} output {blob}"
        if not golden.close(got, want):
            found.append(f"{where}:\n{got.dtype}{got.shape} {got}\nbut Caffe2 gave\n{want.dtype}{want.shape} {want}")
        shape = result.type.shape
        if shape is not None and (len(shape) != got.ndim or not all(map(dims_agree, shape, got.shape))):
            found.append(f"{where}: inferred {result.type}, but the shape is {got.shape}")
    return found


@pytest.mark.parametrize("name", NAMES.split())
def test_reference_equals_caffe2(name: str, shared: Path) -> None:
    golden = operator_cases.golden_io(shared)
    cases = [case for case in golden.cases(shared / "golden" / f"{name}.npz") if is_float_call(case)]
    found = [text for case in cases for text in complaints(golden, case)]
    assert not found, f"{len(found)} complaints\n" + "\n".join(found)
    assert cases


def less_known(type: TensorType, i: int, how: str) -> TensorType:
    """The type with every dimension a symbol, or with nothing known at all."""
    if how == "unknown":
        return TensorType()
    return type.with_shape(tuple(Sym(f"d{i}_{j}") for j in range(len(type.shape or ()))))


@pytest.mark.parametrize("how", ["symbolic", "unknown"])
@pytest.mark.parametrize("name", NAMES.split())
def test_inference_agrees_when_less_is_known(name: str, how: str, shared: Path) -> None:
    golden = operator_cases.golden_io(shared)
    for case in filter(is_float_call, golden.cases(shared / "golden" / f"{name}.npz")):
        op = operator_cases.operator(case.op)
        call = operator_cases.make_call(op.type, [v for _, v in case.inputs], [n for n, _ in case.outputs], op.args)
        for i, operand in enumerate(call.node.operands):
            assert operand is not None
            operand.type = less_known(operand.type, i, how)
        for type, (blob, want) in zip(call.opdef.infer(call), case.outputs):
            assert type.dtype in (None, DType.of(want.dtype)), (case.index, blob, str(type))
            if type.shape is not None:
                assert len(type.shape) == want.ndim, (case.index, op.args, blob, str(type), want.shape)
                assert all(map(dims_agree, type.shape, want.shape)), (case.index, op.args, blob, str(type), want.shape)
