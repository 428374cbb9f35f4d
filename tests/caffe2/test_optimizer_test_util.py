"""Tests of optimizers as Caffe2's own are written: they pass for an optimizer that learns, and fail for one that does
not."""

from __future__ import annotations

import unittest
from typing import Any

from graphc.caffe2 import optimizer, test_util
from graphc.caffe2.optimizer_test_util import LRModificationTestBase, OptimizerTestBase


def run(rate: float, *names: str) -> unittest.TestResult:
    class Sgd(OptimizerTestBase, LRModificationTestBase, test_util.TestCase):
        def build_optimizer(self, model: Any, **kwargs: Any) -> Any:
            return optimizer.build_sgd(model, base_learning_rate=rate, **kwargs)

        def check_optimizer(self, optimizer: Any) -> None:
            self.assertFalse(optimizer.get_auxiliary_parameters().local)  # noqa: PT009

    result = unittest.TestResult()
    unittest.TestSuite(Sgd(name) for name in names).run(result)
    return result


def test_an_optimizer_that_learns() -> None:
    result = run(0.1, "testDense", "testGPUDense", "test_lr_injection")
    assert (result.testsRun, result.failures, result.errors) == (3, [], [])
    assert len(result.skipped) == 1


def test_one_that_changes_nothing() -> None:
    assert len(run(1e-9, "testDense").failures) == 1
