"""``caffe2.python.mkl_test_util``: devices of tests that run with MKL-DNN where there is one; graphc has none."""

from __future__ import annotations

import hypothesis.strategies as st

from graphc.caffe2 import hypothesis_test_util as hu
from graphc.caffe2.hypothesis_test_util import device_checker_device_options as device_checker_device_options
from graphc.caffe2.hypothesis_test_util import gradient_checker_device_option as gradient_checker_device_option
from graphc.caffe2.proto import caffe2_pb2

cpu_do = hu.cpu_do
gpu_do = hu.gpu_do
mkl_do = caffe2_pb2.DeviceOption(device_type=caffe2_pb2.MKLDNN)
device_options = hu.device_options

gcs = hu.gcs
gcs_cpu_only = hu.gcs_cpu_only
gcs_gpu_only = hu.gcs_gpu_only
gcs_mkl_only = {"gc": st.just(mkl_do), "dc": st.just([mkl_do])}
