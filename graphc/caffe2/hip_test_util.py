"""``caffe2.python.hip_test_util``: does a test run on AMD's devices?"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


def run_in_hip(gc: Message, dc: Sequence[Message]) -> bool:
    """One of a test's device options is HIP."""
    return any(option.device_type == caffe2_pb2.HIP for option in (gc, *dc))
