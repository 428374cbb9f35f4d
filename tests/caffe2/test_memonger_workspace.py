"""Memonger as a script uses it: a ``core.Net``, run and measured in the workspace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from memonger_nets import count_blobs

from graphc.caffe2 import core, memonger, workspace
from graphc.caffe2.proto import caffe2_pb2


@pytest.fixture
def model() -> Any:
    """x -> a -> b, a + b -> c -> d -> y."""
    net = core.Net("m")
    x = net.AddExternalInput("x")
    a = net.Tanh(x, "a")
    b = net.Tanh(a, "b")
    c = net.Add([a, b], "c")
    net.Tanh(net.Tanh(c, "d"), "y")
    workspace.FeedBlob("x", np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))
    return net


def test_rewritten_nets_run_in_the_workspace(model: Any) -> None:
    workspace.RunNetOnce(model)
    want = workspace.FetchBlob("y")
    assert memonger.collect_blob_sizes(model.Proto()) == dict.fromkeys("xabcdy", 48)
    fast = memonger.optimize_inference_fast(model.Proto(), ["x", "y"])
    for net in (
        fast,
        memonger.optimize_inference_for_dag(model, ["x"]),
        memonger.release_blobs_when_used(model.Proto(), {"y"}),
    ):
        workspace.FeedBlob("y", np.zeros(1, np.float32))
        workspace.RunNetOnce(net)
        np.testing.assert_array_equal(workspace.FetchBlob("y"), want)
    assert not workspace.HasBlob("a") or workspace.GetBlobSizeBytes("a") == 0, "freed by the last net"
    assert count_blobs(fast) == 5


def test_statistics_of_the_workspace(model: Any) -> None:
    pytest.importorskip("networkx")
    workspace.RunNetOnce(model)
    sizes = memonger.collect_blob_sizes(model.Proto())
    found = memonger.optimize_interference(model.Proto(), ["x"], blob_sizes=sizes)
    assert memonger.compute_statistics(found.assignments) == (6 * 48, 4 * 48)


def test_a_net_takes_the_rewritten_message(model: Any) -> None:
    """What scripts do with the result: ``net._net = memonger...``."""
    model._net = memonger.optimize_inference_fast(model.Proto(), ["y"])
    assert count_blobs(model.Proto()) == 5
    assert isinstance(model.Proto(), caffe2_pb2.NetDef)
