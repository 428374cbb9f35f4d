"""Modifiers of nets: the operators that they add, and what these compute, against NumPy."""

from __future__ import annotations

from typing import Any

import interpreted_nets
import numpy as np
import pytest

from graphc.caffe2 import core, schema
from graphc.caffe2.modeling.compute_histogram_for_blobs import ComputeHistogramForBlobs
from graphc.caffe2.modeling.compute_norm_for_blobs import ComputeNormForBlobs
from graphc.caffe2.modeling.compute_statistics_for_blobs import ComputeStatisticsForBlobs
from graphc.caffe2.modeling.get_entry_from_blobs import GetEntryFromBlobs
from graphc.caffe2.modeling.gradient_clipping import GradientClipping
from graphc.caffe2.modeling.net_modifier import NetModifier

W = np.array([[0.5, -2.0, 0.1, 3.0], [1.5, 0.25, -0.1, -1.0]], np.float32)


def reported(modifier: NetModifier) -> tuple[core.Net, np.ndarray]:
    """The net of a modifier of the matrix ``w``, and the field that it adds to the output record."""
    net = core.Net("net")
    net.AddExternalInput("w")
    modifier(net, modify_output_record=True)
    (blob,) = net.output_record().field_blobs()
    return net, interpreted_nets.run(net, {"w": W}, [blob])[str(blob)]


def types(net: core.Net) -> list[str]:
    return [op.type for op in net.Proto().op]


def test_statistics() -> None:
    net, found = reported(ComputeStatisticsForBlobs(["w"], 10))
    np.testing.assert_allclose(found, [W.min(), W.max(), W.mean(), W.std(ddof=1)], rtol=1e-6)
    assert types(net) == ["Cast", "Summarize", "Print"]
    assert net.output_record().field_names() == ["w_summary"]


@pytest.mark.parametrize(
    ("modifier", "name", "want"),
    [
        (ComputeNormForBlobs(["w"], -1), "w_l2_norm", (W * W).sum()),
        (ComputeNormForBlobs(["w"], -1, p=1), "w_l1_norm", abs(W).sum()),
        (ComputeNormForBlobs(["w"], -1, 2, True, row_index=1), "w_row_1_averaged_l2_norm", (W[1] ** 2).mean()),
    ],
)
def test_norms(modifier: ComputeNormForBlobs, name: str, want: float) -> None:
    net, found = reported(modifier)
    np.testing.assert_allclose(found, [want], rtol=1e-6)
    assert net.output_record().field_blobs() == [name]
    assert types(net)[-3:] == ["Cast", "LpNorm", "StopGradient"]
    assert all(op.HasField("device_option") for op in net.Proto().op)


@pytest.mark.parametrize("accumulate", [False, True])
def test_histograms(accumulate: bool) -> None:
    net, found = reported(ComputeHistogramForBlobs(["w"], 1, 4, -1.0, 1.0, accumulate))
    np.testing.assert_allclose(found * W.size, [1, 1, 1, 2, 1, 2])  # below, 4 of 0.5 each, above
    assert types(net) == ["Cast", "AccumulateHistogram", "Cast", "NormalizeL1", "Print"]


def test_entries() -> None:
    assert reported(GetEntryFromBlobs(["w"], 0, 1, 2))[1] == W[1, 2]
    net, found = reported(GetEntryFromBlobs(["w"], 0, 1, -1))
    np.testing.assert_array_equal(found, W[1:])
    assert net.output_record().field_names() == ["w_1_all"]


def test_records_grow() -> None:
    net = core.Net("net")
    net.AddExternalInputs("v", "w")
    net.set_output_record(schema.Struct(("v", schema.Scalar(np.float32, core.BlobReference("v")))))
    GetEntryFromBlobs(["v", "w"], 0)(net, modify_output_record=True)
    assert net.output_record().field_names() == ["v", "v_0_0", "w_0_0"]


GRADIENT = W.T @ W / 10


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({"grad_clip_method": "by_norm", "clip_threshold": 0.5}, GRADIENT / np.linalg.norm(GRADIENT) * 0.5),
        ({"grad_clip_method": "by_norm", "clip_norm_type": "l1_norm"}, GRADIENT / abs(GRADIENT).sum() * 0.1),
        (
            {"grad_clip_method": "by_norm", "use_parameter_norm": True, "compute_norm_ratio": True},
            GRADIENT / np.linalg.norm(GRADIENT) * 0.1 * np.linalg.norm(W),
        ),
        ({"grad_clip_method": "by_norm", "clip_threshold": 100}, GRADIENT),
        ({"grad_clip_method": "by_value", "clip_max": 0.2, "clip_min": -0.1}, GRADIENT.clip(-0.1, 0.2)),
    ],
)
def test_clipping(options: dict[str, Any], want: np.ndarray) -> None:
    net = core.Net("net")
    net.AddExternalInputs("w", "g")
    GradientClipping(**options)(net, grad_map={core.BlobReference("w"): core.BlobReference("g")})
    found = interpreted_nets.run(net, {"w": W, "g": GRADIENT}, ["g"])["g"]
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_clipping_of_some() -> None:
    gradients = {core.BlobReference(name): core.BlobReference(name + "_grad") for name in "abc"}
    net = core.Net("net")
    net.AddExternalInputs("a", "b", "c")
    chosen: dict[str, Any] = {"blobs_to_include": ["a", "b"], "blobs_to_exclude": ["b"]}
    GradientClipping("by_value", **chosen)(net, grad_map=gradients)
    assert [list(op.output) for op in net.Proto().op] == [["a_grad"]]
    assert len(gradients) == 3


def test_clipping_leaves_sparse_gradients() -> None:
    net = core.Net("net")
    rows = core.GradientSlice(indices=core.BlobReference("i"), values=core.BlobReference("v"))
    GradientClipping("by_value")(net, grad_map={core.BlobReference("w"): rows})
    assert not net.Proto().op


def test_bad_modifiers() -> None:
    with pytest.raises(AssertionError, match="no way of clipping is called by_magic"):
        GradientClipping("by_magic")
    with pytest.raises(AssertionError, match="l3_norm"):
        GradientClipping("by_norm", "l3_norm")
    with pytest.raises(AssertionError, match="grad_map"):
        GradientClipping("by_norm")(core.Net("net"))
    with pytest.raises(ValueError, match="param w is not defined"):
        GradientClipping("by_norm", blobs_to_include=["w"])(core.Net("net"), grad_map={})
    with pytest.raises(AssertionError, match="blob w is not defined in net"):
        ComputeNormForBlobs(["w"], 1)(core.Net("net"))
    with pytest.raises(ValueError, match="-1 is not a valid row"):
        ComputeNormForBlobs(["w"], 1, row_index=-1)
    with pytest.raises(ValueError, match="row -2"):
        GetEntryFromBlobs(["w"], 1, -2)(core.Net("net"))
    with pytest.raises(AssertionError, match="num_buckets"):
        ComputeHistogramForBlobs(["w"], 1, num_buckets=0)
