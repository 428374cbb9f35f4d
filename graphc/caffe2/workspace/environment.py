"""What the machine and the build have, as scripts ask: a processor, and nothing of CUDA, HIP or NUMA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import scope
from graphc.caffe2.operator_types import operator_types
from graphc.caffe2.proto import caffe2_pb2

is_asan = False
has_gpu_support = False
has_cuda_support = False
has_hip_support = False
has_fbgemm = False
GpuDeviceType = caffe2_pb2.CUDA

_ARGUMENTS: list[str] = []
"""What was given to ``GlobalInit``."""


def GlobalInit(args: Sequence[str] = ()) -> bool:
    """Note the flags, all of which are accepted; may be called again."""
    _ARGUMENTS.extend(str(a) for a in list(args)[1:])
    return True


def GetGlobalInitArgs() -> list[str]:
    """The flags that were given to ``GlobalInit``."""
    return list(_ARGUMENTS)


def RegisteredOperators() -> list[str]:
    """The operators that nets may name, sorted."""
    return operator_types()


def NumCudaDevices() -> int:
    """0"""
    return 0


def NumGpuDevices() -> int:
    """0"""
    return 0


def GetCUDAVersion() -> int:
    """0"""
    return 0


def GetCuDNNVersion() -> int:
    """0"""
    return 0


def GetHIPVersion() -> int:
    """0"""
    return 0


def GetGpuPeerAccessPattern() -> np.ndarray:
    """No devices."""
    return np.array([])


def GetDeviceProperties(device: int) -> Any:
    """None: there are no such devices."""
    return None


def GetGPUMemoryInfo(device: int = 0) -> Any:
    """None: there are no such devices."""
    return None


def IsNUMAEnabled() -> bool:
    """False"""
    return False


def GetNumNUMANodes() -> int:
    """1"""
    return 1


def GetBlobNUMANode(name: str) -> int:
    """0"""
    return 0


def GetNameScope() -> str:
    """The current name scope."""
    return scope.CurrentNameScope()
