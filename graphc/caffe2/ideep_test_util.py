"""``caffe2.python.ideep_test_util``: device options of tests that compare IDEEP with the CPU.

graphc runs both with the same machine code.
"""

from __future__ import annotations

import hypothesis.strategies as st

from graphc.caffe2 import hypothesis_test_util as hu
from graphc.caffe2.proto import caffe2_pb2

cpu_do = hu.cpu_do
ideep_do = caffe2_pb2.DeviceOption(device_type=caffe2_pb2.IDEEP)
device_options = [*hu.device_options, ideep_do]


def device_checker_device_options() -> st.SearchStrategy:
    """The list of all devices."""
    return st.just(device_options)


def gradient_checker_device_option() -> st.SearchStrategy:
    """One of the devices."""
    return st.sampled_from(device_options)


gcs = {"gc": gradient_checker_device_option(), "dc": device_checker_device_options()}
gcs_cpu_only = hu.gcs_cpu_only
gcs_ideep_only = {"gc": st.just(ideep_do), "dc": st.just([ideep_do])}
gcs_cpu_ideep = {"gc": st.sampled_from([cpu_do, ideep_do]), "dc": st.just([cpu_do, ideep_do])}
