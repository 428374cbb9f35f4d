"""CTCBeamSearchDecoder: prefix beam search over the labels of connectionist temporal classification.

Rules from Caffe2's ``ctc_beam_search_decoder_op``; label 0 is the blank. Of equally probable prefixes the one that
comes first in alphabetical order is the better one.

A prefix that was ever among the best is a node: its parent, its last label and its length. Any other prefix that a step
reaches is a parent and a label. Both have a key, ``parent * labels + label``: a hash table finds the node of a key, and
two more hold the probabilities of all prefixes of the current and of the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._rules import agree, bounded, require, require_rank
from graphc.ir.ops._segments import int_vector
from graphc.ir.types import UNKNOWN, DType, TensorType

Array = np.ndarray

PARENT, LABEL, LENGTH, CHOSEN = range(4)
"""Columns of a node. CHOSEN: the step, counted over all sequences, for which it was last among the best."""


def _slot(keys: Array, key: Any) -> Any:
    """Where a key is in a hash table, or the free place for it. keys: a power of two of them, 0 where free."""
    mask = keys.shape[0] - 1
    at = (key ^ (key >> 15)) * 40503 & mask
    while keys[at] != 0 and keys[at] != key:
        at = (at + 1) & mask
    return at


def _key_of(nodes: Array, node: Any, labels: int) -> Any:
    """The key of a node's prefix: 1 for the empty one."""
    if node == 0:
        return np.int64(1)
    return nodes[node, PARENT] * labels + nodes[node, LABEL] + 2


def _touch(keys: Array, touched: Array, count: Array, key: Any) -> Any:
    """The place of a prefix in the table of a step; new ones are noted in ``touched``."""
    at = _slot(keys, key)
    if keys[at] == 0:
        keys[at] = key
        touched[count[0]] = at
        count[0] += 1
    return at


def _before(nodes: Array, labels: int, a: Any, b: Any) -> Any:
    """Prefix of key ``a`` comes before that of key ``b`` in alphabetical order."""
    if a == 1 or b == 1:
        return a == 1 and b != 1
    pa, la, pb, lb = (a - 2) // labels, (a - 2) % labels, (b - 2) // labels, (b - 2) % labels
    na, nb = nodes[pa, LENGTH], nodes[pb, LENGTH]
    shorter = na < nb
    while na > nb:
        la, pa, na = nodes[pa, LABEL], nodes[pa, PARENT], na - 1
    while nb > na:
        lb, pb, nb = nodes[pb, LABEL], nodes[pb, PARENT], nb - 1
    decided = la < lb if la != lb else shorter
    while pa != pb:
        if nodes[pa, LABEL] != nodes[pb, LABEL]:
            decided = nodes[pa, LABEL] < nodes[pb, LABEL]
        pa, pb = nodes[pa, PARENT], nodes[pb, PARENT]
    return decided


def _extend(
    row: Array,
    thresh: Any,
    chosen: Array,
    count: int,
    stamp: Any,
    nodes: Array,
    known: Array,
    ids: Array,
    keys: Array,
    blank: Array,
    other: Array,
    next_keys: Array,
    next_blank: Array,
    next_other: Array,
    touched: Array,
    reached: Array,
) -> None:
    """One time step: the probabilities of all prefixes that the chosen ones reach."""
    labels, pruned = row.shape[0], 0
    for c in range(labels):
        pruned += 1 if row[c] > np.float32(thresh) else 0
    for i in range(count):
        node = chosen[i]
        key = _key_of(nodes, node, labels)
        here = _slot(keys, key)
        ends, goes = np.float32(0), np.float32(0)
        if keys[here] == key:
            ends, goes = blank[here], other[here]
        for c in range(labels):
            if pruned and not row[c] > np.float32(thresh):
                continue
            if c == 0:
                at = _touch(next_keys, touched, reached, key)
                next_blank[at] += row[0] * (ends + goes)
                continue
            longer = node * labels + c + 2
            at = _touch(next_keys, touched, reached, longer)
            if node != 0 and nodes[node, LABEL] == c:
                next_other[at] += row[c] * ends
                same = _touch(next_keys, touched, reached, key)
                next_other[same] += row[c] * goes
            else:
                next_other[at] += row[c] * (ends + goes)
            place = _slot(known, longer)
            if known[place] == 0 or nodes[ids[place], CHOSEN] != stamp:
                old = _slot(keys, longer)
                if keys[old] == longer:
                    next_blank[at] += row[0] * (blank[old] + other[old])
                    next_other[at] += row[c] * other[old]


def _choose(
    nodes: Array,
    labels: int,
    keys: Array,
    blank: Array,
    other: Array,
    touched: Array,
    count: Any,
    ranked: Array,
) -> Any:
    """Put the places of the most probable prefixes into ``ranked``, best first; returns how many."""
    n = 0
    for k in range(count):
        at = touched[k]
        chance = blank[at] + other[at]
        j = n
        while j > 0:
            worse = ranked[j - 1]
            chance_there = blank[worse] + other[worse]
            if chance_there > chance or (chance_there == chance and _before(nodes, labels, keys[worse], keys[at])):
                break
            if j < ranked.shape[0]:
                ranked[j] = worse
            j -= 1
        if j < ranked.shape[0]:
            ranked[j] = at
            n = min(n + 1, ranked.shape[0])
    return n


def _node(nodes: Array, size: Array, known: Array, ids: Array, key: Any, labels: int, stamp: Any) -> Any:
    """The node of a prefix, a new one if it has none; it is marked as chosen."""
    node = np.int64(0)
    if key != 1:
        at = _slot(known, key)
        if known[at] == 0:
            known[at] = key
            ids[at] = size[1]
            parent = (key - 2) // labels
            nodes[size[1], PARENT] = parent
            nodes[size[1], LABEL] = (key - 2) % labels
            nodes[size[1], LENGTH] = nodes[parent, LENGTH] + 1
            size[1] += 1
        node = ids[at]
    nodes[node, CHOSEN] = stamp
    return node


def _clear(keys: Array, blank: Array, other: Array) -> None:
    for k in range(keys.shape[0]):
        keys[k] = 0
        blank[k] = 0
        other[k] = 0


def _sizes(
    x: Array,
    lengths: Array,
    dims: Array,
    keys: Array,
    chances: Array,
    touched: Array,
    ranked: Array,
    chosen: Array,
    nodes: Array,
    known: Array,
    state: Array,
    found: Array,
    counts: Array,
    probs: Array,
    given: int,
    beam: int,
    candidates: int,
    thresh: float,
) -> Any:
    """Decode all sequences into ``found``, candidate after candidate."""
    labels, n = x.shape[2], 0
    for b in range(x.shape[1]):
        steps = int(lengths[b]) if given else x.shape[0]
        if steps < 0 or steps > x.shape[0]:
            return 1
        _clear(keys[0], chances[0, 0], chances[0, 1])
        for k in range(known.shape[1]):
            known[0, k] = 0
        keys[0, _slot(keys[0], np.int64(1))] = 1
        chances[0, 0, _slot(keys[0], np.int64(1))] = np.float32(1)
        state[1] = 1
        chosen[0] = 0
        count, now, best = 1, 0, 0
        nodes[0, CHOSEN] = 1
        for t in range(steps):
            _clear(keys[1 - now], chances[1 - now, 0], chances[1 - now, 1])
            state[0] = 0
            _extend(
                x[t, b],
                thresh,
                chosen,
                count,
                t + 1,
                nodes,
                known[0],
                known[1],
                keys[now],
                chances[now, 0],
                chances[now, 1],
                keys[1 - now],
                chances[1 - now, 0],
                chances[1 - now, 1],
                touched,
                state,
            )
            now = 1 - now
            best = _choose(nodes, labels, keys[now], chances[now, 0], chances[now, 1], touched, state[0], ranked)
            count = min(best, beam)
            for i in range(count):
                chosen[i] = _node(nodes, state, known[0], known[1], keys[now, ranked[i]], labels, t + 2)
        for i in range(min(best, candidates) if steps else 0):
            key = keys[now, ranked[i]]
            probs[b, i] = chances[now, 0, ranked[i]] + chances[now, 1, ranked[i]]
            length = 0 if key == 1 else nodes[(key - 2) // labels, LENGTH] + 1
            counts[b, i] = length
            at = n + length - 1
            while key != 1:
                parent = (key - 2) // labels
                found[at] = (key - 2) % labels
                at -= 1
                key = _key_of(nodes, parent, labels)
            n += length
    dims[0] = n
    return 0


def _decode(
    x: Array,
    lengths: Array,
    output_len: Array,
    values: Array,
    output_prob: Array,
    keys: Array,
    chances: Array,
    touched: Array,
    ranked: Array,
    chosen: Array,
    nodes: Array,
    known: Array,
    state: Array,
    found: Array,
    counts: Array,
    probs: Array,
    given: int,
    beam: int,
    candidates: int,
    thresh: float,
) -> Any:
    for k in range(output_len.shape[0]):
        output_len[k] = counts.flat[k]
        if output_prob.size:
            output_prob[k] = probs.flat[k]
    for k in range(values.shape[0]):
        values[k] = found[k]
    return 0


def _infer(call: Call) -> list[TensorType]:
    """OUTPUT_LEN: int32, OUTPUT_PROB: float, for each candidate of each sequence; VALUES: int32.

    INPUTS: float (time, sequences, labels).
    """
    require(call, 0, (DType.FLOAT,))
    shape = require_rank(call, 0, 3)
    candidates = bounded(call, call.arg("num_candidates"), 1, "num_candidates")
    if bounded(call, call.arg("beam_width"), 1, "beam_width") < candidates:
        call.fail(f"beam_width {call.arg('beam_width')} is less than num_candidates, {candidates}")
    batch = UNKNOWN if shape is None else shape[1]
    if call.has(1):
        batch = agree(call, int_vector(call, 1), batch, "number of sequence lengths")
    if shape is not None and shape[2] == 0:
        call.fail("INPUTS has no labels")
    count = batch * candidates
    return [TensorType(DType.INT32, (count,)), TensorType(DType.INT32, (UNKNOWN,)), TensorType(DType.FLOAT, (count,))]


def _power_of_two(n: int) -> int:
    return 1 << max(n - 1, 1).bit_length()


def _scratch(call: Call) -> Sequence[TensorType]:
    """Tables of two steps, what a step reached and its best, nodes and their table, and what was found."""
    steps, batch, labels = call.type(0).static_shape
    beam, candidates = call.arg("beam_width"), call.arg("num_candidates")
    reached = 2 + beam * (labels + 1)
    room, most = _power_of_two(2 * reached), 2 + steps * beam
    return [
        TensorType(DType.INT64, (2, room)),
        TensorType(DType.FLOAT, (2, 2, room)),
        TensorType(DType.INT64, (reached,)),
        TensorType(DType.INT64, (beam,)),
        TensorType(DType.INT64, (beam,)),
        TensorType(DType.INT64, (most, 4)),
        TensorType(DType.INT64, (2, _power_of_two(2 * most))),
        TensorType(DType.INT64, (2,)),
        TensorType(DType.INT32, (batch * candidates * max(steps, 1),)),
        TensorType(DType.INT32, (batch, candidates)),
        TensorType(DType.FLOAT, (batch, candidates)),
    ]


op(
    "CTCBeamSearchDecoder",
    _infer,
    inputs="INPUTS SEQ_LEN?",
    outputs="OUTPUT_LEN VALUES OUTPUT_PROB?",
    args=(
        Arg("beam_width", "int", 10, "prefixes that are carried from step to step"),
        Arg("num_candidates", "int", 1, "prefixes that are returned for each sequence"),
        Arg("prune_threshold", "float", 0.001, "labels that are no more probable are not tried"),
    ),
    loop=_decode,
    sizes=_sizes,
    scratch=_scratch,
    constants=lambda call: (
        int(call.has(1)),
        call.arg("beam_width"),
        call.arg("num_candidates"),
        call.arg("prune_threshold"),
    ),
    errors=("SEQ_LEN: a length is negative, or more than the time steps",),
    doc="The most probable labels of each sequence by prefix beam search.",
)
