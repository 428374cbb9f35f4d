"""Which operators compute the gradient of which: the ``gradient`` of the records, in the forms of ``ir/gradient.py``.

Here and not beside each record, because most are alike: a line is a form, followed by the operators that have it.
``%`` is the operator's name. Source: Caffe2's gradient makers.
"""

from __future__ import annotations

from graphc.ir.ops import _makers as makers
from graphc.ir.ops._makers import Maker

_ALIKE = {
    "%Gradient: I0 GO0 -> GI0": """
        Abs Acos Asin Atan AveragedLoss Cos Erf IntegralImage Log1p Logit LpNorm Normalize Sin Softsign SumElements
        Tan UpsampleNearest
    """,
    "%Gradient: O0 GO0 -> GI0": """
        Clip Elu GroupSpatialSoftmax HardSigmoid LeakyRelu Reciprocal Relu ReluN Selu Sigmoid Softmax Softplus Tanh
        ThresholdedRelu
    """,
    "%Gradient: GO0 O0 -> GI0": """
        Cbrt Rsqrt
    """,
    "%Gradient: GO0 I0 -> GI0": """
        Cosh Cube Expand Gelu ResizeNearest3D Sinh
    """,
    "%Gradient: I0 O0 GO0 -> GI0": """
        AveragePool AveragePool1D AveragePool2D AveragePool3D ColwiseMax LRN LpPool MaxPool MaxPool1D MaxPool2D
        MaxPool3D Mish RowwiseMax Swish
    """,
    "%Gradient: GO0 I0 O0 -> GI0": """
        ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum
    """,
    "%Gradient: GO0 I0 O0 I1? -> GI0": """
        ReduceBackMax ReduceFrontMax
    """,
    "%Gradient: GO0 I0 I1? -> GI0": """
        ReduceBackMean ReduceBackSum ReduceFrontMean ReduceFrontSum ResizeNearest UpsampleBilinear
    """,
    "%Gradient: I1 GO0 -> GI0": """
        BatchPermutation BooleanMask
    """,
    "%Gradient: GO0 I0 I1 -> GI0": """
        BernoulliJSD SigmoidCrossEntropyWithLogits
    """,
    "%Gradient: GO0 I0 I1 I2 -> GI0": """
        WeightedSigmoidCrossEntropyWithLogits
    """,
    "%Gradient: I0 I1 GO0 -> GI0": """
        BatchGather CosineEmbeddingCriterion CrossEntropy LabelCrossEntropy RoIAlign RoIAlignRotated SampleAs
        SigmoidCrossEntropyLoss SpatialNarrowAs
    """,
    "%Gradient: I0 I1 I2 GO0 -> GI0": """
        SigmoidFocalLoss
    """,
    "%Gradient: I0 I1 I2 I3 GO0 -> GI0": """
        SelectSmoothL1Loss SmoothL1Loss
    """,
    "%Gradient: I0 I1 GO0 -> GI0 GI1": """
        CosineSimilarity DotProduct L1Distance SquaredL2Distance
    """,
    "%Gradient: I0 I1 O1 GO0 -> GI0": """
        PSRoIPool RoIPool RoIPoolF
    """,
    "%Gradient: GO0 I0 I1 -> GI0 GI1": """
        Add Sub
    """,
    "%Gradient: GO0 I0 I1 -> GI0 GI1 GI2": """
        ElementwiseLinear
    """,
    "%Gradient: GO0 -> GI0": """
        ChannelShuffle CopyRowsToTensor MakeTwoClass PadImage
    """,
    "%Gradient: GO0 GO1 I0 -> GI0": """
        BatchMoments
    """,
    "%Gradient: GO0 GO1 I0 O0 -> GI0": """
        Moments
    """,
    "%Gradient: I0 I1 GO0 -> GI1 GI2 GI0": """
        FC FCTransposed
    """,
    "%Gradient: I0 I1 GO0 O1 -> GI0": """
        FlexibleTopK
    """,
    "%Gradient: I* O0 GO0 -> GI0 GI1": """
        GRUUnit
    """,
    "%Gradient: I* O0 O1 GO0 GO1 -> GI0 GI1 GI2": """
        LSTMUnit
    """,
    "%Gradient: GO0 I0 I1 I2 O1 O2 -> GI0 GI1 GI2": """
        GroupNorm
    """,
    "%Gradient: I0 I1 I2 I3 O1 GO0 -> GI0 GI1 GI2 GO1": """
        HSoftmax
    """,
    "%Gradient: I0 I1 I2 GO0 O1? O2? -> GI0 GI1 GI2": """
        InstanceNorm
    """,
    "%Gradient: I0 I2 O1 GO0 -> GI0": """
        LambdaRankNdcg
    """,
    "%Gradient: I1 O1 GO0 -> GI0": """
        LengthsTopK
    """,
    "%Gradient: I0 I1 I2 GO0 -> GI0 GI1": """
        MarginRankingCriterion
    """,
    "%Gradient: O0 GO0 I* -> GI*": """
        Max Min
    """,
    "%Gradient: GO0 -> GI*": """
        Mean
    """,
    "%Gradient: O0 GO0 I0 I1 -> GI0 GI1": """
        PRelu
    """,
    "%Gradient: I0 I1 GO0 I2? -> GI0": """
        PairWiseLoss
    """,
    "%Gradient: I* GO* -> GI0": """
        QuantDecode
    """,
    "%Gradient: GO0 I0 I1 O1 -> GI0 GI1 GI2": """
        RMSNorm
    """,
    "%Gradient: I* GO0 -> GI0": """
        Slice
    """,
    "%Gradient: I* O0 GO1 -> GI0": """
        SoftmaxWithLoss SpatialSoftmaxWithLoss
    """,
    "%Gradient: I0 I1 I2 O1 GO0 -> GI0": """
        SoftmaxFocalLoss
    """,
    "%Gradient: I0 O0 GO0 O1 -> GI0": """
        MaxPoolWithIndex
    """,
    "%Gradient: GO0 I1 -> GI0": """
        SortedSegmentMean SortedSegmentSum UnsortedSegmentMean UnsortedSegmentSum
    """,
    "%Gradient: I0 O0 GO0 I1 -> GI0": """
        SortedSegmentRangeLogMeanExp SortedSegmentRangeLogSumExp SortedSegmentRangeMax SortedSegmentRangeMean
        SortedSegmentRangeSum
    """,
    "%Gradient: I0 GO0 I3? -> GI1": """
        SparseToDenseMask
    """,
    "%Gradient: I0 I1 I2 I4 O1 O2 O3 GO0 -> GI0 GI1 GI2": """
        TTSparseLengthsSum
    """,
    "%Gradient: GO0 I1* -> GI0": """
        Tile
    """,
    "%Gradient: GO0 O1 I0 -> GI0": """
        TopK
    """,
}

_OTHERS = {
    "Alias": "GI0 = GO0",
    "BatchDenseToSparse": "BatchSparseToDense: I0 I1 GO0 I2 -> GI2",
    "BatchSparseToDense": "BatchDenseToSparse: I0 I1 GO0 -> GI2",
    "BatchToSpace": "SpaceToBatch: GO0 -> GI0",
    "Col2Im": "Im2Col: GO0 -> GI0",
    "Copy": "CopyOnDeviceLike: GO0 I0 -> GI0",
    "CopyCPUToGPU": "CopyGPUToCPU: GO0 -> GI0",
    "CopyGPUToCPU": "CopyCPUToGPU: GO0 -> GI0",
    "Exp": "Mul: O0 GO0 -> GI0",
    "ExpandDims": "Squeeze: GO0 -> GI0",
    "Flatten": "ResizeLike: GO0 I0 -> GI0",
    "FlattenToVec": "ResizeLike: GO0 I0 -> GI0",
    "FloatToHalf": "HalfToFloat: GO0 -> GI0",
    "HalfToFloat": "FloatToHalf: GO0 -> GI0",
    "Im2Col": "Col2Im: GO0 I0 -> GI0",
    "LengthsMax": "LengthsMaxWithMainInputAndForwardOutputGradient: O0 GO0 I1 I0 -> GI0",
    "LengthsMean": "LengthsIndicesInGradientMeanGradient: GO0 I1 I0 -> GI0",
    "LengthsSum": "LengthsIndicesInGradientSumGradient: GO0 I1 I0 -> GI0",
    "LengthsTile": "LengthsSum: GO0 I1 -> GI0",
    "Log": "Div: GO0 I0 -> GI0",
    "NCHW2NHWC": "NHWC2NCHW: GO0 -> GI0",
    "NHWC2NCHW": "NCHW2NHWC: GO0 -> GI0",
    "NanCheck": "NanCheck: GO0 -> GI0",
    "NegateGradient": "Negative: GO0 -> GI0",
    "Negative": "Negative: GO0 -> GI0",
    "PackRNNSequence": "UnpackRNNSequence: GO0 I1 -> GI0",
    "PackSegments": "UnpackSegments: I0 GO0 -> GI1",
    "PrependDim": "MergeDim: GO0 -> GI0 {}",
    "ReduceFrontWeightedSum": "Shape: I0 -> _{O0}_dims; ReduceFrontWeightedSumGradient: I1 GO0 _{O0}_dims -> GI0",
    "Reshape": "Reshape: GO0 O1 -> GI0 _{GI0}_dims {}",
    "ReversePackedSegs": "ReversePackedSegs: GO0 I1 -> GI0",
    "RowMul": "RowMul: GO0 I1 -> GI0; Mul: GO0 I0 -> {GI1}before_aggregate; "
    "ReduceTailSum: {GI1}before_aggregate -> GI1",
    "Scale": "Scale: GO0 -> GI0",
    "SpaceToBatch": "BatchToSpace: GO0 -> GI0",
    "SparseLengthsMean": "SparseLengthsIndicesInGradientMeanGradient: GO0 I2 I1 -> GV0@I1",
    "SparseLengthsSum": "SparseLengthsIndicesInGradientSumGradient: GO0 I2 I1 -> GV0@I1",
    "SparseSortedSegmentMean": "SortedSegmentMeanGradient: GO0 I2 -> GV0@I1",
    "SparseSortedSegmentSum": "SortedSegmentSumGradient: GO0 I2 -> GV0@I1",
    "SparseToDense": "Gather: GO0 I0 -> GI1",
    "SparseUnsortedSegmentMean": "UnsortedSegmentMeanGradient: GO0 I2 -> GV0@I1",
    "SparseUnsortedSegmentSum": "UnsortedSegmentSumGradient: GO0 I2 -> GV0@I1",
    "Sqr": "Scale: GO0 -> GO0 +{scale=2.0}; Mul: GO0 I0 -> GI0",
    "Sqrt": "Scale: GO0 -> GI0 +{scale=0.5}; Div: GI0 O0 -> GI0",
    "SquareRootDivide": "SquareRootDivide: GO0 I1 -> GI0",
    "Squeeze": "ExpandDims: GO0 -> GI0",
    "Sum": "GI* = GO0",
    "UnpackRNNSequence": "PackRNNSequence: GO0 I1 -> GI0",
    "UnpackSegments": "PackSegments: I0 GO0 -> GI1",
    "ZeroGradient": "ConstantFill: I0 -> GI0 +{value=0.0}",
}

_MADE: dict[str, Maker] = {
    "AddPadding": makers.add_padding,
    "AffineChannel": makers.affine_channel,
    "BatchMatMul": makers.batch_mat_mul,
    "Cast": makers.cast,
    "Concat": makers.concat,
    "Conv": makers.convolution,
    "Conv1D": makers.convolution,
    "Conv2D": makers.convolution,
    "Conv3D": makers.convolution,
    "ConvTranspose": makers.convolution,
    "DeformConv": makers.deformable_convolution,
    "DepthConcat": makers.concat,
    "DepthSplit": makers.split,
    "Div": makers.product,
    "DotProductWithPadding": makers.padded_dot_product,
    "Dropout": makers.dropout,
    "EnsureDense": makers.ensure_dense,
    "Gather": makers.gather,
    "GatherByKey": makers.gather_by_key,
    "LC": makers.convolution,
    "LC1D": makers.convolution,
    "LC2D": makers.convolution,
    "LC3D": makers.convolution,
    "LayerNorm": makers.layer_norm,
    "LengthsWeightedSum": makers.weighted_lengths,
    "MatMul": makers.mat_mul,
    "MergeMultiListFeatureTensors": makers.merged_features(4, (0, 2), 3, 3),
    "MergeMultiMapFeatureTensors": makers.merged_features(5, (0, 2), 4, 4),
    "MergeMultiScalarFeatureTensors": makers.merged_features(3, (0,), 2, 2),
    "MergeSingleListFeatureTensors": makers.merged_features(3, (0, 2), 1, 3),
    "MergeSingleMapFeatureTensors": makers.merged_features(4, (0, 3), 2, 4),
    "MergeSingleScalarFeatureTensors": makers.merged_features(2, (1,), 0, 2),
    "Mul": makers.product,
    "Pow": makers.power,
    "RecurrentNetwork": makers.recurrent_network,
    "RemovePadding": makers.remove_padding,
    "SequenceMask": makers.sequence_mask,
    "SortedSegmentWeightedSum": makers.weighted_segments,
    "SparseLengthsWeightedSum": makers.weighted_lengths,
    "SparseSortedSegmentWeightedSum": makers.weighted_segments,
    "SparseUnsortedSegmentWeightedSum": makers.weighted_segments,
    "SpatialBN": makers.spatial_bn,
    "Split": makers.split,
    "SplitByLengths": makers.split,
    "Transpose": makers.transpose,
    "UnsortedSegmentWeightedSum": makers.weighted_segments,
    "WeightedSum": makers.weighted_sum,
}

_NONE = """
    AtomicIter BatchBucketize BatchOneHot BisectPercentile BooleanMaskLengths BooleanUnmask CloseBlobsQueue
    CloseRebatchingQueue Conditional ConstantFill CreateBlobsQueue CreateDB CreateRebatchingQueue
    CreateTextFileReader DenseVectorToIdList DequeueBlobs DequeueRebatchingQueue DiagonalFill EnqueueBlobs
    EnqueueRebatchingQueue EnsureCPUOutput Float16ConstantFill Float16UniformFill
    FloatToFused2BitFakeRowwiseQuantized FloatToFused2BitRowwiseQuantized FloatToFused4BitFakeRowwiseQuantized
    FloatToFused4BitRowwiseQuantized FloatToFused8BitRowwiseQuantized FloatToFused8BitRowwiseQuantizedHalfScaleBias
    FloatToFusedRandRowwiseQuantized FloatToRowwiseQuantized8Bits Fused2BitRowwiseQuantizedToFloat
    Fused2BitRowwiseQuantizedToHalf Fused4BitRowwiseQuantizedToFloat Fused4BitRowwiseQuantizedToHalf
    Fused8BitRowwiseQuantizedHalfScaleBiasToFloat Fused8BitRowwiseQuantizedHalfScaleBiasToHalfFloat
    Fused8BitRowwiseQuantizedToFloat Fused8BitRowwiseQuantizedToHalfFloat FusedRandRowwiseQuantizedToFloat
    GatherRangesToDense GaussianFill GivenTensorBoolFill GivenTensorByteStringToUInt8Fill GivenTensorDoubleFill
    GivenTensorFill GivenTensorInt16Fill GivenTensorInt64Fill GivenTensorIntFill GivenTensorStringFill
    HalfFloatToFused8BitRowwiseQuantized HalfFloatToFused8BitRowwiseQuantizedHalfScaleBias
    HalfToFused2BitFakeRowwiseQuantized HalfToFused2BitRowwiseQuantized HalfToFused4BitFakeRowwiseQuantized
    HalfToFused4BitRowwiseQuantized InferenceLSTM IntIndexCreate Iter LearningRate LearningRateAdaption LengthsPad
    LengthsPartition LengthsRangeFill Load LongIndexCreate MSRAFill MergeIdLists NGramFromCategorical OneHot
    Partition Percentile Range RangeFill Rowwise8BitQuantizedToFloat SafeDequeueBlobs SafeEnqueueBlobs SegmentOneHot
    Size SparseDropoutWithReplacement SparseItemwiseDropoutWithReplacement SparseLengthsMean2BitRowwiseSparse
    SparseLengthsMean4BitRowwiseSparse SparseLengthsMean8BitRowwiseSparse SparseLengthsMean8BitsRowwise
    SparseLengthsMeanFused2BitRowwise SparseLengthsMeanFused4BitRowwise SparseLengthsMeanFused8BitRowwise
    SparseLengthsSum2BitRowwiseSparse SparseLengthsSum4BitRowwiseSparse SparseLengthsSum8BitRowwiseSparse
    SparseLengthsSum8BitsRowwise SparseLengthsSumFused2BitRowwise SparseLengthsSumFused4BitRowwise
    SparseLengthsSumFused8BitRowwise SparseLengthsSumSparseLookup SparseLengthsWeightedMean8BitsRowwise
    SparseLengthsWeightedSum2BitRowwiseSparse SparseLengthsWeightedSum4BitRowwiseSparse
    SparseLengthsWeightedSum8BitRowwiseSparse SparseLengthsWeightedSum8BitsRowwise
    SparseLengthsWeightedSumFused2BitRowwise SparseLengthsWeightedSumFused4BitRowwise
    SparseLengthsWeightedSumFused8BitRowwise StopGradient StringIndexCreate StumpFunc StumpFuncIndex SwapBestPath
    TensorProtosDBInput TextFileReaderRead UniformFill UniformIntFill UniqueUniformFill ViterbiPath
    WeightedSampleDequeueBlobs XavierFill
"""
"""Nothing flows back through them: fills, indices, quantised values, readers."""

LINKS: dict[str, str | Maker] = {
    **{name: form.replace("%", name) for form, names in _ALIKE.items() for name in names.split()},
    **_OTHERS,
    **_MADE,
    **dict.fromkeys(_NONE.split(), "none"),
}
"""Gradient by operator; an operator that is not here has none, and asking for it is an error."""
