"""Host operators on vectors of tensors, which hold a sample of what went by. Rules from Caffe2's ``dataset_ops.cc``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator


@dataclass
class TensorVector:
    """Tensors, and how many were offered so far."""

    tensors: list[np.ndarray] = field(default_factory=list)
    offered: int = 0


@host_operator("CreateTensorVector")
def create_tensor_vector(call: HostCall) -> None:
    """A vector without tensors."""
    call.write(0, TensorVector())


@host_operator("TensorVectorSize")
def tensor_vector_size(call: HostCall) -> None:
    """The number of tensors, int32."""
    call.write(0, np.array(len(call.object(0, TensorVector).tensors), np.int32))


@host_operator("ConcatTensorVector")
def concat_tensor_vector(call: HostCall) -> None:
    """The tensors joined on axis 0."""
    tensors = call.object(0, TensorVector).tensors
    if not tensors:
        call.fail("the vector holds no tensors", "collect some first")
    if len({t.shape[1:] for t in tensors}) > 1 or any(t.ndim == 0 for t in tensors):
        call.fail("the tensors differ in shape behind axis 0", "collect tensors that can be joined")
    call.write(0, np.concatenate(tensors))


@host_operator("CollectTensor")
def collect_tensor(call: HostCall) -> None:
    """Keep the tensors of the second half of the inputs in the vectors of the first half, all or none.

    Each of the rows that were offered so far is among the ``num_to_collect`` that are kept with equal probability.
    """
    n = call.n_inputs // 2
    vectors: list[TensorVector] = [call.object(i, TensorVector) for i in range(n)]
    most, offered = call.arg("num_to_collect", -1), vectors[0].offered if vectors else 0
    if most < 1:
        call.fail(f"argument num_to_collect is {most}", "give a number from 1 on")
    place = offered if offered < most else int(np.random.default_rng([offered, most]).integers(offered + 1))
    for i, vector in enumerate(vectors):
        vector.offered += 1
        if place < most:
            vector.tensors[place : place + 1] = [np.array(call.read(n + i))]
        call.write(i, vector)
