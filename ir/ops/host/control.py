"""Control flow: operators whose arguments hold nets that see the blobs around them.

How values pass (``graphc/frontends/netdef/subnets.py`` builds it): all sub-graphs of a node have the same inputs which
are the node's last operands; output ``k`` of a sub-graph is result ``k``. The ``cond_net`` of While has the condition
in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.infer import infer_subgraph
from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.types import UNKNOWN, DType, TensorType

MAX_ROUNDS = 8
"""Inference of a loop widens the types of carried values until they are stable; a shape widens twice at most."""


def subgraph(call: Call, name: str) -> Graph | None:
    """The net in an argument, None where it is absent; fails for anything else."""
    found = call.node.attrs.get(name)
    if found is not None and not isinstance(found, Graph):
        call.fail(f"argument '{name}' is no net")
    return found


def needed_subgraph(call: Call, name: str) -> Graph:
    """The net in an argument; fails where it is absent."""
    found = subgraph(call, name)
    if found is None:
        call.fail(f"argument '{name}' is missing", "give the operator a net")
    return found


def captured_types(call: Call, inner: Graph) -> list[TensorType]:
    """Types of the operands that a sub-graph's inputs stand for."""
    first = call.n_inputs - len(inner.inputs)
    if first < 0:
        call.fail(f"net '{inner.name}' has {len(inner.inputs)} inputs, the operator {call.n_inputs}")
    return [call.type(first + j) for j in range(len(inner.inputs))]


def _captured(inner: Graph, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    return arrays[len(arrays) - len(inner.inputs) :]


def either(a: TensorType, b: TensorType) -> TensorType:
    """What is known of a value that has one of two types."""
    shape = a.shape
    if a.shape is not None and b.shape is not None and len(a.shape) == len(b.shape):
        shape = tuple(x if x == y else UNKNOWN for x, y in zip(a.shape, b.shape))
    elif a.shape != b.shape:
        shape = None
    return replace(
        a, dtype=a.dtype if a.dtype is b.dtype else None, shape=shape, quant=a.quant if a.quant == b.quant else None
    )


def _if_types(call: Call) -> list[TensorType]:
    branches = [g for g in (subgraph(call, "then_net"), subgraph(call, "else_net")) if g is not None]
    if not branches:
        call.fail("argument 'then_net' is missing", "give the operator a net")
    types = [infer_subgraph(g, captured_types(call, g)) for g in branches]
    if any(len(t) < call.n_outputs for t in types):
        call.fail("a branch has fewer outputs than the operator")
    return [either(*(t[k] for t in (types[0], types[-1]))) for k in range(call.n_outputs)]


def _is_true(call: Call, condition: np.ndarray) -> bool:
    if condition.size != 1:
        call.fail(f"its condition has {condition.size} elements, one is needed")
    return bool(condition.reshape(-1)[0])


def _if(call: Call, *arrays: np.ndarray) -> list[np.ndarray]:
    inner = subgraph(call, "then_net" if _is_true(call, arrays[0]) else "else_net")
    return [] if inner is None else call.run(inner, _captured(inner, arrays))


op(
    "If",
    _if_types,
    inputs="condition inputs*",
    outputs="outputs*",
    args=(Arg("then_net", "graph", doc="runs where the condition holds"), Arg("else_net", "graph", doc="runs else")),
    reference=_if,
    traits=Trait.HOST,
    doc="runs one of two nets",
)


def _while_types(call: Call) -> list[TensorType]:
    body, test = needed_subgraph(call, "loop_net"), subgraph(call, "cond_net")
    names = [v.name for v in body.inputs]
    carried = dict(zip(names, captured_types(call, body)))
    outputs: dict[str, TensorType] = {}
    for _ in range(MAX_ROUNDS):
        before = dict(carried)
        outputs = dict(zip(body.output_names, infer_subgraph(body, carried.values())))
        if test is not None:
            tested = infer_subgraph(test, carried.values())[1:]
            outputs = {n: either(outputs[n], t) for n, t in zip(test.output_names[1:], tested)}
        carried = {n: either(t, outputs.get(n, t)) for n, t in carried.items()}
        if carried == before:
            break
    return [carried.get(n, outputs[n]) for n in body.output_names]


def _while(call: Call, *arrays: np.ndarray) -> list[np.ndarray]:
    body, test = needed_subgraph(call, "loop_net"), subgraph(call, "cond_net")
    names = [v.name for v in body.inputs]
    state = dict(zip(names, _captured(body, arrays)))
    first = call.node.operands[0]
    condition_name = first.name if first is not None else ""
    condition = arrays[0]
    while True:
        if test is not None:
            condition, *changed = call.run(test, [state[n] for n in names])
            state.update(zip(test.output_names[1:], changed))
        if not _is_true(call, condition):
            break
        state.update(zip(body.output_names, call.run(body, [state[n] for n in names])))
        condition = state.get(condition_name, condition)
    lost = [n for n in body.output_names if n not in state]
    if lost:
        call.fail(f"'{lost[0]}' has no value, because the loop did not run", "give it a value before the loop")
    return [state[n] for n in body.output_names]


op(
    "While",
    _while_types,
    inputs="condition inputs*",
    outputs="outputs*",
    args=(
        Arg("loop_net", "graph", doc="runs while the condition holds"),
        Arg("cond_net", "graph", doc="runs before every iteration and makes the condition"),
    ),
    reference=_while,
    traits=Trait.HOST,
    doc="runs a net while a condition holds",
)


def _do_types(call: Call) -> list[TensorType]:
    inner = needed_subgraph(call, "net")
    types = infer_subgraph(inner, captured_types(call, inner))
    return types + [TensorType()] * (call.n_outputs - len(types))


def _do(call: Call, *arrays: np.ndarray) -> list[np.ndarray]:
    inner = needed_subgraph(call, "net")
    return call.run(inner, _captured(inner, arrays))


op(
    "Do",
    _do_types,
    inputs="inputs*",
    outputs="outputs*",
    args=(
        Arg("net", "graph", doc="what runs"),
        Arg("inner_blobs", "strings", (), "names inside the net"),
        Arg("outer_blobs_idx", "ints", (), "the operator's inputs and outputs that they are, by number"),
        Arg("copy_external_blobs", "int", 0, "the net gets copies"),
        Arg("reuse_workspace", "int", 0, "a preference, never changes the answer"),
        Arg("saved_fwd_blobs", "strings", (), "blobs that a gradient will read"),
    ),
    reference=_do,
    traits=Trait.HOST,
    doc="runs a net whose blobs have other names than those around it",
)


def _scope_types(call: Call) -> list[TensorType]:
    """scope: a stand-in, a single false."""
    return [TensorType(DType.BOOL, ())]


op(
    "CreateScope",
    _scope_types,
    outputs="scope",
    reference=lambda call: [np.zeros((), np.bool_)],
    doc="the workspace that Do asks for as its last input and output; a net in graphc needs none, and nothing reads it",
)


def _has_scope_types(call: Call) -> list[TensorType]:
    """Refuses a scope that Do has used: a net in graphc keeps none, and only the gradient of a loop asks for it."""
    scope = call.node.operands[0]
    if scope is not None and scope.producer is not None and scope.producer.op != "CreateScope":
        call.fail(
            "it asks for the workspaces that Do left, which a plan does not keep",
            "run the net in a workspace of graphc.caffe2, or remove the gradient of the loop",
        )
    return [TensorType(DType.BOOL, (1,))]


op(
    "HasScope",
    _has_scope_types,
    inputs="scope",
    outputs="whether",
    reference=lambda call, scope: [np.zeros(1, np.bool_)],
    traits=Trait.HOST,
    doc="whether Do left workspaces in a scope: none in a new one",
)
