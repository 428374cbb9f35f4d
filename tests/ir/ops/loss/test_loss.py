"""Cross entropy of labels, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answers, f32

from graphc.ir.errors import RunError

P = f32([0.2, 0.5, 0.3], [0.6, 0.3, 0.1])


def test_cross_entropy_and_its_gradient() -> None:
    label = np.array([2, 0], np.int32)
    (y,) = answers("LabelCrossEntropy", P, label)
    np.testing.assert_allclose(y, -np.log([0.3, 0.6]), rtol=1e-6)
    (dx,) = answers("LabelCrossEntropyGradient", P, label, f32(1, 2))
    np.testing.assert_allclose(dx, [[0, 0, -1 / 0.3], [-2 / 0.6, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("op", ["LabelCrossEntropy", "Accuracy", "SoftmaxWithLoss"])
def test_labels_outside_the_classes_are_refused(op: str) -> None:
    with pytest.raises(RunError, match="a label is not the number of a class"):
        answers(op, P, np.array([0, 3], np.int32), outputs=2 if op == "SoftmaxWithLoss" else 1)


def test_probability_zero_has_a_finite_loss() -> None:
    (y,) = answers("LabelCrossEntropy", f32([[0, 1]]), np.array([0], np.int32))
    np.testing.assert_allclose(y, [-np.log(1e-20)], rtol=1e-6)
