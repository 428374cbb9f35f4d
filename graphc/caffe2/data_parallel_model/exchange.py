"""Operators that sum blobs over replicas, and copy the first replica's to the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.data_parallel_model.replicas import is_gpu_blob, prefix, stripBlobName
from graphc.caffe2.proto import caffe2_pb2

_TREES = {
    16: [(8, 1), (4, 2), (2, 4), (1, 8)],
    8: [(4, 1), (2, 2), (1, 4)],
    4: [(2, 1), (1, 2)],
}
"""Number of GPUs -> rounds of a tree of sums: (number of pairs, distance within a pair)."""


def broadcast(model: Any, net: Any, name: str) -> None:
    """Add copies of the first replica's blob to the others."""
    first, *others = model._devices
    grouped = model._device_grouped_blobs[name]
    on_gpu = is_gpu_blob(model, name)
    for device in others:
        option = core.DeviceOption(model._device_type, device) if on_gpu else core.DeviceOption(caffe2_pb2.CPU, 0)
        with core.DeviceScope(option):
            net.Copy(grouped[first], grouped[device])


def broadcast_all(model: Any, net: Any, names: Iterable[str]) -> None:
    """``broadcast`` of several blobs, in the order of their names."""
    for name in sorted(names):
        broadcast(model, net, name)


def all_reduce(model: Any, net: Any, names: Sequence[str]) -> None:
    """Let every replica have the sum of all replicas' blobs; sparse gradients are put side by side."""
    if len(model._devices) == 1:
        return
    joined: set[str] = set()
    for name in names:
        blobs = list(model._device_grouped_blobs[name].values())
        if len(blobs) == 1:
            continue
        if len(blobs) != len(model._devices):
            raise AssertionError(f"Each GPU from {model._devices}, should have a copy of {name}.")
        if isinstance(blobs[0], core.GradientSlice):
            _concatenate(model, net, name, joined)
        elif is_gpu_blob(model, name):
            _sum_tree(model, net, blobs)
            broadcast(model, net, name)
        else:
            _sum(model, net, name, blobs)


def _sum(model: Any, net: Any, name: str, blobs: Sequence[Any]) -> None:
    with core.DeviceScope(core.DeviceOption(caffe2_pb2.CPU)):
        net.Sum(blobs, [blobs[0]])
        if not model._shared_model:
            broadcast(model, net, name)


def _sum_tree(model: Any, net: Any, blobs: Sequence[Any]) -> None:
    """Add sums of pairs, then of pairs of these ..., for 4, 8 and 16 replicas; else one sum."""
    pairs = [
        [2 * distance * j, 2 * distance * j + distance]
        for count, distance in _TREES.get(len(blobs), ())
        for j in range(count)
    ]
    for indices in pairs or [list(range(len(blobs)))]:
        with core.DeviceScope(core.DeviceOption(model._device_type, model._devices[indices[0]])):
            net.Sum([blobs[i] for i in indices], [blobs[indices[0]]], name="dpm")


def _concatenate(model: Any, net: Any, name: str, joined: set[str]) -> None:
    """Join indices and values of sparse gradients; indices that several gradients share are joined once."""
    first = model._devices[0]
    slices = model._device_grouped_blobs[name]
    parts = [("val", "values")]
    if not any(str(g.indices) in joined for g in slices.values()):
        parts.insert(0, ("index", "indices"))
    for short, part in parts:
        names = [f"{prefix(model, first)}{name}_{short}_{tail}" for tail in ("concat", "splitinfo")]
        blobs = [getattr(g, part) for g in slices.values()]
        with core.DeviceScope(core.DeviceOption(model._device_type, first)), core.EmptyNameScope():
            whole, _ = net.Concat(blobs, names, axis=0, name="note:data_parallel_model")
        for device, blob in zip(slices, blobs):
            with core.DeviceScope(core.DeviceOption(model._device_type, device)):
                net.Copy(whole, blob)
    joined.update(str(g.indices) for g in slices.values())


def blobs_to_sync(model: Any) -> tuple[list[Any], set[str]]:
    """The blobs of all replicas that the init net makes, by replica and name, and their names without the prefix.

    With one set of parameters for all replicas only the computed ones. Raises ``AssertionError`` for parameters that
    the init net does not make.
    """
    if model._shared_model:
        blobs = [str(param) for param in model.GetComputedParams("")]
    else:
        start = f"{model._device_prefix}_"
        blobs = [o for op in model.param_init_net.Proto().op for o in op.output if o.startswith(start)]
        missing = set(model._param_names) - {stripBlobName(blob) for blob in blobs}
        if missing:
            raise AssertionError(f"Some params not instantiated in param init net: {missing}")
    names = {stripBlobName(blob) for blob in blobs}
    ordered = sorted(set(blobs), key=lambda b: (int(b.split("/")[0].rsplit("_", 1)[1]), b))
    return [core.BlobReference(blob) for blob in ordered], names
