"""Penalties and bounds against their formulas, on the interpreter."""

from __future__ import annotations

from typing import Any

import interpreted_nets
import numpy as np
import pytest

from graphc.caffe2 import core, normalizer, regularizer
from graphc.caffe2.normalizer_context import NormalizerContext, UseNormalizer
from graphc.caffe2.regularizer import RegularizationBy
from graphc.caffe2.regularizer_context import RegularizerContext, UseRegularizer

W = np.array([[0.5, -2.0, 0.1, 3.0], [1.5, 0.25, -0.1, -1.0]], np.float32)
COLUMNS = np.linalg.norm(W, axis=0)
SIZES = np.sort(abs(W), axis=1)

PENALTIES: dict[str, tuple[regularizer.Regularizer, float]] = {
    "L1Norm": (regularizer.L1Norm(0.1), 0.1 * abs(W).sum()),
    "L2Norm": (regularizer.L2Norm(0.1), 0.1 * (W * W).sum()),
    "LpNorm": (regularizer.LpNorm(0.1, 0.5), 0.1 * np.sqrt(COLUMNS).sum() ** 2),
    "L0ApproxNorm": (regularizer.L0ApproxNorm(0.1, 0.5), 0.1 * np.minimum(COLUMNS, 0.5).sum() / 0.5),
    "with a budget": (regularizer.L0ApproxNorm(0.1, 0.5, 2), 0.1 * (np.minimum(COLUMNS, 0.5).sum() / 0.5 - 2)),
    "L1NormTrimmed": (regularizer.L1NormTrimmed(0.1, 3), 0.1 * SIZES[:, :-3].sum()),
    "ElasticNet": (regularizer.ElasticNet(0.1, 0.2), 0.1 * abs(W).sum() + 0.2 * (W * W).sum()),
    "ElasticNetL1NormTrimmed": (
        regularizer.ElasticNetL1NormTrimmed(0.1, 0.2, 2),
        0.1 * SIZES[:, :-2].sum() + 0.2 * (W * W).sum(),
    ),
    "GroupL1Norm": (
        regularizer.GroupL1Norm(0.1, [1, 3]),
        0.1 * (np.linalg.norm(W[:, :1]) + np.sqrt(3) * np.linalg.norm(W[:, 1:])),
    ),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties(name: str) -> None:
    made, want = PENALTIES[name]
    net, init = core.Net("net"), core.Net("init")
    blob = made(net, init, core.BlobReference("w"), by=RegularizationBy.ON_LOSS)
    found = interpreted_nets.run(net, {"w": W}, [blob])[str(blob)]
    np.testing.assert_allclose(found.ravel(), [want], rtol=1e-4)
    assert made(net, init, core.BlobReference("w"), by=RegularizationBy.AFTER_OPTIMIZER) is None


def test_log_barrier() -> None:
    net, init = core.Net("net"), core.Net("init")
    made = regularizer.LogBarrier(0.1, "fixed", {})
    blob = made(net, init, core.BlobReference("w"), by="on_loss")
    found = interpreted_nets.run(net, {"w": abs(W), **interpreted_nets.initial(init)}, [blob])[str(blob)]
    np.testing.assert_allclose(found.ravel(), [-0.1 * np.log(abs(W)).sum()], rtol=1e-4)
    made(net, init, core.BlobReference("w"), by="after_optimizer")
    assert net.Proto().op[-1].type == "EnsureClipped"


def after(made: regularizer.Regularizer, grad: Any = None) -> np.ndarray:
    """The parameter after its update was regularised; a sparse gradient is of row 1."""
    net = core.Net("net")
    made(net, core.Net("init"), core.BlobReference("w"), grad, by=RegularizationBy.AFTER_OPTIMIZER)
    feeds = {"w": W, "rows": np.array([1]), "values": np.ones((1, 4), np.float32)}
    return interpreted_nets.run(net, feeds, ["w"])["w"]


def test_bounds_after_updates() -> None:
    rows = core.GradientSlice("rows", "values")
    np.testing.assert_allclose(after(regularizer.BoundedGradientProjection(-0.5, 0.5)), W.clip(-0.5, 0.5))
    clipped = after(regularizer.BoundedGradientProjection(lb=0, left_open=True, epsilon=0.125), rows)
    np.testing.assert_allclose(clipped, [W[0], W[1].clip(0.125)])
    np.testing.assert_allclose(after(regularizer.MaxNorm(1.0), rows)[1], W[1] / np.linalg.norm(W[1]), rtol=1e-5)
    np.testing.assert_allclose(after(regularizer.MaxNorm(5.0), rows), W)
    length = np.linalg.norm(after(regularizer.ConstantNorm(5.0), rows), axis=1)
    np.testing.assert_allclose(length, [np.linalg.norm(W[0]), 5], rtol=1e-5)
    np.testing.assert_allclose(after(regularizer.SparseL2Norm(0.25), rows), [W[0], W[1] * 0.75], rtol=1e-5)
    small = np.sign(W[1]) * np.maximum(abs(W[1]) - 0.25, 0)
    np.testing.assert_allclose(after(regularizer.SparseL1Norm(0.25), rows), [W[0], small], rtol=1e-5)


def test_refusals() -> None:
    for made in (regularizer.MaxNorm(), regularizer.ConstantNorm(), regularizer.SparseL1Norm(0.1)):
        with pytest.raises(NotImplementedError, match="dense"):
            after(made, "w_grad")
    blob, nets = core.BlobReference("w"), (core.Net("net"), core.Net("init"))
    with pytest.raises(AssertionError, match="invalid by=later"):
        regularizer.L1Norm(1)(*nets, blob, by="later")
    with pytest.raises(AssertionError, match="BlobReference"):
        regularizer.L1Norm(1)(*nets, "w", by="on_loss")
    for make in (
        lambda: regularizer.L2Norm(-1),
        lambda: regularizer.LpNorm(1, 0),
        lambda: regularizer.L1NormTrimmed(1, 0),
        lambda: regularizer.SparseLpNorm(3.0, 1),
        lambda: regularizer.BoundedGradientProjection(1, 0),
        lambda: regularizer.GroupL1Norm(1, (1, 2)),
    ):
        with pytest.raises(AssertionError):
            make()


def test_normalizers_and_contexts() -> None:
    class Layers:
        def __getattr__(self, name: str) -> Any:
            return lambda blob, **kwargs: (name, blob, kwargs)

    batch, layer = normalizer.BatchNormalizer(0.5), normalizer.LayerNormalizer(1e-3)
    assert batch(Layers(), "x") == ("BatchNormalization", "x", {"momentum": 0.5, "scale_init_value": 1.0})
    assert layer(Layers(), "x")[0] == "LayerNormalization"
    with pytest.raises(NotImplementedError):
        normalizer.Normalizer()(None, "x")
    with UseNormalizer({"n": batch}), UseRegularizer(regularizer.L1Norm(1)):
        assert NormalizerContext.current().get_normalizer("n") is batch  # type: ignore[attr-defined]
        assert RegularizerContext.current().has_regularizer("DEFAULT")  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="n normalizer is not provided"):
        NormalizerContext.current().get_normalizer("n")  # type: ignore[attr-defined]
