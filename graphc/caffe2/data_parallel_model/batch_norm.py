"""Batch normalisation over the joined batch of all replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import core, utils
from graphc.caffe2.data_parallel_model.replicas import prefix, stripBlobName
from graphc.frontends.netdef.schema import Message


def combine_batch_norm(model: Any) -> None:
    """Let SpatialBN and its gradient take the statistics of all replicas; their operators are interleaved for that.

    Raises ``AssertionError`` where the replicas' operators differ.
    """
    made: list[Message] = []
    for ops in _interleaved(model):
        if ops[0].type == "SpatialBN":
            made += _forward(ops)
        elif ops[0].type == "SpatialBNGradient":
            made += _backward(model, ops)
        else:
            made += ops
    del model.net.Proto().op[:]
    model.net.Proto().op.extend(made)


def _interleaved(model: Any) -> list[list[Message]]:
    """The operators of the net: the first of each replica, the second of each ..."""
    by_device: dict[int, list[Message]] = {device: [] for device in model._devices}
    for op in model.net.Proto().op:
        by_device[op.device_option.device_id].append(op)
    if len({len(ops) for ops in by_device.values()}) > 1:
        raise AssertionError("Number of ops per device in original net is not uniform")
    groups = [list(group) for group in zip(*by_device.values())]
    for group in groups:
        if len({op.type for op in group}) > 1:
            raise AssertionError(f"Type mismatch {' / '.join(op.type for op in group)}")
    return groups


def _forward(ops: Sequence[Message]) -> list[Message]:
    """Sums and sums of squares of each replica's input, their sums, and the operators that use these."""
    inputs = [op.input[0] for op in ops]
    with core.EmptyNameScope():
        made = [core.CreateOperator("ChannelStats", x, [f"{x}_sums", f"{x}_sumsq"]) for x in inputs]
        for tail in ("sums", "sumsq"):
            made.append(core.CreateOperator("Sum", [f"{x}_{tail}" for x in inputs], f"{inputs[0]}_{tail}_combined"))
    for op in ops:
        op.input.extend(f"{inputs[0]}_{tail}_combined" for tail in ("sums", "sumsq"))
        op.arg.append(utils.MakeArgument("num_batches", len(ops)))
    return [*made, *ops]


def _backward(model: Any, ops: Sequence[Message]) -> list[Message]:
    """Gradients of scale and bias for each replica's part, their sums, and the operators that use these."""
    with core.EmptyNameScope():
        made = [
            core.CreateOperator(
                "ChannelBackpropStats", [op.input[0], op.input[3], op.input[4], op.input[2]], list(op.output[1:3])
            )
            for op in ops
        ]
        for i in (1, 2):
            parts = [op.output[i] for op in ops]
            whole = f"{prefix(model, model._devices[0])}{stripBlobName(parts[0])}_combined"
            made.append(core.CreateOperator("Sum", parts, whole))
            made += [core.CreateOperator("Copy", whole, part) for part in parts]
    for op in ops:
        op.arg.append(utils.MakeArgument("num_batches", len(ops)))
        op.input.extend(op.output[1:3])
    return [*made, *ops]
