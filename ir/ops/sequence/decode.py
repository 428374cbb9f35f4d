"""Decoding of sequences: best paths, labels of connectionist temporal classification, masks.

Rules from Caffe2's crf_viterbi_op, ctc_greedy_decoder_op and boolean_mask_ops (SequenceMask).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, axis_of, product, require, require_rank
from graphc.ir.ops._segments import int_vector
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

Array = np.ndarray

FLOAT = (DType.FLOAT,)
BAD_LENGTH = "LENGTHS: a length is negative, or more than there is"

MODES = ("sequence", "window", "upper", "lower", "upperdiag", "lowerdiag")
SEQUENCE, WINDOW, UPPER, LOWER, UPPER_DIAGONAL, LOWER_DIAGONAL = range(6)


def _masked(mode: int, i: Any, j: Any, bound: Any, radius: int) -> Any:
    """Column ``j`` of row ``i`` is filled; ``bound`` is the row's length or the centre of its window."""
    if mode == SEQUENCE:
        return j >= bound
    if mode == WINDOW:
        return j > bound + radius or j < bound - radius
    if mode == UPPER:
        return j > i
    if mode == LOWER:
        return j < i
    return j >= i if mode == UPPER_DIAGONAL else j <= i


def _mask(
    x: Array, bounds: Array, y: Array, mode: int, rows: int, columns: int, repeat: int, radius: int, fill: float
) -> Any:
    """Row ``i`` of each batch of ``rows`` has ``columns`` columns of ``repeat`` elements."""
    if mode <= WINDOW and bounds.size < rows:
        return 1
    for k in range(x.size):
        i, j = (k // (columns * repeat)) % rows, (k // repeat) % columns
        bound = bounds[i] if mode <= WINDOW else i
        y.flat[k] = np.float32(fill) if _masked(mode, i, j, bound, radius) else x.flat[k]
    return 0


def _mask_sizes(call: Call) -> tuple[Dim, Dim, Dim]:
    """(rows, columns, elements of a column) of a mask; fails for axes that contradict each other."""
    shape = call.type(0).shape
    assert shape is not None
    axis = axis_of(call, call.arg("axis"), len(shape))
    start = 0
    if call.given("batch"):
        start = axis_of(call, call.arg("batch"), len(shape), "batch") + 1
        if start > axis:
            call.fail(f"batch {start - 1} is not before axis {axis}")
    end = len(shape)
    if call.arg("mode") == "sequence" and call.given("repeat_from_axis"):
        end = axis_of(call, call.arg("repeat_from_axis"), len(shape), "repeat_from_axis")
        if end < axis:
            call.fail(f"repeat_from_axis {end} is before axis {axis}")
        if call.given("batch"):
            call.fail("batch and repeat_from_axis exclude each other", "leave one of them out")
    return product(shape[start:axis]), product(shape[axis:end]), product(shape[end:])


def _mask_infer(call: Call) -> list[TensorType]:
    """masked_tensor: float, the type of the input. Modes sequence and window have an int32 number for each row."""
    x, mode = require(call, 0, FLOAT), call.arg("mode")
    if mode not in MODES:
        call.fail(f"mode '{mode}' is not known", f"use one of {', '.join(MODES)}")
    if mode in MODES[:2] and not call.has(1):
        call.fail(f"mode '{mode}' needs a second input, a number for each row")
    count = int_vector(call, 1) if call.has(1) else UNKNOWN
    if x.shape is not None:
        rows = _mask_sizes(call)[0]
        if mode in MODES[:2] and isinstance(rows, int) and isinstance(count, int) and count < rows:
            call.fail(f"input 1 has {count} numbers, one for each of {rows} rows is needed")
    return [x]


def _mask_constants(call: Call) -> Sequence[int | float]:
    rows, columns, repeat = (d if isinstance(d, int) else 1 for d in _mask_sizes(call))
    fill = 0.0 if call.arg("grad") else call.arg("fill_val")
    sizes = (max(rows, 1), max(columns, 1), max(repeat, 1))
    return (MODES.index(call.arg("mode")), *sizes, call.arg("radius"), fill)


op(
    "SequenceMask",
    _mask_infer,
    inputs="input sequence_lengths?",
    outputs="masked_tensor",
    args=(
        Arg("mode", "string", b"", " ".join(MODES)),
        Arg("axis", "int", 1, "where the columns of the mask begin"),
        Arg("radius", "int", 0, "columns on either side of a window's centre"),
        Arg("grad", "int", 0, "fill with zeros, as the gradient does"),
        Arg("fill_val", "float", -math.inf, "what stands where the mask is"),
        Arg("batch", "int", None, "the last axis of a batch of masks"),
        Arg("repeat_from_axis", "int", None, "a column has all elements from this axis on"),
    ),
    loop=_mask,
    constants=_mask_constants,
    errors=("SEQUENCE_LENGTHS has fewer numbers than there are rows",),
    doc="A constant where a column is beyond the row's length, outside of its window, or on a side of the diagonal.",
)


def _viterbi(scores: Array, steps: Array, path: Array, trellis: Array, following: Array, origins: Array) -> Any:
    """The best sum of scores and transitions to each label, step by step, then back from the best end."""
    labels, last = scores.shape[1], scores.shape[0] - 1
    for j in range(labels):
        trellis[j] = scores[0, j]
    for t in range(1, scores.shape[0]):
        for j in range(labels):
            best = 0
            for i in range(1, labels):
                if trellis[i] + steps[i, j] > trellis[best] + steps[best, j]:
                    best = i
            origins[t, j] = best
            following[j] = scores[t, j] + (trellis[best] + steps[best, j])
        for j in range(labels):
            trellis[j] = following[j]
    best = 0
    for j in range(1, labels):
        if trellis[j] > trellis[best]:
            best = j
    for k in range(scores.shape[0]):
        path[last - k] = best
        best = int(origins[last - k, best])
    return 0


def _viterbi_infer(call: Call) -> list[TensorType]:
    """viterbi_path: int32, a label for each row. predictions: float (rows, labels); transitions: float, square."""
    require(call, 0, FLOAT)
    require(call, 1, FLOAT)
    scores, steps = require_rank(call, 0, 2), require_rank(call, 1, 2)
    if scores is not None and 0 in scores:
        call.fail(f"the predictions have the shape {scores}, at least one row and one label are needed")
    if scores is not None and steps is not None:
        agree(call, steps[0], scores[1], "rows of the transitions, one for each label")
        agree(call, steps[1], scores[1], "columns of the transitions, one for each label")
    return [TensorType(DType.INT32, (UNKNOWN if scores is None else scores[0],))]


op(
    "ViterbiPath",
    _viterbi_infer,
    inputs="predictions transitions",
    outputs="viterbi_path",
    loop=_viterbi,
    scratch=lambda call: [
        TensorType(DType.FLOAT, call.type(0).static_shape[1:]),
        TensorType(DType.FLOAT, call.type(0).static_shape[1:]),
        TensorType(DType.INT64, call.type(0).static_shape),
    ],
    flops=lambda call: 2 * call.type(0).size * call.type(0).static_shape[1],
    doc="The labels whose scores and transitions have the largest sum.",
)


def _swap(scores: Array, path: Array, y: Array) -> Any:
    for i in range(scores.shape[0]):
        best = 0
        if path[i] < 0 or path[i] >= scores.shape[1]:
            return 1
        for j in range(scores.shape[1]):
            y[i, j] = scores[i, j]
            if scores[i, j] > scores[i, best]:
                best = j
        y[i, best] = scores[i, path[i]]
        y[i, path[i]] = scores[i, best]
    return 0


def _swap_infer(call: Call) -> list[TensorType]:
    """new_predictions: float, the type of the predictions; bestPath: int32, one label for each row."""
    scores, shape = require(call, 0, FLOAT), require_rank(call, 0, 2)
    agree(call, int_vector(call, 1), UNKNOWN if shape is None else shape[0], "length of the path")
    return [scores]


op(
    "SwapBestPath",
    _swap_infer,
    inputs="predictions bestPath",
    outputs="new_predictions",
    loop=_swap,
    errors=("BESTPATH: a label is not one of the predictions",),
    doc="Predictions in which the labels of a path have changed places with the best ones.",
)


def _greedy_label(x: Array, t: int, b: int) -> Any:
    best = 0
    for c in range(1, x.shape[2]):
        if x[t, b, c] > x[t, b, best]:
            best = c
    return best


def _greedy_sizes(x: Array, lengths: Array, dims: Array, found: Array, given: int, merge: int) -> Any:
    """Decode into ``found``: row b has the labels of sequence b, its last column their number."""
    for b in range(x.shape[1]):
        steps = int(lengths[b]) if given else x.shape[0]
        if steps < 0 or steps > x.shape[0]:
            return 1
        n, previous = 0, 0
        for t in range(steps):
            label = _greedy_label(x, t, b)
            if label != 0 and not (merge and label == previous):
                found[b, n] = label
                n += 1
            previous = label
        found[b, x.shape[0]] = n
        dims[0] += n
    return 0


def _greedy(x: Array, lengths: Array, counts: Array, values: Array, found: Array, given: int, merge: int) -> Any:
    at = 0
    for b in range(x.shape[1]):
        counts[b] = found[b, x.shape[0]]
        for k in range(counts[b]):
            values[at] = found[b, k]
            at += 1
    return 0


def _greedy_infer(call: Call) -> list[TensorType]:
    """OUTPUT_LEN: int32, one for each sequence; VALUES: int32. INPUTS: float (time, sequences, labels)."""
    require(call, 0, FLOAT)
    shape = require_rank(call, 0, 3)
    batch = UNKNOWN if shape is None else shape[1]
    if call.has(1):
        batch = agree(call, int_vector(call, 1), batch, "number of sequence lengths")
    if shape is not None and shape[2] == 0:
        call.fail("INPUTS has no labels")
    return [TensorType(DType.INT32, (batch,)), TensorType(DType.INT32, (UNKNOWN,))]


op(
    "CTCGreedyDecoder",
    _greedy_infer,
    inputs="INPUTS SEQ_LEN?",
    outputs="OUTPUT_LEN VALUES",
    args=(Arg("merge_repeated", "int", 1, "the same label twice running counts once"),),
    loop=_greedy,
    sizes=_greedy_sizes,
    scratch=lambda call: [
        TensorType(DType.INT32, (call.type(0).static_shape[1], call.type(0).static_shape[0] + 1)),
    ],
    constants=lambda call: (int(call.has(1)), int(bool(call.arg("merge_repeated")))),
    errors=("SEQ_LEN: a length is negative, or more than the time steps",),
    doc="The best label of every time step without blanks (label 0).",
)
