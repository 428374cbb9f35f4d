"""Weights in float16 in an init net: two bytes a number, put together by operators that Caffe2 has.

Caffe2 has no fill that spells float16 out. So the upper and the lower bytes of a weight's numbers are two fills of
bytes. The upper byte has the sign, the exponent and two bits of the significand, the lower byte counts what remains of
it: a number is ``base[upper] + lower * step[upper]``, which float32 computes exactly. ``base`` and ``step``, of 256
numbers each, are the same for all weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphc.frontends.netdef.fills import is_weight, weight
from graphc.frontends.netdef.net import Net, Operator
from graphc.ir import DType, NetError

SMALLEST = 1024
"""Elements from which on a weight is worth its eight operators."""
LARGEST = 65504.0


def half_weights(net: Net) -> list[str]:
    """The blobs of a net that ``with_half_weights`` makes of float16 numbers."""
    return [op.outputs[0] for op in net.ops if _is_large(op)]


def with_half_weights(net: Net) -> Net:
    """The net with its large float32 fills in float16: what they make are the nearest float16 numbers, as float32.

    Large: matrices and more-dimensional tensors of 1024 elements or more. Biases and everything else stay as they are.
    Raises ``NetError`` for a weight with a number beyond float16, 65504.
    """
    if not half_weights(net):
        return net
    taken = {blob for op in net.ops for blob in (*op.inputs, *op.outputs)}
    base, step = _unused("float16_base", taken), _unused("float16_step", taken)
    ops = _tables(base, step)
    for op in net.ops:
        ops += _made_of_bytes(op.outputs[0], _halves(op), base, step, taken) if _is_large(op) else [op]
    return replace(net, ops=ops)


def _is_large(op: Operator) -> bool:
    if op.type != "GivenTensorFill" or not is_weight(op):
        return False
    array, type = weight(op)
    return type.dtype is DType.FLOAT and array.ndim >= 2 and array.size >= SMALLEST


def _halves(op: Operator) -> np.ndarray:
    """The float16 numbers of a fill."""
    array, _ = weight(op)
    with np.errstate(over="ignore"):
        halves = array.astype(np.float16)
    if np.isinf(halves[np.isfinite(array)]).any():
        largest = np.abs(array[np.isfinite(array)]).max()
        raise NetError(
            f"weight '{op.outputs[0]}' has the number {largest:g}, beyond float16, which ends at {LARGEST:g}",
            "scale it down, or leave the net as it is",
        )
    halves[np.isnan(halves)] = np.nan  # one whose upper byte says so
    return halves


def _tables(base: str, step: str) -> list[Operator]:
    """The fills of what upper bytes stand for."""
    upper = np.arange(256, dtype=np.uint16) << 8
    first, second = (bits.view(np.float16).astype(np.float32) for bits in (upper, upper + np.uint16(1)))
    with np.errstate(invalid="ignore"):
        steps = np.where(np.isfinite(first), second - first, np.float32(0))
    return [_fill("GivenTensorFill", name, (256,), values) for name, values in ((base, first), (step, steps))]


def _made_of_bytes(name: str, halves: np.ndarray, base: str, step: str, taken: set[str]) -> list[Operator]:
    """Operators that make the blob ``name``."""
    parts = ("upper", "lower", "places", "first", "steps", "counts", "rest")
    upper, lower, places, first, steps, counts, rest = (_unused(f"{name}_{part}", taken) for part in parts)
    bits = np.ascontiguousarray(halves).view(np.uint16)
    return [
        _fill("GivenTensorByteStringToUInt8Fill", upper, halves.shape, (bits >> 8).astype(np.uint8).tobytes()),
        _fill("GivenTensorByteStringToUInt8Fill", lower, halves.shape, (bits & 255).astype(np.uint8).tobytes()),
        Operator("Cast", [upper], [places], {"to": DType.INT32.value}),
        Operator("Gather", [base, places], [first]),
        Operator("Gather", [step, places], [steps]),
        Operator("Cast", [lower], [counts], {"to": DType.FLOAT.value}),
        Operator("Mul", [counts, steps], [rest]),
        Operator("Add", [first, rest], [name]),
    ]


def _fill(type: str, name: str, shape: tuple[int, ...], values: np.ndarray | bytes) -> Operator:
    return Operator(type, [], [name], {"shape": shape, "values": values})


def _unused(name: str, taken: set[str]) -> str:
    """A name that no blob has; it is taken from then on."""
    free = next(n for n in (name, *(f"{name}.{k}" for k in range(1, len(taken) + 2))) if n not in taken)
    taken.add(free)
    return free
