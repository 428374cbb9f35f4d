"""``caffe2.python.muji``: sums of a blob over several GPUs, which graphc runs on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.proto import caffe2_pb2


def OnGPU(gpu_id: int) -> Any:
    """The device option of a GPU."""
    return core.DeviceOption(caffe2_pb2.CUDA, gpu_id)


def OnCPU() -> Any:
    """The device option of the CPU."""
    return core.DeviceOption(caffe2_pb2.CPU)


def Allreduce(net: Any, blobs: Sequence[Any], reduced_affix: str = "_reduced", gpu_indices: Any = None) -> list[Any]:
    """Add operators that sum blobs, one on each GPU; the sums, called ``BLOB_reduced``, one on each GPU."""
    gpus = list(range(len(blobs))) if gpu_indices is None else list(gpu_indices)
    if len(gpus) != len(blobs):
        raise RuntimeError(f"gpu_indices length and blobs length mismatch: {len(gpus)} vs {len(blobs)}")
    if len(blobs) == 2:
        return Allreduce2(net, blobs, reduced_affix, gpus)
    if len(blobs) == 4:
        return Allreduce4(net, blobs, reduced_affix, gpus)
    return (
        Allreduce8(net, blobs, reduced_affix, gpus)
        if len(blobs) == 8
        else AllreduceFallback(net, blobs, reduced_affix, gpus)
    )


def _add(net: Any, a: Any, b: Any, name: str, gpu: int) -> Any:
    return net.Add([a, b], name, device_option=OnGPU(gpu))


def _tree(net: Any, blobs: Sequence[Any], affix: str, gpus: Sequence[int]) -> list[Any]:
    """Sums of pairs, of pairs of these ..., then copies back along the same tree."""
    sums, distance = list(blobs), 1
    while distance < len(blobs):
        for i in range(0, len(blobs), 2 * distance):
            sums[i] = _add(net, sums[i], sums[i + distance], f"{blobs[i]}{affix}", gpus[i])
        distance *= 2
    while distance > 1:
        distance //= 2
        for i in range(0, len(blobs), 2 * distance):
            j = i + distance
            sums[j] = net.Copy(sums[i], f"{blobs[j]}{affix}", device_option=OnGPU(gpus[j]))
    return sums


def Allreduce2(net: Any, blobs: Sequence[Any], reduced_affix: str, gpu_indices: Sequence[int]) -> list[Any]:
    """``Allreduce`` of two."""
    return _tree(net, blobs, reduced_affix, gpu_indices)


def Allreduce4(net: Any, blobs: Sequence[Any], reduced_affix: str, gpu_indices: Sequence[int]) -> list[Any]:
    """``Allreduce`` of four."""
    return _tree(net, blobs, reduced_affix, gpu_indices)


def Allreduce4Group2(net: Any, blobs: Sequence[Any], reduced_affix: str, gpu_indices: Sequence[int]) -> list[Any]:
    """``Allreduce`` of four, of which only neighbours reach each other."""
    return _tree(net, blobs, reduced_affix, gpu_indices)


def Allreduce8(net: Any, blobs: Sequence[Any], reduced_affix: str, gpu_indices: Sequence[int]) -> list[Any]:
    """``Allreduce`` of eight."""
    return _tree(net, blobs, reduced_affix, gpu_indices)


def AllreduceFallback(net: Any, blobs: Sequence[Any], reduced_affix: str, gpu_indices: Sequence[int]) -> list[Any]:
    """``Allreduce`` of any number: one after another."""
    total = net.Copy(blobs[0], f"{blobs[0]}{reduced_affix}", device_option=OnGPU(gpu_indices[0]))
    for blob in blobs[1:]:
        total = _add(net, total, blob, str(total), gpu_indices[0])
    return [total] + [
        net.Copy(total, f"{blob}{reduced_affix}", device_option=OnGPU(gpu))
        for blob, gpu in zip(blobs[1:], gpu_indices[1:])
    ]
