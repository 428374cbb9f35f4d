"""``caffe2.python.optimizer_test_util``: what tests of optimizers share.

A test case inherits from these in front of ``unittest.TestCase``. It has ``build_optimizer(model, **kwargs)``, which
adds an optimizer to a model and returns it, and ``check_optimizer(optimizer)``, which asserts what it knows of it after
training.
"""
# ruff: noqa: PT009  (what this gives are test cases of unittest)

from __future__ import annotations

import unittest
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.caffe2 import brew, core, optimizer, workspace
from graphc.caffe2.model_helper import ModelHelper

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object  # a test case itself would run wherever a module imports it

WEIGHTS = np.array([2, 6, 5, 0, 1], np.float32)
"""What training has to find."""
EXAMPLES, ROUNDS, COPIES = 20, 2000, 2
Dense = tuple[ModelHelper, np.ndarray, np.ndarray, np.ndarray]
Chosen = tuple[np.ndarray, np.ndarray]


def _add_loss(model: ModelHelper, found: Any) -> dict[Any, Any]:
    """Add the mean squared distance to the blob ``label``; the gradients by parameter."""
    distance = model.SquaredL2Distance([found, "label"])
    gradients: dict[Any, Any] = model.AddGradientOperators([model.AveragedLoss(distance, "avg_loss")])
    return gradients


class _Optimised(_Case):
    """A test of an optimizer."""

    def build_optimizer(self, model: ModelHelper, **kwargs: Any) -> Any:
        """Add the optimizer under test to a model."""
        raise NotImplementedError

    def check_optimizer(self, optimizer: Any) -> None:
        """Assert what is known of the optimizer after training."""
        raise NotImplementedError

    def _createDense(self) -> Dense:
        """A fully connected layer with a loss and gradients; the weights to find, and features and labels for them."""
        np.random.seed(123)
        data = np.random.randint(2, size=(EXAMPLES, WEIGHTS.size)).astype(np.float32)
        label = (data @ WEIGHTS)[:, np.newaxis]
        model = ModelHelper(name="test", arg_scope={"order": "NCHW"})
        zero: tuple[str, dict[str, Any]] = ("ConstantFill", {})
        out = brew.fc(model, "data", "fc", WEIGHTS.size, 1, weight_init=zero, bias_init=zero, axis=0)
        self.assertIsInstance(_add_loss(model, out)["fc_w"], core.BlobReference)
        return model, WEIGHTS, data, label


class OptimizerTestBase(_Optimised):
    """The optimizer finds the weights of sums of features."""

    def testDense(self) -> None:
        """By a fully connected layer."""
        model, perfect, data, label = self._createDense()
        built = self.build_optimizer(model)
        workspace.FeedBlob("data", data[0])
        workspace.FeedBlob("label", label[0])
        workspace.RunNetOnce(model.param_init_net)
        workspace.CreateNet(model.net, True)
        for _ in range(ROUNDS):
            row = np.random.randint(data.shape[0])
            workspace.FeedBlob("data", data[row])
            workspace.FeedBlob("label", label[row])
            workspace.RunNet(model.net.Proto().name)
        np.testing.assert_allclose(perfect[np.newaxis], workspace.FetchBlob("fc_w"), atol=1e-2)
        self.check_optimizer(built)

    def testGPUDense(self, dtype: int = core.DataType.FLOAT) -> None:
        """The same on a GPU, which graphc does not drive."""
        raise unittest.SkipTest("No GPU support")

    def testSparse(self) -> None:
        """By the rows of a table that indices of 32 and 64 bits name, some of them twice."""
        model = ModelHelper(name="test", arg_scope={"order": "NCHW"})
        w = model.param_init_net.ConstantFill([], "w", shape=[WEIGHTS.size], value=0.0)
        model.AddParameter(w)
        out = model.ReduceFrontSum(model.net.Gather([w, "indices"], "gather"), "sum")
        self.assertIsInstance(_add_loss(model, out)["w"], core.GradientSlice)
        built = self.build_optimizer(model)
        workspace.CreateBlob("indices")
        workspace.CreateBlob("label")
        for kind in (np.int32, np.int64):
            workspace.RunNetOnce(model.param_init_net)
            workspace.CreateNet(model.net, True)
            for indices, label in _chosen_rows():
                workspace.FeedBlob("indices", indices.astype(kind))
                workspace.FeedBlob("label", label)
                workspace.RunNet(model.net.Proto().name)
            np.testing.assert_allclose(WEIGHTS, workspace.FetchBlob("w"), atol=1e-2)
        self.check_optimizer(built)


def _chosen_rows() -> Iterator[Chosen]:
    """Indices, and the sum of the weights that they name."""
    np.random.seed(123)
    chosen = np.random.randint(2, size=(EXAMPLES, WEIGHTS.size * COPIES)).astype(bool)
    rows = np.repeat(np.arange(WEIGHTS.size), COPIES)
    for _ in range(ROUNDS):
        indices = rows[chosen[np.random.randint(EXAMPLES)]]
        if indices.size:
            yield indices, np.array(WEIGHTS[indices].sum(), np.float32)


class LRModificationTestBase(_Optimised):
    """What optimizers do to the learning rate besides their policy."""

    def test_global_norm_based_gradient_clipping(self) -> None:
        """With ``max_gradient_norm`` the rate shrinks as far as the norm of all gradients is above it."""
        model, _, data, label = self._createDense()
        built = self.build_optimizer(model, max_gradient_norm=1.0)
        given = [model.param_to_grad.get(p) for p in model.GetParams(top_scope=True)]
        gradients = [g for g in given if g is not None and not isinstance(g, core.GradientSlice)]
        self._run_once(model, data, label)
        self.assertIsNotNone(built._lr_multiplier)
        norm = np.sqrt(sum(np.sum(np.square(workspace.FetchBlob(g), dtype=np.float64)) for g in gradients))
        self.assertGreater(norm, 1.0, "nothing is scaled")
        ratio = workspace.FetchBlob("norm_clipped_grad_update/norm_ratio")
        np.testing.assert_almost_equal(ratio, 1.0 / norm)

    def test_lr_injection(self) -> None:
        """With ``allow_lr_injection`` a blob is a factor of the rate."""
        model, _, data, label = self._createDense()
        built = self.build_optimizer(model, max_gradient_norm=1, allow_lr_injection=True)
        self._run_once(model, data, label)
        self.assertIsNotNone(built._lr_multiplier)
        self.assertEqual(optimizer.get_lr_injection(), 1)
        optimizer.set_lr_injection(0)
        self.assertEqual(optimizer.get_lr_injection(), 0)
        workspace.RunNet(model.net.Proto().name)
        self.assertEqual(workspace.FetchBlob("lr_multiplier"), 0)

    def _run_once(self, model: ModelHelper, data: np.ndarray, label: np.ndarray) -> None:
        workspace.FeedBlob("data", data[0])
        workspace.FeedBlob("label", label[0])
        workspace.RunNetOnce(model.param_init_net)
        workspace.CreateNet(model.net, True)
        workspace.RunNet(model.net.Proto().name)
