"""Operators that a model adds without asking."""

from __future__ import annotations

_NAMES = """
    Accuracy Adam Add Adagrad SparseAdagrad Adadelta SparseAdadelta AveragedLoss Cast Checkpoint ConstantFill Copy
    CopyGPUToCPU CopyCPUToGPU DequeueBlobs EnsureCPUOutput ExpandDims Flatten FlattenToVec LabelCrossEntropy
    LearningRate MakeTwoClass MatMul NCCLAllreduce NHWC2NCHW PackSegments Print PRelu ReduceFrontSum Scale
    ScatterWeightedSum Sigmoid SortedSegmentSum Snapshot Softmax SoftmaxWithLoss SquaredL2Distance Squeeze StopGradient
    Summarize Tanh Transpose UnpackSegments WeightedSum YellowFin
"""
_known_working_ops = _NAMES.split()
"""Names of operators without parameters of their own, as Caffe2 lists them."""
