"""Bytes: freeing blobs, estimates, and what sharing saves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from memonger_nets import lines, net, run

from graphc.caffe2 import memonger
from graphc.caffe2.proto import caffe2_pb2

CHAIN = "Relu x -> a\nRelu a -> b\nSum a b -> c\nRelu c -> y"
FLOAT, DOUBLE = caffe2_pb2.TensorProto.FLOAT, caffe2_pb2.TensorProto.DOUBLE


def test_blobs_are_freed_after_their_last_use() -> None:
    found = memonger.release_blobs_when_used(net(CHAIN, "x", "y"), set())
    assert lines(found) == [
        "Relu x -> a",
        "Relu a -> b",
        "Sum a b -> c",
        "Free a -> a",
        "Free b -> b",
        "Relu c -> y",
        "Free c -> c",
    ]
    x = np.arange(-2, 2, dtype=np.float32)
    blobs = run(found, {"x": x})
    assert set(blobs) == {"x", "y"}
    np.testing.assert_array_equal(blobs["y"], 2 * np.maximum(x, 0))


def test_blobs_that_are_not_freed() -> None:
    found = memonger.release_blobs_when_used(net(CHAIN, "x", "y"), {"a"}, lambda blob: blob != "b")
    assert lines(found)[-1] == "Free c -> c"
    assert len(found.op) == 5
    alias = memonger.release_blobs_when_used(net("Relu x -> a\nAlias a -> b\nRelu b -> y", "x", "y"), set())
    assert all(op.type != "Free" for op in alias.op)
    end = memonger.release_blobs_when_used(net("Relu x -> a\nRelu a -> y\nRelu y -> y", "x"), set())
    assert lines(end)[-1] == "Relu y -> y", "the result of a net that declares none"


SHAPES = {"x": [4], "a": [2, 3], "b": [2, 3], "c": [5], "y": []}
TYPES = dict.fromkeys(SHAPES, FLOAT) | {"c": DOUBLE}


def test_estimate() -> None:
    """a and b have 24 bytes, c 40, y 4."""
    everything = net(CHAIN, "x", "y")
    usage = memonger.estimate_memory_usage([everything], SHAPES, TYPES, caffe2_pb2.DeviceOption())
    assert usage == (92, 92, {"Relu": 52, "Sum": 40})
    freed = memonger.release_blobs_when_used(everything, set())
    assert memonger.estimate_memory_usage([freed], SHAPES, TYPES, caffe2_pb2.DeviceOption()) == (
        92,
        88,
        {"Relu": 52, "Sum": 40},
    )
    assert len(freed.op) == 7, "the net given is not changed"


def test_estimate_counts_what_is_written_again_once() -> None:
    twice = net("Relu x -> a\nRelu a -> a\nFree a -> a\nRelu x -> a")
    assert memonger.estimate_memory_usage([twice], SHAPES, TYPES, caffe2_pb2.DeviceOption())[:2] == (48, 24)
    once = net("Relu x -> a")
    assert memonger.estimate_memory_usage([once, once], SHAPES, TYPES, caffe2_pb2.DeviceOption())[:2] == (24, 24)


def test_estimate_of_one_device(caplog: pytest.LogCaptureFixture) -> None:
    message = net("Relu x -> a\nRelu a -> b\nRelu b -> unknown")
    message.op[1].device_option.device_type = caffe2_pb2.CUDA
    gpu = caffe2_pb2.DeviceOption(device_type=caffe2_pb2.CUDA)
    assert memonger.estimate_memory_usage([message], SHAPES, TYPES, gpu).total == 24
    assert not caplog.text
    assert memonger.estimate_memory_usage([message], SHAPES, TYPES, caffe2_pb2.DeviceOption()).total == 24
    assert "Unknown blob encountered: unknown" in caplog.text


def test_estimate_equals_what_a_run_leaves() -> None:
    """The bytes of all blobs that a run makes, from their arrays."""
    message, x = net(CHAIN, "x", "y"), np.ones((3, 5), np.float32)
    blobs = run(message, {"x": x})
    shapes = {name: a.shape for name, a in blobs.items()}
    usage = memonger.estimate_memory_usage([message], shapes, dict.fromkeys(shapes, FLOAT), caffe2_pb2.DeviceOption())
    assert usage.total == usage.highwater == sum(a.nbytes for name, a in blobs.items() if name != "x")


VALUES = {"x": np.zeros(4, np.float32), "a": np.zeros(6, np.float32), "b": np.zeros(6, np.float64)}


def fetch(name: str) -> Any:
    if name not in VALUES:
        raise RuntimeError(f"Can't find blob: {name}")
    return VALUES[name]


@pytest.mark.parametrize("values", [VALUES, fetch])
def test_sizes_of_blobs(values: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert memonger.blob_nbytes("b", values) == 48
    assert memonger.collect_blob_sizes(net("Sum x a -> b"), values) == {"x": 16, "a": 24, "b": 48}
    assert not caplog.text
    assert memonger.blob_nbytes("nothing", values) == 0
    assert "Error when fetching blob nothing" in caplog.text


def test_statistics() -> None:
    pytest.importorskip("networkx")
    message = net("Relu x -> a\nRelu a -> b\nRelu b -> c", "x", "c")
    values = {name: np.zeros(n, np.uint8) for name, n in (("x", 1), ("a", 10), ("b", 20), ("c", 30))}
    sizes = memonger.collect_blob_sizes(message, values)
    found = memonger.optimize_interference(message, ["x"], blob_sizes=sizes)
    assert found.blob_assignments == {"a": "c", "c": "c"}
    statistics = memonger.compute_statistics(found.assignments, values)
    assert statistics == (61, 51)
    assert (statistics.baseline_nbytes, statistics.optimized_nbytes) == (61, 51)
    assert memonger.get_memory_usage(found.assignments) == 51
