"""Dropout of elements or whole runs of ids, which a replacement stands for. Rules from Caffe2's sparse_*dropout*_op.cc.

Which ones go is drawn anew from the first output's name (or the operator's seed): Caffe2's choice is another one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import require
from graphc.ir.ops._segments import BAD_LENGTHS, int_vector, length_of, total_length
from graphc.ir.ops.sparse._hashing import drawn, hash_seed
from graphc.ir.types import UNKNOWN, DType, TensorType

Array = np.ndarray


def _runs_sizes(x: Array, lengths: Array, dims: Array, gone: Array, ratio: float, replacement: int, seed: int) -> Any:
    if total_length(lengths) != x.shape[0]:
        return 1
    for i in range(lengths.shape[0]):
        gone[i] = drawn(seed, i) < ratio
        dims[0] += np.int64(1) if gone[i] else np.int64(lengths[i])
    return 0


def _runs(
    x: Array,
    lengths: Array,
    y: Array,
    out_lengths: Array,
    gone: Array,
    ratio: float,
    replacement: int,
    seed: int,
) -> Any:
    k, m = 0, 0
    for i in range(lengths.shape[0]):
        out_lengths[i] = 1 if gone[i] else lengths[i]
        if gone[i]:
            y[m] = replacement
            m += 1
        for j in range(lengths[i]):
            if not gone[i]:
                y[m] = x[k + j]
                m += 1
        k += lengths[i]
    return 0


def _items(x: Array, lengths: Array, y: Array, out_lengths: Array, ratio: float, replacement: int, seed: int) -> Any:
    if total_length(lengths) != x.shape[0]:
        return 1
    for i in range(x.shape[0]):
        y[i] = replacement if drawn(seed, i) < ratio else x[i]
    for i in range(lengths.shape[0]):
        out_lengths[i] = lengths[i]
    return 0


def _infer(call: Call) -> list[TensorType]:
    """Y: an int64 vector; OutputLengths: int32, like Lengths."""
    require(call, 0, (DType.INT64,))
    if not 0 <= call.arg("ratio") <= 1:
        call.fail(f"argument ratio is {call.arg('ratio')}", "give it a value from 0 to 1")
    items = length_of(call, 0)
    length = items if "Itemwise" in call.opdef.name else UNKNOWN
    if call.n_results != 2:
        call.fail(f"there are {call.n_results} outputs, there must be 2")
    return [TensorType(DType.INT64, (length,)), TensorType(DType.INT32, (int_vector(call, 1),))]


def _constants(call: Call) -> tuple[Any, ...]:
    return call.arg("ratio"), call.arg("replacement_value"), hash_seed(call)


_COMMON: dict[str, Any] = {
    "inputs": "X Lengths",
    "outputs": "Y OutputLengths",
    "args": (
        Arg("ratio", "float", 0.0, "how likely a replacement is"),
        Arg("replacement_value", "int", 0, "what comes in place of the elements"),
    ),
    "constants": _constants,
    "errors": (BAD_LENGTHS,),
    "traits": Trait.RANDOM,
}
op(
    "SparseDropoutWithReplacement",
    _infer,
    loop=_runs,
    sizes=_runs_sizes,
    scratch=lambda call: [TensorType(DType.BOOL, call.type(1).shape)],
    doc="Runs of ids, of which some become one replacement.",
    **_COMMON,
)
op(
    "SparseItemwiseDropoutWithReplacement",
    _infer,
    loop=_items,
    doc="Runs of ids, of which some are replaced.",
    **_COMMON,
)
