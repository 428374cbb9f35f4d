"""Real Caffe2's recorded answers, by kernels for cards in the emulator: a selection of the families that have one.

``golden_emulated.py`` runs all cases.
"""

from __future__ import annotations

from pathlib import Path

import golden
import pytest
from golden_emulated import difference

OPERATORS = (
    *("AveragePool", "BatchMatMul", "ChannelShuffle", "Concat", "FC", "LRN", "MatMul", "MaxPool", "ReduceL2"),
    *("ReduceMean", "ReduceMin", "Slice", "Softmax", "Swish", "Transpose"),
    # loops
    *("Adam", "BatchGather", "BatchToSpace", "Bucketize", "Gather", "GRUUnit", "HalfToFloat", "LabelCrossEntropy"),
    *("LSTMUnit", "OneHot", "ResizeNearest", "RoIPool", "SpatialBN", "UpsampleBilinear", "Where"),
    # gradients, updates of rows
    *("AddGradient", "ConvGradient", "ConvTransposeGradient", "FCGradient", "LayerNormGradient", "MaxPoolGradient"),
    *("RowWiseSparseAdagrad", "SortedSegmentMeanGradient", "SparseLengthsWeightedSumGradient", "SpatialBNGradient"),
    *("FloatToFused8BitRowwiseQuantized", "ScatterWeightedSum"),
    # runs of rows, boxes, the largest
    *("ArgMax", "LengthsMean", "RoIAlign", "SortedSegmentMean", "SparseLengthsSum", "TopK", "UnsortedSegmentSum"),
    *("SparseLengthsSum4BitRowwiseSparse", "SparseLengthsMeanFused8BitRowwise"),
    "SparseLengthsWeightedSum8BitsRowwise",
)
CASES = 6
"""Of an operator, at most, that a kernel serves."""


@pytest.mark.parametrize("name", OPERATORS)
def test_kernels_give_caffe2s_answers(name: str, shared: Path) -> None:
    reader = golden.load_reader(shared / "golden")
    passed = 0
    for case in golden.all_cases(reader, shared / "golden", [name]):
        found = difference(reader, case)
        if found is None:
            continue  # an order, a number of dimensions or an element type that no kernel for cards has
        assert not found, case.index
        passed += 1
        if passed == CASES:
            break
    assert passed
