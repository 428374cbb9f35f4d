"""ONNXWhile: the loop of ONNX, with a number of iterations, a condition, carried values and outputs that grow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.infer import infer_subgraph
from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops.host.control import MAX_ROUNDS, either, needed_subgraph
from graphc.ir.types import UNKNOWN, DType, TensorType

FIRST = 2
"""Inputs before the carried ones: the number of iterations and the condition; in the net iteration and condition."""
CONDITIONS = (DType.BOOL, DType.INT32, DType.INT64)


def _n_carried(call: Call, body: Graph) -> int:
    """How many values an iteration hands to the next; fails where inputs, outputs and the net do not agree on it."""
    given = call.arg("num_loop_carried_deps")
    n = given if given >= 0 else call.n_inputs - FIRST
    if FIRST + n > min(call.n_inputs, len(body.inputs)):
        call.fail(f"{n} values are carried, but there are {call.n_inputs} inputs and {len(body.inputs)} of the net")
    if len(body.outputs) < 1 + n or call.n_outputs > len(body.outputs) - 1:
        call.fail(f"its net has {len(body.outputs)} outputs: a condition, {n} carried values and those that grow")
    return n


def _loop_types(call: Call) -> list[TensorType]:
    """Carried values have the types that all iterations agree on; of an output that grows only vectors have a rank,
    because without an iteration it is an empty vector.
    """
    body = needed_subgraph(call, "body")
    n = _n_carried(call, body)
    if not call.arg("has_trip_count") and not call.arg("has_cond"):
        call.fail("it never ends: neither 'has_trip_count' nor 'has_cond' is set", "set one of them")
    if call.arg("has_trip_count") and call.type(0).dtype not in (None, DType.INT64):
        call.fail(f"input 0 (max_trip_count) is {call.type(0)}, int64 is needed")
    condition = call.type(1).dtype if call.has(1) else DType.BOOL
    if condition is not None and condition not in CONDITIONS:
        call.fail(f"input 1 (first_iter_condition) is {call.type(1)}, bool, int32 or int64 is needed")
    captured = [call.type(i) for i in range(call.n_inputs - (len(body.inputs) - FIRST - n), call.n_inputs)]
    own = [TensorType(DType.INT64, ()), TensorType(condition, (1,))]
    carried, made = [call.type(FIRST + i) for i in range(n)], list[TensorType]()
    for _ in range(MAX_ROUNDS):
        made = infer_subgraph(body, [*own, *carried, *captured])
        before, carried = carried, [either(old, new) for old, new in zip(carried, made[1:])]
        if carried == before:
            break
    return [*carried, *(_grown(t) for t in made[1 + n :])][: call.n_outputs]


def _grown(part: TensorType) -> TensorType:
    return TensorType(part.dtype, (UNKNOWN,) if part.shape in ((), (1,)) else None)


def _loop(call: Call, *arrays: np.ndarray) -> list[np.ndarray]:
    body = needed_subgraph(call, "body")
    n = _n_carried(call, body)
    captured = arrays[len(arrays) - (len(body.inputs) - FIRST - n) :]
    limit = int(arrays[0].reshape(-1)[0]) if call.arg("has_trip_count") else None
    condition = arrays[1] if call.has(1) else np.ones(1, np.bool_)
    carried, parts = list(arrays[FIRST : FIRST + n]), list[list[np.ndarray]]()
    while (limit is None or len(parts) < limit) and (not call.arg("has_cond") or bool(condition.reshape(-1)[0])):
        own = [np.array(len(parts), np.int64), condition.reshape(-1)[:1]]
        condition, *made = call.run(body, [*own, *carried, *captured])
        carried = made[:n]
        parts.append(made[n:])
    types = [r.type.dtype for r in call.node.results[n:]]
    grown = [_stacked(call, [p[k] for p in parts], dtype) for k, dtype in enumerate(types)]
    return [*carried, *grown][: call.n_outputs]


def _stacked(call: Call, parts: Sequence[np.ndarray], dtype: DType | None) -> np.ndarray:
    """The parts of all iterations as one array: one after the other where they have a first dimension of 1, as Caffe2
    puts them (it spoils others), along a new dimension where not, as ONNX; an empty vector where there was no part.
    """
    if not parts:
        return np.empty(0, np.int32 if dtype is None else dtype.numpy)
    if any(p.shape != parts[0].shape for p in parts):
        call.fail("the size of an output that grows changed between iterations")
    return np.concatenate(parts) if parts[0].shape[:1] == (1,) else np.stack(parts)


op(
    "ONNXWhile",
    _loop_types,
    inputs="max_trip_count? first_iter_condition? inputs*",
    outputs="outputs*",
    args=(
        Arg("body", "graph", doc="(iteration, condition, carried values) -> (condition, carried values, parts)"),
        Arg("has_trip_count", "int", 0, "the first input bounds the iterations"),
        Arg("has_cond", "int", 0, "the loop ends where the condition is false"),
        Arg("save_scopes", "int", 0, "a preference, never changes the answer"),
        Arg("disable_scopes", "int", 0, "a preference, never changes the answer"),
        Arg("num_loop_carried_deps", "int", -1, "how many values are carried; -1: all further inputs"),
    ),
    reference=_loop,
    traits=Trait.HOST,
    doc="runs a net again and again, at most a number of times, while a condition holds; parts are put together",
)
